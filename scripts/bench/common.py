"""What all measurements share: scratch folders, how a program ends, rounds, tables, and the lines of target/bench.jsonl.

A measurement that ends with `trees.Differs` prints no table and leaves no line. Scratch folders go in any case."""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import trees

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MIB = 1 << 20
ROOM_BYTES = 6 << 30
BUSY_LOAD = 0.5


def parser(name, description, quick=None):
    """The options that all have; `quick` tells what less they do then."""
    found = argparse.ArgumentParser(prog=f"scripts/bench/{name}", description=description)
    if quick:
        found.add_argument("--quick", action="store_true", help=quick)
    program = TARGET / "release" / "bygone"
    found.add_argument("--binary", type=lambda path: Path(path).resolve(), default=program, help="the program to measure")
    return found


def end(main):
    """Runs `main` and ends with what it returns; through every `finally` even when asked to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not {"-h", "--help"} & set(sys.argv) and os.getloadavg()[0] > BUSY_LOAD:
        print(f"this machine is busy (load {os.getloadavg()[0]:.1f}): do not trust the times", file=sys.stderr)
    try:
        sys.exit(main())
    except trees.Differs as difference:
        print(f"NOT THE SAME: {difference}\nNo number of this run counts.", file=sys.stderr)
        sys.exit(1)


def has_room(folder, wanted):
    """Whether so much fits into a folder; into one in memory with something to spare."""
    available = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable")) << 10
    is_memory = Path("/dev/shm") in [folder, *folder.parents]
    return shutil.disk_usage(folder).free > wanted and (not is_memory or available > wanted + (2 << 30))


def room(wanted=ROOM_BYTES):
    """A folder for scratch: in memory if so much fits there."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and has_room(shm, wanted) else Path("/var/tmp")


@contextmanager
def scratch(name, parent):
    """A folder that does not survive."""
    folder = Path(tempfile.mkdtemp(prefix=f"bygone-{name}.", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def timed(work):
    """Seconds that some work takes, and what it gives."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def shell(command, cwd, env=None):
    """Seconds of a shell command in a folder, and what it printed."""
    words = ["bash", "-o", "pipefail", "-c", command]
    seconds, done = timed(lambda: subprocess.run(words, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE))
    return seconds, done.stdout


def rounds(count, names):
    """(number, name) of each turn: whoever is first in one round is last in the next."""
    names = list(names)
    for number in range(count):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            yield number, name


def git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def processor():
    lines = open("/proc/cpuinfo", encoding="utf-8")
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


class Report:
    """What was measured; written down only when all of it is good."""

    def __init__(self, measurement, quick):
        self.quick = quick
        self.lines = []
        changed = "+" if git("status", "--porcelain") else ""
        self.about = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "measurement": measurement,
            "commit": git("rev-parse", "--short", "HEAD") + changed,
            "quick": quick,
            "processor": processor(),
            "processors": os.cpu_count(),
            "memory_gib": round(memory_gib(), 1),
            "kernel": platform.release(),
        }

    def add(self, data, tool, number, result):
        """A round of a tool, told at once, too."""
        rounded = {key: round(value, 4) for key, value in result.items()}
        print(f"  round {number + 1}, {tool}: {rounded}", file=sys.stderr)
        load = round(os.getloadavg()[0], 2)
        self.lines.append(dict(self.about, data=data, tool=tool, round=number, load=load, **rounded))

    def head(self, more):
        """The machine, and more, in one paragraph; from here on the lines count."""
        TARGET.mkdir(exist_ok=True)
        with open(TARGET / "bench.jsonl", "a", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in self.lines)
        about = self.about
        machine = f"{about['processor']}, {about['processors']} processors, {about['memory_gib']:.0f} GiB, Linux {about['kernel']}"
        print(f"{machine}; commit {about['commit']}; {more}" + ("; QUICK" if self.quick else ""))


def shown(values, unit):
    """The median of a measure, and between what it was."""
    if unit == "s" and statistics.median(values) < 0.1:
        return shown([value * 1000 for value in values], "ms")
    whole = unit in ("", "/s")

    def digits(value):
        return f"{value:.{0 if value >= 100 or whole else 1 if value >= 10 else 2 if value >= 1 else 3}f}"

    space = " " if unit and unit != "/s" else ""
    spread = f" ({digits(min(values))}..{digits(max(values))})" if len(values) > 1 and max(values) != min(values) else ""
    return f"{digits(statistics.median(values))}{space}{unit}{spread}"


def table(title, heads, rows):
    """A table in Markdown; lines come out as rows are made."""
    print(f"\n{title}\n" if title else "")
    print("| " + " | ".join(heads) + " |")
    print("|---|" + "---:|" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
