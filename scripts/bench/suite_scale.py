"""How costs grow with the number of files: the exponent is the slope of a line through the logarithms, so that 0 is flat and 1
is in proportion. Of Bygone alone: what it promises is shape, not a lead.

One file in ten has ten bytes, which are a chunk of their own; the others are empty, so that many fit into memory."""

import math
import os
import statistics
import sys

import common
import trees

FILES = {
    trees.QUICK: [1_000, 3_000, 10_000],
    trees.USUAL: [10_000, 100_000, 1_000_000],
    trees.LARGE: [10_000, 100_000, 1_000_000, 10_000_000],
}
# What an empty file takes in memory, with its name; and what a page of contents does.
ROOM_BYTES_EACH = 1200 + 4096 // 10
LOOK_UPS = 100
SUITES = ["scale"]
MEASURES = [
    ("first", "first backup", "s"), ("first_rss", "- memory", "MiB"), ("again", "nothing changed", "s"), ("again_rss", "- memory", "MiB"),
    ("first_ls", "mount until the first ls", "s"), ("beyond", "- without start and password", "s"), ("requests", "- requests", ""),
    ("kib", "- read from the repository", "KiB"), ("opened_rss", "- memory", "MiB"), ("look_up", "stat of a file anywhere, cold", "s"),
    ("look_up_requests", "- requests for a hundred", ""), ("find_rss", "memory after find", "MiB"), ("find", "find with sizes", "s"),
]


def slope(points):
    """Exponent of y = c * x^e, fitted to (x, y); nothing if there is a y without a logarithm."""
    if any(y <= 0 for _, y in points):
        return None
    logs = [(math.log(x), math.log(y)) for x, y in points]
    return statistics.linear_regression(*zip(*logs)).slope


def contents(number):
    return f"{number:010d}".encode() if number % 10 == 0 else b""


def unlocking(tool):
    """Seconds of a command that only opens the repository, with nothing in it."""
    return statistics.median(tool.run("--quiet", "snapshots").seconds for _ in range(5))


def look_up_some(root, source, files):
    """Seconds that the attributes of a file take that nobody asked for before."""
    step = max(1, files // LOOK_UPS)
    names = [name for number, (name, _) in enumerate(trees.walk(source)) if number % step == step // 2][:LOOK_UPS]
    taken = []
    for name in names:
        seconds, found = common.timed(lambda: os.lstat(os.path.join(root, name)))
        if found.st_mtime_ns != os.lstat(os.path.join(source, name)).st_mtime_ns:
            raise trees.Differs(f"time of {name}")
        taken.append(seconds)
    return statistics.median(taken)


def one_round(tool, source, files):
    tool.init()
    unlock = unlocking(tool)
    result = {}
    for name in ("first", "again"):
        result.update(tool.backup(source).measures(name))
    with tool.drive(source) as drive:
        store = tool.told(drive.at)["store"]
        result.update(first_ls=drive.first_ls, beyond=max(0, drive.first_ls - unlock), requests=store["requests"])
        result.update(kib=store["bytes"] / 1024, opened_rss=drive.rss_mib())
        result["look_up"] = look_up_some(drive.root, source, files)
        result["look_up_requests"] = tool.told(drive.at)["store"]["requests"] - store["requests"]
    with tool.drive(source) as drive:
        command = "find . -type f -printf '%s\\n' | wc -l"
        result["find"], printed = common.shell(command, drive.root)
        if int(printed) != files:
            raise trees.Differs(f"find sees {int(printed)} files of {files}")
        result["find_rss"] = drive.rss_mib()
    return result


def run(arguments, scratch, report):
    if "scale" not in arguments.suite:
        return
    results = {}
    for files in FILES[arguments.size]:
        if not common.has_room(scratch, files * ROOM_BYTES_EACH):
            print(f"scale: no room for {files} files", file=sys.stderr)
            break
        source = scratch / "data" / "many"
        trees.make_many(source, files, contents)
        results[files] = []
        for number in range(arguments.rounds):
            tool = arguments.make("bygone")
            result = one_round(tool, source, files)
            trees.remove(tool.folder)
            results[files].append(result)
            report.add(f"{files} files", "bygone", number, result)
        trees.remove(source)
    yield table(results)


def table(results):
    """Heads and rows: the costs of each number of files, and how they grow."""
    heads = ["scale, files", *(f"{files:,}" for files in results), "exponent"]
    rows = []
    for key, text, unit in MEASURES:
        columns = {files: [result[key] for result in rounds] for files, rounds in results.items()}
        grows = slope([(files, statistics.median(values)) for files, values in columns.items()])
        rows.append([text, *(common.shown(values, unit) for values in columns.values()), "" if grows is None else f"{grows:.2f}"])
    return heads, rows
