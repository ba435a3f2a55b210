#!/bin/bash
# Makes a disk with a whole Debian on it that starts by itself: GPT, an EFI system partition (FAT32) with GRUB, and a
# root of ext4 with a kernel and systemd. When it has started, it checks the files named in /etc/proof.sha256, tells the word
# in /etc/proof on the serial line, and switches itself off.
#
# usage: system.sh IMAGE [--quick]      as root, with a network; quick: half as large, with the kernel for clouds
set -euo pipefail

image=$1
size=3G
kernel=linux-image-amd64
if [ "${2:-}" = --quick ]; then
    size=1536M
    kernel=linux-image-cloud-amd64
fi
suite=bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
MIB=$((1 << 20))
ESP_MIB=64

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/bygone-system.XXXXXX")
root=$scratch/root
mkdir "$root"
loop=
release() {
    ! mountpoint -q "$root" || umount -R "$root" || umount -Rl "$root"
    [ -z "$loop" ] || losetup -d "$loop"
    rm -rf "$scratch"
}
trap release EXIT

rm -f "$image"
truncate -s "$size" "$image"
sfdisk -q --no-reread --no-tell-kernel "$image" <<EOT
label: gpt
start=1MiB, size=${ESP_MIB}MiB, type=uefi, name="EFI system"
type=linux, name="rootfs"
EOT
read -r start sectors < <(sfdisk --json "$image" | python3 -c '
import json, sys
part = json.load(sys.stdin)["partitiontable"]["partitions"][1]
print(part["start"], part["size"])')
loop=$(losetup --find --show --offset $((start * 512)) --sizelimit $((sectors * 512)) "$image")
mke2fs -q -t ext4 -L rootfs "$loop"
mount "$loop" "$root"
debootstrap --variant=minbase --include="$kernel,systemd-sysv,udev" "$suite" "$root" "$mirror"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*

uuid=$(blkid -o value -s UUID "$loop")
echo "UUID=$uuid / ext4 rw,relatime 0 1" >"$root/etc/fstab"
echo proof >"$root/etc/hostname"
echo "nothing was backed up yet" >"$root/etc/proof"
: >"$root/etc/proof.sha256"
# What change.py adds to.
echo "a log" >"$root/srv/grows.log"
head -c 16M /dev/urandom >"$root/srv/pages.db"
mkdir -p "$root/usr/local/sbin" "$root/boot/grub"
cat >"$root/usr/local/sbin/prove" <<'EOT'
#!/bin/sh
cd /
if sha256sum --quiet -c /etc/proof.sha256; then
    echo "PROOF $(cat /etc/proof): $(wc -l </etc/proof.sha256) files as they were"
fi
systemctl --no-block start poweroff.target
EOT
chmod 755 "$root/usr/local/sbin/prove"
cat >"$root/etc/systemd/system/prove.service" <<'EOT'
[Unit]
Description=Tells that the system is up
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/prove
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
EOT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../prove.service "$root/etc/systemd/system/multi-user.target.wants/prove.service"
cat >"$root/boot/grub/grub.cfg" <<EOT
linux /vmlinuz root=UUID=$uuid rw console=ttyS0 quiet
initrd /initrd.img
boot
EOT

cat >"$scratch/early.cfg" <<EOT
search --fs-uuid --set=root $uuid
set prefix=(\$root)/boot/grub
configfile \$prefix/grub.cfg
EOT
grub-mkimage -O x86_64-efi -p /boot/grub -c "$scratch/early.cfg" -o "$scratch/BOOTX64.EFI" \
    part_gpt fat ext2 search search_fs_uuid normal configfile linux boot echo
# Not through the kernel: not every one has a driver for FAT.
mkfs.fat -F 32 -s 1 -n ESP --offset=2048 "$image" $((ESP_MIB * 1024)) >/dev/null 2>&1
esp=$image@@$MIB
mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "$esp" -m "$scratch/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" -m "$scratch/early.cfg" ::/EFI/debian/grub.cfg
