#!/usr/bin/env python3
"""Fills a mounted NTFS volume with what a reader can get wrong.

usage: ntfs_fill.py MOUNT PART...       parts: many tree fragments sparse names streams links special dates packed reparse
"""
import os
import random
import socket
import stat
import struct
import sys

R = random.Random(7)
PACKED = 0x800


def put(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


def text(size):
    words = [b"alpha", b"beta", b"gamma", b"delta", b"\n", b"epsilon "]
    return b" ".join(R.choices(words, k=size // 4))[:size]


def folder(root, name):
    path = os.path.join(root, name)
    os.makedirs(path, exist_ok=True)
    return path


def many(root, count=50000):
    """A folder with a tree of index blocks three levels deep."""
    d = folder(root, "many")
    for n in range(count):
        put(f"{d}/File {n:06} of many.txt", b"%d" % n if n % 10 == 0 else b"")


def tree(root, folders=12, files=250):
    for n in range(folders):
        d = folder(root, f"tree/{n % 4}/{n}")
        for m in range(files):
            put(f"{d}/{m}.bin", R.randbytes(R.choice([0, 1, 100, 600, 700, 1024, 4096, 5000, 20000])))


def fragments(root, count=4000):
    """Files that grow in turn: on a volume without two free clusters side by side they have runs in many records."""
    d = folder(root, "fragments")
    files = [open(f"{d}/{n}", "wb", buffering=0) for n in range(3)]
    for n in range(count):
        files[n % 2].write(b"%08d" % n * 512)
        if n % 97 == 0:
            files[2].write(b"%08d" % n * 700)
    for f in files:
        f.close()


def sparse(root, size=600 << 20):
    d = folder(root, "sparse")
    with open(f"{d}/holes", "wb") as f:
        for at in [0, 1 << 20, (1 << 20) + 5000, 77 << 20, size - 9000]:
            f.seek(at)
            f.write(R.randbytes(3000))
        f.truncate(size)
    with open(f"{d}/only a hole", "wb") as f:
        f.truncate(10 << 20)
    with open(f"{d}/starts with a hole", "wb") as f:
        f.seek(300000)
        f.write(b"end")


def names(root):
    d = folder(root, "names")
    for name in [b"README", b"Readme", b"readme", b"ReadMe", b"a:b", b"con", b"dot.", b"space ", b"q?*<>|\"\\", "é".encode(),
                 "É".encode(), "e\u0301".encode(), "日本語".encode(), "😀.txt".encode(), b"x" * 255, "語".encode() * 80,
                 "\u00b5\u03bc\u0130\u0131\u1e9e\u00df".encode(), b"lone\xed\xa0\x80high", b"lone\xed\xb0\x80low", b"$MFT", b"$Extend"]:
        try:
            put(os.path.join(os.fsencode(d), name), name)
        except OSError as error:
            print(f"ntfs-3g does not make {name!r}: {error}", file=sys.stderr)
    deep = d
    for n in range(40):
        deep = folder(deep, f"deep {n}")
    put(f"{deep}/file", b"deep")


def streams(root):
    d = folder(root, "streams")
    for n, size in enumerate([0, 1, 500, 700, 5000, 65536]):
        put(f"{d}/{n}", b"main" * n)
        os.setxattr(f"{d}/{n}", "user.stream", R.randbytes(size))
    put(f"{d}/sixty", b"x" * 3000)
    for n in range(60):
        os.setxattr(f"{d}/sixty", f"user.Stream number {n}", R.randbytes(R.choice([5, 300, 3000])))
    os.setxattr(folder(d, "folder"), "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
    put(f"{d}/folder/child")


def links(root):
    d = folder(root, "links")
    put(f"{d}/first", b"linked")
    for n in range(300):
        os.link(f"{d}/first", f"{d}/link number {n} of a file with so many names that they need a list")
    for n, target in enumerate(["first", "../tree", "/etc/passwd", "a" * 1000, "ü/日本", "nowhere"]):
        os.symlink(target, f"{d}/symbolic {n}")


def special(root):
    d = folder(root, "special")
    os.mkfifo(f"{d}/fifo")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f"{d}/socket")
    os.mknod(f"{d}/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(f"{d}/disk", 0o660 | stat.S_IFBLK, os.makedev(8, 300))


def dates(root):
    # Whole seconds before 1970: ntfs-3g shows others wrong.
    d = folder(root, "dates")
    for year, ns in [(1601, -11644473500 * 10**9), (1901, -2177452800 * 10**9), (1969, -10**9), (1970, 0), (2000, 946684800123456700),
                     (2038, 2147483648 * 10**9 + 900), (2106, 4294967296 * 10**9), (2500, 16725225600 * 10**9)]:
        put(f"{d}/{year}")
        os.utime(f"{d}/{year}", ns=(ns // 100 * 100, ns // 100 * 100))


def packed(root, count=150):
    """Compressed files: units that shrink, that do not, that are holes, and all sizes around their limits."""
    d = folder(root, "packed")
    os.setxattr(d, "system.ntfs_attrib_be", struct.pack(">I", PACKED))
    for n, size in enumerate([0, 1, 700, 4095, 4096, 4097, 61440, 65535, 65536, 65537, 131072, 200000]):
        put(f"{d}/text {n}", text(size))
        put(f"{d}/noise {n}", R.randbytes(size))
        put(f"{d}/zeros {n}", bytes(size))
    for n in range(count):
        parts = R.choices([text(65536), R.randbytes(65536), bytes(65536), text(3000), bytes(30000), R.randbytes(9000), b"ab" * 40000], k=R.randint(1, 9))
        put(f"{d}/mixed {n}", b"".join(parts))
    with open(f"{d}/holes", "wb") as f:
        for at in [0, 3 << 20, (5 << 20) + 777]:
            f.seek(at)
            f.write(text(100000))
        f.truncate(8 << 20)
    put(f"{d}/large", b"".join(text(50000) + R.randbytes(5000) for _ in range(60)))
    os.setxattr(f"{d}/text 3", "user.packed stream", text(50000))


def compact(root):
    """Files for ntfs_compact.py: text, programs, noise, with sizes around the limits of chunks; each four times."""
    d = folder(root, "compact")
    with open("/bin/bash", "rb") as f:
        program = f.read()
    for n, size in enumerate([1, 100, 4096, 4097, 8192, 16385, 32768, 32769, 100000, 700000]):
        for method in range(4):
            put(f"{d}/text {n}.{method}", text(size))
            put(f"{d}/program {n}.{method}", program[:size])
            put(f"{d}/noise {n}.{method}", R.randbytes(size))
            put(f"{d}/zeros {n}.{method}", bytes(size))
            put(f"{d}/mixed {n}.{method}", (text(5000) + R.randbytes(40000) + program[:50000])[:size])


def symlink_data(target, relative):
    name = target.encode("utf-16le")
    data = struct.pack("<HHHHI", 0, len(name), len(name), len(name), relative) + name + name
    return struct.pack("<IHH", 0xA000000C, len(data), 0) + data


def junction_data(target):
    name, shown = ("\\??\\" + target).encode("utf-16le"), target.encode("utf-16le")
    data = struct.pack("<HHHH", 0, len(name), len(name) + 2, len(shown)) + name + b"\0\0" + shown + b"\0\0"
    return struct.pack("<IHH", 0xA0000003, len(data), 0) + data


def reparse(root):
    """Links that Windows and WSL make. Their targets are in another case than the names on the disk."""
    d = folder(root, "Links of Windows/Below")
    put(folder(root, "Target/Sub Folder") + "/File.txt", b"target")
    put(f"{d}/Beside.txt")
    for name, data in {
        "relative": symlink_data("beside.TXT", 1),
        "relative up": symlink_data("..\\..\\TARGET\\sub folder\\file.txt", 1),
        "absolute": symlink_data("\\??\\C:\\target\\SUB FOLDER\\FILE.TXT", 0),
    }.items():
        put(f"{d}/{name}")
        os.setxattr(f"{d}/{name}", "system.ntfs_reparse_data", data)
    for name, data in {
        "junction": junction_data("C:\\Target"),
        "folder link": symlink_data("..\\..\\target", 1),
    }.items():
        os.setxattr(folder(d, name), "system.ntfs_reparse_data", data)


if __name__ == "__main__":
    for part in sys.argv[2:]:
        name, _, count = part.partition("=")
        globals()[name](*[sys.argv[1]] + ([int(count)] if count else []))
