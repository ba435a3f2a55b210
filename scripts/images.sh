#!/bin/bash
# Disk images made by the real tools and kernels, and whether Bygone sees in them what those see.
# usage: images.sh build [KIND...]            makes what is not there yet
#        images.sh parsers [KIND...]          compares what the parsers alone see with the truth
#        images.sh damage [--all] [KIND...]   damages them at random; a drive must bear that (see damage.py). all: 200 times each
#        images.sh drive [--all] [KIND...]    backs the images up as disks and compares what the drive shows; all: the large, too
# Kinds: ext ntfs fat exfat xfs btrfs iso squash luks lvm containers tables. As root: the kernel's drivers are the oracle.
# `drive` takes the last four for disks with several file systems, out of the other sets (see composed.sh).
# place: ${BYGONE_TOOLS:-$HOME/.cache/bygone-tools}/images       programs: ${BYGONE_BUILD:-target/debug}
set -euo pipefail
cd "$(dirname "$0")/.."
verb=${1:-}
shift || true
large=
if [ "${1:-}" = --all ]; then
    large=1
    shift
fi
filesystems=(ext ntfs fat exfat xfs btrfs iso squash)
others=(luks lvm containers tables)
kinds=("$@")
[ ${#kinds[@]} -gt 0 ] || kinds=("${filesystems[@]}" "${others[@]}")
tools=${BYGONE_TOOLS:-$HOME/.cache/bygone-tools}
build=${BYGONE_BUILD:-${CARGO_TARGET_DIR:-target}/debug}
images=$tools/images
# Without --all: trees of no more nodes, and so many images of a kind.
NODES_FEW=3000
IMAGES_FEW=3
mkdir -p "$images"

is_filesystem() { [[ " ${filesystems[*]} " == *" $1 "* ]]; }

# What made a set: when that changes, the set is made anew.
recipe() { cat scripts/images/"$1"*.sh scripts/images/"${1%%-*}"[-_.]*.py scripts/images/listing.py 2>/dev/null | sha256sum | cut -d' ' -f1; }

make_set() {
    local kind=$1 began=$SECONDS home
    home=$images/$kind-$(recipe "$kind")
    if [ ! -e "$home/complete" ]; then
        rm -rf "$images/$kind"-*
        mkdir -p "$home"
        scripts/images/"$kind".sh "$home" >"$home/made.log" 2>&1 || { tail -n 20 "$home/made.log"; return 1; }
        touch "$home/complete"
        echo "$kind: made in $((SECONDS - began)) s"
    fi
    ln -sfn "$(basename "$home")" "$images/$kind"
}

# compare NAME TRUTH FOUND
compare() {
    local told
    if told=$(scripts/images/compare.py "$2" "$3"); then
        echo "$1: $told"
    else
        printf '%s: DIFFERENT\n%s\n' "$1" "$told"
        return 1
    fi
}

same() {
    cmp -s "$2" "$3" && echo "$1: same" || { echo "$1: DIFFERENT"; diff "$2" "$3" | head -n 20; return 1; }
}

see_alone() {
    local kind=$1 set=$images/$1 bad=0 truth image
    case $kind in
        containers | tables) scripts/images/disks.sh "$build/examples/disk" "$set" >"$scratch/told" 2>&1 || bad=1
            if [ $bad = 1 ]; then tail -n 20 "$scratch/told"; else echo "$kind: same"; fi ;;
        luks)
            for truth in "$set"/*.truth; do
                "$build/examples/volume" luks "${truth%.truth}" passphrase 8388608 >"$scratch/found" 2>/dev/null || true
                same "$kind/$(basename "$truth")" "$truth" "$scratch/found" || bad=1
            done ;;
        lvm)
            for truth in "$set"/*.truth; do
                "$build/examples/volume" lvm "${truth%.truth}"*.pv >"$scratch/found" 2>&1 || true
                same "$kind/$(basename "$truth")" "$truth" "$scratch/found" || bad=1
            done ;;
        *)
            for truth in "$set"/*.truth; do
                image=${truth%.truth}
                "$build/examples/walk" "$image" >"$scratch/found" 2>"$scratch/told" || { tail -n 5 "$scratch/told"; bad=1; }
                compare "$kind/$(basename "$image")" "$truth" "$scratch/found" || bad=1
            done ;;
    esac
    return $bad
}

# see_disk NAME DISK: a snapshot of it as a drive. Standard input: the names (patterns) of what must be on the drive, each
# with a tab and its truth: the listing of a folder, or the bytes of a file.
see_disk() {
    local bad=0 pattern truth shown
    "$build/bygone" -q backup --image "$2" || return 1
    "$build/bygone" -q mount latest "$scratch/drive" --passphrase-file "$scratch/passphrase" || return 1
    while IFS=$'\t' read -r pattern truth; do
        shown=$(find "$scratch/drive" -mindepth 1 -maxdepth 1 -name "$pattern" | LC_ALL=C sort | head -n 1)
        [ -n "$shown" ] || { echo "$1 on a drive: nothing there is named $pattern"; bad=1; continue; }
        if [ -f "$shown" ]; then
            same "$1 on a drive, ${shown##*/}" "$truth" "$shown" || bad=1
        else
            python3 scripts/images/listing.py "$shown" >"$scratch/found" 2>"$scratch/told" || { tail -n 3 "$scratch/told"; bad=1; }
            compare "$1 on a drive, ${shown##*/}" "$truth" "$scratch/found" || bad=1
        fi
    done
    "$build/bygone" -q umount "$scratch/drive" || bad=1
    return $bad
}

