#!/bin/bash
# Builds disks with all kinds of partition tables, each beside its truth as sfdisk tells it: DISK.table, in the form of
# `disk table`. What sfdisk mends or refuses in another way is written by hand.
#
# usage: tables.sh OUTDIR
set -euo pipefail

export LC_ALL=C.UTF-8
out=$(realpath -m "${1:?OUTDIR}")
mkdir -p "$out"
cd "$out"

truth() { # DISK [NOTE...]: what sfdisk sees
    local image=$1
    shift
    sfdisk --json "$image" 2>/dev/null | python3 -c '
import json, re, sys
t = json.load(sys.stdin)["partitiontable"]
sector, mbr = t.get("sectorsize", 512), t["label"] == "dos"
print("Mbr" if mbr else "Gpt", sector, re.sub("^0x", "", t["id"]).lower())
for p in t.get("partitions", []):
    number = int(re.search(r"(\d+)$", p["node"]).group(1))
    start, end = p["start"] * sector, (p["start"] + p["size"]) * sector
    flag = " bootable" if p.get("bootable") or "LegacyBIOSBootable" in p.get("attrs", "") else ""
    name = json.dumps(p.get("name", ""), ensure_ascii=False)
    uuid = p.get("uuid") or "%s-%02x" % (re.sub("^0x", "", t["id"]), number)
    print(number, start, end, p["type"].lower(), name, uuid.lower() + flag)
' >"$image.table"
    [ $# = 0 ] || printf 'note: %s\n' "$@" >>"$image.table"
}

# Without these it would tell the kernel, and sync all that is mounted anywhere.
write_table() { sfdisk -q --no-reread --no-tell-kernel "$1"; }

disk() { # NAME SIZE: an empty one
    rm -f "$1"
    truncate -s "$2" "$1"
}

# -- GPT: all types with a name of their own, names that are not Latin, a gap in the numbers
disk gpt.disk 256M
write_table gpt.disk <<'EOF'
label: gpt
label-id: 11111111-2222-3333-4444-555555555555
1: size=33M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI system partition"
2: size=16M, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE
3: size=40M, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="Données/été ☃", attrs="RequiredPartition LegacyBIOSBootable"
5: size=20M, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="rootfs"
9: size=10M, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
128: type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="123456789012345678901234567890123456"
EOF
truth gpt.disk
mkfs.ext4 -q -L system -E "offset=$((1048576 * (1 + 33 + 16 + 40)))" gpt.disk 20M

# The primary header is lost; then the backup; a disk that has grown; sectors of 4096 bytes; a hybrid MBR.
cp gpt.disk gpt-primary.disk
dd if=/dev/urandom of=gpt-primary.disk bs=512 seek=1 count=1 conv=notrunc status=none
{ cat gpt.disk.table; echo "note: The primary GPT is damaged; its backup at the end of the disk is shown."; } >gpt-primary.disk.table
cp gpt.disk gpt-backup.disk
dd if=/dev/urandom of=gpt-backup.disk bs=512 seek=$((256 * 2048 - 1)) count=1 conv=notrunc status=none
{ cat gpt.disk.table; echo "note: The backup GPT is damaged."; } >gpt-backup.disk.table
cp gpt.disk gpt-grown.disk
truncate -s 300M gpt-grown.disk
{ cat gpt.disk.table; echo "note: The backup GPT is not at the end of the disk."; } >gpt-grown.disk.table
cp gpt.disk gpt-hybrid.disk
python3 -c '
import os, struct
f = os.open("gpt-hybrid.disk", os.O_RDWR)
os.pwrite(f, struct.pack("<B3xB3xII", 0x80, 0x83, 2048 * 90, 2048 * 20), 446 + 16)'
{ cat gpt.disk.table; echo "note: The disk has a hybrid MBR. The GPT is shown, the other entries of the MBR are not."; } >gpt-hybrid.disk.table

disk gpt-4k.disk 64M
loop=$(losetup -f --show -b 4096 gpt-4k.disk)
trap 'losetup -d "$loop"' EXIT
write_table "$loop" <<'EOF'
label: gpt
size=10M, name="one"
size=20M, name="two"
EOF
sync -f gpt-4k.disk
ln -sf "$loop" gpt-4k.link
truth gpt-4k.link
mv gpt-4k.link.table gpt-4k.disk.table
rm gpt-4k.link

# -- MBR: primary and logical ones
disk mbr.disk 128M
write_table mbr.disk <<'EOF'
label: dos
label-id: 0x12345678
1: size=10M, type=c, bootable
2: size=60M, type=5
3: size=5M, type=82
5: size=10M, type=83
6: size=10M, type=7
7: size=10M, type=8e
EOF
truth mbr.disk
mkfs.ext4 -q -L logical -E "offset=$((512 * $(sfdisk --json mbr.disk | python3 -c 'import json, sys
print([p["start"] for p in json.load(sys.stdin)["partitiontable"]["partitions"] if p["node"].endswith("5")][0])')))" mbr.disk 10M
disk mbr-many.disk 256M
{
    echo "label: dos"
    echo "label-id: 0xabcdef01"
    echo "4: type=f"
    for _ in $(seq 50); do echo "size=1M, type=83"; done
} | write_table mbr-many.disk
truth mbr-many.disk
disk mbr-empty.disk 16M
echo "label: dos
label-id: 0x00000001" | write_table mbr-empty.disk
truth mbr-empty.disk

# -- no table: file systems on the whole disk, FAT also with the entry that its maker can leave in its boot sector
whole() { echo "None 512 " >"$1.table"; }
disk ext4.disk 16M
mkfs.ext4 -q ext4.disk
whole ext4.disk
for fat in "12 4M 4" "16 64M 4" "32 64M 1"; do
    read -r bits size sectors <<<"$fat"
    disk fat$bits.disk "$size"
    mkfs.fat -F "$bits" -s "$sectors" --mbr=no fat$bits.disk >/dev/null
    whole fat$bits.disk
done
disk fat-mbr.disk 64M
mkfs.fat -F 32 --mbr=yes fat-mbr.disk >/dev/null
whole fat-mbr.disk
disk nothing.disk 1M
whole nothing.disk
echo "tables: $(ls ./*.table | wc -l) disks in $out"
