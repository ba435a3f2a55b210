"""Runs the suites, tools taking turns, and prints medians; see `run`.

Nothing is printed unless every restored and every mounted tree was the same as its source. The numbers of each round are
appended to target/bench.jsonl. Repositories and trees lie in memory (/dev/shm) if there is room, so that the programs are
measured and not the disk."""

import statistics
import subprocess
import sys

import common
import suite_micro
import suite_prune
import suite_scale
import suite_trees
import tools
import trees

SUITES = [*suite_trees.SUITES, *suite_scale.SUITES, *suite_prune.SUITES, *suite_micro.SUITES]
ROOM_BYTES = {trees.QUICK: 2 << 30, trees.USUAL: 12 << 30, trees.LARGE: 18 << 30}
RUSTIC = ["cargo", "install", "rustic-rs", "--locked", "--features", "mount"]
PEERS = common.TARGET / "bench" / "peers"


def compared(title, measures, results, bounds):
    """A table of tools beside each other: its title, heads and rows. A ratio above 1 is a lead."""
    names = list(results)
    peers = [name for name in names if name != "bygone"] if "bygone" in names else []
    limited = any(key in bound for key, _, _ in measures for bound in bounds)
    heads = [title, *names, *(["lead over the best other"] if peers else []), *(["limit", "share of the limit"] if limited else [])]
    return heads, list(compared_rows(measures, results, peers, bounds if limited else None))


def compared_rows(measures, results, peers, bounds):
    for key, text, unit in measures:
        found = {tool: [result[key] for result in rounds if key in result] for tool, rounds in results.items()}
        if not any(found.values()):
            continue
        is_rate = unit.endswith("/s")
        middle = {tool: statistics.median(values) for tool, values in found.items() if values}

        def lead(other):
            """How many times better than another."""
            ours = middle.get("bygone")
            if not ours or not other:
                return ""
            times = ours / other if is_rate else other / ours
            return f"{times:.{0 if times >= 100 else 1 if times >= 10 else 2 if times >= 0.1 else 4}f}"

        cells = [common.shown(values, unit) if values else "-" for values in found.values()]
        if peers:
            others = [middle[tool] for tool in peers if tool in middle]
            cells.append(lead((max if is_rate else min)(others)) if others else "")
        if bounds is not None:
            bound = [limit[key] for limit in bounds if key in limit]
            cells += [common.shown(bound, unit), lead(statistics.median(bound))] if bound else ["", ""]
        yield [text, *cells]


def parse():
    parser = common.parser("run", "Measures Bygone against others, and against what the machine can do.", "little data: to see that it works")
    parser.add_argument("--large", action="store_true", help="a million small files, ten million files, a million chunks")
    parser.add_argument("--rounds", type=int, help="how often; medians are shown (3, or 1 if quick)")
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this one (repeatable)")
    parser.add_argument("--data", action="append", choices=trees.MAKERS, help="only this tree (repeatable)")
    parser.add_argument("--tool", action="append", choices=tools.TOOLS, help="only this one (repeatable)")
    parser.add_argument("--install-rustic", action="store_true", help="build rustic first, in target/bench/peers: half an hour")
    arguments = parser.parse_args()
    arguments.suite = arguments.suite or SUITES
    arguments.data = list(dict.fromkeys(arguments.data or trees.MAKERS))
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.size = trees.LARGE if arguments.large else trees.QUICK if arguments.quick else trees.USUAL
    return arguments


def choose_tools(arguments, scratch):
    """Those that are there, with what they can; gives their versions."""
    programs = tools.programs(arguments.binary, PEERS / "bin")
    missing = [name for name in arguments.tool or [] if name not in programs]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    for name in set(tools.TOOLS) - set(programs):
        print(f"{name} is not installed and is left out", file=sys.stderr)
    arguments.tool = list(dict.fromkeys(arguments.tool or programs))
    arguments.make = lambda name: tools.TOOLS[name](programs[name], scratch / name)
    versions, arguments.mounting = [], []
    for name in arguments.tool:
        tool = arguments.make(name)
        versions.append(tool.version())
        if tool.can_mount():
            arguments.mounting.append(name)
        else:
            print(f"{name} cannot mount here", file=sys.stderr)
        trees.remove(tool.folder)
    return versions


def main():
    arguments = parse()
    if arguments.install_rustic and not (PEERS / "bin" / "rustic").exists():
        subprocess.run([*RUSTIC, "--root", PEERS], check=True, stdout=sys.stderr)
    report = common.Report("run", arguments.quick)
    with common.scratch("bench", common.room(ROOM_BYTES[arguments.size])) as scratch:
        (scratch / "data").mkdir()
        versions = choose_tools(arguments, scratch)
        report.about["versions"] = versions
        found = [compared(*table) for table in suite_trees.run(arguments, scratch, report)]
        found += suite_scale.run(arguments, scratch, report)
        found += [compared(*table) for table in suite_prune.run(arguments, scratch, report)]
        found += suite_micro.run(arguments, report)
    report.head(f"{', '.join(versions)}; data in {scratch.parent}; medians of {arguments.rounds} (least..most)")
    for heads, rows in found:
        common.table("", heads, rows)
    return 0


if __name__ == "__main__":
    common.end(main)
