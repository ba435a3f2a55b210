#!/usr/bin/env bash
# Builds FAT images and what a reader must find in each.
# usage: scripts/images/fat.sh OUTDIR      needs dosfstools, mtools, 7zip
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
export TZ=UTC LC_ALL=C.UTF-8
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# volume NAME SIZE TREE OPTION...: a volume made by mkfs.fat and filled with a tree of fat_trees.py
volume() {
    local image=$1.img size=$2 tree=$3
    rm -f "$image"
    truncate -s "$size" "$image"
    mkfs.fat -n "A LABEL" "${@:4}" "$image" >/dev/null 2>&1
    python3 "$here/fat_trees.py" "$tree" "$image"
}

# as_others_see NAME: what 7z takes out of the image is compared with its truth
as_others_see() {
    rm -rf "$scratch/x"
    7z x -bd -o"$scratch/x" "$1.img" >/dev/null
    python3 "$here/listing.py" "$scratch/x" mode uid gid links >"$scratch/found"
    python3 "$here/compare.py" "$1.img.truth" "$scratch/found"
}

volume fat32-main 4G large -F 32 -s 8           # 81 000 nodes, 50 000 in one folder, a file in 10 000 pieces
volume fat12 3M small -F 12                     # entries of 12 bits, some of them in two pages of the table
volume fat16 40M small -F 16
volume fat16-sectors 64M small -F 16 -S 4096 -s 1 # sectors of 4096 bytes
volume fat32-small 20M small -F 32 -s 1         # fewer clusters than the specification allows for FAT32
volume fat32-second 40M second -F 32 -s 1       # the second table is in force, the first is rubbish
volume fat-odd 16M odd -F 16                    # code page 437, case bits, deleted entries, orphans, labels
for name in fat32-main fat12 fat16 fat16-sectors fat32-small; do
    fsck.fat -n "$name.img" >/dev/null 2>&1
done
for name in fat12 fat16 fat16-sectors fat32-small; do
    as_others_see "$name"
done

# What another writer makes of names and times; it does not keep those of folders.
python3 - "$scratch/tree" <<'EOF'
import os, sys
for n in range(300):
    folder = "%s/Folder %d/inner" % (sys.argv[1], n % 20)
    os.makedirs(folder, exist_ok=True)
    for name in ["lower.txt", "UPPER.TXT", "Mixed Name %d.text" % n, "ünïcödé %d" % n]:
        with open("%s/%d %s" % (folder, n, name) if n % 2 else "%s/%s" % (folder, name), "w") as f:
            f.write(name * n)
        os.utime(f.name, (10**9 + 2 * n, 10**9 + 2 * n))
EOF
rm -f fat-mtools.img
mformat -C -i fat-mtools.img -T 100000 -v MTOOLS ::
mcopy -s -m -Q -i fat-mtools.img "$scratch"/tree/* ::
python3 "$here/listing.py" "$scratch/tree" mode uid gid links |
    awk -F'\t' -v OFS='\t' '$2 == "d" { $4 = "-" } { print }' >fat-mtools.img.truth
