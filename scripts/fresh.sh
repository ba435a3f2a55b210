#!/bin/bash
# The README's two commands on a Debian machine that has nothing: a folder made by debootstrap, in which the last commit is
# cloned, quick-started as root, checked, and quick-started once more by an ordinary user without sudo. An hour at the most;
# needs root, 15 GB and Debian's mirror. Certificates this machine trusts are trusted in there, too.
# usage: fresh.sh [--no-gate] [SUITE]       SUITE: a release of Debian (bookworm)
set -euo pipefail
cd "$(dirname "$0")/.."
gate=1
if [ "${1:-}" = --no-gate ]; then
    gate=
    shift
fi
suite=${1:-bookworm}
if [ "${BYGONE_FRESH:-}" != inside ]; then
    [ "$(id -u)" -eq 0 ] || { echo "fresh.sh has to be run by root" >&2; exit 1; }
    command -v debootstrap >/dev/null || apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends debootstrap
    # Mounts of its own, so that none can be left behind, and processes of its own, so that all end with it.
    BYGONE_FRESH=inside exec unshare --mount --pid --fork --kill-child "$0" $([ -n "$gate" ] || echo --no-gate) "$suite"
fi

mount --make-rprivate /
root=$(mktemp -d "${TMPDIR:-/var/tmp}/bygone-fresh.XXXXXX")
# It is the root folder of everybody in there.
chmod 755 "$root"
clean_up() {
    umount -R "$root/proc" "$root/dev" 2>/dev/null || true
    # Never through a mount into the machine itself.
    grep -q " $root/" /proc/self/mounts || rm -rf --one-file-system "$root"
}
trap clean_up EXIT

debootstrap --variant=minbase --include=ca-certificates,git "$suite" "$root" >/dev/null
# As Debian's installer leaves it; the newest Rust is among the security updates.
for archive in "debian $suite" "debian $suite-updates" "debian-security $suite-security"; do
    echo "deb http://deb.debian.org/$archive main"
done >"$root/etc/apt/sources.list"
cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
# The installer makes it; without it fusermount3 does not unmount for ordinary users.
ln -sf ../proc/self/mounts "$root/etc/mtab"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"
git clone -q --no-hardlinks . "$root/root/bygone"

# in_there USER FOLDER COMMAND...: with nothing of this machine's environment.
in_there() {
    local user=$1 folder=$2
    shift 2
    chroot "$root" su - "$user" -c "cd '$folder' && SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt $*"
}

# timed WHAT COMMAND...: what it said only if it failed.
timed() {
    local what=$1 began=$SECONDS
    shift
    "$@" >"$root/tmp/said" 2>&1 || { tail -n 60 "$root/tmp/said"; echo "FAILED: $what, after $((SECONDS - began)) s"; exit 1; }
    tail -n 3 "$root/tmp/said"
    echo "ok: $what, $((SECONDS - began)) s"
}

timed "quick start as root" in_there root /root/bygone scripts/quickstart.sh
[ -z "$gate" ] || timed "the gate, nothing built before" in_there root /root/bygone CARGO_TARGET_DIR=/root/gate scripts/check.sh
chroot "$root" useradd --create-home --shell /bin/bash newcomer
git clone -q --no-hardlinks . "$root/home/newcomer/bygone"
chroot "$root" chown -R newcomer: /home/newcomer
timed "quick start as an ordinary user" in_there newcomer /home/newcomer/bygone scripts/quickstart.sh
