#!/bin/bash
# Makes sure that this machine has what a task needs: installs it where apt and root (or sudo) are at hand, and otherwise
# says exactly what is missing and who has to do what. Does nothing, and needs no network, when all is there.
# usage: needs.sh [build|mount|test|images|bench|cloud|previews|system|guests|acceptance]...
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
troubles=()

has() { command -v "$1" >/dev/null 2>&1; }

# need COMMAND PACKAGE...: the packages bring the command.
need() {
    local command=$1
    shift
    has "$command" || packages+=("$@")
}

rust_wanted() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# rust_found PROGRAM: its version, or 0.
rust_found() { ("$1" --version 2>/dev/null || echo "$1" 0) | awk '{ print $2 }'; }

is_older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

has_rust() {
    has rustc && has cargo && ! is_older "$(rust_found rustc)" "$(rust_wanted)" \
        && ! is_older "$(rust_found cargo)" "$(rust_wanted)"
}

need_build() {
    need cc gcc libc6-dev
    [ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
    # Debian 12 has a Rust that is too old under the plain names, and a fresh one for building browsers.
    has_rust || packages+=(rustc-web cargo-web)
}

need_mount() {
    need fusermount3 fuse3
}

need_test() {
    need_build
    need_mount
    has cargo-fmt || packages+=(rustfmt-web)
    need git git
    need setfacl acl
    need setfattr attr
    need rsync rsync
    need strace strace
    need openssl openssl
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
    need make make
    need node nodejs
    need npm npm
}

# Real tools and drivers that make disk images, to compare with.
need_images() {
    need mke2fs e2fsprogs
    need mkfs.xfs xfsprogs
    need mkfs.btrfs btrfs-progs
    need ntfs-3g ntfs-3g
    ldconfig -p 2>/dev/null | grep -q libwim || packages+=(libwim15)
    need mkfs.fat dosfstools
    need mcopy mtools
    need mkfs.exfat exfatprogs
    need mount.exfat-fuse exfat-fuse
    need xorriso xorriso
    need genisoimage genisoimage
    need mkzftree genisoimage
    need 7z p7zip-full
    need mksquashfs squashfs-tools
    need cryptsetup cryptsetup-bin
    need lvm lvm2
    need qemu-img qemu-utils
    need sfdisk fdisk
    need sgdisk gdisk
    need parted parted
}

need_bench() {
    need_build
    need_mount
    need python3 python3
    need restic restic
    need borg borgbackup
    # Without it, borg cannot mount.
    /usr/bin/python3 -c 'import pyfuse3' 2>/dev/null || packages+=(python3-pyfuse3)
    need mke2fs e2fsprogs
    need qemu-img qemu-utils
    need xz xz-utils
    [ -e /usr/src/linux-source-6.1.tar.xz ] || packages+=(linux-source-6.1)
}

need_cloud() {
    need_bench
    need rclone rclone
}

# A desktop that nobody sees, with a file manager and a maker of previews.
need_previews() {
    need_build
    need_mount
    need python3 python3
    need Xvfb xvfb
    need dbus-daemon dbus-daemon
    need gdbus libglib2.0-bin
    need thunar thunar
    [ -e /usr/share/dbus-1/services/org.xfce.Tumbler.Thumbnailer1.service ] || packages+=(tumbler)
    need convert imagemagick
    need setpriv util-linux
}

# A Debian that starts from a disk image.
need_system() {
    need_build
    need_mount
    need python3 python3
    need mke2fs e2fsprogs
    need mkfs.fat dosfstools
    need mcopy mtools
    need sfdisk fdisk
    need debootstrap debootstrap
    [ -e /usr/lib/grub/x86_64-efi/moddep.lst ] || packages+=(grub-efi-amd64-bin grub-common)
    need qemu-system-x86_64 qemu-system-x86
    [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || packages+=(ovmf)
}

# Others that back up disks or look into them.
need_guests() {
    need_build
    need_mount
    need python3 python3
    need mke2fs e2fsprogs
    need restic restic
    need borg borgbackup
    need guestmount guestmount
    # Its virtual machine runs the kernel of this one; a container has none.
    compgen -G '/boot/vmlinuz-*' >/dev/null || packages+=(linux-image-cloud-amd64)
}

need_acceptance() {
    need_test
    [ -x /usr/bin/time ] || packages+=(time)
}

# How to become root: nothing, sudo, or no way.
root_by() {
    if [ "$(id -u)" -eq 0 ]; then
        echo "env"
    elif has sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        echo "sudo"
    fi
}

install() {
    local root
    root=$(root_by)
    if [ -n "$root" ] && has apt-get; then
        echo "installing: ${packages[*]}"
        # No answers are wanted, and another apt may be at work.
        local apt=("$root" DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)
        "${apt[@]}" update >/dev/null
        "${apt[@]}" install --no-install-recommends "${packages[@]}" </dev/null
    else
        troubles+=("Packages are missing. Ask the administrator to run:
    apt-get install ${packages[*]}")
    fi
}

# Nobody can mount without the device.
check_device() {
    if [ ! -e /dev/fuse ] && [ "$(id -u)" -eq 0 ]; then
        echo "making /dev/fuse"
        modprobe fuse 2>/dev/null || true
        [ -e /dev/fuse ] || mknod -m 666 /dev/fuse c 10 229 || true
    fi
    if [ ! -e /dev/fuse ]; then
        troubles+=("/dev/fuse does not exist, so no drive can be mounted. The administrator can make it:
    modprobe fuse || mknod -m 666 /dev/fuse c 10 229
In a container, start it with: --device /dev/fuse --cap-add SYS_ADMIN")
        return
    fi
    if [ "$(id -u)" -eq 0 ] && [ "$(stat -c %a /dev/fuse)" != 666 ]; then
        echo "opening /dev/fuse to all users, as Debian does"
        chmod 666 /dev/fuse || true
    fi
    if ! (: <>/dev/fuse) 2>/dev/null; then
        troubles+=("/dev/fuse cannot be opened by $(id -un). The administrator can allow it:
    chmod 666 /dev/fuse
In a container it also has to be started with: --device /dev/fuse --cap-add SYS_ADMIN")
    fi
}

for task in "$@"; do
    case $task in
        build | mount | test | images | bench | cloud | previews | system | guests | acceptance) "need_$task" ;;
        *) echo "usage: needs.sh [build|mount|test|images|bench|cloud|previews|system|guests|acceptance]..." >&2; exit 2 ;;
    esac
done
if [ ${#packages[@]} -gt 0 ]; then
    install
fi
case " $* " in
    *" mount "* | *" test "* | *" bench "* | *" previews "* | *" system "* | *" guests "* | *" acceptance "*) check_device ;;
esac
case " $* " in
    *" build "* | *" test "* | *" bench "* | *" previews "* | *" system "* | *" guests "* | *" acceptance "*)
        # Apart from those who have to install packages first.
        [ ${#troubles[@]} -gt 0 ] || has_rust || troubles+=("Rust $(rust_wanted) or newer is needed; found: cargo $(rust_found cargo), rustc $(rust_found rustc).
    Debian 12: apt-get install rustc-web cargo-web      elsewhere: https://rustup.rs")
        ;;
esac
if [ ${#troubles[@]} -gt 0 ]; then
    printf '%s\n' "${troubles[@]}" >&2
    exit 1
fi
