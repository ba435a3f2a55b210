"""Runs the suites, tools taking turns, and prints medians; see `run`.

Nothing is printed unless every restored and every mounted tree was the same as its source. The numbers of each round are
appended to target/bench.jsonl. Repositories and trees lie in memory (/dev/shm) if there is room, so that the programs are
measured and not the disk."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tools
import trees

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
ROOM_BYTES = 6 << 30

# Name in the results, text in the table, unit.
MEASURES = [
    ("first", "first backup", "s"),
    ("first_cpu", "- processor time", "s"),
    ("first_rss", "- memory", "MiB"),
    ("again", "the same again, nothing changed", "s"),
    ("again_rss", "- memory", "MiB"),
    ("size", "repository", "MiB"),
    ("first_ls", "mount until the first ls", "s"),
    ("find", "find through the drive", "s"),
    ("find_again", "- once more", "s"),
    ("tar", "tar through the drive", "s"),
    ("drive_rss", "- memory of the drive", "MiB"),
    ("restore", "restore", "s"),
    ("restore_rss", "- memory", "MiB"),
]


def room():
    """A folder for scratch: in memory if 6 GiB of it are free."""
    available = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable")) << 10
    shm = Path("/dev/shm")
    if shm.is_dir() and shutil.disk_usage(shm).free > ROOM_BYTES and available > ROOM_BYTES + (2 << 30):
        return shm
    return Path("/var/tmp")


def timed(command, env, cwd):
    """Seconds of a shell command in a folder, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=cwd, env=env, check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - began, done.stdout


def find(folder, env, expected, what):
    # -printf %s makes find ask for attributes.
    seconds, printed = timed("find . -printf '%s %m\\n' | wc -l", env, folder)
    if int(printed) != expected:
        raise trees.Differs(f"{what}: find sees {int(printed)} of {expected}")
    return seconds


def tar(folder, env):
    # GNU tar does not read files when it writes to /dev/null itself.
    return timed("tar cf - . | cat >/dev/null", env, folder)[0]


def one_round(tool, source, entries, verify):
    """All measures of one tool, with a new repository."""
    result = {}
    tool.init()
    cost = tool.backup(source)
    result.update(first=cost.seconds, first_cpu=cost.cpu, first_rss=cost.rss_mib)
    result["size"] = trees.bytes_of(tool.repository) / (1 << 20)
    cost = tool.backup(source)
    result.update(again=cost.seconds, again_rss=cost.rss_mib)

    with tools.Mounted(tool, source) as drive:
        result["first_ls"] = drive.first_ls
        result["find"] = find(drive.root, tool.env, entries, f"drive of {tool.name}")
        result["find_again"] = find(drive.root, tool.env, entries, f"drive of {tool.name}")
    # What find has read must not help tar.
    with tools.Mounted(tool, source) as drive:
        result["tar"] = tar(drive.root, tool.env)
        result["drive_rss"] = drive.rss_mib()
        if verify:
            trees.compare(source, drive.root, f"drive of {tool.name}")

    restored = tool.folder / "restored"
    restored.mkdir()
    cost = tool.restore(restored)
    result.update(restore=cost.seconds, restore_rss=cost.rss_mib)
    if verify:
        trees.compare(source, f"{restored}{source}", f"restore of {tool.name}")
    return result


def suite(name, arguments, scratch, log):
    """Rounds of one suite; the results by tool."""
    source = scratch / "data" / name
    trees.MAKERS[name](source, arguments.quick)
    entries = trees.count(source)
    print(f"{name}: {entries} entries, {trees.bytes_of(source) / (1 << 20):.0f} MiB", file=sys.stderr)
    results = {tool: [] for tool in arguments.tool}
    plain = {"find": [], "tar": []}
    for number in range(arguments.rounds):
        plain["find"].append(find(source, os.environ, entries, "source"))
        plain["tar"].append(tar(source, os.environ))
        # Whoever is first must not always be the same.
        order = arguments.tool if number % 2 == 0 else arguments.tool[::-1]
        for tool_name in order:
            folder = scratch / tool_name
            tool = tools.TOOLS[tool_name](arguments.programs[tool_name], folder)
            result = one_round(tool, source, entries, verify=number == 0)
            trees.remove(folder)
            results[tool_name].append(result)
            rounded = {key: round(value, 4) for key, value in result.items()}
            print(f"  round {number + 1}, {tool_name}: {rounded}", file=sys.stderr)
            about = dict(arguments.about, suite=name, tool=tool_name, round=number, load=round(os.getloadavg()[0], 2))
            log.append(dict(about, **rounded))
    trees.remove(source)
    return entries, results, plain


