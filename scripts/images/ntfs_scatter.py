#!/usr/bin/env python3
"""Marks every other cluster of a fresh NTFS image as in use, so that whatever is written afterwards is in pieces: files,
folders, and the file table itself.

usage: ntfs_scatter.py IMAGE
needs: ntfsinfo
"""
import re
import struct
import subprocess
import sys

image = sys.argv[1]
text = subprocess.run(["ntfsinfo", "-f", "-v", "-i", "6", image], capture_output=True, text=True, check=False).stdout
runs = re.findall(r"^\s+0x0\s+0x([0-9a-f]+)\s+0x[0-9a-f]+\s*$", text, re.M)
with open(image, "r+b") as f:
    boot = f.read(512)
    cluster = struct.unpack_from("<H", boot, 11)[0] * boot[13]
    clusters = struct.unpack_from("<Q", boot, 40)[0] // boot[13]
    # The runlist of $DATA is the last one that is shown.
    at = int(runs[-1], 16) * cluster
    f.seek(at)
    bitmap = f.read(clusters // 8)
    f.seek(at)
    f.write(bytes(byte | 0x55 for byte in bitmap))
