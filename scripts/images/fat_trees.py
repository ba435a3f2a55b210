#!/usr/bin/env python3
"""Trees for FAT and exFAT volumes.

usage: fat_trees.py KIND IMAGE      fills IMAGE, an empty volume, and writes IMAGE.truth
"""
import random
import struct
import sys

from exfat_write import ExVolume
from exfat_write import Node
from fat_write import EPOCH_1980
from fat_write import File
from fat_write import Folder
from fat_write import Volume
from fat_write import checksum
from fat_write import long_entries

# The first and the last even second, and some between.
TIMES = [EPOCH_1980, 4354819198, 951827696, 1719792000, 2147483648, 1000000000]
NAMES = ["a", "Long name with spaces.txt", "ünïcödé-中文-Ω", "emoji 😀.dat", "x" * 255, "trailing.dots..x", "UPPER", "lower",
         "exactly13char", "exactly-26-characters-long", "+,;=[].plus", "  leading spaces", ".hidden", "many.dots.in.name.tar.gz"]


def small_files(rnd, count, size_max, prefix="file"):
    return [("%s %05d of many.bin" % (prefix, n), File(rnd.randbytes(rnd.randrange(size_max)), mtime=TIMES[n % len(TIMES)]))
            for n in range(count)]


def some(rnd):
    """What every volume gets."""
    named = [(name, File(name.encode() * 50, mtime=TIMES[n % len(TIMES)])) for n, name in enumerate(NAMES)]
    deep = Folder([("end", File(b"end"))])
    for n in range(40):
        deep = Folder([("level %d" % n, deep)], mtime=TIMES[n % len(TIMES)])
    return [
        ("names", Folder(named)),
        ("empty", Folder([])),
        ("empty file", File()),
        ("deep", deep),
        ("in pieces", File(rnd.randbytes(50_000), pieces=30)),
        ("one whole cluster", File(rnd.randbytes(4096))),
        ("folder in pieces", Folder(small_files(rnd, 100, 700), pieces=5)),
        ("hidden", File(b"hidden", attributes=0x27)),
    ]


def tree_small():
    return Folder(some(random.Random(2)) + [("files", Folder(small_files(random.Random(3), 200, 1500)))])


def tree_large():
    """32 000 files, a folder of 50 000, one of 16 000 long names, and a file in 10 000 pieces."""
    rnd = random.Random(4)
    numbered = [("N%07d.DAT" % n, File(short=b"N%07dDAT" % n, mtime=TIMES[n % 6])) for n in range(50_000)]
    long = [("a long name that needs five parts of thirteen characters %05d" % n, File(b"%d" % n if n % 8 == 0 else b""))
            for n in range(10_900)]
    many = [("folder %03d" % n, Folder(small_files(rnd, 200, 4500))) for n in range(100)]
    return Folder(some(rnd) + [
        ("NUMBERED", Folder(numbered, short=b"NUMBERED   ")),
        ("long", Folder(long)),
        ("many", Folder(many)),
        ("scattered", File(rnd.randbytes(40 << 20), pieces=10_240)),
        ("zeros and an end", File(bytes(30 << 20) + b"end")),
    ])


def tree_exfat_small():
    rnd = random.Random(5)
    zoned = [("zone %d" % q, Node(File(b"zone", mtime=TIMES[2]), quarters=q, hundredths=abs(q))) for q in range(-48, 57, 4)]
    return Folder(some(rnd) + [("zones", Folder(zoned)), ("files", Folder(small_files(rnd, 200, 1500)))])


def tree_exfat_large():
    """20 000 files, a folder of 50 000, and a file in 10 000 pieces."""
    rnd = random.Random(6)
    numbered = [("n%d" % n, File(mtime=TIMES[n % 6])) for n in range(50_000)]
    many = [("folder %03d" % n, Folder(small_files(rnd, 200, 4500), pieces=1 + n % 3)) for n in range(100)]
    return Folder(some(rnd) + [
        ("numbered", Folder(numbered)),
        ("many", Folder(many)),
        ("scattered", File(rnd.randbytes(40 << 20), pieces=10_240)),
    ])


def tree_exfat_odd():
    """What exfat-fuse refuses or does not know: parts that were never written, entries of a vendor, a GUID."""
    vendor = Node(File(b"vendor"), extra=b"\xe0" + bytes(31))
    guid = b"\xa0" + bytes(31)
    unused = b"\x05\x02" + bytes(30) + b"\x40" + bytes(31) + b"\x41" + bytes(31)
    root = Folder([
        ("half written", Node(File(b"w" * 100_000), valid=50_001)),
        ("half written, in pieces", Node(File(b"v" * 100_000, pieces=9), valid=33_333)),
        ("never written", Node(File(b"x" * 100_000), valid=0)),
        ("vendor", vendor),
        ("lone \ud83d surrogate", File(b"lone")),
    ])
    root.raw_before = guid + unused
    return root


def tree_odd():
    """What other readers take otherwise, or complain about: code page, case bits, deleted entries, orphans, labels."""
    deleted = b"\xe5ELETED TXT" + bytes([0x20]) + bytes(20)
    orphan = long_entries("an orphan of two parts", b"SOMEBODYELS")
    half = long_entries("a long name without its first part", b"HALF    TXT")[:32]
    wrong = bytearray(long_entries("right name but for its checksum", b"WRONG   TXT"))
    for at in range(13, len(wrong), 32):
        wrong[at] = checksum(b"OTHER   TXT")
    inner = Folder([("INNER.TXT", File(b"inner", short=b"INNER   TXT"))], raw_before=b"", mtime=TIMES[2])
    label = b"NOT A LABEL" + bytes([0x08]) + bytes(20)
    before = deleted + orphan + label + half + struct.pack("<11sB20x", b"HALF    TXT", 0x20) + bytes(wrong)
    volume_root = Folder([
        ("WRONG.TXT", File(b"wrong", short=b"WRONG   TXT")),
        ("lower.txt", File(b"both", short=b"LOWER   TXT", case=0x18)),
        ("base.TXT", File(b"base", short=b"BASE    TXT", case=0x08)),
        ("EXT.txt", File(b"ext", short=b"EXT     TXT", case=0x10)),
        ("ÉTÉ.ÄÖÜ", File(b"code page", short=b"\x90T\x90     \x8e\x99\x9a")),
        ("été", File(b"code page, lower", short=b"\x90T\x90        ", case=0x08)),
        ("σALPHA", File(b"0xE5", short=b"\x05ALPHA     ")),
        ("A B.C D", File(b"spaces", short=b"A B     C D")),
        ("lone \ud83d surrogate", File(b"lone")),
        ("INNER", Folder(inner.children, short=b"INNER      ")),
    ])
    volume_root.raw_before = before
    return volume_root


TREES = {"small": tree_small, "large": tree_large, "odd": tree_odd, "second": tree_small,
         "exfat-small": tree_exfat_small, "exfat-large": tree_exfat_large, "exfat-odd": tree_exfat_odd}

if __name__ == "__main__":
    kind, image = sys.argv[1:]
    volume = (ExVolume if kind.startswith("exfat") else Volume)(image)
    if kind == "exfat-small":
        # exfat-fuse takes 2100 for a leap year.
        TIMES.remove(4354819198)
    volume.fill(TREES[kind]())
    if kind == "second":
        volume.leave_second_table()
    if kind == "odd":
        volume.truth.append("\t".join(["HALF.TXT", "f", "0", "-", "-", "-", "-", "-", "", "", "-"]))
    with open(image + ".truth", "w") as out:
        out.writelines(line + "\n" for line in volume.truth)
