"""Trees of files through a backup and back: the suites backup, restore, mount-open, walk, read and memory.

A round of a tool makes a new repository and does what the suites that were asked for need, on the newest snapshot of the whole
tree; only then is the tree changed, and changed back for the next tool. The limit is what the file system of the source does
with the same commands, or `cp -a`. 'Cold' is a new mount, 'warm' is once more on the same mount."""

import os
import random
import shlex
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

import common
import tools
import trees

PAGE = 4096
# Random reads of one kind last at most so long.
RANDOM_SECS = 5
RANDOM_READS = 4000
# What is read at random out of decoded memory.
DECODED_BYTES = 16 << 20
SMALL_READS = 500
LARGE_FILE_BYTES = 16 << 20
APPENDED_BYTES = 8 << 20
# Below that it is no tree that is worth a walk.
TREE_FILES_MIN = 100
# What is read at random compresses neither here nor there.
RANDOM_FILE = "noise.bin"


@dataclass
class Data:
    """A tree that is backed up, with what must be known of it."""

    name: str
    source: object
    entries: int
    files: list
    large: list

    @classmethod
    def make(cls, name, source, size):
        trees.MAKERS[name](source, size)
        found = [(path, entry.st_size) for path, entry in trees.walk(source) if stat.S_ISREG(entry.st_mode)]
        # In a tree, nobody cares for single files.
        large = [path for path, size in found if size >= LARGE_FILE_BYTES and len(found) < TREE_FILES_MIN]
        large.sort(key=lambda path: (path != RANDOM_FILE, path))
        return cls(name, source, trees.count(source), [path for path, _ in found], large)

    def is_tree(self):
        return len(self.files) >= TREE_FILES_MIN


def find(folder, data, what):
    # -printf %s makes find ask for attributes.
    seconds, printed = common.shell("find . -printf '%s %m\\n' | wc -l", folder)
    if int(printed) != data.entries:
        raise trees.Differs(f"{what}: find sees {int(printed)} of {data.entries}")
    return seconds


def list_all(folder, *_):
    return common.shell("ls -lR . >/dev/null", folder)[0]


def sum_up(folder, *_):
    return common.shell("du -s . >/dev/null", folder)[0]


def tar(folder, *_):
    # GNU tar does not read files when it writes to /dev/null itself.
    return common.shell("tar cf - . | cat >/dev/null", folder)[0]


WALKS = {"find": find, "ls": list_all, "du": sum_up}


def stat_walk(data):
    """Seconds of a walk that asks for the attributes of everything, on all processors."""
    top = "find . -maxdepth 2 -printf '%s\\n'"
    below = "find . -mindepth 2 -maxdepth 2 -type d -print0"
    each = "find \"$@\" -mindepth 1 -printf '%s\\n'"
    command = f"({top}; {below} | xargs -0 -r -P {os.cpu_count()} -n 32 sh -c {shlex.quote(each)} sh) >/dev/null"
    return common.shell(command, data.source)[0]


def read_through(path):
    """MiB in a second, read as cat does."""
    began, total = time.perf_counter(), 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(common.MIB):
            total += len(piece)
    return total / common.MIB / (time.perf_counter() - began)


def read_some(path, truth, offsets):
    """Reads of 4 KiB in a second; each must be right."""
    taken, done = 0.0, 0
    with open(path, "rb", buffering=0) as file, open(truth, "rb", buffering=0) as right:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for offset in offsets:
            seconds, got = common.timed(lambda: os.pread(file.fileno(), PAGE, offset))
            if got != os.pread(right.fileno(), PAGE, offset):
                raise trees.Differs(f"{path} at {offset}")
            taken, done = taken + seconds, done + 1
            if taken > RANDOM_SECS:
                break
    return done / taken