# Every image of a kind as a disk of a snapshot of its own; the other kinds as disks on which file systems are put together.
see_through_drive() {
    local kind=$1 set=$images/$1 bad=0 count=0 truth image parts
    export BYGONE_REPOSITORY=$scratch/repository BYGONE_PASSWORD=images
    "$build/bygone" -q init
    printf passphrase >"$scratch/passphrase"
    if is_filesystem "$kind"; then
        for truth in "$set"/*.truth; do
            image=${truth%.truth}
            [ -n "$large" ] || { [ "$(wc -l <"$truth")" -le $NODES_FEW ] && [ $count -lt $IMAGES_FEW ]; } || continue
            count=$((count + 1))
            see_disk "$kind/$(basename "$image")" "$image" <<<"* (*)"$'\t'"$truth" || bad=1
        done
    else
        scripts/images/composed.sh "$kind" "$images" "$scratch/disks" "$scratch/passphrase" ${large:+large} \
            >"$scratch/told" 2>&1 || { tail -n 20 "$scratch/told"; return 1; }
        for parts in "$scratch/disks"/*.parts; do
            see_disk "$kind/$(basename "${parts%.parts}")" "${parts%.parts}" <"$parts" || bad=1
        done
    fi
    return $bad
}

# Without --all: the small ones of these, so many states of each.
DAMAGE_IMAGES="ext/ext4-meta.img ntfs/ntfs-wsl.img btrfs/btrfs-node4k containers/small.qcow2"
DAMAGE_FEW=10
DAMAGE_MANY=200

# choose_damaged KIND: adds to `chosen` what is to be damaged.
choose_damaged() {
    local kind=$1 set=$images/$1 image
    # What lies in the containers of the set is no file system; and of LUKS and LVM a drive shows nothing without more.
    case $kind in luks | lvm) return 0 ;; esac
    if [ "$kind" = containers ]; then
        set=$scratch/containers
        mkdir -p "$set"
        for image in qcow2 vdi vhdx vpc vmdk; do
            qemu-img convert -f raw -O $image "$images/fat/fat12.img" "$set/small.${image/vpc/vhd}"
        done
    fi
    for image in "$set"/*; do
        case $image in *.truth | *.map | *.table | *.refused | *.bitmaps | *.log | *.raw | *.dev | */complete) continue ;; esac
        [ -n "$large" ] || [[ " $DAMAGE_IMAGES " == *" $kind/$(basename "$image") "* ]] || continue
        chosen+=("$image")
    done
}

bear_damage() {
    local count=$DAMAGE_FEW
    [ -z "$large" ] || count=$DAMAGE_MANY
    [ ${#chosen[@]} -eq 0 ] || printf '%s\0' "${chosen[@]}" | xargs -0 -n 1 -P "$(nproc)" \
        python3 scripts/images/damage.py "$build/bygone" "$scratch" "${BYGONE_DAMAGE_COUNT:-$count}"
}

# Most of the time is waiting for a disk or for one program.
if [[ $verb =~ ^(build|drive)$ ]] && [ ${#kinds[@]} -gt 1 ]; then
    printf '%s\n' "${kinds[@]}" | xargs -n 1 -P "$(nproc)" scripts/images.sh "$verb" ${large:+--all}
    exit
fi

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/bygone-images.XXXXXX")
clean_up() {
    fusermount3 -uzq "$scratch/drive" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

failed=
chosen=()
for kind in "${kinds[@]}"; do
    case $verb in
        build) make_set "$kind" || failed+=" $kind" ;;
        parsers) see_alone "$kind" || failed+=" $kind" ;;
        damage) choose_damaged "$kind" || failed+=" $kind" ;;
        drive) see_through_drive "$kind" || failed+=" $kind" ;;
        *) sed -n '2,9s/^# //p' "$0" >&2; exit 2 ;;
    esac
done
[ "$verb" != damage ] || bear_damage || failed+=" damage"
[ -z "$failed" ] || { echo "images: FAILED:$failed"; exit 1; }
