#!/usr/bin/env bash
# Builds exFAT images and what a reader must find in each.
# usage: scripts/images/exfat.sh OUTDIR      needs exfatprogs, exfat-fuse, root for a loop device
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
export TZ=UTC LC_ALL=C.UTF-8
scratch=$(mktemp -d)
device=
release() {
    umount "$scratch" 2>/dev/null || true
    if [ -n "$device" ]; then losetup -d "$device"; fi
    device=
}
trap 'release; rmdir "$scratch"' EXIT

# empty NAME SIZE OPTION...: a volume with nothing in it
empty() {
    rm -f "$1.img"
    truncate -s "$2" "$1.img"
    mkfs.exfat -L "größer" "${@:3}" "$1.img" >/dev/null
}

# mounted NAME OPTION: by exfat-fuse, which takes devices only
mounted() {
    device=$(losetup -f --show "$1.img")
    mount.exfat-fuse -o "$2" "$device" "$scratch" >/dev/null
}

empty exfat-main 2G -c 4K       # 70 000 nodes, 50 000 in one folder, a file in 10 000 pieces, folders in pieces
python3 "$here/fat_trees.py" exfat-large exfat-main.img
empty exfat-small 8M -c 512     # entry sets across clusters, with a chain and without; offsets of time
python3 "$here/fat_trees.py" exfat-small exfat-small.img
empty exfat-odd 8M -c 4K        # files that were written in part, entries of vendors, unused ones
python3 "$here/fat_trees.py" exfat-odd exfat-odd.img
for name in exfat-main exfat-small; do
    fsck.exfat -n "$name.img" >/dev/null
done
mounted exfat-small ro
python3 "$here/listing.py" "$scratch" mode uid gid links >exfat-small.img.fuse
release
# exfat-fuse tells whole seconds.
sed -E 's/\.[0-9]{9}\t/.000000000\t/' exfat-small.img.truth >exfat-small.img.whole
python3 "$here/compare.py" exfat-small.img.whole exfat-small.img.fuse
rm exfat-small.img.fuse exfat-small.img.whole

empty exfat-driver 64M          # what a driver writes: files that grew in turns, deleted ones, renamed ones
mounted exfat-driver rw
python3 - "$scratch" <<'EOF'
import os, sys
os.chdir(sys.argv[1])
os.mkdir("folder")
files = [open("folder/grown in turns %d" % n, "wb") for n in range(8)]
for turn in range(20):
    for n, f in enumerate(files):
        f.write(bytes([n + turn]) * 30000)
        f.flush()
for n in range(300):
    with open("folder/file %d" % n, "w") as f:
        f.write("x" * n)
for n in range(0, 300, 3):
    os.remove("folder/file %d" % n)
for n in range(1, 300, 3):
    os.rename("folder/file %d" % n, "folder/a much longer name than it had before %d" % n)
os.truncate("folder/grown in turns 1", 100_001)
os.truncate("folder/grown in turns 2", 900_000)
for n in range(1, 300, 3):
    os.utime("folder/a much longer name than it had before %d" % n, (10**9 + n, 10**9 + n))
EOF
release
mounted exfat-driver ro
python3 "$here/listing.py" "$scratch" mode uid gid links >exfat-driver.img.truth
release
