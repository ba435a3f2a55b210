#!/usr/bin/env python3
"""Fills a folder with what a file system of the ext family can hold.

usage: ext-fill.py DIR main|small|wide|ea|plain|dirty|encrypted [SEED]
main: everything, large; small: the same ideas in a few hundred files; wide: with a larger folder; ea: with long values
of attributes; plain: small, and only what mke2fs -d copies faithfully; dirty: changes to a filled folder (deletions, new
files), each part made durable, for a journal to replay; encrypted: folders under a key that the mount forgets.
"""
import os
import random
import stat
import struct
import sys

TIMES = [-(1 << 31), -(10**9), -1, 0, 1, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 33) + 5, (1 << 34) - (1 << 31) - 1]
MAGIC = bytes.fromhex("c03b3998")  # what a journal escapes at the start of a block


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def at(path, *pieces, size=None):
    """A sparse file: (offset, bytes) of what is not a hole."""
    with open(path, "wb") as f:
        for offset, data in pieces:
            f.seek(offset)
            f.write(data)
        f.truncate(size if size is not None else f.tell())


def names(d):
    for name in [b"a b", b"new\nline", b"\xff\xfe\x80", b"caf\xe9", "naïve ☃ 😀".encode(), b"n" * 255, "é".encode() * 127, b"-", b"~", b"..."]:
        put(os.path.join(d, name), name)


def sparse(d, rng, block, kind):
    per = block // 4
    first = [0, 11, 12, 13, 12 + per - 1, 12 + per, 12 + per + 1, 12 + 2 * per, 12 + per + per * per - 1]
    third = 12 + per + per * per
    far = [third, third + 1, third + per + 7, third + 5000] if third * block < 1 << 30 else []
    at(d + b"/levels", *[(n * block, rng.randbytes(block)) for n in first + far])
    at(d + b"/hole-first", (50 * block, b"end"))
    if kind != "plain":  # mke2fs -d with inline_data gets its length wrong
        at(d + b"/hole-last", (0, b"start"), size=70 * block + 13)
    at(d + b"/only-hole", size=3_000_001)
    at(d + b"/odd", (1, b"x"), (100_001, b"yy"), (1_000_003, b"zzz"), size=1_000_100)
    if kind == "main":
        at(d + b"/4g", (0, b"a"), (1 << 32, rng.randbytes(9000)), ((1 << 32) + (1 << 20), b"b"), size=(1 << 32) + (3 << 20))


def unwritten(d, rng):
    for name, size in [(b"none", 0), (b"part", 200_000), (b"all", 1 << 20)]:
        with open(d + b"/unwritten-" + name, "wb") as f:
            try:
                os.posix_fallocate(f.fileno(), 0, 1 << 20)
            except OSError:
                return
            f.write(rng.randbytes(size))
            f.seek(700_000)
            f.write(b"island")


