#!/usr/bin/env bash
# Makes NTFS images, and beside each what ntfs-3g shows of it (see listing.py).
#
# usage: ntfs.sh OUTDIR
# needs: ntfs-3g (with mkfs.ntfs), libwim15, python3; root
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
work=$(mktemp -d)
mounted=$work/mounted
mkdir "$mounted"

driver=
unmount() {
    if [ -n "$driver" ]; then
        umount "$mounted" || { sleep 1 && umount "$mounted"; }
        # The driver still writes when it is no longer mounted.
        wait "$driver" || true
        driver=
    fi
}
trap 'unmount; rm -rf "$work"' EXIT

mount_image() { # IMAGE OPTIONS
    unmount
    ntfs-3g -o "no_detach,$2" "$1" "$mounted" > "$work/driver" 2>&1 &
    driver=$!
    until mountpoint -q "$mounted"; do
        kill -0 "$driver" && sleep 0.05
    done
}

# mode, uid and gid are options of the mount.
truth() { # IMAGE
    mount_image "$1" ro,streams_interface=xattr
    "$here/listing.py" "$mounted" mode uid gid |
        "$here/ntfs_truth.py" "$mounted" > "$1.truth"
    unmount
}

# NAME SIZE MKFS-OPTIONS PART...    ($with: more options of the mount; $before: what is done to the empty image)
image() {
    local path=$out/$1 size=$2 options=$3
    shift 3
    rm -f "$path"
    truncate -s "$size" "$path"
    # shellcheck disable=SC2086
    mkfs.ntfs -q -Q -F -H 16 -S 63 -p 2048 $options "$path" > /dev/null 2> "$work/mkfs" || { cat "$work/mkfs"; return 1; }
    ${before:+"$here/$before" "$path"}
    mount_image "$path" compression,streams_interface=xattr,big_writes,noatime${with:+,$with}
    "$here/ntfs_fill.py" "$mounted" "$@"
    unmount
    truth "$path"
}

few="tree=4 fragments=100 sparse=20000000 names streams links special dates reparse"

# Everything at once, in the sizes that Windows makes.
image ntfs-main.img 1G "-L Main" many tree fragments sparse names streams links special dates packed reparse
# Clusters smaller than a file record and an index block: these are in pieces.
# shellcheck disable=SC2086
image ntfs-512.img 128M "-c 512" many=1500 $few packed=10
# Clusters larger than an index block, so that blocks are counted in sectors.
# shellcheck disable=SC2086
image ntfs-64k.img 256M "-c 65536" many=1500 $few
# Clusters whose size is a negative exponent in the boot sector.
# shellcheck disable=SC2086
image ntfs-2m.img 512M "-c 2097152" tree=0 names links
# Sectors and file records of 4096 bytes.
# shellcheck disable=SC2086
image ntfs-4kn.img 128M "-s 4096 -c 4096" many=1500 $few packed=10
# Links, sockets, pipes and devices as WSL keeps them.
with=special_files=wsl image ntfs-wsl.img 32M "" links special names
# No two clusters are side by side: the file table and its attribute list, folders, bitmaps and files are in pieces.
before=ntfs_scatter.py image ntfs-pieces.img 128M "-c 1024" links tree=4 fragments=4000 many=3000
# Packed by the Windows overlay filter. ntfs-3g does not unpack, so this is listed before it is packed.
image ntfs-wof.img 96M "" compact
mount_image "$out/ntfs-wof.img" streams_interface=windows
"$here/ntfs_compact.py" "$mounted"
unmount
# The first sector and the first file records are lost: there are copies.
cp --sparse=always "$out/ntfs-wsl.img" "$out/ntfs-lost.img"
cp "$out/ntfs-wsl.img.truth" "$out/ntfs-lost.img.truth"
dd if=/dev/zero of="$out/ntfs-lost.img" bs=512 count=1 conv=notrunc status=none
dd if=/dev/zero of="$out/ntfs-lost.img" bs=4096 seek=4 count=1 conv=notrunc status=none
