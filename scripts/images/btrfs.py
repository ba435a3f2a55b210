#!/usr/bin/env python3
"""Fills a mounted Btrfs with what a reader can get wrong.

usage: btrfs.py DIR small|main
"""
import ctypes
import errno
import fcntl
import mmap
import os
import random
import socket
import stat
import struct
import subprocess
import sys

FICLONE, FICLONERANGE = 0x40049409, 0x4020940D
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 0x10
SECTOR = 4096
# Names of which the first two, and the last two, have the same CRC-32C.
COLLISIONS = ["vrsvxkqp", "edknxurb", "vatmhdzv", "cwdyrdkp"]

rng = random.Random(20240229)
libc = ctypes.CDLL(None, use_errno=True)
WORDS = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 11))) for _ in range(100)]


def text(size):
    """Words, so few that LZO too makes less of them."""
    out = b""
    while len(out) < size:
        out += b" ".join(rng.choices(WORDS, k=400)) + b"\n"
    return out[:size]


LOREM = text(1 << 20)


def words(size):
    at = rng.randrange(len(LOREM))
    return (LOREM[at:] + LOREM * (size // len(LOREM) + 1))[:size]


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def fallocate(fd, mode, at, size):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(size)):
        raise OSError(ctypes.get_errno(), "fallocate")


def run(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


def sync(path):
    run("sync", "-f", path)


def clone(source, target, at=0, size=0, to=0):
    with open(source, "rb") as a, open(target, "r+b" if os.path.exists(target) else "wb") as b:
        fcntl.ioctl(b, FICLONERANGE, struct.pack("qQQQ", a.fileno(), at, size, to))


def compressed(top, method, count):
    """Files of all lengths, and compressed extents of which only parts are used."""
    os.mkdir(top)
    run("btrfs", "property", "set", top, "compression", method)
    for n, size in enumerate([1, 10, 100, 1000, 1500, 2000, 2100, 4095, 4096, 4097, 5000, 65536, 131071, 131072, 131073, 300_000, 1_000_001]):
        put(f"{top}/length-{size}", words(size))
        put(f"{top}/zeros-{size}", bytes(size))
        put(f"{top}/noise-{size}", rng.randbytes(size))
    for n in range(count):
        put(f"{top}/file-{n}", words(rng.choice([50, 900, 3000, 9000, 20_000, 70_000])))
    with open(f"{top}/overwritten", "wb") as f:
        f.write(words(800_000))
        sync(top)
        for _ in range(40):
            f.seek(rng.randrange(780_000))
            f.write(words(rng.randrange(1, 20_000)))
        sync(top)
        f.truncate(555_555)
        fallocate(f.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100_000, 77_777)
    with open(f"{top}/mixed", "wb") as f:
        for n in range(30):
            f.write(words(50_000) if n % 2 else rng.randbytes(60_000))
    with open(f"{top}/sparse", "wb") as f:
        for n in range(10):
            f.seek(n * 3_000_000 + 777)
            f.write(words(10_000))
        f.truncate(33_000_000)
    # A short file that grew a hole: its inline extent does not reach the next one.
    with open(f"{top}/inline-then-far", "wb") as f:
        f.write(words(500))
        f.flush()
        sync(top)
        f.seek(200_000)
        f.write(words(500))
    sync(top)
    clone(f"{top}/overwritten", f"{top}/clone-part", SECTOR * 20, SECTOR * 90, SECTOR * 3)
    clone(f"{top}/length-300000", f"{top}/clone-whole")
    clone(f"{top}/length-1000001", f"{top}/clone-middle", SECTOR * 37, SECTOR * 2, 0)
    clone(f"{top}/length-1000001", f"{top}/clone-middle", SECTOR * 50, SECTOR * 1, SECTOR * 9)


def plain(top, far):
    os.mkdir(top)
    for size in [0, 1, 100, 1000, 2047, 2048, 2049, 3000, 4095, 4096, 4097, 100_000, 1_234_567]:
        put(f"{top}/length-{size}", rng.randbytes(size))
    with open(f"{top}/sparse", "wb") as f:
        for at in [0, 1 << 20, 50_000_000, far]:
            f.seek(at)
            f.write(b"here")
        f.truncate(far + 12_345_678)
    with open(f"{top}/only-a-hole", "wb") as f:
        f.truncate(3_000_001)
    with open(f"{top}/preallocated", "wb") as f:
        fallocate(f.fileno(), 0, 0, 1_000_000)
        f.seek(300_001)
        f.write(rng.randbytes(99_999))
    with open(f"{top}/preallocated-beyond", "wb") as f:
        f.write(rng.randbytes(10_000))
        fallocate(f.fileno(), FALLOC_KEEP_SIZE, 0, 500_000)
    with open(f"{top}/holes", "wb") as f:
        f.write(rng.randbytes(400_000))
        sync(top)
        for n in range(20):
            fallocate(f.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, n * 20_000 + 111, 9_000)
        fallocate(f.fileno(), FALLOC_ZERO_RANGE, 333_333, 22_222)
    sync(top)
    clone(f"{top}/holes", f"{top}/holes-cloned")
    clone(f"{top}/length-1234567", f"{top}/clone-part", SECTOR * 11, SECTOR * 123, SECTOR * 5)
    with open(f"{top}/clone-part", "r+b") as f:
        f.seek(SECTOR * 60 + 5)
        f.write(b"written into a clone")


def fragmented(path, pages):
    """Every page an extent of its own."""
    page = mmap.mmap(-1, SECTOR)
    order = list(range(pages))
    rng.shuffle(order)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    for n in order:
        page[:] = struct.pack("<Q", n) * (SECTOR // 8)
        os.pwrite(fd, page, n * SECTOR)
    os.close(fd)


def no_copy_on_write(top):
    os.mkdir(top)
    run("chattr", "+C", top)
    with open(f"{top}/database", "wb") as f:
        fallocate(f.fileno(), 0, 0, 800_000)
        for _ in range(30):
            f.seek(rng.randrange(790_000))
            f.write(rng.randbytes(5000))


def names(top):
    os.mkdir(top)
    put(f"{top}/" + "n" * 255, b"the longest name")
    put(os.fsencode(top) + b"/not \xff\xfe UTF-8 \x80", b"bytes")
    put(os.fsencode(top) + b"/new\nline\ttab\\back", b"bytes")
    put(f"{top}/grüße-日本語-🙂", b"UTF-8")
    # Two entries in one DIR_ITEM, two attributes in one XATTR_ITEM.
    for name in COLLISIONS:
        put(f"{top}/{name}", name.encode())
        run("setfattr", "-n", "user." + name, "-v", name, top)
    deep = top
    for n in range(40):
        deep += f"/deep-{n}"
        os.mkdir(deep)
    put(deep + "/bottom", b"deep")


def links(top):
    os.mkdir(top)
    put(f"{top}/first", b"many names")
    os.mkdir(f"{top}/other")
    os.link(f"{top}/first", f"{top}/other/elsewhere")
    # More than one item of INODE_REF holds: INODE_EXTREF, where the file system has it.
    for n in range(300):
        try:
            os.link(f"{top}/first", f"{top}/name-{n}-" + "x" * 100)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            break
    os.symlink("first", f"{top}/short")
    os.symlink("/no/such/place", f"{top}/dangling")
    os.symlink("t/" * 1900 + "end", f"{top}/long")
    os.symlink(b"\xff\xfe", os.fsencode(f"{top}/bytes"))


def special(top):
    os.mkdir(top)
    os.mkfifo(f"{top}/fifo")
    os.mknod(f"{top}/char", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(f"{top}/block", stat.S_IFBLK | 0o600, os.makedev(259, 0xABCDE))
    with socket.socket(socket.AF_UNIX) as s:
        here = os.getcwd()
        os.chdir(top)
        s.bind("socket")
        os.chdir(here)
    for mode in [0o0, 0o777, 0o4755, 0o2755, 0o1777, 0o6111]:
        put(f"{top}/mode-{mode:o}", b"")
        os.chmod(f"{top}/mode-{mode:o}", mode)
    put(f"{top}/owned", b"")
    os.chown(f"{top}/owned", 4_000_000_000, 3_000_000_000)


def times(top):
    os.mkdir(top)
    for name, ns in {
        "1969": -1, "1901": -2_147_483_648 * 10**9, "1800": -5_364_662_400 * 10**9 + 5, "1970": 0,
        "2038": 2_147_483_648 * 10**9 + 123_456_789, "2106": 4_294_967_296 * 10**9, "2500": 16_725_225_600 * 10**9 + 999_999_999,
        "9999": 253_402_300_799 * 10**9,
    }.items():
        put(f"{top}/{name}", b"")
        os.utime(f"{top}/{name}", ns=(ns, ns))
    os.symlink("x", f"{top}/link")
    os.utime(f"{top}/link", ns=(1, 1_500_000_000_000_000_001), follow_symlinks=False)


def attributes(top):
    os.mkdir(top)
    for n in range(60):
        path = f"{top}/file-{n}"
        put(path, b"x" * n)
        for k in range(n % 7):
            os.setxattr(path, f"user.{'k' * (n % 50)}{k}", rng.randbytes(n * 3))
    put(f"{top}/long", b"")
    os.setxattr(f"{top}/long", "user.long", rng.randbytes(3000))
    os.setxattr(f"{top}/long", "user.empty", b"")
    os.setxattr(f"{top}/long", "trusted.mine", b"root only")
    os.setxattr(f"{top}/long", "user." + "n" * 250, b"the longest name")
    run("setfacl", "-m", "u:1000:rwx,g:2000:r-x,m::rwx", f"{top}/file-1")
    run("setfacl", "-d", "-m", "u:1000:rwx,g:2000:r-x", top)
    os.mkdir(f"{top}/inherits")
    put(f"{top}/inherits/file", b"")
    os.symlink("long", f"{top}/link")
    os.setxattr(f"{top}/link", "trusted.of-link", b"1", follow_symlinks=False)


def subvolumes(top):
    """A subvolume in a subvolume, and snapshots, in which the inner one is but an empty folder."""
    for path in ["", "/inner", "/gone"]:
        run("btrfs", "subvolume", "create", top + path)
    put(f"{top}/outer-file", words(20_000))
    put(f"{top}/inner/inner-file", words(2_000))
    os.mkdir(f"{top}/folder")
    put(f"{top}/folder/both", words(7_000))
    sync(top)
    run("btrfs", "subvolume", "snapshot", "-r", top, f"{top}-snapshot")
    put(f"{top}/folder/after", b"not in the snapshot")
    os.unlink(f"{top}/outer-file")
    run("btrfs", "subvolume", "snapshot", f"{top}-snapshot", f"{top}-writable")
    put(f"{top}-writable/folder/both", b"changed")
    run("btrfs", "subvolume", "delete", f"{top}/gone")
    os.rename(f"{top}/inner", f"{top}/folder/inner-moved")


def crowd(top, count):
    os.mkdir(top)
    here = os.open(top, os.O_RDONLY)
    for n in range(count):
        os.close(os.open(f"entry-{n}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=here))
    for n in range(0, count, 97):
        os.unlink(f"entry-{n}", dir_fd=here)
    os.close(here)


def tree(top, folders, files):
    os.mkdir(top)
    for d in range(folders):
        os.mkdir(f"{top}/{d}")
        for f in range(files):
            put(f"{top}/{d}/file-{f}.txt", words(rng.choice([0, 20, 300, 1200, 1900, 2500, 6000, 15_000])))


def main(top, size):
    is_main = size == "main"
    for method in ["zstd", "lzo", "zlib"]:
        compressed(f"{top}/{method}", method, 300 if is_main else 5)
    plain(f"{top}/plain", 4_400_000_000 if is_main else 60_000_000)
    fragmented(f"{top}/fragmented", 3000 if is_main else 50)
    no_copy_on_write(f"{top}/nocow")
    names(f"{top}/names")
    links(f"{top}/links")
    special(f"{top}/special")
    attributes(f"{top}/attributes")
    crowd(f"{top}/crowd", 50_600 if is_main else 300)
    tree(f"{top}/tree", 40 if is_main else 3, 500 if is_main else 30)
    subvolumes(f"{top}/subvolume")
    times(f"{top}/times")
    sync(top)


if __name__ == "__main__":
    main(*sys.argv[1:])
