#!/bin/bash
# Makes LUKS disks with cryptsetup and qemu-img, without the kernel's driver. What `volume luks IMAGE passphrase BYTES`
# must print stands beside each (IMAGE.truth), BYTES is 8 MiB.
#
# usage: luks.sh OUTDIR        needs cryptsetup-bin, qemu-utils
#
#   argon2id, argon2i, pbkdf2     LUKS2: the ways to make a key, sectors of 4096, 512 and 2048 bytes, AES-256 and AES-128
#   slots     LUKS2: three slots, the passphrase opens the last; the first copy of the header is lost
#   v1, v1sha1, v1sha512          LUKS1: its hash functions, AES-256 and AES-128
set -euo pipefail
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf passphrase >"$work/key"
printf other >"$work/other"
printf third >"$work/third"
python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(9).randbytes(8 << 20))' >"$work/plain"
truth=$(sha256sum <"$work/plain" | cut -d' ' -f1)

# Encrypted where it lies, from a file that is 32 MiB longer, which become header and rest.
luks2() {
    local image="$out/$1.luks"
    cp "$work/plain" "$image"
    truncate -s 40M "$image"
    cryptsetup reencrypt --encrypt --type luks2 --reduce-device-size 32M --batch-mode --key-file "$work/key" "${@:2}" "$image"
    echo "$truth" >"$image.truth"
}

luks1() {
    local image="$out/$1.luks"
    qemu-img convert -f raw -O luks --object secret,id=key,file="$work/key" \
        -o "key-secret=key,iter-time=10,ivgen-alg=plain64,$2" "$work/plain" "$image"
    echo "$truth" >"$image.truth"
}

luks2 argon2id --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-force-iterations 4 --sector-size 4096
luks2 argon2i --pbkdf argon2i --pbkdf-memory 32768 --pbkdf-force-iterations 4 --sector-size 512
luks2 pbkdf2 --pbkdf pbkdf2 --hash sha512 --pbkdf-force-iterations 1000 --key-size 256 --sector-size 2048
luks2 slots --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --sector-size 4096
for new in other third; do
    cryptsetup luksAddKey --batch-mode --key-file "$work/key" --pbkdf argon2id --pbkdf-memory 64 \
        --pbkdf-force-iterations 4 "$out/slots.luks" "$work/$new"
done
cryptsetup luksChangeKey --batch-mode --key-file "$work/key" --key-slot 0 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
    "$out/slots.luks" "$work/other"
cryptsetup luksChangeKey --batch-mode --key-file "$work/third" --key-slot 2 --pbkdf argon2id --pbkdf-memory 64 \
    --pbkdf-force-iterations 4 "$out/slots.luks" "$work/key"
printf x | dd of="$out/slots.luks" bs=1 seek=5000 conv=notrunc status=none
cryptsetup config --label "a label" "$out/argon2id.luks"
luks1 v1 cipher-alg=aes-256,hash-alg=sha256
luks1 v1sha1 cipher-alg=aes-128,hash-alg=sha1
luks1 v1sha512 cipher-alg=aes-256,hash-alg=sha512
