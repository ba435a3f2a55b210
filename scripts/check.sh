#!/bin/bash
# The gate: everything that must hold before a change goes in. Installs what it needs, runs from anywhere, asks nothing,
# and stops at the first step that fails. A second run needs no network.
# usage: check.sh
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
[ ! -d "$HOME/.cargo/bin" ] || export PATH=$HOME/.cargo/bin:$PATH
export CARGO_TERM_COLOR=never CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# A build that is thrown away needs no notes for the next one.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

scratch=$(mktemp -d "${TMPDIR:-/tmp}/bygone-check.XXXXXX")
# Some tests run as another user.
chmod 1777 "$scratch"

mounts_left() { awk -v under="$scratch/" 'index($2, under) == 1 { print $2 }' /proc/mounts; }

clean_up() {
    mounts_left | while read -r left; do fusermount3 -uz "$left" || true; done
    rm -rf "$scratch"
}
trap clean_up EXIT

steps=0
skipped=
report=

# step NAME COMMAND...: one step, with its duration.
step() {
    local name=$1 began=$SECONDS status
    shift
    steps=$((steps + 1))
    printf '\n==> %s\n' "$name"
    # Not in a condition: there, `set -e` would not hold inside.
    set +e
    ( set -e; "$@" )
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        printf '\ncheck: FAILED at "%s" (status %d) after %d s\n' "$name" $status $SECONDS
        exit 1
    fi
    printf '    ok: %s, %d s\n' "$name" $((SECONDS - began))
    report+=$(printf '%6d s  %s' $((SECONDS - began)) "$name")$'\n'
}

lint() { cargo clippy --locked --workspace --all-targets -- -D warnings; }

# The readers are developers: links to private things are welcome.
document() {
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
        cargo doc --locked --workspace --no-deps --document-private-items
}

# What a newcomer does, with the program just built.
first_steps() { TMPDIR=$scratch scripts/quickstart.sh --binary "$CARGO_TARGET_DIR/debug/bygone" src; }

# `cargo test` and not nextest: the tests of one program share their object servers.
run_tests() {
    TMPDIR=$scratch timeout 2400 cargo test --locked --workspace 2>&1 | tee "$scratch/tests.log"
}

nothing_left() {
    local left
    left=$(mounts_left)
    [ -z "$left" ] || { echo "still mounted: $left"; return 1; }
}

# The results of all test programs in one line.
sum_tests() {
    awk '/^test result:/ { passed += $4; failed += $6; ignored += $8; programs++ }
         END { printf "test result: ok. %d passed; %d failed; %d ignored; in %d programs\n", passed, failed, ignored, programs }' \
        "$scratch/tests.log"
}

step "packages and /dev/fuse" scripts/needs.sh test
step "object servers" scripts/servers.sh all
step "other tools" scripts/tools.sh
step "format" cargo fmt --all --check
step "licences and duplicates" python3 scripts/licences.py
if cargo clippy --version >/dev/null 2>&1; then
    step "lints" lint
else
    skipped="; SKIPPED lints: this Rust came without clippy"
fi
step "documentation" document
step "build" cargo test --locked --workspace --no-run
step "first steps of a newcomer" first_steps
step "tests" run_tests
# has_drivers: the kernel's view can be had here.
has_drivers() {
    local name
    [ "$(id -u)" -eq 0 ] && losetup -f >/dev/null 2>&1 || return 1
    for name in ext4 xfs btrfs squashfs; do
        grep -qw "$name" /proc/filesystems || modprobe -q "$name" || return 1
    done
}

if has_drivers; then
    step "disk images: packages" scripts/needs.sh images
    step "disk images: made by the real tools and drivers" scripts/images.sh build
    step "disk images: what the parsers see" scripts/images.sh parsers
    step "disk images: what a drive shows" scripts/images.sh drive
    step "disk images: what a drive bears" scripts/images.sh damage
else
    skipped+="; SKIPPED disk images: they are compared with what the drivers of the kernel show, which takes root and loop devices"
fi
step "nothing left mounted" nothing_left

printf '\n%s' "$report"
sum_tests
printf 'check: all %d steps passed in %d s%s\n' $steps $SECONDS "$skipped"
