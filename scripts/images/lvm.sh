#!/bin/bash
# Makes physical volumes of LVM with lvm2, without its kernel driver, and NAME.truth beside them: for each logical
# volume what `volume lvm NAME.pv...` must print, worked out from what lvm2 says of the layout.
#
# usage: lvm.sh OUTDIR        as root; needs lvm2
#
#   one       one disk: volumes in one piece, in several, and after being extended
#   three     three disks: striped over two and three, one that goes on on the next disk, one disk without metadata
#   kinds     snapshot, thin and zero volumes, which are listed but not opened
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
loops=()
trap 'for loop in "${loops[@]}"; do losetup -d "$loop" || true; done; rm -rf "$work"' EXIT
exec 2>"$work/log"
trap 'cat "$work/log" >&3' ERR
exec 3>&1

# Only the disks of this script are looked at.
lvm_run() {
    local devices
    devices=$(printf '"%s",' "${loops[@]}")
    lvm "$1" --driverloaded n --devices "${devices//\"/}" \
        --config 'activation=0 backup{backup=0 archive=0}' "${@:2}" >"$work/said"
    cat "$work/said"
}

disks() {
    local name
    for name in "$@"; do
        rm -f "$out/$name.pv"
        python3 -c 'import random, sys
data = random.Random(sys.argv[1]).randbytes(1 << 20)
with open(sys.argv[1], "wb") as f:
    f.truncate(2 << 20)
    f.seek(2 << 20)
    for n in range(62): f.write(n.to_bytes(8) + data[8:])' "$out/$name.pv"
        loops+=("$(losetup -f --show "$out/$name.pv")")
    done
}

volume() {
    lvm_run lvcreate -an -Zn -Wn -y "$@" >/dev/null
}

# finish NAME: writes the truth and lets go of the disks
finish() {
    lvm_run lvs --noheadings --separator ';' --units b --nosuffix --segments \
        -o vg_name,lv_name,lv_uuid,lv_size,segtype,seg_start,seg_size,stripes,stripe_size,devices,lv_role >"$work/lvs"
    lvm_run pvs --noheadings --separator ';' --units b --nosuffix -o pv_name,pe_start,vg_extent_size >"$work/pvs"
    python3 - "$work/lvs" "$work/pvs" "$out/$1.truth" <<'PY'
import hashlib, re, sys
from collections import defaultdict
pvs = {}
for line in open(sys.argv[2]):
    name, start, extent = line.strip().split(";")
    pvs[name] = (open(name, "rb"), int(start), int(extent))
volumes = defaultdict(list)
for line in open(sys.argv[1]):
    vg, lv, uuid, size, kind, start, length, stripes, stripe, devices, role = line.strip().split(";")
    volumes[(f"{vg}/{lv}", uuid, size)].append((int(start), int(length), int(stripes), int(stripe), devices, kind, role))
with open(sys.argv[3], "w") as out:
    for (name, uuid, size), segments in sorted(volumes.items()):
        hash = hashlib.sha256()
        why = None
        for start, length, stripes, stripe, devices, kind, role in sorted(segments):
            if "snapshot" in role.split(",") and "origin" not in role:
                why = "LVM snapshot is not supported"
            elif kind not in ("linear", "striped"):
                why = f"LVM volume of type {kind} is not supported"
            else:
                places = []
                for device, extent in re.findall(r"([^,(]+)\((\d+)\)", devices):
                    file, first, extent_bytes = pvs[device]
                    places.append((file, first + int(extent) * extent_bytes))
                step = stripe if stripes > 1 else length
                for n in range(length // step):
                    file, at = places[n % stripes]
                    file.seek(at + n // stripes * step)
                    hash.update(file.read(step))
        print(name, uuid, size, why or hash.hexdigest(), sep="\t", file=out)
PY
    local loop
    for loop in "${loops[@]}"; do losetup -d "$loop"; done
    loops=()
}

disks one
lvm_run vgcreate --physicalextentsize 1M vg-one "${loops[0]}" >/dev/null
volume -n first -L 5M vg-one
volume -n se.co_nd -L 7M vg-one
volume -n third -L 1M vg-one
lvm_run lvextend -L 9M vg-one/first >/dev/null
lvm_run lvremove -y vg-one/se.co_nd >/dev/null
volume -n fourth -l 100%FREE vg-one
finish one

disks three-a three-b three-c
lvm_run pvcreate --metadatacopies 0 "${loops[2]}" >/dev/null
lvm_run vgcreate --physicalextentsize 512k vg3 "${loops[@]}" >/dev/null
volume -n two -i 2 -I 64k -L 10M vg3 "${loops[1]}" "${loops[2]}"
volume -n all -i 3 -I 4k -L 9M vg3
volume -n only -L 4M vg3 "${loops[2]}"
volume -n on -L 100M vg3
finish three

disks kinds
lvm_run vgcreate --physicalextentsize 1M kinds "${loops[0]}" >/dev/null
volume -n base -L 8M kinds
volume -n cow -L 4M kinds
volume -n data -L 8M kinds
volume -n meta -L 4M kinds
volume -n zeros --type zero -L 4M kinds
# What lvcreate does not do without the kernel's driver, its own metadata can say.
lvm_run vgcfgbackup -f "$work/text" >/dev/null
python3 - "$work/text" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
text = re.sub(r'(\tdata \{.*?)"VISIBLE"', lambda m: m[1].rstrip(', "') + '"', text, count=1, flags=re.S)
text = re.sub(r'(\tmeta \{.*?)"VISIBLE"', lambda m: m[1].rstrip(', "') + '"', text, count=1, flags=re.S)
text = re.sub(r'\bdata \{', 'pool_tdata {', text).replace("meta {", "pool_tmeta {")
common = 'status = ["READ", "WRITE"%s]\nflags = []\nsegment_count = 1\nsegment1 {\nstart_extent = 0\nextent_count = %d\n'
ids = iter("%06d-0000-0000-0000-0000-0000-%06d" % (n, n) for n in range(1, 9))
def lv(name, visible, extents, rest):
    return "%s {\nid = \"%s\"\n" % (name, next(ids)) + common % (', "VISIBLE"' if visible else "", extents) + rest + "}\n}\n"
more = lv("snapshot0", False, 8, 'type = "snapshot"\nchunk_size = 8\norigin = "base"\ncow_store = "cow"\n')
more += lv("pool", True, 8, 'type = "thin-pool"\nmetadata = "pool_tmeta"\npool = "pool_tdata"\ntransaction_id = 1\n'
           'chunk_size = 128\ndiscards = "passdown"\nzero_new_blocks = 1\n')
more += lv("thin", True, 64, 'type = "thin"\nthin_pool = "pool"\ntransaction_id = 0\ndevice_id = 1\n')
head, body = text.split("logical_volumes {\n", 1)
open(sys.argv[1], "w").write(head + "logical_volumes {\n" + more + body)
PY
lvm_run vgcfgrestore -y --force -f "$work/text" kinds >/dev/null
finish kinds
