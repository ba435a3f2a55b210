#!/usr/bin/env bash
# Makes NTFS images, and beside each what ntfs-3g shows of it (see listing.py).
#
# usage: ntfs.sh OUTDIR
# needs: ntfs-3g (with mkfs.ntfs), attr; root
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
work=$(mktemp -d)
mounted=$work/mounted
mkdir "$mounted"

unmount() {
    while mountpoint -q "$mounted"; do
        umount "$mounted" || sleep 0.2
    done
}
trap 'unmount; rm -rf "$work"' EXIT

mount_image() { # IMAGE OPTIONS
    unmount
    ntfs-3g -o "$2" "$1" "$mounted"
}

# mode, uid and gid are options of the mount.
truth() { # IMAGE
    mount_image "$1" ro,streams_interface=xattr
    "$here/listing.py" "$mounted" mode uid gid |
        "$here/ntfs_truth.py" "$mounted" > "$1.truth"
    unmount
}

# NAME SIZE MKFS-OPTIONS PART...    ($with: more options of the mount)
image() {
    local path=$out/$1 size=$2 options=$3
    shift 3
    rm -f "$path"
    truncate -s "$size" "$path"
    # shellcheck disable=SC2086
    mkfs.ntfs -q -Q -F -H 16 -S 63 -p 2048 $options "$path" > /dev/null 2> "$work/mkfs" || { cat "$work/mkfs"; return 1; }
    mount_image "$path" compression,streams_interface=xattr,big_writes,noatime${with:+,$with}
    "$here/ntfs_fill.py" "$mounted" "$@"
    unmount
    truth "$path"
}

few="tree=20 fragments=200 sparse=20000000 names streams links special dates reparse"

# Everything at once, in the sizes that Windows makes.
image ntfs-main.img 1G "-L Main" many tree fragments sparse names streams links special dates packed reparse
# Clusters smaller than a file record and an index block: these are in pieces.
# shellcheck disable=SC2086
image ntfs-512.img 128M "-c 512" many=3000 $few packed=10
# Clusters larger than an index block, so that blocks are counted in sectors.
# shellcheck disable=SC2086
image ntfs-64k.img 256M "-c 65536" many=3000 $few
# Clusters whose size is a negative exponent in the boot sector.
# shellcheck disable=SC2086
image ntfs-2m.img 2G "-c 2097152" tree=5 names links
# Sectors and file records of 4096 bytes.
# shellcheck disable=SC2086
image ntfs-4kn.img 128M "-s 4096 -c 4096" many=3000 $few packed=10
# Links, sockets, pipes and devices as WSL keeps them.
with=special_files=wsl image ntfs-wsl.img 32M "" links special names
