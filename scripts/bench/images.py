"""Disk images: backups of two versions, and reading files inside, against the alternatives; see `images`.

The image is an ext4 with a part of /usr, and a folder of 1 000 files. Everything lies in memory if there is room. Nothing
is printed unless what each program stored or showed was the same as the source."""

import hashlib
import os
import random
import stat
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import common
import tools
import trees
from common import MIB

FILES = 1000
FILE_BYTES = 64 << 10
PAGES_BYTES = 16 * MIB
FOLDER = "thousand"
CHANGED_SHARE = 0.02
# How the virtual machine of guestmount may run, and how long to wait for it: where KVM is there but broken, for ever.
GUESTS = [("with KVM if there is one", 45, ""), ("emulated", 240, "force_tcg")]
# How often the warm folder is read; the median counts.
WARM_PASSES = 5


def call(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def loop_mount(image, at, writable=False):
    call("mount", "-t", "ext4", "-o", "loop," + ("rw" if writable else "ro"), image, at)
    try:
        yield at
    finally:
        call("umount", at)


def fill(root, bytes_wanted):
    """A part of /usr, and the folder of small files."""
    trees.fill_from_usr(root, bytes_wanted)
    folder = root / FOLDER
    folder.mkdir()
    dice = random.Random(11)
    words = b" ".join(dice.randbytes(3).hex().encode() for _ in range(20_000))
    for number in range(FILES):
        noise, at = dice.randbytes(FILE_BYTES // 2), dice.randrange(len(words) - FILE_BYTES)
        (folder / f"{number:04d}").write_bytes((noise + words[at : at + FILE_BYTES])[: dice.randint(1, 2 * FILE_BYTES)])
    (root / "srv").mkdir()
    (root / "srv/pages.db").write_bytes(dice.randbytes(PAGES_BYTES))


def make_images(scratch, mib):
    """Two versions, the second in a file of the same name."""
    first, second = scratch / "first" / "disk.img", scratch / "second" / "disk.img"
    first.parent.mkdir()
    second.parent.mkdir()
    mnt = scratch / "mnt"
    mnt.mkdir()
    with open(first, "wb") as out:
        out.truncate(mib * MIB)
    call("mke2fs", "-q", "-t", "ext4", "-L", "data", first)
    with loop_mount(first, mnt, writable=True):
        fill(mnt, int(mib * MIB * 0.8) - FILES * FILE_BYTES - PAGES_BYTES)
    call("cp", "--sparse=always", first, second)
    with loop_mount(second, mnt, writable=True):
        wanted = int(mib * MIB * CHANGED_SHARE)
        call(common.ROOT / "scripts/images/change.py", mnt, wanted, "srv", "usr/share", "usr/lib", "usr/bin")
    return first, second


class BygoneImage(tools.Bygone):
    name = "bygone --image"

    def backup(self, source):
        return self.run("--quiet", "backup", "--image", str(source))

    def give_back(self, source, to):
        return self.run("--quiet", "restore", "--image", "latest", str(to))


class BygoneFile(tools.Bygone):
    name = "bygone, a file"

    def give_back(self, source, to):
        self.run("--quiet", "restore", f"latest:{source}", "--to", str(to.parent))
        (to.parent / source.name).rename(to)


class Restic(tools.Restic):
    def give_back(self, source, to):
        self.run("--quiet", "restore", "latest", "--target", str(to.parent / "tree"))
        Path(f"{to.parent}/tree{source}").rename(to)


class Borg(tools.Borg):
    how = [*tools.Borg.how, "--chunker-params", "fixed,65536"]

    def give_back(self, source, to):
        run = tools.run([self.program, "extract", "--sparse", f"::{self.count}"], self.env, cwd=to.parent)
        Path(f"{to.parent}{source}").rename(to)
        return run


KINDS = [(BygoneImage, "bygone"), (BygoneFile, "bygone"), (Restic, "restic"), (Borg, "borg")]


def used_of(image, scratch):
    """Hash of the files inside: what is free need not come back."""
    with loop_mount(image, scratch / "mnt") as root:
        return tree_hash(root)


def tree_hash(root):
    digest = hashlib.sha256()
    for name, found in trees.walk(root):
        digest.update(f"{name}\0{found.st_mode}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape"))
        if stat.S_ISREG(found.st_mode):
            digest.update((root / name).read_bytes())
    return digest.hexdigest()


def check_back(tool, source, scratch):
    folder = scratch / "back"
    folder.mkdir()
    tool.give_back(source, folder / "disk")
    if isinstance(tool, BygoneImage):
        is_same = used_of(folder / "disk", scratch) == used_of(source, scratch)
    else:
        is_same = trees.same_bytes(folder / "disk", source)
    if not is_same:
        raise trees.Differs(f"restored by {tool.name}")
    trees.remove(folder)


def backup_round(tool, place, first, second, scratch, verify):
    """Both versions, under one name."""
    tool.init()
    result = {}
    source = place / "disk.img"
    for name, version in (("first", first), ("second", second)):
        os.replace(version, source)
        before = trees.bytes_of(tool.repository)
        cost = tool.backup(source)
        result.update({name: cost.seconds, f"{name}_cpu": cost.cpu, f"{name}_rss": cost.rss_mib})
        result[f"{name}_size"] = (trees.bytes_of(tool.repository) - before) / MIB
        if verify and name == "second":
            check_back(tool, source, scratch)
        os.replace(source, version)
    return result


MEASURES = [("first", "first version", "s"), ("first_cpu", "- processor time", "s"), ("first_rss", "- memory", "MiB"),
            ("first_size", "- repository", "MiB"), ("second", "second version", "s"), ("second_cpu", "- processor time", "s"),
            ("second_rss", "- memory", "MiB"), ("second_size", "- repository grows by", "MiB")]


def suite_backup(arguments, scratch, report, first, second):
    place = scratch / "place"
    place.mkdir()
    results = {kind.name: [] for kind, _ in KINDS}
    for number, (kind, program) in common.rounds(arguments.rounds, KINDS):
        tool = kind(arguments.programs[program], scratch / "tool")
        result = backup_round(tool, place, first, second, scratch, verify=number == 0)
        trees.remove(tool.folder)
        results[tool.name].append(result)
        report.add("image", tool.name, number, result)
    rows = []
    for key, text, unit in MEASURES:
        rows.append([text, *(common.shown([result[key] for result in rounds], unit) for rounds in results.values())])
    return f"Backup of an image of {arguments.mib} MiB, and of its next version", ["", *results], rows


# What shows the inside of an image: each gives the folder of files once it can be listed.

class Views:
    def __init__(self, arguments, scratch, image):
        self.scratch, self.image = scratch, image
        self.bygone = BygoneImage(arguments.programs["bygone"], scratch / "bygone")
        self.restic = Restic(arguments.programs["restic"], scratch / "restic")
        for tool in (self.bygone, self.restic):
            tool.init()
            tool.backup(image)
        self.guest_env = dict(os.environ, TMPDIR=str(scratch), LIBGUESTFS_BACKEND="direct", LIBGUESTFS_CACHEDIR=str(scratch))
        self.guest_patience = GUESTS[0][1]

    def guest(self, at):
        """Makes the virtual machine of guestmount, which is not counted. How it runs; nothing if it does not."""
        for how, patience, settings in GUESTS:
            self.guest_env["LIBGUESTFS_BACKEND_SETTINGS"] = settings
            self.guest_patience = patience
            try:
                with self.by_guestmount(at):
                    return how
            except RuntimeError as error:
                output = scratch_output(self.scratch).read_text(errors="replace")
                print(f"  guestmount, {how}: {error} {output[-500:]}", file=sys.stderr)
        return None

    @contextmanager
    def by_bygone(self, at):
        tool = self.bygone
        with open(scratch_output(self.scratch), "wb") as output:
            child = subprocess.Popen(tool.command("mount", "--foreground", "latest", str(at)), env=tool.env, stdout=output, stderr=output)
            try:
                wait_for(lambda: [name for name in os.listdir(at) if not name.endswith(".img")], child)
                yield next(at / name for name in os.listdir(at) if not name.endswith(".img")) / FOLDER
            finally:
                leave(at, child)

    @contextmanager
    def by_guestmount(self, at):
        """On the local image itself: what it would have to fetch from a backup first is not counted."""
        command = ["guestmount", "--ro", "--no-fork", "-a", str(self.image), "-m", "/dev/sda", str(at)]
        with open(scratch_output(self.scratch), "wb") as output:
            child = subprocess.Popen(command, env=self.guest_env, stdout=output, stderr=output)
            try:
                wait_for(lambda: os.path.ismount(at), child, self.guest_patience)
                yield at / FOLDER
            finally:
                leave(at, child)

    @contextmanager
    def by_restic(self, at):
        inner = self.scratch / "restic-drive"
        inner.mkdir()
        tool = self.restic
        with open(scratch_output(self.scratch), "wb") as output:
            child = subprocess.Popen(tool.mount_command(inner), env=tool.env, stdout=output, stderr=output)
            try:
                shown = Path(tool.shown(inner, self.image))
                wait_for(shown.exists, child)
                with loop_mount(shown, at):
                    yield at / FOLDER
            finally:
                leave(inner, child)
                inner.rmdir()

    @contextmanager
    def by_kernel(self, at):
        with loop_mount(self.image, at):
            yield at / FOLDER


def scratch_output(scratch):
    return scratch / "view-output"


def wait_for(condition, child, patience=60):
    end = time.perf_counter() + patience
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if child.poll() is not None:
            raise RuntimeError(f"it ended with {child.returncode} and did not mount")
        if time.perf_counter() > end:
            raise RuntimeError(f"it did not mount within {patience} s")
        time.sleep(0.002)


def leave(at, child):
    deadline = time.perf_counter() + 20
    while os.path.ismount(at) and time.perf_counter() < deadline:
        subprocess.run(["umount", at], check=False, stderr=subprocess.DEVNULL)
        time.sleep(0.05)
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def read_all(folder):
    """Everything in the folder, in order; seconds, and what was read."""
    contents = []
    began = time.perf_counter()
    for name in sorted(os.listdir(folder)):
        with open(folder / name, "rb", buffering=0) as file:
            contents.append(file.read())
    return time.perf_counter() - began, contents


def forget(folder):
    """The kernel forgets the content of the files of this mount, no more: the machine may have other work."""
    for name in os.listdir(folder):
        with open(folder / name, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def view_round(view, at, truth):
    result = {}
    began = time.perf_counter()
    with view(at) as folder:
        with open(folder / "0000", "rb") as file:
            content = file.read()
        result["first"] = time.perf_counter() - began
        if content != truth[0]:
            raise trees.Differs("the first file")
        for name, passes, forgets in (("all", 1, False), ("again", WARM_PASSES, True), ("kept", WARM_PASSES, False)):
            taken = []
            for _ in range(passes):
                if forgets:
                    forget(folder)
                seconds, contents = read_all(folder)
                taken.append(seconds)
                if contents != truth:
                    raise trees.Differs(f"files read ({name})")
            result[name] = statistics.median(taken)
    return result


def suite_inside(arguments, scratch, report, image):
    at = scratch / "view"
    at.mkdir()
    with loop_mount(image, scratch / "mnt") as root:
        _, truth = read_all(root / FOLDER)
    views = Views(arguments, scratch, image)
    kinds = {"bygone": views.by_bygone, "kernel, local image": views.by_kernel, "restic's drive, kernel": views.by_restic}
    results = {name: [] for name in kinds}
    for number, name in common.rounds(arguments.rounds, kinds):
        results[name].append(view_round(kinds[name], at, truth))
        report.add("inside an image", name, number, results[name][-1])
    how = views.guest(at)
    try:
        found = how and view_round(views.by_guestmount, at, truth)
    except RuntimeError as error:
        print(f"  guestmount, {how}: {error}", file=sys.stderr)
        found = None
    if found:
        results[f"guestmount ({how}), local image"] = [found]
        report.add("inside an image", "guestmount", 0, found)
    else:
        print("guestmount cannot run here", file=sys.stderr)
    texts = [("first", "mount until the first file is read"), ("all", f"then all {FILES} for the first time"),
             ("again", "again, after the kernel has dropped their content"), ("kept", "again, nothing dropped")]
    rows = []
    for key, text in texts:
        medians = {name: statistics.median(result[key] for result in results[name]) for name in results}
        ours = medians["bygone"]
        rows.append([text, *(f"{value * 1000:.0f} ms" + (f" ({value / ours:.2f})" if name != "bygone" else "") for name, value in medians.items())])
    size = sum(len(content) for content in truth) / MIB
    return f"{FILES} files of {size:.0f} MiB in one folder inside the image (in brackets: their time / ours)", ["", *results], rows


def parse():
    quick = "a smaller image, one round: to see that it works"
    parser = common.parser("images", "Measures disk images against the alternatives.", quick)
    parser.add_argument("--rounds", type=int, help="how often; medians are shown (3, or 1 if quick)")
    parser.add_argument("--mib", type=int, help="size of the image (1536, or 384 if quick)")
    parser.add_argument("--only", choices=["backup", "inside"], help="only this suite")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.mib = arguments.mib or (384 if arguments.quick else 1536)
    arguments.programs = tools.programs(arguments.binary)
    return arguments


def main():
    arguments = parse()
    report = common.Report("images", arguments.quick)
    tables = []
    with common.scratch("images", common.room()) as scratch:
        first, second = make_images(scratch, arguments.mib)
        if arguments.only != "inside":
            tables.append(suite_backup(arguments, scratch, report, first, second))
        if arguments.only != "backup":
            tables.append(suite_inside(arguments, scratch, report, first))
    report.head(f"data in {scratch.parent}; medians of {arguments.rounds}")
    for found in tables:
        common.table(*found)
    return 0


if __name__ == "__main__":
    common.end(main)
