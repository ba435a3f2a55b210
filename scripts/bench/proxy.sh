#!/bin/bash
# Tells how good the network of the tests is: its round trip, its rates, and what processor time it takes.
# usage: proxy.sh [RTT_MS] [MBIT] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
rtt=${1:-50} mbit=${2:-1000} seconds=${3:-5}
out=${CARGO_TARGET_DIR:-target}/bench
mkdir -p "$out"
rustc -O --edition 2024 -o "$out/proxy" scripts/bench/proxy.rs

exec {source}< <("$out/proxy" source)
source_pid=$!
read -r -u "$source" server
coproc link { exec "$out/proxy" link "$server" --rtt-ms "$rtt" --up-mbit "$mbit" --down-mbit "$mbit"; }
pid=$link_PID
trap 'kill "$source_pid" "$pid" 2>/dev/null || true' EXIT
read -r -u "${link[0]}" address

ticks() { awk '{ print $14 + $15 }' "/proc/$pid/stat"; }
before=$(ticks)
began=$(date +%s.%N)
"$out/proxy" measure "$address" "$seconds"
after=$(ticks)
awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" -v b="$began" -v e="$(date +%s.%N)" \
    'BEGIN { printf "processor: %.2f of a core on average\n", t / hz / (e - b) }'
