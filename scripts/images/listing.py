#!/usr/bin/env python3
"""Prints everything about a tree that a driver tells, one line a node, so that two views of it can be compared.

usage: listing.py DIR [FIELD...]      fields that a view is known not to have are printed as '-'
The same format as walk.rs: path, kind, size, mtime, mode, uid, gid, links, target, xattrs, SHA-256; names in hex if not plain.
"""
import errno
import hashlib
import os
import stat
import sys

KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFSOCK: "s",
         stat.S_IFCHR: "c", stat.S_IFBLK: "b"}


def shown(name):
    plain = all(33 <= b < 127 and b not in b"\\%" for b in name)
    return name.decode() if plain else "".join(chr(b) if 33 <= b < 127 and b not in b"\\%" else "%%%02x" % b for b in name)


def xattrs_of(path):
    try:
        names = sorted(os.fsencode(n) for n in os.listxattr(path, follow_symlinks=False))
    except OSError:
        return ""
    return ",".join(shown(n) + "=" + os.getxattr(path, n, follow_symlinks=False).hex() for n in names)


def digest(path):
    h = hashlib.sha256()
    try:
        with open(path, "rb") as f:
            while block := f.read(1 << 20):
                h.update(block)
    except OSError as error:
        # The kernel says so when the file is opened, a drive when it is read.
        if error.errno == errno.ENOKEY:
            return "-"
        raise
    return h.hexdigest()


def line(path, name, without):
    st = os.lstat(path)
    kind = KINDS[stat.S_IFMT(st.st_mode)]
    fields = {
        "size": st.st_size if kind in "fl" else 0,
        "mtime": "%d.%09d" % divmod(st.st_mtime_ns, 10**9),
        "mode": "%o" % stat.S_IMODE(st.st_mode) if kind != "l" else "-",
        "uid": st.st_uid,
        "gid": st.st_gid,
        "links": st.st_nlink if kind != "d" else "-",
        "target": shown(os.readlink(path)) if kind == "l" else "",
        "xattrs": xattrs_of(path),
        "content": digest(path) if kind == "f" else "",
    }
    return "\t".join([shown(name), kind] + ["-" if k in without else str(v) for k, v in fields.items()])


def walk(path, name, without):
    print(line(path, name or b".", without))
    if stat.S_ISDIR(os.lstat(path).st_mode):
        for child in sorted(os.listdir(path)):
            walk(os.path.join(path, child), os.path.join(name, child), without)


if __name__ == "__main__":
    sys.setrecursionlimit(10000)
    walk(os.fsencode(sys.argv[1]), b"", set(sys.argv[2:]))
