#!/usr/bin/env python3
"""Copies an image with garbage in all bytes that are not in use: what still reads it the same proves the ranges.

usage: walk --used IMAGE | garbage.py IMAGE COPY      a line for each range: first byte, byte after the last
"""
import os
import random
import sys

STEP = 1 << 20
GARBAGE = random.Random(5).randbytes(STEP)


def copy(source, target, start, end):
    for at in range(start, end, STEP):
        source.seek(at)
        target.write(source.read(min(STEP, end - at)))


def spoil(target, start, end):
    for at in range(start, end, STEP):
        target.write(GARBAGE[:min(STEP, end - at)])


def main(image, spoilt):
    ranges = [tuple(map(int, line.split())) for line in sys.stdin]
    with open(image, "rb") as source, open(spoilt, "wb") as target:
        at = 0
        for start, end in ranges:
            assert at <= start < end, "not sorted, or not apart"
            spoil(target, at, start)
            copy(source, target, start, end)
            at = end
        spoil(target, at, os.path.getsize(image))


if __name__ == "__main__":
    main(*sys.argv[1:])
