#!/bin/bash
# Puts images of the sets together on disks: in partitions, in logical volumes, encrypted. Beside each DISK stands DISK.parts:
# for each image in it the name (a pattern) that a drive shows it under, a tab, and its truth, or itself if it is no file system.
#
# usage: composed.sh KIND SETS OUTDIR PASSPHRASE-FILE [large]      as root for lvm and luks, which take loop devices
#
#   tables       a GPT disk with four file systems and one partition of text; an MBR disk with two of three in logical partitions
#   containers   the GPT disk as qcow2
#   lvm          two logical volumes in a partition, one of them in two pieces
#   luks         two encrypted partitions: a file system, and logical volumes
set -euo pipefail
kind=$1
out=$(realpath -m "$3")
passphrase=$(realpath "$4")
cd "$2"
mkdir -p "$out/pieces"
loop=
trap '[ -z "$loop" ] || losetup -d "$loop"' EXIT
trap 'exit 130' INT TERM HUP
MIB=1048576
SECTOR=512

fat=fat/fat32-small.img ext=ext/ext4-meta.img ntfs=ntfs/ntfs-wsl.img btrfs=btrfs/btrfs-node4k
exfat=exfat/exfat-small.img xfs=xfs/xfs-classic.img iso=iso/iso-plain.img
# Encrypted images have no holes: never large ones for both of them.
locked=("$fat" "$iso")
if [ "${5:-}" = large ]; then
    fat=fat/fat32-main.img ext=ext/ext4.img ntfs=ntfs/ntfs-main.img btrfs=btrfs/btrfs-main
    exfat=exfat/exfat-main.img xfs=xfs/xfs-main.img iso=iso/iso-main.img
fi

size_of() { stat -Lc %s "$1"; }

# put IMAGE FROM LENGTH DISK AT: a range of bytes of an image into a disk
put() {
    dd if="$1" skip="$2" count="$3" of="$4" seek="$5" bs=64K iflag=skip_bytes,count_bytes oflag=seek_bytes \
        conv=sparse,notrunc status=none
}

# name_parts IMAGE PATTERN: the lines of DISK.parts for it
name_parts() {
    if [ -e "$1.parts" ]; then
        cat "$1.parts"
    elif [ -e "$1.truth" ]; then
        printf '%s\t%s\n' "$2" "$(realpath -s "$1.truth")"
    else
        printf '%s\t%s\n' "$2" "$1"
    fi
}

# disk NAME LABEL IMAGE...: a partition for each; the word `extended` stands for the one that holds those after it
disk() {
    local disk=$out/$1 table="label: $2" at=$MIB number=0 image size
    for image in "${@:3}"; do
        number=$((number + 1))
        if [ "$image" = extended ]; then
            table+=$'\n'"$number: start=$((at / SECTOR)), type=5"
            number=4 at=$((at + MIB))
            continue
        fi
        size=$(size_of "$image")
        table+=$'\n'"$number: start=$((at / SECTOR)), size=$((size / SECTOR))"
        put "$image" 0 "$size" "$disk" $at
        name_parts "$image" "$number *" >>"$disk.parts"
        # Between two of them, there is room for the table of a logical one.
        at=$(((at + size) / MIB * MIB + 2 * MIB))
    done
    truncate -s $((at + MIB)) "$disk"
    sfdisk -q --no-reread --no-tell-kernel --wipe never --wipe-partitions never "$disk" <<<"$table"
}

lvm_run() {
    lvm "$1" --driverloaded n --devices "$loop" --config 'global{activation=0} backup{backup=0 archive=0}' "${@:2}"
}

# volumes GROUP IMAGE OTHER: a physical volume with a logical one for each; that of the first is in two pieces
volumes() {
    local disk=$out/pieces/$1 images=("$2" "$3") volume start length extent
    truncate -s $(($(size_of "$2") + $(size_of "$3") + 8 * MIB)) "$disk"
    loop=$(losetup -f --show "$disk")
    lvm_run vgcreate --physicalextentsize 1M "$1" "$loop"
    lvm_run lvcreate -an -Zn -Wn -y -n 0 -L "$(($(size_of "$2") / 2))b" "$1"
    lvm_run lvcreate -an -Zn -Wn -y -n 1 -L "$(size_of "$3")b" "$1"
    lvm_run lvextend -L "$(size_of "$2")b" "$1/0"
    lvm_run lvs --segments --noheadings --units b --nosuffix -o lv_name,seg_start,seg_size,devices "$1" >"$disk.pieces"
    [ "$(wc -l <"$disk.pieces")" = 3 ]
    while IFS=$' \t()' read -r volume start length _ extent _; do
        put "${images[volume]}" "$start" "$length" "$loop" $((MIB + extent * MIB))
    done <"$disk.pieces"
    losetup -d "$loop"
    loop=
    { name_parts "$2" "$1-0 *"; name_parts "$3" "$1-1 *"; } >"$disk.parts"
}

# encrypted IMAGE NAME
encrypted() {
    local disk=$out/pieces/$2
    cp --sparse=always "$1" "$disk"
    truncate -s +32M "$disk"
    cryptsetup reencrypt --encrypt --type luks2 --reduce-device-size 32M --batch-mode --key-file "$passphrase" \
        --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$disk"
    [ ! -e "$1.parts" ] || cp "$1.parts" "$disk.parts"
    [ ! -e "$1.truth" ] || ln -s "$(realpath -s "$1.truth")" "$disk.truth"
}

case $kind in
    tables)
        seq 1000001 1131072 >"$out/pieces/text"
        disk gpt gpt "$fat" "$ext" "$ntfs" "$btrfs" "$out/pieces/text"
        disk mbr dos "$exfat" extended "$xfs" "$iso" ;;
    containers)
        disk gpt gpt "$fat" "$ext" "$ntfs" "$btrfs"
        qemu-img convert -f raw -O qcow2 "$out/gpt" "$out/gpt.qcow2"
        mv "$out/gpt.parts" "$out/gpt.qcow2.parts" ;;
    lvm)
        volumes group "$ext" "$xfs"
        disk lvm gpt "$out/pieces/group" ;;
    luks)
        encrypted "$ntfs" ntfs
        volumes locked "${locked[@]}"
        encrypted "$out/pieces/locked" lvm
        disk luks gpt "$out/pieces/ntfs" "$out/pieces/lvm" ;;
esac