def table(name, entries, results, plain):
    """A suite as a table in Markdown."""
    names = list(results)
    heads = [f"{name}: {entries} entries", *names, *(["ratio"] if len(names) == 2 else []), "the files themselves"]
    yield "| " + " | ".join(heads) + " |"
    yield "|---|" + "---:|" * (len(heads) - 1)
    for key, text, unit in MEASURES:
        medians = [statistics.median(result[key] for result in results[tool]) for tool in names]
        cells = [f"{value:.{0 if unit == 'MiB' else 3 if value < 1 else 2}f} {unit}" for value in medians]
        if len(names) == 2:
            cells.append(f"{medians[1] / medians[0]:.2f}" if medians[0] else "")
        cells.append(f"{statistics.median(plain[key]):.3f} s" if key in plain else "")
        yield "| " + " | ".join([text, *cells]) + " |"


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench/run", description="Measures Bygone against restic.")
    parser.add_argument("--rounds", type=int, help="how often; medians are shown (3, or 1 if quick)")
    parser.add_argument("--suite", action="append", choices=trees.MAKERS, help="only this one (repeatable)")
    parser.add_argument("--tool", action="append", choices=tools.TOOLS, help="only this one (repeatable)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data: to see that it works, not how fast")
    parser.add_argument("--binary", default=TARGET / "release" / "bygone", help="the program to measure")
    arguments = parser.parse_args()
    arguments.suite = arguments.suite or list(trees.MAKERS)
    arguments.tool = list(dict.fromkeys(arguments.tool or tools.TOOLS))
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.programs = {"bygone": str(Path(arguments.binary).resolve()), "restic": shutil.which("restic") or "restic"}
    return arguments


def git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main():
    arguments = parse()
    if os.getloadavg()[0] > 0.5:
        print(f"this machine is busy (load {os.getloadavg()[0]:.1f}): do not trust the times", file=sys.stderr)
    changed = "+" if git("status", "--porcelain") else ""
    arguments.about = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": git("rev-parse", "--short", "HEAD") + changed,
        "quick": arguments.quick,
        "processors": os.cpu_count(),
        "kernel": platform.release(),
    }
    scratch = Path(tempfile.mkdtemp(prefix="bygone-bench.", dir=room()))
    log = []
    try:
        (scratch / "data").mkdir()
        versions = []
        for name in arguments.tool:
            tool = tools.TOOLS[name](arguments.programs[name], scratch / name)
            versions.append(tool.version())
            trees.remove(scratch / name)
        measured = {name: suite(name, arguments, scratch, log) for name in arguments.suite}
    except trees.Differs as difference:
        print(f"NOT THE SAME: {difference}\nNo number of this run counts.", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    TARGET.mkdir(exist_ok=True)
    with open(TARGET / "bench.jsonl", "a", encoding="utf-8") as out:
        out.writelines(json.dumps(line) + "\n" for line in log)
    about = arguments.about
    print(
        f"{', '.join(versions)}; commit {about['commit']}, {about['processors']} processors, data in {scratch.parent}; "
        f"medians of {arguments.rounds}; ratio: restic / bygone{'; QUICK' if arguments.quick else ''}"
    )
    for name, (entries, results, plain) in measured.items():
        print()
        print("\n".join(table(name, entries, results, plain)))
    return 0


if __name__ == "__main__":
    # Leave the scratch folder through `finally` when asked to end.
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
