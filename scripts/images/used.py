#!/usr/bin/env python3
"""Compares two disks with the same GPT in all bytes but those that ext4 (as dumpe2fs tells) and FAT32 of the first call free.
Exits with 1 on a difference.

usage: used.py DISK OTHER
"""
import json
import re
import struct
import subprocess
import sys

SECTOR = 512
PIECE = 1 << 20


def free_of_ext(image, start, size):
    loop = ["losetup", "--find", "--show", "--read-only", "--offset", str(start), "--sizelimit", str(size), image]
    device = subprocess.run(loop, check=True, capture_output=True, text=True).stdout.strip()
    try:
        told = subprocess.run(["dumpe2fs", device], check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    block = int(re.search(r"^Block size: +(\d+)", told, re.M)[1])
    for line in re.findall(r"^  Free blocks: (.+)$", told, re.M):
        for run in line.split(", "):
            first, _, last = run.partition("-")
            yield start + int(first) * block, start + (int(last or first) + 1) * block


def free_of_fat32(image, start, _):
    with open(image, "rb") as disk:
        disk.seek(start)
        boot = disk.read(SECTOR)
        sector, per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
        sectors, fat_sectors = struct.unpack_from("<II", boot, 32)
        disk.seek(start + reserved * sector)
        table = disk.read(fat_sectors * sector)
    cluster = per_cluster * sector
    data = start + (reserved + fats * fat_sectors) * sector
    for number in range(2, 2 + (sectors * sector - (data - start)) // cluster):
        if struct.unpack_from("<I", table, number * 4)[0] & 0x0FFFFFFF == 0:
            at = data + (number - 2) * cluster
            yield at, at + cluster


def partitions(image):
    told = subprocess.run(["sfdisk", "--json", image], check=True, capture_output=True, text=True).stdout
    for part in json.loads(told)["partitiontable"]["partitions"]:
        yield part["start"] * SECTOR, part["size"] * SECTOR


def free_of(image):
    found = []
    for start, size in partitions(image):
        with open(image, "rb") as disk:
            disk.seek(start)
            is_fat = disk.read(90)[82:87] == b"FAT32"
        found.extend((free_of_fat32 if is_fat else free_of_ext)(image, start, size))
    return sorted(found)


def compare(image, other):
    """Bytes compared, and where the first of them differ."""
    compared = at = 0
    with open(image, "rb") as one, open(other, "rb") as two:
        end = one.seek(0, 2)
        if two.seek(0, 2) != end:
            return 0, "the sizes"
        for start, stop in [*free_of(image), (end, end)]:
            while at < start:
                one.seek(at)
                two.seek(at)
                piece = one.read(min(PIECE, start - at))
                if piece != two.read(len(piece)):
                    return compared, f"the {len(piece)} bytes from {at} on"
                at += len(piece)
                compared += len(piece)
            at = max(at, stop)
    return compared, None


if __name__ == "__main__":
    bytes_compared, difference = compare(sys.argv[1], sys.argv[2])
    print(difference or f"{bytes_compared} bytes in use, the same")
    sys.exit(1 if difference else 0)
