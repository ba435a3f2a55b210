#!/usr/bin/env python3
"""Changes about so many bytes of a tree, as an upgrade and a day of work do, the same on every machine: files written anew
and put in the place of the old, files changed where they lie, logs that grow, new files, removed files, and single pages
of a large file. Prints the names of what was changed or made, one a line.

usage: change.py ROOT BYTES FOLDER...      only below these folders of ROOT
"""
import os
import random
import sys

PAGE = 4096
# Single pages that are written, of a file that is as large as a small database.
PAGES = 64
SMALLEST, LARGEST = 512, 4 << 20


def files_of(root, folders):
    """Files of a common size, sorted by name; none with several names."""
    for folder in folders:
        for path, names, files in os.walk(os.path.join(root, folder)):
            names.sort()
            for name in sorted(files):
                file = os.path.join(path, name)
                found = os.lstat(file)
                if os.path.isfile(file) and not os.path.islink(file) and found.st_nlink == 1:
                    if SMALLEST <= found.st_size <= LARGEST:
                        yield file, found


def read(file):
    with open(file, "rb") as source:
        return source.read()


def replaced(file, found):
    """What a package manager does. Backwards: as large, and as hard to compress."""
    with open(file + ".new", "wb") as out:
        out.write(read(file)[::-1])
    os.chmod(file + ".new", found.st_mode & 0o7777)
    os.rename(file + ".new", file)


def overwritten(file, _):
    content = read(file)[::-1]
    with open(file, "r+b") as out:
        out.write(content)


def copied(file, _):
    with open(file + ".copy", "wb") as out:
        out.write(b"copy\n" + read(file)[::-1])


def change(root, wanted, folders):
    dice = random.Random(4)
    files = sorted(files_of(root, folders))
    dice.shuffle(files)
    changed = []
    rest = iter(files)

    def some(share, deed, name=lambda file: file):
        left = int(wanted * share)
        while left > 0:
            file, found = next(rest)
            deed(file, found)
            changed.append(name(file))
            left -= (found.st_size + PAGE - 1) // PAGE * PAGE

    some(0.45, replaced)
    some(0.15, overwritten)
    some(0.25, copied, lambda file: file + ".copy")
    kept = len(changed)
    some(0.10, lambda file, _: os.remove(file))
    del changed[kept:]
    lines = "".join(f"{dice.randrange(10**9):09d} {dice.choice(folders)} was looked at\n" for _ in range(5000))
    log = os.path.join(root, folders[0], "grows.log")
    with open(log, "a", encoding="utf-8") as out:
        for _ in range(int(wanted * 0.10) // len(lines) + 1):
            out.write(lines)
    pages = os.path.join(root, folders[0], "pages.db")
    with open(pages, "r+b") as out:
        for page in dice.sample(range(os.path.getsize(pages) // PAGE), PAGES):
            out.seek(page * PAGE)
            out.write(dice.randbytes(PAGE))
    os.sync()
    return changed + [log, pages]


if __name__ == "__main__":
    top = sys.argv[1]
    for changed_file in change(top, int(sys.argv[2]), sys.argv[3:]):
        print(os.path.relpath(changed_file, top))
