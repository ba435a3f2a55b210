#!/usr/bin/env python3
"""Fills a mounted XFS with everything its format tells apart. Same content at every run.

usage: xfs_fill.py DIR SET...      sets: small, small-classic, main, many, pieces, after
"""
import ctypes
import fcntl
import os
import random
import socket
import stat
import struct
import subprocess
import sys

RANDOM = random.Random(7)
LIBC = ctypes.CDLL(None, use_errno=True)
FICLONERANGE = 0x4020940D
PUNCH_HOLE, KEEP_SIZE = 2, 1


def write(path, data, at=None):
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, data, at or 0)
    os.close(fd)


def fallocate(fd, mode, at, length):
    if LIBC.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def folders(root):
    """Folders of every form: in the inode, one block, leaf, node; with gaps; names of every length and of odd bytes."""
    for count in (0, 1, 7, 40, 300, 2500):
        os.mkdir(f"{root}/folder{count}")
        for n in range(count):
            write(f"{root}/folder{count}/entry-{n:05}", b"")
    for n in range(0, 2500, 3):
        os.unlink(f"{root}/folder2500/entry-{n:05}")
    for n in range(5, 300):
        os.unlink(f"{root}/folder300/entry-{n:05}")
    os.mkdir(f"{root}/names")
    for length in range(1, 256, 2):
        write(f"{root}/names/".encode() + bytes(97 + (length + n) % 26 for n in range(length)), b"%d" % length)
    odd = bytes(b for b in range(1, 256) if b != 47)
    for name in (odd, b"\xff\xfe", b"\xc3\x28", "Grüße 漢字".encode(), b" ", b"new\nline", b"back\\slash", b"a%41"):
        write(f"{root}/names/".encode() + name, name)


def nodes(root):
    """Everything that is not a file, and files with several names."""
    os.mkfifo(f"{root}/fifo")
    socket.socket(socket.AF_UNIX).bind(f"{root}/socket")
    os.mknod(f"{root}/char", stat.S_IFCHR | 0o600, os.makedev(5, 1))
    os.mknod(f"{root}/block", stat.S_IFBLK | 0o660, os.makedev(259, 200_000))
    for length in (1, 30, 59, 60, 155, 156, 200, 336, 337, 900, 1023):
        os.symlink(bytes(97 + n % 26 for n in range(length)), f"{root}/link{length}".encode())
    write(f"{root}/linked", b"three names")
    os.link(f"{root}/linked", f"{root}/linked2")
    os.link(f"{root}/linked", f"{root}/folder1/linked3")
    write(f"{root}/modes", b"")
    os.chmod(f"{root}/modes", 0o6751)
    os.lchown(f"{root}/modes", 123_456, 4_000_000_000)
    os.chmod(f"{root}/folder40", 0o3777)


