#!/bin/bash
# Makes images of SquashFS with mksquashfs, and beside each what the kernel's driver shows of it (IMAGE.truth).
#
# usage: squash.sh OUTDIR        as root; needs squashfs-tools
#
#   main      zstd: 25,000 files, a folder of 50,000 names (index), blocks and fragments, everything a node can have
#   gzip, xz, lz4, lzo   the other ways to compress, the defaults of each
#   xzbcj     xz with the filter for x86 code
#   plain     nothing is compressed: files lie in the image as they are
#   mixed     blocks are not compressed, fragments, inodes and attributes are
#   small     blocks of 4 KiB, no fragments, no attributes
#   large     blocks of 1 MiB, every tail in a fragment
#   sparse    a file of more than 4 GiB that is nearly all zeros
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'mountpoint -q "$work/mnt" && umount "$work/mnt"; rm -rf "$work"' EXIT
mkdir "$work/mnt"

# A tree like a small system; `$2`: how many times as many files.
tree() {
    python3 - "$1" "$2" <<'PY'
import os, random, socket, stat, sys
top, times = os.fsencode(sys.argv[1]), int(sys.argv[2])
r = random.Random(4)
words = [("word%d " % r.randrange(900)).encode() for _ in range(20000)]
# Shared by all, so that making many files costs little.
text = b"".join(words) * (8 + times // 4)
noise = r.randbytes((1 << 20) + (times << 17))

def path(*parts):
    return os.path.join(top, *parts)

def write(name, data, mtime=None):
    with open(name, "wb") as f:
        f.write(data)
    if mtime is not None:
        os.utime(name, (mtime, mtime))

def some(n):
    source = (text, noise)[r.random() < 0.3]
    at = r.randrange(len(source) - n)
    return source[at:at + n]

os.makedirs(path(b"tree"))
for d in range(25 * times):
    folder = path(b"tree", b"d%03d" % d)
    os.mkdir(folder)
    for f in range(20):
        size = r.choice((0, 1, 90, 700, 3000, 5000, 9000)) if f else r.choice((4096, 131072, 400000, 1 << 20))
        write(os.path.join(folder, b"f%02d" % f), some(size), r.randrange(0, 2**32))
os.mkdir(path(b"many"))
for n in range(1000 * times):
    open(path(b"many", b"entry-%06d-%s" % (n * 7, b"x" * (n % 23))), "wb").close()
os.mkdir(path(b"names"))
for name in (b"\xff\xfe", "grüße".encode(), b"n" * 255, b"a b", b"new\nline", b"back\\slash", b"%41", b"\x01"):
    write(path(b"names", name), name)
os.mkdir(path(b"content"))
write(path(b"content", b"noise"), noise)
write(path(b"content", b"text"), text)
write(path(b"content", b"mixed"), b"".join((text, noise)[i % 3 == 0][i * 5000:i * 5000 + 70000] for i in range(30)))
write(path(b"content", b"zeros"), bytes(1 << 20))
with open(path(b"content", b"holes"), "wb") as f:
    for n in range(40):
        f.seek(n * 700001)
        f.write(some(1 + n * 300))
    f.truncate(40 * 700001)
write(path(b"content", b"zero-tail"), some(131072) + bytes(5000))
for n in (1, 4095, 4096, 4097, 131071, 131072, 131073, 262144, 1048575, 1048576, 1048577):
    write(path(b"content", b"size-%d" % n), some(n))
os.mkdir(path(b"kinds"))
write(path(b"kinds", b"one"), b"linked")
for n in range(5):
    os.link(path(b"kinds", b"one"), path(b"kinds", b"link-%d" % n))
os.symlink(b"one", path(b"kinds", b"symlink"))
os.symlink(b"../" * 300 + b"\xffx", path(b"kinds", b"long-symlink"))
os.symlink(b"nowhere", path(b"kinds", b"dangling"))
os.mkfifo(path(b"kinds", b"fifo"))
socket.socket(socket.AF_UNIX).bind(os.fsdecode(path(b"kinds", b"socket")))
os.mknod(path(b"kinds", b"char"), stat.S_IFCHR | 0o640, os.makedev(5, 300))
os.mknod(path(b"kinds", b"block"), stat.S_IFBLK | 0o600, os.makedev(259, 70000))
os.link(path(b"kinds", b"char"), path(b"kinds", b"char-2"))
for n, name in enumerate((b"plain", b"setuid", b"none", b"big-ids")):
    write(path(b"kinds", name), name)
os.chown(path(b"kinds", b"big-ids"), 3000000000, 4000000001)
os.chmod(path(b"kinds", b"setuid"), 0o6755)
os.chmod(path(b"kinds", b"none"), 0)
os.mkdir(path(b"kinds", b"sticky"))
os.chmod(path(b"kinds", b"sticky"), 0o1777)
os.mkdir(path(b"kinds", b"empty"))
os.mkdir(path(b"dates"))
for n, when in enumerate((-86400 * 400, -1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1, 1700000000.987654321)):
    write(path(b"dates", b"date-%d" % n), b"", when)
os.mkdir(path(b"xattrs"))
for n in range(300):
    name = path(b"xattrs", b"x%03d" % n)
    write(name, b"x")
    os.setxattr(name, "user.number", b"%d" % n)
    os.setxattr(name, "user.same", b"the same long value in all of them " * 40)
    if n % 3 == 0:
        os.setxattr(name, "trusted.t", os.urandom(20))
    if n % 5 == 0:
        os.setxattr(name, "security.test", b"\0\1\2")
    if n % 7 == 0:
        os.setxattr(name, "user.empty", b"")
for name in (b"folder", b"symlink", b"fifo", b"char"):
    target = path(b"xattrs", name)
    if name == b"folder": os.mkdir(target)
    elif name == b"symlink": os.symlink(b"folder", target)
    elif name == b"fifo": os.mkfifo(target)
    else: os.mknod(target, stat.S_IFCHR, os.makedev(1, 3))
    os.setxattr(target, "trusted.on", name, follow_symlinks=False)
deep = path(b"deep")
for n in range(60):
    deep = os.path.join(deep, b"level-%02d" % n)
os.makedirs(deep)
write(os.path.join(deep, b"bottom"), b"deep")
PY
}

# image NAME TREE OPTION...
image() {
    local image="$out/$1.squashfs" source="$2"
    shift 2
    rm -f "$image"
    mksquashfs "$source" "$image" -quiet -no-progress -processors 2 "$@" >/dev/null
}

truth() {
    local image="$out/$1.squashfs"
    mount -t squashfs -o ro,loop "$image" "$work/mnt"
    python3 "$here/listing.py" "$work/mnt" >"$image.truth"
    umount "$work/mnt"
}

tree "$work/main" 50
image main "$work/main" -comp zstd -Xcompression-level 3
truth main
rm -rf "$work/main"

tree "$work/few" 1
image gzip "$work/few" -comp gzip
image xz "$work/few" -comp xz
image lz4 "$work/few" -comp lz4
image lzo "$work/few" -comp lzo
image xzbcj "$work/few" -comp xz -Xbcj x86
image plain "$work/few" -noI -noD -noF -noX
image mixed "$work/few" -comp zstd -noD
image small "$work/few" -comp lz4 -b 4096 -no-fragments -no-xattrs
image large "$work/few" -comp zstd -b 1M -always-use-fragments
for name in gzip xz lz4 lzo xzbcj plain mixed small large; do truth "$name"; done

mkdir "$work/sparse"
python3 - "$work/sparse" <<'PY'
import sys
with open(sys.argv[1] + "/ends", "wb") as f:
    f.write(b"begin" * 50000)
    f.seek((4 << 30) + 12345)
    f.write(b"end" * 50000)
PY
image sparse "$work/sparse" -comp zstd
truth sparse
