#!/bin/bash
# Installs what the tests need beside Rust, once: the packages of scripts/format-reader.py, in a place of their own.
# place: ${BYGONE_TOOLS:-$HOME/.cache/bygone-tools}/reader       (object servers: scripts/servers.sh)
set -euo pipefail
tools=${BYGONE_TOOLS:-$HOME/.cache/bygone-tools}
home=$tools/reader-1
mkdir -p "$tools"

# Two runs at once must not install into each other.
exec 9>"$tools/.lock"
flock 9
if [ ! -e "$home/complete" ]; then
    rm -rf "$home"
    python3 -m venv "$home" >&2
    "$home/bin/pip" install --quiet --disable-pip-version-check \
        blake3==1.0.11 cryptography==50.0.2 zstandard==0.25.0 argon2-cffi==25.1.0 >&2
    touch "$home/complete"
fi
ln -sfn reader-1 "$tools/reader"
echo "$tools/reader/bin/python"
