#!/usr/bin/env python3
"""Damages disk images at random and opens each damaged state through a real drive.

usage: damage.py PROGRAM SCRATCH COUNT IMAGE...

A disk (whatever is not a container) is backed up once; each damaged state is a further snapshot of it, of which only
the damaged blocks are read. One drive shows them all. A container lies as a file in the snapshot of a folder, and a
drive shows each damaged one by its path. Every drive is walked with bounded effort: names, attributes, links, beginnings
of files. What must hold then: the drive lives, no answer took longer than ANSWER_SECS, no process grew beyond MEMORY_KIB,
no reading process died, and the undamaged neighbour is still shown. A state is told by its seed: IMAGE NUMBER.

BYGONE_DAMAGE_FIRST: number of the first state, so that one can be looked at again with COUNT 1.
"""

import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import time

# The reading process has 20 s for a question, and opening a part takes several.
ANSWER_SECS = 45
WALK_SECS = 15
MEMORY_KIB = 512 << 10
NODES, FILES, NAMES, DEPTH = 1500, 200, 400, 24
FIRST_BYTES = 64 << 10
CONTAINERS = (".qcow2", ".vdi", ".vhd", ".vhdx", ".vmdk")
FAILED = "the process that reads the disk image has failed"
SLOW = "too hard to read"


def walk(top):
    """Looks at a tree; prints what it met and the slowest answer."""
    began, slowest, counts = time.monotonic(), (0.0, ""), {"nodes": 0, "bytes": 0, "errors": {}}

    def ask(what, path, call):
        nonlocal slowest
        start = time.monotonic()
        try:
            return call()
        except OSError as error:
            name = os.strerror(error.errno)
            counts["errors"][name] = counts["errors"].get(name, 0) + 1
            return None
        finally:
            slowest = max(slowest, (time.monotonic() - start, f"{what} {path!r}"))

    def first_names(path):
        with os.scandir(path) as entries:
            return [entry.path for _, entry in zip(range(NAMES), entries)]

    def beginning(path):
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(file, FIRST_BYTES) + os.pread(file, 4096, max(os.fstat(file).st_size - 5000, 0))
        finally:
            os.close(file)

    pending, files = [os.fsencode(top)], 0
    while pending and counts["nodes"] < NODES and time.monotonic() - began < WALK_SECS:
        path = pending.pop(0)
        counts["nodes"] += 1
        found = ask("stat", path, lambda: os.lstat(path))
        if found is None:
            continue
        ask("xattrs", path, lambda: [os.getxattr(path, name, follow_symlinks=False)
                                     for name in os.listxattr(path, follow_symlinks=False)[:20]])
        if stat.S_ISLNK(found.st_mode):
            ask("link", path, lambda: os.readlink(path))
        elif stat.S_ISDIR(found.st_mode) and path.count(b"/") < DEPTH:
            pending += ask("list", path, lambda: first_names(path)) or []
            ask("name", path, lambda: os.path.lexists(path + b"/no such name"))
        elif stat.S_ISREG(found.st_mode) and files < FILES:
            files += 1
            counts["bytes"] += len(ask("read", path, lambda: beginning(path)) or b"")
    print(json.dumps({**counts, "slowest": slowest}))


class Violation(Exception):
    pass


class Program:
    """The program with a repository of its own."""

    def __init__(self, path, home):
        self.path, self.home = os.path.abspath(path), home
        self.memory = {"backup": 0, "drive": 0, "reader": 0}
        os.makedirs(home)
        self.environment = {**os.environ, "BYGONE_REPOSITORY": home + "/repository", "BYGONE_PASSWORD": "images",
                            "BYGONE_STATE_DIR": home + "/state"}
        self.run("init")

    def run(self, *arguments, secs=600):
        """Runs a command to its end; gives its documents."""
        with open(self.home + "/told", "w+b") as told:
            child = subprocess.Popen([self.path, *arguments, "--json"], env=self.environment, stdout=subprocess.PIPE,
                                     stderr=told)
            try:
                out, _ = child.communicate(timeout=secs)
            except subprocess.TimeoutExpired:
                child.kill()
                raise Violation(f"{arguments[0]} takes longer than {secs} s") from None
            told.seek(0)
            text = told.read().decode(errors="replace")
        if child.returncode not in (0, 3):
            raise Violation(f"{arguments[0]} ends with {child.returncode}: {text[-600:]}")
        return [json.loads(line) for line in out.splitlines()]

    def back_up(self, *arguments):
        documents = self.run("backup", *arguments)
        return next(d for d in documents if d["type"] == "summary")["snapshot"]["id"]


