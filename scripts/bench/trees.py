"""The trees that are backed up, the same on every machine, and the proof that a tree came back whole."""

import os
import random
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

LINUX = "/usr/src/linux-source-6.1.tar.xz"
PIECE = 1 << 20
# Larger ones would make a small image too full.
FILE_BYTES_MAX = 16 * PIECE


class Differs(Exception):
    """A tree is not what it should be: no number of this run may be believed."""


def make_linux(folder, size):
    """The source of Linux 6.1: 78 000 files, most of them text; two parts of it if quick."""
    only = ["linux-source-6.1/fs", "linux-source-6.1/Documentation"] if size == QUICK else []
    folder.mkdir()
    subprocess.run(["tar", "xJf", LINUX, "-C", folder, "--strip-components=1", *only], check=True)


def pools(dice, length):
    """Something that compresses like text, and something that does not."""
    words = [dice.randbytes(dice.randint(1, 5)).hex() for _ in range(5000)]
    text = " ".join(dice.choices(words, k=length // 7)).encode()
    return text, dice.randbytes(len(text))


def make_small(folder, size):
    """1 000 folders of 100 files of 0 to 8 KiB, three quarters of them text; a tenth if quick. A million of at most 400 bytes
    if large."""
    dice = random.Random(7)
    folders, bytes_max = {QUICK: (100, 8192), USUAL: (1000, 8192), LARGE: (10_000, 400)}[size]
    text, noise = pools(dice, 1_400_000)
    for i in range(folders):
        inner = folder / f"{i // 100:02d}" / f"{i:04d}"
        inner.mkdir(parents=True)
        for j in range(100):
            pool = noise if j % 4 == 0 else text
            at = dice.randrange(len(pool) - 8192)
            (inner / f"file-{j:03d}").write_bytes(pool[at : at + dice.randint(0, bytes_max)])


def make_noise(path, size, seed):
    """A file of noise, another for another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    with open(path, "wb") as out:
        for _ in range(size // PIECE):
            out.write(dice.randbytes(PIECE))


def make_log(path, size):
    """A log: lines that begin with a time and differ in a few words."""
    dice = random.Random(5)
    services = [f"{name}[{dice.randrange(1, 30000)}]" for name in ("sshd", "cron", "kernel", "nginx", "postgres", "systemd")]
    acts = [f"{verb} {dice.randbytes(4).hex()} from" for verb in ("accepted", "closed", "started", "finished", "failed") for _ in range(50)]
    second, written = 1_700_000_000, 0
    with open(path, "wb") as out:
        while written < size:
            lines = []
            for _ in range(10_000):
                second += dice.randrange(3)
                address = f"10.{dice.randrange(4)}.{dice.randrange(256)}.{dice.randrange(256)}"
                lines.append(f"{second} host {dice.choice(services)}: {dice.choice(acts)} {address} port {dice.randrange(1024, 65536)}\n")
            written += out.write("".join(lines).encode())


def make_mix(folder, size):
    """4 GiB in four files: noise, a log, a disk with an ext4, and that disk in a qcow2 file; a tenth if quick."""
    mib = 102 if size == QUICK else 1024
    make_noise(folder / "noise.bin", mib * PIECE, 3)
    make_log(folder / "text.log", mib * PIECE)
    image = folder / "disk.img"
    with tempfile.TemporaryDirectory(dir=folder.parent) as inside:
        fill_from_usr(Path(inside), mib * PIECE * 6 // 10)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", inside, image, f"{mib}M"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", image, folder / "disk.qcow2"], check=True)


def fill_from_usr(folder, bytes_wanted):
    """Files of this system, none of them large, until there is enough."""
    left = bytes_wanted
    for top in ("/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/share", "/usr/lib"):
        for name, found in walk(top):
            if left <= 0:
                return
            to = folder / top[1:] / name
            if stat.S_ISREG(found.st_mode) and found.st_size <= FILE_BYTES_MAX and not to.exists():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(os.path.join(top, name), to)
                left -= found.st_size


def make_debian(folder, size):
    """A copy of what Debian is made of: /usr, /etc and /var/lib/dpkg of this machine; a part of that if quick."""
    tops = ["usr/bin", "usr/share/doc"] if size == QUICK else ["usr", "etc", "var/lib/dpkg"]
    folder.mkdir()
    without = ["--exclude=usr/src/*", "--exclude=usr/local/*"]
    pack = ["tar", "c", "-C", "/", "--one-file-system", *without, *tops]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "xp", "-C", folder], stdin=packing.stdout, check=True)
    if packing.returncode:
        raise RuntimeError("the files of this system cannot be copied")


def make_many(folder, files, contents):
    """Folders of 100 files; `contents(number)` is what is in them."""
    for i in range(files // 100):
        inner = folder / f"{i // 10000:02d}" / f"{i // 100:04d}" / f"{i:06d}"
        inner.mkdir(parents=True)
        for j in range(100):
            (inner / f"file-{j:02d}").write_bytes(contents(i * 100 + j))


QUICK, USUAL, LARGE = "quick", "usual", "large"
MAKERS = {"linux": make_linux, "small": make_small, "mix": make_mix, "debian": make_debian}


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
