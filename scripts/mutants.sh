#!/bin/bash
# Changes the code of crypto, format and tree, or that of the log, in small ways, one at a time, and tells which changes their own
# tests do not notice. Each is compiled with the floors it stands on as a crate of their own: seconds a change instead of minutes.
# An hour on two processors, and more for the log with the decisions in `plan`.
# usage: mutants.sh [log] [SHARD/SHARDS] [FILE...]     3/10 is the fourth tenth, drawn over all files; files as in src/format/page.rs
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -d "${HOME:-/}/.cargo/bin" ] || export PATH=$HOME/.cargo/bin:$PATH
floors=(chunker compress crypto extent format id meta monitor path tree)
crates='thiserror|bytes|blake3|zstd|aes-gcm|aws-lc-rs|argon2|reed-solomon-simd|zeroize|subtle|getrandom|lru|serde|tracing|jiff'
files=('src/crypto/**' 'src/format/**' 'src/tree/**')
tests=()
if [ "${1:-}" = log ]; then
    shift
    floors+=(cache plan repo state store)
    crates+='|object_store|reqwest|md-5|http-body|url|tokio|futures|async-trait|rusqlite|rustix|base64|tempfile'
    files=('src/repo/log/**' 'src/plan/**')
    tests=(-- repo::log:: plan::)
fi
shard=${1:-0/1}
shift || true
[ $# -eq 0 ] || files=("$@")
command -v cargo-mutants >/dev/null || cargo install --quiet --locked --version 27.1.0 cargo-mutants
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/bygone-mutants.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

mkdir "$scratch/src"
{
    printf '[package]\nname = "floors"\nversion = "0.1.0"\nedition = "2024"\n[features]\ndefault = ["aws-lc"]\naws-lc = []\n[dependencies]\n'
    grep -E "^($crates) = " Cargo.toml | grep -v workspace
    printf '[dev-dependencies]\n%s\n' "$(grep -E '^proptest = ' Cargo.toml)"
    [[ $crates != *tokio* ]] || echo 'tokio = { version = "1", features = ["test-util"] }'
    printf '[profile.dev]\ndebug = 0\nopt-level = 1\n[profile.dev.package."*"]\nopt-level = 3\n'
} >"$scratch/Cargo.toml"
cp Cargo.lock "$scratch/"
for floor in "${floors[@]}"; do
    if [ -d "src/$floor" ]; then cp -r "src/$floor" "$scratch/src/"; else cp "src/$floor.rs" "$scratch/src/"; fi
    echo "pub mod $floor;" >>"$scratch/src/lib.rs"
done

out=${CARGO_TARGET_DIR:-$PWD/target}/mutants
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$scratch"
code=0
env -u CARGO_TARGET_DIR cargo mutants --jobs "$(nproc)" --shard "$shard" --sharding round-robin --output "$out" --colors never --no-times \
    "${files[@]/#/--file=}" --timeout 60 -- --lib "${tests[@]}" || code=$?
# 2 and 3: some were not noticed, or never came to an end. These are figures and no failure.
case $code in 0 | 2 | 3) ;; *) exit "$code" ;; esac
count() { wc -l <"$out/mutants.out/$1.txt"; }
caught=$(($(count caught) + $(count timeout)))
echo "$caught of $((caught + $(count missed))) changes noticed; the others: $out/mutants.out/missed.txt"
