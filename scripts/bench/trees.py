"""The trees that are backed up, the same on every machine, and the proof that a tree came back whole."""

import os
import random
import shutil
import stat
import subprocess
from pathlib import Path

LINUX = "/usr/src/linux-source-6.1.tar.xz"
PIECE = 1 << 20


class Differs(Exception):
    """A tree is not what it should be: no number of this run may be believed."""


def make_linux(folder, quick):
    """The source of Linux 6.1: 78 000 files, most of them text; two parts of it if quick."""
    only = ["linux-source-6.1/fs", "linux-source-6.1/Documentation"] if quick else []
    folder.mkdir()
    subprocess.run(["tar", "xJf", LINUX, "-C", folder, "--strip-components=1", *only], check=True)


def make_small(folder, quick):
    """1 000 folders of 100 files of 0 to 8 KiB, three quarters of them text; a tenth if quick."""
    dice = random.Random(7)
    words = [dice.randbytes(dice.randint(1, 5)).hex() for _ in range(5000)]
    text = " ".join(dice.choices(words, k=200_000)).encode()
    noise = dice.randbytes(len(text))
    for i in range(100 if quick else 1000):
        inner = folder / f"{i // 100:02d}" / f"{i:04d}"
        inner.mkdir(parents=True)
        for j in range(100):
            pool = noise if j % 4 == 0 else text
            at = dice.randrange(len(pool) - 8192)
            (inner / f"file-{j:03d}").write_bytes(pool[at : at + dice.randint(0, 8192)])


MAKERS = {"linux": make_linux, "small": make_small}


def walk(top):
    """Names below `top`, sorted, with what lstat says."""
    stack = [""]
    while stack:
        folder = stack.pop()
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name = os.path.join(folder, entry.name)
                found = entry.stat(follow_symlinks=False)
                yield name, found
                if stat.S_ISDIR(found.st_mode):
                    stack.append(name)


def count(top):
    """Everything in a tree, its top included: what `find` prints."""
    return 1 + sum(1 for _ in walk(top))


def same_bytes(a, b):
    with open(a, "rb", buffering=0) as left, open(b, "rb", buffering=0) as right:
        while True:
            piece = left.read(PIECE)
            if piece != right.read(PIECE):
                return False
            if not piece:
                return True


def compare(source, copy, what):
    """Names, kinds, modes, owners, sizes, times, targets and bytes must be the same."""
    copies = walk(copy)
    for name, original in walk(source):
        copied_name, copied = next(copies, (None, None))
        if copied_name != name:
            raise Differs(f"{what}: {name} should be there, found {copied_name}")
        for field in ("st_mode", "st_uid", "st_gid"):
            if getattr(original, field) != getattr(copied, field):
                raise Differs(f"{what}: {field} of {name}")
        a, b = os.path.join(source, name), os.path.join(copy, name)
        if stat.S_ISLNK(original.st_mode):
            if os.readlink(a) != os.readlink(b):
                raise Differs(f"{what}: target of {name}")
            continue
        if original.st_mtime_ns != copied.st_mtime_ns:
            raise Differs(f"{what}: time of {name}")
        if stat.S_ISREG(original.st_mode) and (original.st_size != copied.st_size or not same_bytes(a, b)):
            raise Differs(f"{what}: contents of {name}")
    extra, _ = next(copies, (None, None))
    if extra is not None:
        raise Differs(f"{what}: {extra} should not be there")


def bytes_of(top):
    """The sizes of all files of a tree."""
    return sum(found.st_size for _, found in walk(top) if stat.S_ISREG(found.st_mode))


def remove(top):
    if Path(top).exists():
        shutil.rmtree(top)
