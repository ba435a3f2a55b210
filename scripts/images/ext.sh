#!/usr/bin/env bash
# Builds images of ext2, ext3 and ext4 with e2fsprogs and the kernel, each with its truth beside it.
#
# usage: ext.sh OUTDIR          as root; about a minute
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
mnt=$(mktemp -d)
tree=$(mktemp -d)
chmod 755 "$tree"
mounted=
release() {
    [ -z "$mounted" ] || umount "$mnt" || umount -l "$mnt"
    rm -rf "$tree"
    rmdir "$mnt"
}
trap release EXIT

up() { # image, options
    mount -o "loop,$2" "$1" "$mnt"
    mounted=1
}
down() {
    umount "$mnt"
    mounted=
}
# NAME SIZE KIND MKFS-OPTIONS...: made by mke2fs, filled and listed by the kernel.
by_kernel() {
    local image=$out/$1.img size=$2 kind=$3
    shift 3
    rm -f "$image"
    truncate -s "$size" "$image"
    mke2fs -q -F "$@" "$image"
    up "$image" rw
    python3 "$here/ext-fill.py" "$mnt" "$kind"
    down
    truth "$image" ro
}
truth() { # image, options
    up "$1" "$2"
    python3 "$here/listing.py" "$mnt" >"$1.truth"
    down
}
# NAME SIZE MKFS-OPTIONS...: made and filled by mke2fs; the source tree is the truth (whole seconds only).
by_mke2fs() {
    local image=$out/$1.img size=$2
    shift 2
    rm -f "$image"
    truncate -s "$size" "$image"
    mke2fs -q -F -d "$tree" "$@" "$image"
    python3 "$here/listing.py" "$tree" mtime >"$image.truth"
}

# What ext4 is today: 64bit, flex_bg, metadata_csum, extents, orphan_file. Large.
by_kernel ext4 3G main -t ext4 -b 4096
# Block maps with all three levels and their holes, inodes of 128 bytes, no index of folders.
by_kernel ext2 64M small -t ext2 -b 1024 -I 128 -O ^dir_index,^resize_inode
# The oldest revision: no feature flags at all.
by_kernel ext2-rev0 64M small -r 0 -b 2048 -I 128 -O none
# A journal, hashed folders of two levels, inodes of 128 bytes, extended attributes in blocks only.
by_kernel ext3 64M wide -t ext3 -b 1024 -I 128
# Group checksums of the old kind, descriptors spread over the groups, no flex_bg.
by_kernel ext4-old 64M wide -t ext4 -b 1024 -g 1024 -O ^64bit,^metadata_csum,^metadata_csum_seed,uninit_bg,meta_bg,^resize_inode,^flex_bg
# 64-bit descriptors spread over the groups, checksums seeded apart from the UUID, backups in two groups only.
by_kernel ext4-meta 64M small -t ext4 -b 2048 -O 64bit,meta_bg,^resize_inode,metadata_csum_seed,sparse_super2
# Clusters of 64 KiB, no journal.
by_kernel ext4-bigalloc 192M small -t ext4 -O bigalloc,^has_journal -C 65536
# Values of extended attributes in inodes of their own. No journal: see below.
by_kernel ext4-ea 64M ea -t ext4 -b 4096 -O ea_inode,^has_journal
# Encrypted folders, seen without their key.
by_kernel ext4-encrypted 64M encrypted -t ext4 -b 4096 -O encrypt

# Everything from here to the next heading is never mounted for writing: filling such images through the kernel has
# been seen to stop its journal for good.
python3 "$here/ext-fill.py" "$tree" plain
# Files and folders in inodes; also the largest folders.
by_mke2fs ext4-inline 64M -t ext4 -b 1024 -O inline_data,ea_inode,large_dir
# Blocks of 64 KiB, which most kernels cannot mount.
by_mke2fs ext4-64k 128M -t ext4 -b 65536
# Names compared without case, hidden files of quotas, inodes of projects.
by_mke2fs ext4-casefold 64M -t ext4 -O casefold,quota,project
debugfs -w -R 'set_inode_field /names flags 0x40080000' "$out/ext4-casefold.img" 2>/dev/null
# It did not count what it copied, nor index folders.
e2fsck -fyD "$out/ext4-casefold.img" >/dev/null 2>&1 || [ $? = 1 ]

# Journals to replay: an image copied while it was mounted. The kernel replays a second copy, and says what is true.
dirty() { # name, from, mount options
    local image=$out/$1.img
    cp --sparse=always "$out/$2.img" "$image.tmp"
    up "$image.tmp" "$3"
    python3 "$here/ext-fill.py" "$mnt" dirty
    # The loop device has written what was made durable; the rest is what a power cut would lose.
    cp --sparse=always "$image.tmp" "$image"
    down
    cp --sparse=always "$image" "$image.tmp"
    truth "$image.tmp" rw
    mv "$image.tmp.truth" "$image.truth"
    rm "$image.tmp"
}
# Checksummed tags of 64 bits; tags of 32 bits without checksums and content in the journal; the same with escaping in ext4.
by_kernel base-ext4 64M small -t ext4 -b 4096
dirty ext4-dirty base-ext4 commit=300
dirty ext4-dirty-data base-ext4 commit=300,data=journal
dirty ext3-dirty ext3 commit=300,data=journal
dirty ext4-dirty-old ext4-old commit=300,journal_checksum
rm "$out"/base-ext4.img*