def dates(root, latest):
    """Dates about the ends of what the format has."""
    os.mkdir(f"{root}/dates")
    for secs in (0, -1, 1, -(2**31), 2**31 - 1, 2**31, 2**32, 16_299_260_424, 1_700_000_000):
        if secs <= latest:
            write(f"{root}/dates/{secs}", b"")
            os.utime(f"{root}/dates/{secs}", ns=(0, secs * 10**9 + (999_999_999 if 0 < secs < 2**33 else 0)))
    if latest < 2**33:
        os.utime(f"{root}/dates/1", ns=(0, -(10**9) // 2))


def acl(entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def xattrs(root):
    """Attributes in the inode, in a leaf, in nodes, and values of their own; all namespaces; ACLs."""
    whole = acl([(1, 7, 2**32 - 1), (2, 5, 1000), (2, 0, 70_000), (4, 4, 2**32 - 1), (8, 6, 50), (16, 7, 2**32 - 1),
                 (32, 1, 2**32 - 1)])
    os.mkdir(f"{root}/acl")
    os.setxattr(f"{root}/acl", "system.posix_acl_default", whole)
    os.setxattr(f"{root}/acl", "system.posix_acl_access", whole)
    write(f"{root}/acl/inherits", b"")
    for name, count, size in (("few", 3, 10), ("leaf", 12, 60), ("node", 400, 90), ("remote", 6, 9000), ("empty", 2, 0)):
        path = f"{root}/xattr-{name}"
        write(path, b"content of " + name.encode())
        for n in range(count):
            space = ("user", "trusted", "security")[n % 3]
            os.setxattr(path, f"{space}.{name}{n}", bytes((n * 7 + k) % 256 for k in range(size + n)))
    os.setxattr(f"{root}/xattr-remote", "user.largest", bytes(k // 256 % 256 for k in range(65536)))
    os.setxattr(f"{root}/xattr-few", b"user." + bytes(b for b in range(128, 250)), b"odd")
    for n in range(0, 400, 2):
        os.removexattr(f"{root}/xattr-node", f"{('user', 'trusted', 'security')[n % 3]}.node{n}")
    os.mkdir(f"{root}/folder-xattr")
    for n in range(30):
        os.setxattr(f"{root}/folder-xattr", f"user.attribute{n}", b"v" * n)
        write(f"{root}/folder-xattr/{n}", b"")


def contents(root, extents):
    """Files with holes, with unwritten extents, and of many extents."""
    block = os.statvfs(root).f_bsize
    write(f"{root}/hole", b"head")
    write(f"{root}/hole", b"tail", 50_000_001)
    write(f"{root}/only-hole", b"")
    os.truncate(f"{root}/only-hole", 3_000_001)
    fd = os.open(f"{root}/unwritten", os.O_CREAT | os.O_RDWR)
    fallocate(fd, 0, 0, 64 * block)
    os.pwrite(fd, RANDOM.randbytes(3 * block), 5 * block)
    os.pwrite(fd, RANDOM.randbytes(100), 40 * block + 7)
    os.ftruncate(fd, 70 * block + 3)
    fallocate(fd, KEEP_SIZE, 70 * block, 100 * block)
    os.close(fd)
    fd = os.open(f"{root}/gaps", os.O_CREAT | os.O_RDWR)
    for n in range(extents):
        os.pwrite(fd, struct.pack("<Q", n) * 16, 2 * n * block)
    os.close(fd)
    for size in (1, block - 1, block, block + 1, 10 * block + 5):
        write(f"{root}/size{size}", RANDOM.randbytes(size))


def clones(root, extents):
    """A file that is another backwards: every block of it an extent, and shared."""
    block = os.statvfs(root).f_bsize
    write(f"{root}/forward", RANDOM.randbytes(extents * block))
    there, back = os.open(f"{root}/forward", os.O_RDONLY), os.open(f"{root}/backward", os.O_CREAT | os.O_RDWR)
    os.fsync(there)
    for n in range(extents):
        request = struct.pack("<qQQQ", there, n * block, block, (extents - 1 - n) * block)
        fcntl.ioctl(back, FICLONERANGE, request)
    os.pwrite(back, b"changed", 7 * block)
    os.close(there)
    os.close(back)


def small(root, latest, extents=60):
    folders(root)
    nodes(root)
    dates(root, latest)
    xattrs(root)
    contents(root, extents)


def main(root):
    small(root, 2**62, 6000)
    clones(root, 3000)
    for n in range(200):
        os.mkdir(f"{root}/tree{n}")
        for k in range(100):
            write(f"{root}/tree{n}/file{k}.txt", RANDOM.randbytes(RANDOM.choice((0, 20, 300, 700, 3000, 6000))))


def many(root):
    os.mkdir(f"{root}/many")
    for n in range(50_000):
        write(f"{root}/many/a name of some length {n:07}", b"")


def pieces(root):
    """Free space in single blocks: all that is made then is in pieces. Inodes come first, they need more at once."""
    for name in ("in-pieces", "xattr-pieces", "one", "filler", "rest"):
        write(f"{root}/{name}", b"")
    os.mkdir(f"{root}/pieces")
    subprocess.run(["xfs_io", "-x", "-c", "resblks 0", root], check=True, stdout=subprocess.DEVNULL)
    free, block = os.statvfs(root).f_bavail, os.statvfs(root).f_bsize
    filler, rest = os.open(f"{root}/filler", os.O_RDWR), os.open(f"{root}/rest", os.O_RDWR)
    fallocate(filler, 0, 0, 12_000 * block)
    at = 0
    for step in (free // 4, 4096, 256, 16, 1):
        try:
            while True:
                fallocate(rest, KEEP_SIZE, at * block, step * block)
                at += step
        except OSError:
            pass
    for n in range(0, 12_000, 2):
        fallocate(filler, PUNCH_HOLE | KEEP_SIZE, n * block, block)
    os.fsync(filler)
    os.close(filler)
    os.close(rest)
    for n in range(6000):
        os.link(f"{root}/one", f"{root}/pieces/{n:07}" + " a long name that fills blocks" * 6)
    write(f"{root}/in-pieces", RANDOM.randbytes(2_000_000))
    write(f"{root}/xattr-pieces", b"")
    for n in range(300):
        os.setxattr(f"{root}/xattr-pieces", f"user.{n}", b"v" * 100)
    for n in range(5):
        os.setxattr(f"{root}/xattr-pieces", f"user.long{n}", bytes((n + k // 256) % 256 for k in range(30_000)))


def after(root):
    """Changes that only the log knows."""
    os.mkdir(f"{root}/late")
    for n in range(800):
        write(f"{root}/late/{n}", b"%d" % n)
        os.utime(f"{root}/late/{n}", ns=(0, n * 10**9))
    for n in range(0, 800, 5):
        os.unlink(f"{root}/late/{n}")
    os.rename(f"{root}/linked", f"{root}/late/renamed")
    os.unlink(f"{root}/folder7/entry-00003")
    os.setxattr(f"{root}/folder40", "user.late", b"late" * 40)
    os.symlink("elsewhere", f"{root}/late/link")
    os.truncate(f"{root}/gaps", 100_000)
    for n in range(100):
        os.unlink(f"{root}/folder2500/entry-{3 * n + 1:05}")


if __name__ == "__main__":
    top, sets = sys.argv[1], sys.argv[2:]
    for name in sets:
        if name == "small-classic":
            small(top, 2**31 - 1)
        elif name == "small":
            small(top, 2**62)
        else:
            globals()[name](top)
