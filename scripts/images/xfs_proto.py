#!/usr/bin/env python3
"""A tree as mkfs.xfs can copy it, and the prototype file that tells mkfs.xfs to.

usage: xfs_proto.py tree DIR       makes the tree
       xfs_proto.py proto DIR      prints the prototype
"""
import os
import stat
import sys


def tree(root):
    os.makedirs(f"{root}/sub/deeper")
    for count in (3, 12, 90, 2000):
        os.mkdir(f"{root}/folder{count}")
        for n in range(count):
            with open(f"{root}/folder{count}/entry-{n:05}", "wb") as f:
                f.write(b"%d" % n * (n % 30))
    for length in (1, 20, 80, 255):
        with open(f"{root}/sub/" + "n" * length, "wb") as f:
            f.write(b"x" * length * 1000)
    for length in (1, 50, 156, 157, 700, 1023):
        os.symlink("abcdefghij"[length % 10] * length, f"{root}/sub/deeper/link{length}")
    os.mkfifo(f"{root}/sub/fifo")
    os.mknod(f"{root}/sub/char", stat.S_IFCHR | 0o600, os.makedev(5, 1))
    os.mknod(f"{root}/sub/block", stat.S_IFBLK | 0o660, os.makedev(250, 100_000))
    with open(f"{root}/linked", "wb") as f:
        f.write(b"linked")
    os.chmod(f"{root}/linked", 0o4711)
    os.chown(f"{root}/sub", 1000, 70_000)


def proto(path):
    for name in sorted(os.listdir(path)):
        child = os.path.join(path, name)
        st = os.lstat(child)
        kind = {stat.S_IFREG: "-", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c",
                stat.S_IFBLK: "b"}[stat.S_IFMT(st.st_mode)]
        rest = {"-": child, "l": os.readlink(child) if kind == "l" else "",
                "c": f"{os.major(st.st_rdev)} {os.minor(st.st_rdev)}"}
        rest["b"] = rest["c"]
        flags = ("u" if st.st_mode & 0o4000 else "-") + ("g" if st.st_mode & 0o2000 else "-")
        print(name, f"{kind}{flags}{st.st_mode & 0o777:03o}", st.st_uid, st.st_gid, rest.get(kind, ""))
        if kind == "d":
            proto(child)
            print("$")


if __name__ == "__main__":
    if sys.argv[1] == "tree":
        tree(sys.argv[2])
    else:
        print("/dev/null\n0 0\nd--755 0 0")
        proto(sys.argv[2])
        print("$")
