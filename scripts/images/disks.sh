#!/bin/bash
# Compares what the parsers see in virtual disks (made by containers.sh) and partition tables (made by tables.sh) with
# what they should see. Ends with 1 on a difference.
#
# usage: disks.sh DISK DIR      DISK: the program out of disk.rs
set -euo pipefail

disk=$(realpath "$1")
cd "$2"
faults=0 count=0
same() { # FILE FOUND: the text that should be found, and the one that was
    count=$((count + 1))
    if ! found=$(diff "$1" - <<<"$2"); then
        faults=$((faults + 1))
        printf '%s: differs\n%s\n' "$1" "$(head -5 <<<"$found")"
    fi
}
shopt -s nullglob
for truth in *.truth; do
    same "$truth" "$("$disk" hash "${truth%.truth}" | sed '/^note/d; s/^[^ ]* //')"
done
for kind in map bitmaps table; do
    for truth in *."$kind"; do
        same "$truth" "$("$disk" $kind "${truth%."$kind"}")"
    done
done
for refused in *.refused; do
    count=$((count + 1))
    text=$("$disk" hash "${refused%.refused}" || true)
    if ! grep -q "$(cat "$refused").*not supported" <<<"$text"; then
        faults=$((faults + 1))
        echo "$refused: $text"
    fi
done
echo "$count comparisons, $faults differences"
[ "$faults" = 0 ]