class Drive:
    """A mounted drive, its processes and its log."""

    def __init__(self, program, *arguments):
        self.program, self.folder = program, program.home + "/drive"
        os.makedirs(self.folder, exist_ok=True)
        self.log = open(program.home + "/log", "w+b")
        self.read = 0
        self.child = subprocess.Popen([program.path, "mount", "--foreground", *arguments, self.folder],
                                      env=program.environment, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 180
        while not os.path.ismount(self.folder):
            if self.child.poll() is not None:
                self.told = self.news()
                raise Violation(f"mount ends with {self.child.returncode}: {self.told[-600:]}")
            if time.monotonic() > deadline:
                self.child.kill()
                raise Violation("mount takes longer than 180 s")
            time.sleep(0.01)

    def news(self):
        """What was logged since the last time."""
        self.log.seek(self.read)
        text = self.log.read()
        self.read += len(text)
        return text.decode(errors="replace")

    def watch(self):
        """Fails if the drive is gone or a process too large."""
        if self.child.poll() is not None:
            raise Violation(f"the drive ended with {self.child.returncode}: {self.news()[-600:]}")
        children = []
        try:
            for thread in os.listdir(f"/proc/{self.child.pid}/task"):
                with open(f"/proc/{self.child.pid}/task/{thread}/children") as list_of:
                    children += list_of.read().split()
        except OSError:
            pass
        for kind, number in [("drive", self.child.pid), *(("reader", number) for number in children)]:
            try:
                with open(f"/proc/{number}/status") as status:
                    size = int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1))
            except (OSError, AttributeError):
                continue
            self.program.memory[kind] = max(self.program.memory[kind], size)
            if size > MEMORY_KIB:
                raise Violation(f"the {kind} takes {size >> 10} MiB")

    def walk(self, folder):
        """Walks a folder in a process of its own."""
        walker = subprocess.Popen([sys.executable, __file__, "walk", folder], stdout=subprocess.PIPE)
        deadline = time.monotonic() + WALK_SECS + ANSWER_SECS + 30
        while walker.poll() is None:
            self.watch()
            if time.monotonic() > deadline:
                walker.kill()
                raise Violation("an answer does not come at all")
            time.sleep(0.02)
        if walker.returncode != 0:
            raise Violation(f"the walk ended with {walker.returncode}")
        told = json.loads(walker.stdout.read())
        secs, where = told["slowest"]
        if secs > ANSWER_SECS:
            raise Violation(f"an answer took {secs:.1f} s: {where}")
        for error in ("Transport endpoint is not connected", "Software caused connection abort"):
            if error in told["errors"]:
                raise Violation(f"the drive was gone: {error}")
        return told

    def close(self):
        subprocess.run([self.program.path, "-q", "umount", self.folder], env=self.program.environment, check=False)
        try:
            self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            subprocess.run(["fusermount3", "-uz", self.folder], check=False)
            raise Violation("the drive does not end") from None
        finally:
            self.log.close()


def data_extents(path):
    """Where a file has bytes."""
    extents, at = [], 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            extents.append((start, at))
    return extents or [(0, size)]


def important(tool, path):
    """The ranges that hold what a listing needs, as the parsers tell; none for a disk with partitions."""
    told = subprocess.run([tool, "--metadata", path], capture_output=True, text=True, check=False).stdout
    return [tuple(map(int, line.split())) for line in told.splitlines()]


class Damage:
    """A random damage, the same for the same seed. It remembers what was there."""

    def __init__(self, seed, size, extents, metadata):
        self.random, self.size, self.extents, self.metadata = random.Random(seed), size, extents, metadata

    def place(self, length):
        chance = self.random.random()
        if chance < 0.2:
            start, end = 0, min(self.size, 4 << 20)
        elif chance < 0.3:
            start, end = 0, min(self.size, 72 << 10)
        elif chance < 0.8 and self.metadata:
            start, end = self.random.choice(self.metadata)
        else:
            start, end = self.random.choice(self.extents)
        at = self.random.randrange(start, max(end, start + 1))
        return max(min(at & ~511, self.size - length), 0)

    def do(self, file):
        before = []
        for _ in range(self.random.choice([1, 2, 4, 8, 24])):
            length = min(self.random.choice([512, 1024, 4096]), self.size)
            at = self.place(length)
            old = os.pread(file, length, at)
            before.append((at, old))
            how = self.random.randrange(6)
            if how == 0:
                new = bytes(length)
            elif how == 1:
                new = self.random.randbytes(length)
            elif how == 2:
                other = self.place(length)
                new = os.pread(file, length, other)
                before.append((other, new))
                os.pwrite(file, old, other)
            else:
                # A few bytes or numbers: most rules still hold.
                changed = bytearray(old)
                for _ in range(self.random.randint(1, 12)):
                    spot = self.random.randrange(length)
                    value = self.random.choice([0, 1, 0x7F, 0x80, 0xFF, self.random.randrange(256)])
                    for step in range(min(self.random.choice([1, 1, 2, 4, 8]), length - spot)):
                        changed[spot + step] = value
                new = bytes(changed)
            os.pwrite(file, new, at)
        return before

    @staticmethod
    def undo(file, before):
        for at, old in reversed(before):
            os.pwrite(file, old, at)


def complain(state, problems, problem):
    line = f"{state}: {problem}"
    print(line, flush=True)
    problems.append(line)


