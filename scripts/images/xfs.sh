#!/bin/bash
# Test images of XFS, and beside each IMAGE what its driver shows, IMAGE.truth.
# usage: scripts/images/xfs.sh OUTDIR [NAME]...      (as root; needs xfsprogs; all without names)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=$(readlink -f "$1")
shift
only=$*
work=$(mktemp -d)
mnt=$work/mnt
mkdir "$mnt"
loops=()

finish() {
    mountpoint -q "$mnt" && umount "$mnt"
    for loop in "${loops[@]}"; do losetup -d "$loop" || true; done
    rm -rf "$work"
}
trap finish EXIT

# make NAME SIZE MKFS-OPTION...
make() {
    image=$out/xfs-$1.img
    rm -f "$image" "$image.truth"
    truncate -s "$2" "$image"
    shift 2
    mkfs.xfs -q -f "$@" "$image"
}

wanted() { [ -z "$only" ] || [[ " $only " == *" $1 "* ]]; }

fill() { "$here/xfs_fill.py" "$mnt" "$@"; }

# truth IMAGE [MOUNT-OPTION]: what the kernel shows of an image that is clean
truth() {
    mount -o "loop,ro,${2:-norecovery}" "$1" "$mnt"
    "$here/listing.py" "$mnt" > "$1.truth"
    umount "$mnt"
}

# variant NAME SIZE SETS MKFS-OPTION...
variant() {
    wanted "$1" || return 0
    local name=$1 size=$2 sets=$3
    shift 3
    make "$name" "$size" "$@"
    mount -o loop "$image" "$mnt"
    fill $sets
    umount "$mnt"
    truth "$image"
}

# dirty NAME: the image `1k` changed, as it is when the machine stops or a snapshot is taken; truth is what the kernel
# shows after it has recovered a copy. Needs the image `1k`.
dirty() {
    wanted "$1" || return 0
    cp --sparse=always "$out/xfs-1k.img" "$out/xfs-$1.img"
    image=$out/xfs-$1.img
    mount -o loop "$image" "$mnt"
    fill after
    case $1 in
        dirty) xfs_io -x -c 'shutdown -f' "$mnt" ;; # the log is whole, nothing else was written
        frozen) xfs_io -x -c freeze "$mnt"; cp --sparse=always "$image" "$work/copy"; xfs_io -x -c thaw "$mnt" ;;
    esac
    umount "$mnt"
    if [ "$1" = frozen ]; then mv "$work/copy" "$image"; fi
    cp --sparse=always "$image" "$work/replayed"
    mount -o loop "$work/replayed" "$mnt"
    umount "$mnt"
    truth "$work/replayed"
    mv "$work/replayed.truth" "$image.truth"
    rm "$work/replayed"
}

# proto NAME SIZE MKFS-OPTION...: version 4, which this kernel may not know, filled by mkfs; truth is the source.
proto() {
    wanted "$1" || return 0
    local name=$1 size=$2
    shift 2
    [ -d "$work/source" ] || "$here/xfs_proto.py" tree "$work/source"
    "$here/xfs_proto.py" proto "$work/source" > "$work/proto"
    make "$name" "$size" "$@" -p "$work/proto"
    for n in $(seq 60); do
        xfs_db -x -c 'path /folder3/entry-00000' -c "attr_set -u -v 30 name$n" "$image" > /dev/null
    done
    xfs_db -x -c 'path /folder3/entry-00001' -c 'attr_set -u -v 5 a' -c 'attr_set -s -v 20 c' "$image" > /dev/null
    "$here/listing.py" "$work/source" mtime xattrs > "$image.truth"
}

# The one with much in it: 70 000 nodes, a folder of 50 000, files in thousands of pieces.
variant main 2g 'main many' -m rmapbt=1
# Small blocks.
variant 1k 300m 'small' -b size=1024 -m rmapbt=1
# Blocks and inodes as large as they get.
variant 64k 512m 'small' -b size=65536 -i size=2048
# What version 5 began with: no sparse inodes, classic times, no reference counts.
variant classic 300m 'small-classic' -m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0,size=1024
xfs_admin -U generate "$out/xfs-classic.img" > /dev/null # and a uuid that is not that of its metadata
# Large counts of extents, folder blocks of many blocks, four-way striped.
variant wide 400m 'small' -b size=2048 -i nrext64=1 -n size=65536 -d agcount=6,su=64k,sw=4
# Everything in pieces: blocks of folders too, trees of extents for folders and attributes, much free space in little.
variant pieces 300m pieces -n size=16384 -d agcount=2 -m rmapbt=0,reflink=0,finobt=0
# A log of its own device.
if wanted extlog; then
    rm -f "$out/xfs-log.dev"
    truncate -s 64m "$out/xfs-log.dev"
    log=$(losetup -f --show "$out/xfs-log.dev")
    loops+=("$log")
    make extlog 300m -l "logdev=$log"
    mount -o "loop,logdev=$log" "$image" "$mnt"
    fill small
    umount "$mnt"
    truth "$image" "norecovery,logdev=$log"
    losetup -d "$log"
    loops=()
fi
# Not unmounted: stopped, and frozen as for a snapshot.
dirty dirty
dirty frozen
# Version 4: with and without kinds in folders, the smallest blocks, folders that ignore case.
proto v4 300m -m crc=0 -i size=256
proto v4-512 300m -m crc=0,finobt=0 -b size=512 -i size=256 -n ftype=1,size=4096
proto v4-ci 300m -m crc=0 -n version=ci
