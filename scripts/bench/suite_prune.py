"""Freeing what nothing needs: two snapshots, the second without a fifth of the files of the first; then only that one is kept.

Each file is a chunk of 3000 bytes that neither compress nor repeat, so that the number of files is that of chunks."""

import random

import common
import trees

CHUNKS = {trees.QUICK: 5_000, trees.USUAL: 200_000, trees.LARGE: 1_000_000}
FILE_BYTES = 3000
GARBAGE_SHARE = 0.2
SUITES = ["prune"]
MEASURES = [
    ("prune", "prune", "s"), ("prune_cpu", "- processor time", "s"), ("prune_rss", "- memory", "MiB"),
    ("size_before", "- repository before", "MiB"), ("size_after", "- and after", "MiB"), ("least", "- what is needed, as it was in files", "MiB"),
]


def make(source, files):
    dice = random.Random(41)
    trees.make_many(source, files, lambda _: dice.randbytes(FILE_BYTES))


def one_round(tool, source, gone, spare, is_first):
    """Prunes a new repository; the files that are gone wait at `spare` meanwhile."""
    tool.init()
    tool.backup(source)
    spare.mkdir()
    for number, path in enumerate(gone):
        path.rename(spare / str(number))
    try:
        tool.backup(source)
        result = {"size_before": trees.bytes_of(tool.repository) / common.MIB, "least": trees.bytes_of(source) / common.MIB}
        result.update(tool.prune().measures("prune"))
        result["size_after"] = trees.bytes_of(tool.repository) / common.MIB
        if is_first:
            restored = tool.folder / "restored"
            restored.mkdir()
            tool.restore(restored)
            trees.compare(source, f"{restored}{source}", f"what {tool.name} kept")
    finally:
        for number, path in enumerate(gone):
            (spare / str(number)).rename(path)
        spare.rmdir()
    return result


def run(arguments, scratch, report):
    if "prune" not in arguments.suite:
        return
    source = scratch / "data" / "chunks"
    chunks = CHUNKS[arguments.size]
    make(source, chunks)
    files = sorted(source.rglob("file-*"))
    gone = random.Random(43).sample(files, int(len(files) * GARBAGE_SHARE))
    results = {tool: [] for tool in arguments.tool}
    for number, name in common.rounds(arguments.rounds, arguments.tool):
        tool = arguments.make(name)
        result = one_round(tool, source, gone, scratch / "spare", is_first=number == 0)
        trees.remove(tool.folder)
        results[name].append(result)
        report.add("chunks", name, number, result)
    trees.remove(source)
    yield f"prune, {chunks} chunks, {GARBAGE_SHARE:.0%} of them garbage", MEASURES, results, []
