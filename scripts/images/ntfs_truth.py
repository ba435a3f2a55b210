#!/usr/bin/env python3
"""Makes a listing of an ntfs-3g mount independent of where it was mounted: links into the mount become relative.

usage: ntfs_truth.py MOUNT < LISTING
"""
import os
import sys
from urllib.parse import unquote

SIZE, TARGET = 2, 8

root = sys.argv[1]
for line in sys.stdin:
    fields = line.rstrip("\n").split("\t")
    target = unquote(fields[TARGET])
    if target.startswith(root + "/"):
        folder = os.path.dirname(unquote(fields[0]))
        fields[TARGET] = os.path.relpath(target[len(root) + 1:], folder or ".").replace(" ", "%20")
        fields[SIZE] = str(len(unquote(fields[TARGET])))
    print("\t".join(fields))