def forget_pages(path):
    """The kernel forgets the contents of a file on a drive; the drive itself need not."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_small(folder, data):
    """Files opened and read in a second, all over the tree."""
    names = random.Random(29).sample(data.files, min(SMALL_READS, len(data.files)))
    began = time.perf_counter()
    for name in names:
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            file.readall()
    return len(names) / (time.perf_counter() - began)


def read_large(root, data, result):
    """Each large file from beginning to end, cold and warm."""
    for name in data.large:
        short = os.path.basename(name)
        result[f"read_{short}"] = read_through(os.path.join(root, name))
        result[f"read_{short}_warm"] = read_through(os.path.join(root, name))


def read_decoded(root, data):
    """Pages at random of what a drive has decoded a moment ago."""
    name = data.large[0]
    path, dice = os.path.join(root, name), random.Random(19)
    with open(path, "rb", buffering=0) as file:
        for _ in range(DECODED_BYTES // common.MIB):
            file.read(common.MIB)
    forget_pages(path)
    offsets = [dice.randrange(DECODED_BYTES // PAGE) * PAGE for _ in range(RANDOM_READS)]
    # Twice the same page would come from the kernel.
    return read_some(path, data.source / name, list(dict.fromkeys(offsets)))


def read_random(root, data):
    name, dice = data.large[0], random.Random(17)
    pages = (data.source / name).stat().st_size // PAGE
    offsets = [dice.randrange(pages) * PAGE for _ in range(RANDOM_READS)]
    return read_some(os.path.join(root, name), data.source / name, offsets)


@contextmanager
def changed(data, text):
    """The source with one file in a hundred written anew; as it was, times and all, afterwards."""
    names = random.Random(31).sample(data.files, max(1, len(data.files) // 100))
    before = {}
    for name in names:
        path = data.source / name
        before[name] = (path.read_bytes(), path.stat())
        path.write_bytes(before[name][0][: len(before[name][0]) // 2] + text + before[name][0][len(before[name][0]) // 2 :])
    try:
        yield
    finally:
        for name, (contents, found) in before.items():
            (data.source / name).write_bytes(contents)
            os.utime(data.source / name, ns=(found.st_atime_ns, found.st_mtime_ns))


@contextmanager
def appended(data):
    """The source with one of its large files longer."""
    path = data.source / data.large[-1]
    found = path.stat()
    with open(path, "ab") as out:
        out.write(random.Random(37).randbytes(APPENDED_BYTES))
    try:
        yield
    finally:
        os.truncate(path, found.st_size)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


class Round:
    """One tool with one tree; `result` has what was measured."""

    def __init__(self, tool, data, suites, can_mount, is_first):
        self.tool, self.data, self.suites, self.can_mount, self.is_first = tool, data, suites, can_mount, is_first
        self.result = {}

    def wants(self, *suites):
        return bool(self.suites & set(suites))

    def run(self):
        self.backups()
        if self.can_mount and self.wants("mount-open"):
            self.opens()
        if self.can_mount and self.data.is_tree() and self.wants("walk", "memory"):
            self.walks()
        if self.can_mount and self.wants("read", "memory"):
            self.reads()
        if self.can_mount and self.is_first:
            with self.tool.drive(self.data.source) as drive:
                trees.compare(self.data.source, drive.root, f"drive of {self.tool.name}")
        if self.is_first or self.wants("restore", "memory"):
            self.result.update(self.restored().measures("restore"))
        if self.wants("backup", "memory"):
            self.increments()
        return self.result

    def backups(self):
        self.tool.init()
        self.result.update(self.tool.backup(self.data.source).measures("first"))
        self.result["size"] = trees.bytes_of(self.tool.repository) / common.MIB
        if self.wants("backup", "memory"):
            self.result.update(self.tool.backup(self.data.source).measures("again"))

    def opens(self):
        with self.tool.drive(self.data.source) as drive:
            self.result.update(first_ls=drive.first_ls, first_ls_cpu=drive.cpu(), first_ls_rss=drive.rss_mib())
            if isinstance(self.tool, tools.Bygone):
                store = self.tool.told(drive.at)["store"]
                self.result.update(first_ls_requests=store["requests"], first_ls_kib=store["bytes"] / 1024)

    def walks(self):
        for name, walk in WALKS.items():
            with self.tool.drive(self.data.source) as drive:
                for kind in ("", "_warm"):
                    self.result[name + kind] = walk(drive.root, self.data, f"drive of {self.tool.name}")
                self.peak("walk_rss", drive)

    def reads(self):
        if self.data.large:
            with self.tool.drive(self.data.source) as drive:
                read_large(drive.root, self.data, self.result)
                self.peak("read_rss", drive)
                self.result["read_cpu"] = drive.cpu()
            for name, work in [("random", read_random), ("decoded", read_decoded)]:
                with self.tool.drive(self.data.source) as drive:
                    self.result[name] = work(drive.root, self.data)
            if self.wants("read") and isinstance(self.tool, tools.Bygone):
                total = trees.bytes_of(self.data.source) / common.MIB
                self.result["decode"] = total / self.tool.check().seconds
            return
        with self.tool.drive(self.data.source) as drive:
            self.result["small"] = read_small(drive.root, self.data)
        with self.tool.drive(self.data.source) as drive:
            for name in ("tar", "tar_warm"):
                self.result[name] = tar(drive.root)
                self.result.setdefault("read_cpu", drive.cpu())
            self.peak("read_rss", drive)

    def peak(self, name, drive):
        self.result[name] = max(self.result.get(name, 0), drive.rss_mib())

    def restored(self):
        """Cost of a restore; what came back is compared the first time."""
        to = self.tool.folder / "restored"
        to.mkdir()
        cost = self.tool.restore(to)
        if self.is_first:
            trees.compare(self.data.source, f"{to}{self.data.source}", f"restore of {self.tool.name}")
        trees.remove(to)
        return cost

    def increments(self):
        """A hundredth changed, then something at the end of a large file."""
        if self.data.is_tree():
            with changed(self.data, b" changed "):
                self.grown("changed")
        if self.data.large:
            with appended(self.data):
                self.grown("appended")

    def grown(self, name):
        before = trees.bytes_of(self.tool.repository)
        self.result.update(self.tool.backup(self.data.source).measures(name))
        self.result[f"{name}_size"] = (trees.bytes_of(self.tool.repository) - before) / common.MIB
        if self.is_first:
            self.restored()


def limits(data, suites, folder):
    """What the file system itself does, by the name of the measure it bounds."""
    result = {}
    if suites & {"backup"}:
        result["again"] = stat_walk(data)
    if suites & {"walk"} and data.is_tree():
        for name, walk in WALKS.items():
            result[name] = result[f"{name}_warm"] = walk(data.source, data, "the source")
    if suites & {"read"} and data.large:
        read_large(data.source, data, result)
        result["random"] = result["decoded"] = read_random(data.source, data)
    elif suites & {"read"}:
        result["small"] = read_small(data.source, data)
        result["tar"] = result["tar_warm"] = tar(data.source)
    if suites & {"restore"}:
        to = folder / "copy"
        result["restore"] = common.timed(lambda: subprocess.run(["cp", "-a", data.source, to], check=True))[0]
        trees.remove(to)
    return result


# Name in the results, text in the table, unit. More is better where the unit is a rate.
MEASURES = {
    "backup": [
        ("first", "first backup", "s"), ("first_cpu", "- processor time", "s"), ("size", "- repository", "MiB"),
        ("again", "the same again, nothing changed", "s"), ("again_cpu", "- processor time", "s"),
        ("changed", "one file in a hundred changed", "s"), ("changed_cpu", "- processor time", "s"), ("changed_size", "- repository grows by", "MiB"),
        ("appended", "8 MiB more in a large file", "s"), ("appended_cpu", "- processor time", "s"), ("appended_size", "- repository grows by", "MiB"),
    ],
    "restore": [("restore", "restore (limit: cp -a)", "s"), ("restore_cpu", "- processor time", "s")],
    "mount-open": [
        ("first_ls", "mount until the first ls", "s"), ("first_ls_cpu", "- processor time", "s"), ("first_ls_rss", "- memory", "MiB"),
        ("first_ls_requests", "- requests", ""), ("first_ls_kib", "- read from the repository", "KiB"),
    ],
    "walk": [(name + kind, f"{text}, {word}", "s") for name, text in (("find", "find with sizes"), ("ls", "ls -lR"), ("du", "du"))
             for kind, word in (("", "cold"), ("_warm", "warm"))],
    "read": [
        ("small", "small files at random, cold", "/s"), ("tar", "tar, cold", "s"), ("tar_warm", "tar, warm", "s"),
        *((f"read_{name}{kind}", f"{name} from beginning to end, {word}", "MiB/s") for name in ("noise.bin", "text.log", "disk.img", "disk.qcow2")
          for kind, word in (("", "cold"), ("_warm", "warm"))),
        ("random", "4 KiB at random, cold", "/s"), ("decoded", "4 KiB at random, decoded before", "/s"),
        ("read_cpu", "- processor time of the drive", "s"), ("decode", "everything opened, decompressed and hashed (check)", "MiB/s"),
    ],
    "memory": [
        ("first_rss", "first backup", "MiB"), ("again_rss", "nothing changed", "MiB"), ("changed_rss", "one file in a hundred changed", "MiB"),
        ("appended_rss", "8 MiB more in a large file", "MiB"), ("restore_rss", "restore", "MiB"), ("walk_rss", "drive, after walks", "MiB"),
        ("read_rss", "drive, after reads", "MiB"),
    ],
}
SUITES = list(MEASURES)


def run(arguments, scratch, report):
    """All rounds of all data sets; yields tables."""
    wanted = {name for name in arguments.suite if name in SUITES}
    for name in arguments.data if wanted else []:
        data = Data.make(name, scratch / "data" / name, arguments.size)
        about = f"{name}: {data.entries} entries, {trees.bytes_of(data.source) / common.MIB:.0f} MiB"
        print(about, file=sys.stderr)
        results = {tool: [] for tool in arguments.tool}
        bounds = []
        for number, tool_name in common.rounds(arguments.rounds, arguments.tool):
            if len(bounds) <= number:
                bounds.append(limits(data, wanted, scratch))
            tool = arguments.make(tool_name)
            can_mount = tool_name in arguments.mounting
            result = Round(tool, data, wanted, can_mount, is_first=number == 0).run()
            trees.remove(tool.folder)
            results[tool_name].append(result)
            report.add(name, tool_name, number, result)
        trees.remove(data.source)
        for suite in SUITES:
            if suite in wanted and (suite != "walk" or data.is_tree()):
                yield f"{suite}, {about}", MEASURES[suite], results, bounds