def judge(drive, state, problems, folder):
    """Walks what a damaged state shows."""
    try:
        told = drive.walk(folder)
    except Violation as violation:
        complain(state, problems, violation)
        told = {"nodes": 0, "errors": {}}
    drive.watch()
    for line in drive.news().splitlines():
        if "panicked" in line or FAILED in line or SLOW in line:
            complain(state, problems, line.strip()[-400:])
            break
    return told


def as_disk(program, tool, image, numbers, problems):
    """All states as snapshots of one disk, shown by one drive."""
    name, copy = os.path.basename(image), program.home + "/disk.img"
    metadata, extents = important(tool, image), data_extents(image)
    base = program.back_up("--image", copy)
    states, before = [], []
    with open(copy, "r+b", buffering=0) as file:
        for number in numbers:
            Damage.undo(file.fileno(), before)
            damage = Damage(f"{name} {number}", os.path.getsize(copy), extents, metadata)
            undone, before = before, damage.do(file.fileno())
            with open(program.home + "/changed", "w") as changed:
                changed.writelines(f"{at} {len(old)}\n" for at, old in sorted({*undone, *before}) if old)
            try:
                states.append((number, program.back_up("--image", copy, "--changed-blocks", program.home + "/changed")))
            except Violation as violation:
                complain(f"{name} {number}", problems, violation)
                # The next one must not build on what is not there.
                Damage.undo(file.fileno(), before)
                before = []
                program.back_up("--image", copy)
    drive = Drive(program)
    try:
        folders = drive.folder + "/snapshots"
        by_id = {folder.split()[-1]: f"{folders}/{folder}" for folder in os.listdir(folders)}
        shown = sorted(os.listdir(by_id[base[:8]]))
        nodes = errors = 0
        for number, snapshot in states:
            told = judge(drive, f"{name} {number}", problems, by_id[snapshot[:8]])
            nodes, errors = nodes + told["nodes"], errors + sum(told["errors"].values())
            if sorted(os.listdir(by_id[base[:8]])) != shown or os.path.lexists(f"{by_id[base[:8]]}/no {number}"):
                complain(f"{name} {number}", problems, "the undamaged disk is shown differently")
        if drive.walk(by_id[base[:8]])["nodes"] < 3:
            complain(name, problems, "nothing is shown of the undamaged disk")
    finally:
        drive.close()
    return nodes, errors


def as_file(program, image, numbers, problems):
    """All states as files of a folder, each opened by its path."""
    name = os.path.basename(image)
    folder, copy = program.home + "/folder", program.home + "/disk.img"
    extents = data_extents(image)
    nodes = errors = refused = 0
    for start in range(0, len(numbers), 25):
        part = numbers[start:start + 25]
        os.makedirs(folder)
        for number in part:
            path = f"{folder}/{number} {name}"
            subprocess.run(["cp", "--sparse=always", copy, path], check=True)
            with open(path, "r+b", buffering=0) as file:
                Damage(f"{name} {number}", os.path.getsize(copy), extents, [(0, min(os.path.getsize(copy), 1 << 20))]).do(
                    file.fileno())
        snapshot = program.back_up(folder)
        shutil.rmtree(folder)
        for number in part:
            state = f"{name} {number}"
            try:
                drive = Drive(program, f"{snapshot}:{folder}/{number} {name}")
            except Violation as violation:
                # An image that is none any more is refused with a reason.
                if not re.search(r"ends with (1|13):", str(violation)) or FAILED in str(violation) or SLOW in str(violation):
                    complain(state, problems, violation)
                refused += 1
                continue
            try:
                told = judge(drive, state, problems, drive.folder)
                nodes, errors = nodes + told["nodes"], errors + sum(told["errors"].values())
            finally:
                drive.close()
    if refused == len(numbers) > 3:
        complain(name, problems, "every state is refused: the image shows nothing to begin with")
    return nodes, errors + refused


def main():
    if sys.argv[1] == "walk":
        return walk(sys.argv[2])
    program_path, scratch, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    first = int(os.environ.get("BYGONE_DAMAGE_FIRST", "0"))
    tool = os.path.join(os.path.dirname(program_path), "examples/walk")
    problems = []
    for image in sys.argv[4:]:
        began, home = time.monotonic(), f"{scratch}/damage {os.path.basename(image)}"
        shutil.rmtree(home, ignore_errors=True)
        program = Program(program_path, home)
        subprocess.run(["cp", "--sparse=always", image, home + "/disk.img"], check=True)
        numbers, name = list(range(first, first + count)), os.path.basename(image)
        found = len(problems)
        try:
            if image.endswith(CONTAINERS):
                nodes, errors = as_file(program, image, numbers, problems)
            else:
                nodes, errors = as_disk(program, tool, image, numbers, problems)
            sizes = ", ".join(f"{kind} {size >> 10} MiB" for kind, size in program.memory.items() if size)
            print(f"{name}: {count} damaged states, {nodes} nodes shown, {errors} errors told, {sizes}, "
                  f"{len(problems) - found} violations, {time.monotonic() - began:.0f} s", flush=True)
        except Violation as violation:
            complain(name, problems, violation)
        shutil.rmtree(home, ignore_errors=True)
    return 1 if problems else 0


sys.exit(main())
