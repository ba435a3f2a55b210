#!/bin/bash
# The long way, on what every machine has: backs a system folder up, looks at it through the drive and restored with
# tools that know nothing of Bygone, and prints what it cost. Minutes and gigabytes, so not part of the gate.
# usage: acceptance.sh [--binary PROGRAM] [FOLDER]       FOLDER: what to back up (/usr); root sees all of it
set -euo pipefail
cd "$(dirname "$0")/.."

binary=
if [ "${1:-}" = --binary ]; then
    binary=$(realpath "${2:?--binary needs a program}")
    shift 2
fi
source=$(realpath "${1:-/usr}")
[ ! -d "${HOME:-/}/.cargo/bin" ] || export PATH=$HOME/.cargo/bin:$PATH
scripts/needs.sh acceptance
if [ -z "$binary" ]; then
    cargo build --release --locked
    binary=$(realpath "${CARGO_TARGET_DIR:-target}/release/bygone")
fi

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/bygone-acceptance.XXXXXX")
clean_up() {
    if mountpoint -q "$scratch/drive"; then
        fusermount3 -uz "$scratch/drive" || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
unset BYGONE_PASSWORD_FILE BYGONE_PASSWORD_COMMAND
export BYGONE_REPOSITORY=$scratch/repository BYGONE_PASSWORD=trial BYGONE_STATE_DIR=$scratch/state
bygone() { "$binary" "$@"; }
say() { printf '%-58s %s\n' "$1" "$2"; }

# measured WHAT COMMAND...: runs a command; prints its seconds and the most memory it held.
measured() {
    local what=$1
    shift
    /usr/bin/time -o "$scratch/time" -f '%e %M' "$@" >"$scratch/out" || { cat "$scratch/out"; return 1; }
    say "$what" "$(awk '{ printf "%.1f s, %d MiB", $1, $2 / 1024 }' "$scratch/time")"
}

# Everything about a tree but its contents: kind, mode, owner, links, size, times, targets, extended attributes, ACLs, holes.
describe() (
    cd "$1"
    find . \( -type d -printf '%P|%y|%m|%U|%G|%T@|%n\n' \) -o -printf '%P|%y|%m|%U|%G|%s|%T@|%n|%l\n' | LC_ALL=C sort
    getfattr -Rhd -m - . 2>/dev/null || true
    getfacl -Rns . 2>/dev/null || true
)

# same_tree WHAT FOLDER: three witnesses that FOLDER is the source.
same_tree() {
    diff -r --no-dereference "$source" "$2"
    local listed
    listed=$(rsync -aHAXn --checksum --delete --itemize-changes "$source/" "$2/")
    [ -z "$listed" ] || { printf 'rsync sees differences:\n%s\n' "$(head <<<"$listed")" >&2; return 1; }
    diff <(describe "$source") <(describe "$2")
    say "$1" "the same: contents, rsync -aHAX --checksum, every attribute"
}

"$binary" init -q
measured "backup of $source" "$binary" backup -q "$source"
measured "again, nothing changed" "$binary" backup -q "$source"
say "nodes" "$(find "$source" | wc -l)"
say "bytes, repository" "$(du -sm "$source" | cut -f 1) MiB, $(du -sm "$scratch/repository" | cut -f 1) MiB"

mkdir "$scratch/drive"
bygone mount -q "latest:$source" "$scratch/drive"
same_tree "the drive" "$scratch/drive"
if [ -x "$scratch/drive/bin/bash" ]; then
    say "a program started from the drive" "$("$scratch/drive/bin/bash" -c 'echo "bash $BASH_VERSION"')"
fi
server=$(pgrep -f -- "--serve-drive .*$scratch/drive")
say "memory of the drive after all that" "$(awk '/VmHWM/ { printf "%d MiB at the most", $2 / 1024 }' "/proc/$server/status")"
bygone umount -q "$scratch/drive"

measured "restore" "$binary" restore -q "latest:$source" --to "$scratch/restored"
same_tree "the restored tree" "$scratch/restored"
rm -rf "$scratch/restored"

mkdir "$scratch/work"
git clone -q . "$scratch/work/repository"
python3 - "$scratch/work/rows.sqlite" <<'PYTHON'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table t (a integer primary key, b text)")
db.executemany("insert into t values (?, ?)", ((n, f"row {n}") for n in range(1, 50001)))
db.commit()
PYTHON
bygone backup -q "$scratch/work"
bygone mount -q "latest:$scratch/work" "$scratch/drive"
git -c safe.directory='*' -C "$scratch/drive/repository" fsck --full
say "git fsck --full on the drive" "clean, $(git -c safe.directory='*' -C "$scratch/drive/repository" rev-list --count --all) commits"
say "sqlite on the drive" "$(python3 - "$scratch/drive/rows.sqlite" <<'PYTHON'
import sqlite3, sys
db = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro&immutable=1", uri=True)
rows = db.execute("select count(*), max(a) from t where b = 'row ' || a").fetchone()
check = db.execute("pragma integrity_check").fetchone()[0]
assert rows == (50000, 50000) and check == "ok", (rows, check)
print("50000 rows as written, integrity_check ok")
PYTHON
)"
bygone umount -q "$scratch/drive"

BYGONE_TEST_ENTRIES=50000 BYGONE_TEST_INTERLEAVINGS=50 \
    cargo test --locked --test it -- --nocapture a_tree_of_every_kind many_at_once >"$scratch/out" 2>&1 || { tail -n 50 "$scratch/out"; exit 1; }
say "a tree of every kind there and back" "$(grep -o '^[0-9]* entries' "$scratch/out")"
say "processes at once, some of them killed" "$(grep -o '^[0-9]* interleavings.*' "$scratch/out" | cut -d: -f2 | xargs)"
