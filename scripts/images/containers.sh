#!/bin/bash
# Builds virtual disks of all kinds with qemu-img, each beside its truth: IMAGE.truth has the bytes and SHA-256 of the
# disk, IMAGE.map (where QEMU can tell) the ranges that are allocated, as `disk hash` and `disk map` print them.
#
# usage: containers.sh OUTDIR
set -euo pipefail

out=$(realpath -m "${1:?OUTDIR}")
mkdir -p "$out"
cd "$out"

# What is in the disks: 8 to 64 MiB with holes, with bytes that shrink and bytes that do not, and an odd end.
python3 - <<'EOF'
import random
def make(name, mib, odd, seed):
    rng = random.Random(seed)
    with open(name, "wb") as f:
        f.truncate((mib << 20) + odd)
        for n in range(mib * 3):
            at = rng.randrange(0, (mib << 20) - (1 << 18)) & ~511
            size = rng.choice([512, 4096, 65536, 200 * 512])
            f.seek(at)
            f.write(rng.randbytes(size) if n % 3 else (b"line %d of text\n" % n * (size // 12))[:size])
        f.seek((mib << 20) + odd - 512)
        f.write(rng.randbytes(512))
make("main.raw", 96, 0, 1)   # the large one: several tables of each kind
make("odd.raw", 9, 1536, 2)   # ends in the middle of a cluster
EOF

truth() { # IMAGE FORMAT [RAW]: what QEMU sees in it
    local raw=${3:-}
    if [ -z "$raw" ]; then
        raw=$1.qemu
        qemu-img convert -f "$2" -O raw "$1" "$raw"
    fi
    echo "$(stat -c %s "$raw") $(sha256sum <"$raw" | cut -d' ' -f1)" >"$1.truth"
    [ "$raw" != "$1.qemu" ] || rm "$raw"
}

allocated() { # IMAGE FORMAT: ranges that lie somewhere
    qemu-img map -f "$2" --output=json "$1" | python3 -c '
import json, sys
ranges = []
for run in json.load(sys.stdin):
    if not run["data"]:
        continue
    start, end = run["start"], run["start"] + run["length"]
    if ranges and ranges[-1][1] == start:
        ranges[-1][1] = end
    else:
        ranges.append([start, end])
for start, end in ranges:
    print(start, end)
' >"$1.map"
}

make() { # IMAGE FORMAT RAW [OPTIONS...]: a disk made from a raw one
    local image=$1 format=$2 raw=$3
    shift 3
    rm -f "$image"
    qemu-img convert -f raw -O "$format" "$@" "$raw" "$image"
    truth "$image" "$format" "$raw"
    # Of what lies as it is in a file, QEMU tells the holes of that file.
    [[ $image == *fixed.vhd || $image == *flat.vmdk ]] || allocated "$image" "$format"
}

# -- qcow2: each size of clusters that is special, both ways to compress, divided clusters, both versions
make main.qcow2 qcow2 main.raw
make main-zlib.qcow2 qcow2 main.raw -c
make main-zstd.qcow2 qcow2 main.raw -c -o compression_type=zstd
make main-split.qcow2 qcow2 main.raw -o extended_l2=on,cluster_size=128k
make odd-512.qcow2 qcow2 odd.raw -o cluster_size=512
make odd-512-zlib.qcow2 qcow2 odd.raw -c -o cluster_size=512
make odd-2m.qcow2 qcow2 odd.raw -o cluster_size=2M
make odd-2m-zstd.qcow2 qcow2 odd.raw -c -o cluster_size=2M,compression_type=zstd
make odd-v2.qcow2 qcow2 odd.raw -o compat=0.10
make odd-v2-zlib.qcow2 qcow2 odd.raw -c -o compat=0.10
make odd-split-zstd.qcow2 qcow2 odd.raw -c -o extended_l2=on,compression_type=zstd
make odd-full.qcow2 qcow2 odd.raw -o preallocation=full

# Clusters of zeros, discarded ones, writes over compressed ones, parts of divided ones, an internal snapshot.
for kind in main-zlib main-split odd-v2; do
    image=$kind-written.qcow2
    cp "$kind.qcow2" "$image"
    qemu-img snapshot -c before "$image"
    qemu-io -f qcow2 -c 'write -P 7 1M 100k' -c 'write -z 2M 300k' -c 'discard 3M 1M' -c 'write -P 9 5000000 12345' \
        -c 'write -z -u 6M 70k' "$image" >/dev/null
    truth "$image" qcow2
    [ $kind = main-split ] || allocated "$image" qcow2
done
# Not closed: reference counts were left for later.
cp odd-full.qcow2 odd-dirty.qcow2
qemu-img amend -f qcow2 -o lazy_refcounts=on odd-dirty.qcow2
(ulimit -c 0; qemu-io -f qcow2 -c 'write -P 3 1M 64k' -c flush -c abort odd-dirty.qcow2 >/dev/null 2>&1 || true)
truth odd-dirty.qcow2 qcow2
# A large disk with little in it.
qemu-img create -q -f qcow2 large.qcow2 60T
qemu-io -f qcow2 -c 'write -P 5 50T 1M' large.qcow2 >/dev/null
echo "$((50 << 40)) $(((50 << 40) + (1 << 20)))" >large.qcow2.map
# Dirty bitmaps: what was written is known from here; one with clusters of 512 bytes, one that was switched off.
cp main.qcow2 bitmaps.qcow2
qemu-img bitmap --add -g 64k bitmaps.qcow2 coarse
qemu-img bitmap --add -g 4k bitmaps.qcow2 fine
qemu-img bitmap --add --disable bitmaps.qcow2 off
qemu-io -f qcow2 -c 'write -P 1 1M 4k' -c 'write -P 2 1100k 1k' -c 'write -P 3 80M 1M' bitmaps.qcow2 >/dev/null
cat >bitmaps.qcow2.bitmaps <<EOF
coarse 65536 true true
1048576 1179648
83886080 84934656
fine 4096 true true
1048576 1052672
1126400 1130496
83886080 84934656
off 65536 true false
EOF

# -- VDI: as they grow, whole, and with blocks that were discarded
make main.vdi vdi main.raw
make odd.vdi vdi odd.raw
make odd-static.vdi vdi odd.raw -o static=on
cp main.vdi main-written.vdi
qemu-io -f vdi -c 'write -P 7 1M 100k' -c 'write -z 2M 3M' -c 'write -P 9 90M 12k' main-written.vdi >/dev/null
truth main-written.vdi vdi

# -- VHD (its sizes are those of cylinders unless told otherwise)
for raw in main odd; do
    make $raw.vhd vpc $raw.raw -o force_size=on
    make $raw-fixed.vhd vpc $raw.raw -o force_size=on,subformat=fixed
done
cp odd.vhd odd-footer.vhd   # the footer at the end is lost
python3 -c 'import os; f = os.open("odd-footer.vhd", os.O_RDWR); n = os.fstat(f).st_size; os.pwrite(f, bytes(512), n - 512)'
cp odd.vhd.truth odd-footer.vhd.truth

# -- VHDX; one whose log was not written out, and whose tables are older than it
make main.vhdx vhdx main.raw
make odd.vhdx vhdx odd.raw -o block_size=1M
make odd-fixed.vhdx vhdx odd.raw -o subformat=fixed
qemu-img create -q -f vhdx -o block_size=1M log.vhdx 64M
qemu-io -f vhdx -c 'write -P 4 1M 3M' log.vhdx >/dev/null
cp log.vhdx before.vhdx
(ulimit -c 0; qemu-io -f vhdx -c 'write -P 1 3M 100k' -c 'write -P 2 7M 1M' -c 'write -P 3 0 4k' -c 'write -P 5 40M 4M' -c abort log.vhdx \
    >/dev/null 2>&1 || true)
python3 - <<'EOF'
import struct
old, new = open("before.vhdx", "rb"), open("log.vhdx", "r+b")
old.seek(192 << 10)
region = old.read(65536)
for n in range(struct.unpack_from("<I", region, 8)[0]):
    guid, at, length = region[16 + n * 32:][:16], *struct.unpack_from("<QI", region, 16 + n * 32 + 16)
    if guid == bytes.fromhex("6677c22d23f600429d64115e9bfd4a08"):
        old.seek(at), new.seek(at)
        table = old.read(length)
        assert table != new.read(length), "the table did not change"
        new.seek(at), new.write(table)
EOF
cp log.vhdx replayed.vhdx
qemu-img check -q -r all replayed.vhdx >/dev/null || true
truth replayed.vhdx vhdx
mv replayed.vhdx.truth log.vhdx.truth
rm replayed.vhdx before.vhdx

# -- VMDK, in one file and in several
make main.vmdk vmdk main.raw
make main-stream.vmdk vmdk main.raw -o subformat=streamOptimized
make odd-zeroed.vmdk vmdk odd.raw -o zeroed_grain=on
make odd-stream.vmdk vmdk odd.raw -o subformat=streamOptimized
make odd-flat.vmdk vmdk odd.raw -o subformat=monolithicFlat
make odd-2g.vmdk vmdk odd.raw -o subformat=twoGbMaxExtentSparse
make odd-2g-flat.vmdk vmdk odd.raw -o subformat=twoGbMaxExtentFlat
# Several extents, sparse, flat and of zeros, one of them in the middle of a file.
cat >mixed.vmdk <<EOF
# Disk DescriptorFile
version=1
CID=12345678
parentCID=ffffffff
createType="custom"

RW $((9 * 2048 + 3)) SPARSE "odd-2g-s001.vmdk"
RW 2048 ZERO
RW 4096 FLAT "main.raw" 2048
RW $((9 * 2048)) SPARSE "odd-zeroed-extent.vmdk"
EOF
qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse odd.raw odd-zeroed-extent0.vmdk
mv odd-zeroed-extent0-s001.vmdk odd-zeroed-extent.vmdk
rm odd-zeroed-extent0.vmdk
{
    cat odd.raw
    head -c 1M /dev/zero
    dd if=main.raw bs=1M skip=1 count=2 status=none
    head -c 9M odd.raw
} >mixed.raw
truth mixed.vmdk vmdk mixed.raw

# -- what is refused, by the word that says why
qemu-img create -q -f qcow2 -F raw -b odd.raw backing.qcow2
echo "odd.raw" >backing.qcow2.refused
qemu-img create -q -f qcow2 -o data_file=outside.raw data-file.qcow2 1M
echo "external data file" >data-file.qcow2.refused
qemu-img create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
    encrypted.qcow2 1M
echo "encrypted" >encrypted.qcow2.refused
qemu-img create -q -f vmdk -F vmdk -b main.vmdk delta.vmdk
echo "snapshot" >delta.vmdk.refused
echo "containers: $(ls ./*.truth | wc -l) disks in $out"
