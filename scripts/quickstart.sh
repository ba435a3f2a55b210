#!/bin/bash
# Shows a newcomer the whole way: builds Bygone, backs a folder up, opens the backup as a drive and takes a file out of it.
# All it makes lies in a folder for scratch that is removed at the end; only the program stays.
# usage: quickstart.sh [--binary PROGRAM] [FOLDER]       FOLDER: what to back up (this project's source code)
set -euo pipefail
began_in=$PWD
cd "$(dirname "$0")/.."

binary=
if [ "${1:-}" = --binary ]; then
    binary=$(realpath "${2:?--binary needs a program}")
    shift 2
fi
if [ $# -gt 1 ] || [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    echo "usage: quickstart.sh [--binary PROGRAM] [FOLDER]" >&2
    exit 2
fi
folder=$PWD/src
if [ $# -eq 1 ]; then
    folder=$(cd "$began_in" && realpath "$1")
fi
[ -d "$folder" ] || { echo "$folder is no folder" >&2; exit 2; }

[ ! -d "${HOME:-/}/.cargo/bin" ] || export PATH=$HOME/.cargo/bin:$PATH

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' plain=$'\e[0m'
fi
say() { printf '\n' && printf '%s\n' "$@"; }

# run COMMAND...: shows a command and runs it.
run() {
    doing=$*
    printf '%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}
bygone() { "$binary" "$@"; }

scratch=
doing='its first lines'
clean_up() {
    local status=$?
    if [ -n "$scratch" ]; then
        if mountpoint -q "$scratch/drive"; then
            fusermount3 -uz "$scratch/drive" || true
        fi
        rm -rf "$scratch"
    fi
    if [ $status -ne 0 ]; then
        printf '\nThe quick start stopped at: %s\nNothing is left behind. The lines above say why.\n' "$doing" >&2
    fi
}
trap clean_up EXIT
# Without these, EXIT would see the status of what was interrupted.
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$binary" ]; then
    doing='looking for what a drive needs'
    scripts/needs.sh mount
else
    say "Bygone is built from its source. The first time, this takes about ten minutes."
    doing='looking for what the build needs'
    scripts/needs.sh build mount
    run cargo build --release --locked
    binary=$(realpath "${CARGO_TARGET_DIR:-target}/release/bygone")
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/bygone-quickstart.XXXXXX")
mkdir "$scratch/drive"
# A password in a variable is good for a trial. Later, let Bygone ask, or use --password-file.
unset BYGONE_PASSWORD_FILE BYGONE_PASSWORD_COMMAND
export BYGONE_REPOSITORY=$scratch/repository BYGONE_PASSWORD=trial BYGONE_STATE_DIR=$scratch/state

say "1. A repository is where backups are kept: a folder here, a bucket in a cloud just as well." \
    "   (For this trial BYGONE_REPOSITORY names it and BYGONE_PASSWORD opens it.)"
run bygone init

say "2. A snapshot of $folder. Everything is encrypted before it is stored."
run bygone backup "$folder"

say "3. The same again: what is there already is not stored twice."
run bygone backup "$folder"

say "4. The snapshots, each of them whole."
run bygone snapshots

say "5. The newest one as a drive: an ordinary read-only folder."
run bygone mount latest "$scratch/drive"
drive=$scratch/drive$folder
run ls "$drive"

# A text is nicer to look at, but anything will do.
file=$(cd "$folder" && find . -type f -size +0 -readable ! -path '*/.git/*' | LC_ALL=C sort | sed -n '1s|^\./||p')
if [ -n "$file" ]; then
    say "6. A file is taken out with the tools you know, and compared with the original."
    run cp "$drive/$file" "$scratch/copy"
    run cmp "$scratch/copy" "$folder/$file"
    run ls -l "$scratch/copy"
    if grep -qI . "$scratch/copy"; then
        run head -n 3 "$scratch/copy"
    fi
fi

say "7. Done with the drive."
run bygone umount "$scratch/drive"

say "It works. The trial's repository is removed now; the program stays:
    $binary

Next, with your own files (a lost password is a lost backup: write it down):
    install -m 755 $binary ~/.local/bin/
    export BYGONE_REPOSITORY=/media/disk/backup
    bygone init
    bygone backup ~/Documents
    bygone mount latest ~/Backup
    bygone umount ~/Backup
A bucket instead of a folder: see README.md. All commands: bygone --help"
