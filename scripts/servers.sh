#!/bin/bash
# Installs the object servers the tests run against, once, and prints where they are.
# usage: servers.sh [moto|azurite|garage|all]      place: ${BYGONE_TOOLS:-$HOME/.cache/bygone-tools}
set -euo pipefail
what=${1:-all}
tools=${BYGONE_TOOLS:-$HOME/.cache/bygone-tools}
moto_version=5.2.5
azurite_version=3.35.0
garage_version=2.5.0
mkdir -p "$tools"

# Two runs at once must not install into each other.
exec 9>"$tools/.lock"
flock 9

# S3: enforces conditional puts, which most small servers do not.
moto() {
    local home=$tools/moto-$moto_version
    if [ ! -e "$home/complete" ]; then
        rm -rf "$home"
        python3 -m venv "$home" >&2
        "$home/bin/pip" install --quiet --disable-pip-version-check "moto[server,s3]==$moto_version" >&2
        touch "$home/complete"
    fi
    ln -sfn "moto-$moto_version" "$tools/moto"
    echo "$tools/moto/bin/moto_server"
}

# Azure Blob storage.
azurite() {
    local home=$tools/azurite-$azurite_version
    if [ ! -e "$home/complete" ]; then
        rm -rf "$home"
        mkdir -p "$home"
        npm install --silent --no-audit --no-fund --prefix "$home" "azurite@$azurite_version" >&2
        touch "$home/complete"
    fi
    ln -sfn "azurite-$azurite_version" "$tools/azurite"
    echo "$tools/azurite/node_modules/.bin/azurite-blob"
}

# S3: a real distributed store, without conditional puts. Built from source, once; without what a test does not need.
garage() {
    local home=$tools/garage-$garage_version
    if [ ! -e "$home/complete" ]; then
        rm -rf "$home"
        [ ! -d "${HOME:-/}/.cargo/bin" ] || export PATH=$HOME/.cargo/bin:$PATH
        CARGO_TARGET_DIR=$home/target CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
            CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_INCREMENTAL=false \
            cargo install --quiet --locked --root "$home" --version "$garage_version" \
            --no-default-features --features bundled-libs,sqlite garage >&2
        rm -rf "$home/target"
        touch "$home/complete"
    fi
    ln -sfn "garage-$garage_version" "$tools/garage"
    echo "$tools/garage/bin/garage"
}

case $what in
    moto) moto ;;
    azurite) azurite ;;
    garage) garage ;;
    all) moto; azurite; garage ;;
    *) echo "usage: servers.sh [moto|azurite|garage|all]" >&2; exit 2 ;;
esac
