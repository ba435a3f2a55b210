#!/bin/bash
# Builds the Btrfs images with the real tools and the kernel, and beside each its truth. Needs root and btrfs-progs,
# attr, acl. Everything is sparse; the whole set takes under a minute.
#
# usage: btrfs.sh OUTDIR [NAME...]      only these images
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
wanted=("$@")
top=$(mktemp -d)
loops=()

free() {
    mountpoint -q "$top" && umount "$top"
    for loop in "${loops[@]}"; do losetup -d "$loop"; done
    loops=()
}
trap 'free; rmdir "$top"' EXIT

is_wanted() {
    [[ ${#wanted[@]} = 0 || " ${wanted[*]} " == *" $1 "* ]]
}

# attach IMAGE...: loop devices, into `loops`
attach() {
    for image in "$@"; do loops+=("$(losetup -f --show "$image")"); done
}

# list NAME: truth of what is mounted. A folder that stands for a subvolume that is not there (inode 2) has no time of
# its own: the kernel shows when it was looked at.
list() {
    find "$top" -inum 2 -printf '%P\n' > "$out/$1.placeholders"
    "$here/listing.py" "$top" | awk -F '\t' -v OFS='\t' '
        FILENAME != "-" { timeless[$0]; next }
        $1 in timeless { $4 = "-" }
        { print }' "$out/$1.placeholders" - > "$out/$1.truth"
    rm "$out/$1.placeholders"
}

# truth NAME [OPTION]: of the image, as the kernel shows it
truth() {
    attach "$out/$1"
    mount -t btrfs -o "ro${2:+,$2}" "${loops[0]}" "$top"
    list "$1"
    free
}

# image NAME SIZE small|main MOUNT-OPTIONS MKFS-OPTION...
image() {
    local name=$1 size=$2 content=$3 options=$4
    shift 4
    is_wanted "$name" || return 0
    rm -f "$out/$name"
    truncate -s "$size" "$out/$name"
    mkfs.btrfs -q "$@" "$out/$name" 2> /dev/null
    attach "$out/$name"
    mount -t btrfs -o "noatime${options:+,$options}" "${loops[0]}" "$top"
    "$here/btrfs.py" "$top" "$content"
    free
    truth "$name"
}

# pair NAME MKFS-OPTION...: two devices, NAME-1 and NAME-2, with one truth
pair() {
    local name=$1
    shift
    is_wanted "$name" || return 0
    rm -f "$out/$name"-{1,2}
    truncate -s 300M "$out/$name"-{1,2}
    attach "$out/$name"-{1,2}
    mkfs.btrfs -q "$@" "${loops[@]}" 2> /dev/null
    mount -t btrfs -o "noatime,device=${loops[1]}" "${loops[0]}" "$top"
    "$here/btrfs.py" "$top" small
    umount "$top"
    mount -t btrfs -o "ro,device=${loops[1]}" "${loops[0]}" "$top"
    list "$name-1"
    cp "$out/$name-1.truth" "$out/$name-2.truth"
    free
}

# Everything at once: 70 000 files, a folder of 50 000, three compressions, snapshots.
image btrfs-main 2G main "" -L "Main volume"
# Data and metadata in the same block groups, which makes nodes as small as sectors.
image btrfs-mixed 200M small "" --mixed
# What was usual before 2013: holes that are written down, large metadata references, a space cache in files.
image btrfs-old 256M small "space_cache=v1" -O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree
# The other checksums, and data in two copies on one device.
image btrfs-xxhash 300M small "compress-force=zstd" --csum xxhash -d dup
image btrfs-sha256 256M small "compress-force=lzo" --csum sha256 -m single
image btrfs-blake2 256M small "compress-force=zlib" --csum blake2
# The smallest and the largest nodes: deep trees, and inline files of many sizes.
image btrfs-node4k 256M small "" -n 4096
image btrfs-node64k 256M small "max_inline=4095" -n 65536 -L "64K"
# One stripe, which is how RAID0 of a single device looks.
image btrfs-raid0 256M small "" -d raid0 -m raid0
# Two devices of which each has everything.
pair btrfs-raid1 -d raid1 -m raid1
pair btrfs-raid10 -d raid10 -m raid10

# What is mounted is another subvolume than the first; and its UUID was changed, but not in the nodes.
if is_wanted btrfs-default; then
    name=btrfs-default
    rm -f "$out/$name"
    truncate -s 256M "$out/$name"
    mkfs.btrfs -q "$out/$name" 2> /dev/null
    attach "$out/$name"
    mount -t btrfs "${loops[0]}" "$top"
    btrfs subvolume create "$top/shown" > /dev/null
    btrfs subvolume set-default "$top/shown"
    echo "not in what is mounted" > "$top/above"
    "$here/btrfs.py" "$top/shown" small
    free
    btrfstune -f -m "$out/$name"
    truth "$name"
fi

# Copied while it was mounted, with a log tree: files that only fsync has saved. The truth is without them. Simple
# quotas, which are no option of older tools, stand in references to extents.
if is_wanted btrfs-log; then
    name=btrfs-log
    rm -f "$out/$name"*
    truncate -s 256M "$out/$name.live"
    mkfs.btrfs -q "$out/$name.live" 2> /dev/null
    attach "$out/$name.live"
    mount -t btrfs -o commit=300 "${loops[0]}" "$top"
    python3 -c 'import fcntl, os, sys
ENABLE_SIMPLE_QUOTA = (4).to_bytes(16, "little")
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0xC0109428, ENABLE_SIMPLE_QUOTA)' "$top"
    "$here/btrfs.py" "$top" small
    dd if=/dev/zero of="$top/logged" bs=10000 count=1 conv=fsync status=none
    cp --sparse=always "$out/$name.live" "$out/$name"
    free
    rm "$out/$name.live"
    truth "$name" rescue=nologreplay
fi
