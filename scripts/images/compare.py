#!/usr/bin/env python3
"""Compares two listings (see listing.py); what one view does not have ('-') is not compared. Exits with 1 on a difference.

usage: compare.py TRUTH FOUND
"""
import sys

FIELDS = ["path", "kind", "size", "mtime", "mode", "uid", "gid", "links", "target", "xattrs", "content"]
SHOWN_MAX = 20


def read(path):
    with open(path) as f:
        return {line.split("\t", 1)[0]: line.rstrip("\n").split("\t") for line in f}


def differences(truth, found):
    for path, want in truth.items():
        have = found.get(path)
        if have is None:
            yield f"missing: {path}"
            continue
        for name, a, b in zip(FIELDS, want, have):
            if a != b and "-" not in (a, b):
                yield f"{name} of {path}: {b} instead of {a}"
    for path in found:
        if path not in truth:
            yield f"not there: {path}"


if __name__ == "__main__":
    truth, found = read(sys.argv[1]), read(sys.argv[2])
    faults = list(differences(truth, found))
    for fault in faults[:SHOWN_MAX]:
        print(fault[:400])
    print(f"{len(truth)} nodes, {len(faults)} differences")
    sys.exit(1 if faults else 0)
