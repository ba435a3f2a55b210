#!/bin/bash
# Proves the ranges in use: spoils copies of images outside of them, which `btrfs check`, a listing, and a scrub, which
# reads what is there twice, must not notice. Needs what btrfs.sh needs, and its images with their truths.
#
# usage: btrfs-used.sh WALK IMAGE...      WALK: the program of walk.rs; the images are the devices of one file system
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
walk=$1
shift
work=$(mktemp -d)
mkdir "$work/top"
loops=()

free() {
    mountpoint -q "$work/top" && umount "$work/top"
    for loop in "${loops[@]}"; do losetup -d "$loop"; done
    rm -r "$work"
}
trap free EXIT

options=ro
for image in "$@"; do
    copy=$work/$(basename "$image")
    "$walk" --used "$image" | "$here/garbage.py" "$image" "$copy"
    loops+=("$(losetup -f --show "$copy")")
    options+=",device=${loops[-1]}"
done
btrfs check --readonly --check-data-csum "${loops[0]}" > "$work/check" 2>&1 || { cat "$work/check"; exit 1; }
mount -t btrfs -o "$options" "${loops[0]}" "$work/top"
btrfs scrub start -B -r "$work/top" > "$work/scrub" 2>&1 || { cat "$work/scrub"; exit 1; }
grep -q "no errors found" "$work/scrub" || { cat "$work/scrub"; exit 1; }
"$here/listing.py" "$work/top" > "$work/listing"
"$here/compare.py" "$1.truth" "$work/listing"
