"""Single steps, each alone on one thread: what `micro.rs` measures, and what a backup or a read could reach with them alone."""

import statistics
import subprocess
import sys

import common

SUITES = ["micro"]
SAMPLES = {True: 3, False: 25}
TEXTS = {
    "chunk": "cutting", "hash": "naming (hash)", "compress": "compressing", "seal": "sealing", "open": "opening", "decompress": "decompressing",
    "page_encode": "nodes encoded in pages", "page_decode": "nodes decoded from pages", "look_up": "look-ups of a path in 100,000 nodes",
    "index_encode": "lines of an index encoded", "index_decode": "lines of an index decoded",
}
# Steps that bytes go through one after the other.
WAYS = {"backup": ["chunk", "hash", "compress", "seal"], "read": ["open", "decompress", "hash"]}


def in_sum(rates, steps, kind):
    """Rates of several steps after each other."""
    return [1 / sum(1 / rate for rate in parts) for parts in zip(*(rates[f"{step}_{kind}"] for step in steps))]


def run(arguments, report):
    if "micro" not in arguments.suite:
        return
    # Quick says nothing about speed: the build that tests use will do.
    how = [] if arguments.quick else ["--release"]
    build = ["cargo", "build", "--quiet", "--locked", "--example", "micro", *how]
    subprocess.run(build, cwd=common.ROOT, check=True, stdout=sys.stderr)
    program = common.TARGET / ("debug" if arguments.quick else "release") / "examples" / "micro"
    told = subprocess.run([program, str(SAMPLES[arguments.quick])], check=True, capture_output=True, text=True).stdout
    rates, units = {}, {}
    for line in told.splitlines():
        name, units[name], *values = line.split()
        rates[name] = [float(value) for value in values]
    report.add("micro", "bygone", 0, {name: statistics.median(values) for name, values in rates.items()})
    yield ["micro, one thread", "median (least..most)"], list(rows(rates, units))


def rows(rates, units):
    for name, values in rates.items():
        step, _, kind = name.rpartition("_")
        text = TEXTS.get(name) or f"{TEXTS[step]}, {kind}"
        yield [text, common.shown(values, units[name])]
    for way, steps in WAYS.items():
        for kind in ("text", "noise"):
            yield [f"all that a {way} does, one after the other, {kind}", common.shown(in_sum(rates, steps, kind), "MiB/s")]