def fragmented(d, rng, count):
    """Blocks of two files by turns, and every second one of a third punched out."""
    block = 4096
    files = [os.open(d + b"/turns-%d" % n, os.O_WRONLY | os.O_CREAT | os.O_DIRECT) for n in range(2)]
    import mmap
    page = mmap.mmap(-1, block)
    for n in range(count):
        for k, fd in enumerate(files):
            page[:] = struct.pack("<II", n, k) * (block // 8)
            os.pwrite(fd, page, n * block)
    for fd in files:
        os.close(fd)
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    with open(d + b"/punched", "wb") as f:
        f.write(rng.randbytes(count * 2 * block))
        f.flush()
        os.fsync(f.fileno())
        for n in range(count):
            libc.fallocate(f.fileno(), 3, ctypes.c_long(2 * n * block), ctypes.c_long(block))


def acl(entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


def xattrs(d, rng, large_values):
    none = 0xFFFFFFFF
    many = 30 if os.statvfs(d).f_bsize >= 4096 else 12
    f = d + b"/few"
    put(f, b"")
    os.setxattr(f, "user.a", b"1")
    os.setxattr(f, "user.empty", b"")
    f = d + b"/many"
    put(f, b"many")
    for n in range(many):
        os.setxattr(f, "user.attr-%d" % n, rng.randbytes(n))
    f = d + b"/block"
    put(f, b"block")
    os.setxattr(f, "user.long", rng.randbytes(700))
    os.setxattr(f, "trusted.t", b"trusted")
    os.setxattr(f, "security.capability", bytes.fromhex("0100000200000400000000000000000000000000"))
    for n in range(4):
        put(d + b"/shared-%d" % n, b"")
        os.setxattr(d + b"/shared-%d" % n, "user.same", b"s" * 600)
    f = d + b"/acl"
    put(f, b"acl")
    os.setxattr(f, "system.posix_acl_access",
                acl([(1, 6, none), (2, 4, 1000), (2, 7, 100000), (4, 4, none), (8, 5, 7), (16, 7, none), (32, 0, none)]))
    os.mkdir(d + b"/acl-folder")
    os.setxattr(d + b"/acl-folder", "system.posix_acl_default", acl([(1, 7, none), (2, 5, 33), (4, 5, none), (16, 5, none), (32, 5, none)]))
    put(d + b"/acl-folder/heir", b"")
    os.symlink(b"few", d + b"/link")
    os.setxattr(d + b"/link", "trusted.on-link", b"l", follow_symlinks=False)
    for n, size in enumerate(large_values):
        put(d + b"/large-%d" % n, b"")
        os.setxattr(d + b"/large-%d" % n, "user.large", rng.randbytes(size))


def links(d, longest):
    put(d + b"/target", b"target")
    for n in range(5):
        os.link(d + b"/target", d + b"/hard-%d" % n)
    for n in sorted({1, 30, 58, 59, 60, 61, 62, 100, 155, 156, 157, 1000, longest}):
        if n <= longest:
            os.symlink(b"t" * n, d + b"/soft-%d" % n)
    os.symlink(b"\xff/../\x80 x", d + b"/soft-bytes")


def special(d):
    os.mkfifo(d + b"/fifo")
    os.mknod(d + b"/socket", stat.S_IFSOCK | 0o755)
    for n, (major, minor) in enumerate([(1, 3), (8, 255), (8, 256), (259, 70000), (4095, 1 << 19)]):
        os.mknod(d + b"/char-%d" % n, stat.S_IFCHR | 0o600, os.makedev(major, minor))
        os.mknod(d + b"/block-%d" % n, stat.S_IFBLK | 0o660, os.makedev(major, minor))


def owners(d):
    for n, (mode, uid, gid) in enumerate([(0o4755, 0, 0), (0o2755, 1000, 1000), (0o1777, 70000, 65536), (0, 65534, 4294967294), (0o644, 4000000000, 1)]):
        f = d + b"/owner-%d" % n
        put(f, b"%o" % mode)
        os.chown(f, uid, gid)
        os.chmod(f, mode)


def times(d):
    for n, secs in enumerate(TIMES):
        for nanos in [0, 1, 999_999_999]:
            f = d + b"/time-%d-%d" % (n, nanos)
            put(f, b"")
            os.utime(f, ns=(0, secs * 10**9 + nanos))


def folders(d, count, depth, rng):
    os.mkdir(d + b"/full")
    for n in range(count):
        put(d + b"/full/entry-%d" % n if n % 3 else d + b"/full/%d-entry-with-a-longer-name" % n, b"%d" % n if n % 10 == 0 else b"")
    # Entries that came and went.
    os.mkdir(d + b"/gone")
    for n in range(400):
        put(d + b"/gone/%d" % n, b"")
    for n in range(400):
        if n % 7:
            os.unlink(d + b"/gone/%d" % n)
    path = d + b"/deep"
    for n in range(depth):
        os.mkdir(path)
        path += b"/%d" % n
    os.mkdir(d + b"/sizes")
    for n in [0, 1, 59, 60, 61, 100, 156, 157, 158, 159, 160, 161, 200, 255, 1023, 1024, 1025, 4095, 4096, 4097, 65536, 100_000]:
        put(d + b"/sizes/%d" % n, rng.randbytes(n))


def fill(d, kind, seed):
    rng = random.Random(seed)
    block = os.statvfs(d).f_bsize
    main = kind == "main"
    part = lambda name: (os.mkdir(os.path.join(d, name)), os.path.join(d, name))[1]
    names(part(b"names"))
    if kind == "plain":
        os.mkdir(d + b"/lost+found", 0o700)
        few = part(b"xattrs")
        put(few + b"/few", b"")
        os.setxattr(few + b"/few", "user.a", b"1")
        put(few + b"/more", b"more")
        os.setxattr(few + b"/more", "user.long", rng.randbytes(300))
        put(few + b"/much", b"much")
        os.setxattr(few + b"/much", "user.long", rng.randbytes(700))
        # Folders from none to many entries: those that fit in the inode, its attribute, a block, more.
        for n in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 40]:
            os.makedirs(d + b"/counts/%d" % n)
            for k in range(n):
                put(d + b"/counts/%d/%d" % (n, k), b"")
        for n in range(12):
            for size in [3, 58, 59, 60, 61, 80, 130, 150]:
                put(d + b"/counts/file-%d-%d" % (n, size), rng.randbytes(size))
    else:
        xattrs(part(b"xattrs"), rng, {"ea": [5000, 60_000, 65_536]}.get(kind, []))
        unwritten(part(b"unwritten"), rng)
        fragmented(part(b"fragments"), rng, 4000 if main else 300)
        times(part(b"times"))
    sparse(part(b"sparse"), rng, block, kind)
    links(part(b"links"), 1000 if kind == "plain" else min(block, 4096) - 1)
    special(part(b"special"))
    owners(part(b"owners"))
    folders(part(b"folders"), 50_000 if main else 9000 if kind == "wide" else 300, 60 if main else 10, rng)
    if main:
        for n in range(200):
            os.mkdir(d + b"/tree-%d" % n)
            for k in range(40):
                put(d + b"/tree-%d/%d" % (n, k), rng.randbytes(rng.choice([0, 10, 500, 4096, 9000])))


def durable(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def dirty(d, seed):
    rng = random.Random(seed)
    for turn in range(6):
        new = d + b"/new-%d" % turn
        os.mkdir(new)
        for n in range(60):
            put(new + b"/%d" % n, (MAGIC if n % 3 == 0 else b"") + rng.randbytes(rng.choice([0, 20, 5000, 30_000])))
        put(new + b"/escaped", (MAGIC + rng.randbytes(1020)) * 40)
        durable(new + b"/escaped")
        durable(new)
        if turn % 2:
            # What was metadata is freed (revoked) and becomes content.
            for n in range(60):
                os.unlink(d + b"/new-%d/%d" % (turn - 1, n))
            os.unlink(d + b"/new-%d/escaped" % (turn - 1))
            os.rmdir(d + b"/new-%d" % (turn - 1))
            put(d + b"/reused-%d" % turn, rng.randbytes(300_000))
            durable(d + b"/reused-%d" % turn)
    os.rename(d + b"/names/a b", d + b"/names/renamed")
    os.truncate(d + b"/folders/sizes/100000", 50)
    durable(d + b"/names")
    durable(d + b"/folders/sizes/100000")


def encrypted(d):
    import fcntl
    key = bytearray(struct.pack("<II32sII32s", 2, 0, b"", 64, 0, b"")) + bytearray(range(64))
    fd = os.open(d, os.O_RDONLY)
    fcntl.ioctl(fd, 0xC0506617, key)  # FS_IOC_ADD_ENCRYPTION_KEY
    os.close(fd)
    # Paddings of 4 and 32 bytes; AES-256-XTS for content, AES-256-CBC-CTS for names.
    for n, padding in enumerate([0, 3]):
        locked = d + b"/locked-%d" % n
        os.mkdir(locked)
        fd = os.open(locked, os.O_RDONLY)
        fcntl.ioctl(fd, 0x800C6613, bytearray(struct.pack("<BBBB4s", 2, 1, 4, padding, b"") + key[8:24]))  # FS_IOC_SET_ENCRYPTION_POLICY
        os.close(fd)
        for k in [1, 2, 15, 16, 17, 40, 100, 120]:
            put(locked + b"/" + b"x" * k, b"secret" * k)
        os.mkdir(locked + b"/indexed")
        for k in range(400):
            put(locked + b"/indexed/file-%d" % k, b"")
        os.mkfifo(locked + b"/fifo")
    put(d + b"/open", b"not encrypted")


if __name__ == "__main__":
    where, kind, seed = os.fsencode(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else sys.argv[2]
    if kind == "dirty":
        dirty(where, seed)
    elif kind == "encrypted":
        encrypted(where)
    else:
        fill(where, kind, seed)
