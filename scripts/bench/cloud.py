"""A drive on a distant bucket: the measurements of `cloud`, one table a suite.

Bygone's caches lie on a disk, everything else in memory. Every number is of a new mount; 'cold' is with an empty cache.
What is read is compared with the source."""

import filecmp
import os
import random
import shutil
import statistics
import subprocess
import threading
import time
from pathlib import Path

import common
import s3
import tools
import trees
from common import MIB
from common import table
from common import timed


def make_small(folder, files):
    """Files of 0 to 8 KiB of noise in folders of 100."""
    dice = random.Random(11)
    for i in range(files // 100):
        inner = folder / f"{i:04d}"
        inner.mkdir(parents=True)
        for j in range(100):
            (inner / f"file-{j:02d}").write_bytes(dice.randbytes(dice.randint(0, 8192)))


def read_through(path):
    """Bytes of a file, read as cat does."""
    total = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(MIB):
            total += len(piece)
    return total


class Place:
    """Server, link and the folders of a run."""

    def __init__(self, arguments, scratch, disk):
        self.scratch, self.disk = scratch, disk
        self.server = s3.Garage(os.environ["GARAGE"], scratch / "garage")
        for bucket in ("bygone", "restic", "plain"):
            self.server.bucket(bucket)
        self.near = f"http://127.0.0.1:{self.server.port}"
        self.link = s3.Link(os.environ["PROXY"], self.server.port, arguments.rtt, arguments.mbit)
        self.rate = arguments.mbit * 1e6 / 8
        self.rtt = arguments.rtt / 1000
        self.point = scratch / "drive"
        self.point.mkdir()
        self.programs = {"bygone": str(Path(arguments.binary).resolve()), "restic": "restic", "rclone": "rclone"}

    def env(self, tool, endpoint):
        env = dict(os.environ, **self.server.environment(endpoint), TMPDIR=str(self.scratch))
        if tool == "bygone":
            env.update(BYGONE_REPOSITORY="s3://bygone/repository", BYGONE_PASSWORD="bench")
            env.update(BYGONE_STATE_DIR=str(self.scratch / "state"), BYGONE_CACHE_DIR=str(self.disk / "cache"))
        elif tool == "restic":
            env.update(RESTIC_REPOSITORY=f"s3:{endpoint}/restic", RESTIC_PASSWORD="bench")
            env.update(RESTIC_CACHE_DIR=str(self.disk / "restic-cache"))
        else:
            # Its client refuses to start with this variable, though nothing is encrypted here.
            env.pop("AWS_CA_BUNDLE", None)
            env.update(RCLONE_CONFIG_S3_TYPE="s3", RCLONE_CONFIG_S3_PROVIDER="Other", RCLONE_CONFIG_S3_ENV_AUTH="true")
            env.update(RCLONE_CONFIG_S3_ENDPOINT=endpoint, RCLONE_CONFIG_S3_REGION=s3.REGION, RCLONE_CONFIG="/dev/null")
        return env

    def run(self, tool, *words, far=False):
        """A command of a tool, directly at the server or over the link; what it cost."""
        env = self.env(tool, self.link.endpoint if far else self.near)
        return tools.run([self.programs[tool], *map(str, words)], env)

    def store(self, tool, source):
        """Brings a tree to the bucket."""
        if tool == "rclone":
            return self.run("rclone", "copy", "-q", "--transfers", 16, source, f"s3:plain/{source.name}")
        return self.run(tool, "--quiet", "backup", source)

    def forget_caches(self):
        for name in ("cache", "restic-cache"):
            shutil.rmtree(self.disk / name, ignore_errors=True)


class Drive(tools.Mounted):
    """A source mounted over the link. Counts are of this mount alone."""

    def __init__(self, place, tool, source, extra=()):
        self.place = place
        at = str(place.point)
        words, inside = {
            "bygone": (["mount", "--foreground", f"latest:{source}", at, *extra], ""),
            "restic": (["mount", "--path", str(source), at], f"/snapshots/latest{source}"),
            "rclone": (["mount", f"s3:plain/{source.name}", at, "--read-only"], ""),
        }[tool]
        if tool == "bygone":
            # Filters belong to whole mounts; the newest snapshot of this source is meant.
            words[2:2] = ["--path", str(source)]
        super().__init__([place.programs[tool], *words], place.env(tool, place.link.endpoint), at, at + inside)

    def __enter__(self):
        self.before = self.place.link.counts()
        super().__enter__()
        self.opened = self.since_mount()
        return self

    def since_mount(self):
        now = self.place.link.counts()
        return {key: now[key] - self.before[key] for key in now}


def drop_page_cache():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def suite_open(place, quick):
    files = 100_000 if quick else 1_000_000
    source = place.scratch / "many"
    trees.make_many(source, files, lambda number: b"%010d" % number)
    place.store("bygone", source)
    trees.remove(source)
    # What the password alone takes: a local repository of the same cost, with nothing in it.
    env = dict(place.env("bygone", place.near), BYGONE_REPOSITORY=str(place.scratch / "empty"))
    program = place.programs["bygone"]
    tools.run([program, "init"], env)
    unlock = statistics.median(tools.run([program, "snapshots"], env).seconds for _ in range(5))
    rows = []
    for name, extra in [("nothing cached", ()), ("seen before", ()), ("offline", ("--offline",))]:
        if not extra and not rows:
            place.forget_caches()
        with Drive(place, "bygone", source, extra) as drive:
            opened, rss = drive.opened, drive.rss_mib()
            beyond = drive.first_ls - unlock
            trips = f"{beyond / place.rtt:.1f}"
        rows.append([name, f"{drive.first_ls:.3f} s", f"{beyond:.3f} s", trips, str(opened["requests"]),
                     f"{opened['bytes_down'] / 1024:.0f} KiB", f"{rss:.0f} MiB"])
    heads = ["", "mount to first ls", "without the password", "round trips' time", "requests", "fetched", "memory"]
    table(f"Opening a snapshot of {files} files (password and start: {unlock:.3f} s)", heads, rows)


def suite_large(place, quick):
    size = 256 * MIB if quick else 1024 * MIB
    source = place.scratch / "large"
    trees.make_noise(source / "file", size, 13)
    rows = []
    for tool in ("bygone", "restic", "rclone"):
        place.store(tool, source)
        place.forget_caches()
        with Drive(place, tool, source) as drive:
            cold, got = timed(lambda: read_through(f"{drive.root}/file"))
            requests, rss, cpu = drive.since_mount()["requests"], drive.rss_mib(), drive.cpu()
        assert got == size
        warm = None
        if tool == "bygone":
            drop_page_cache()
            with Drive(place, tool, source) as drive:
                warm, got = timed(lambda: read_through(f"{drive.root}/file"))
                assert got == size and filecmp.cmp(f"{drive.root}/file", source / "file", shallow=False)
        share = size / cold / place.rate
        rows.append([tool, f"{size / cold / 1e6:.0f} MB/s", f"{share:.2f}", str(requests), f"{cpu:.1f} s",
                     f"{size / warm / 1e6:.0f} MB/s" if warm else "", f"{rss:.0f} MiB"])
    trees.remove(source)
    heads = ["", "cold", "share of the link", "requests", "processor", "mounted again, page cache dropped", "memory"]
    table(f"One file of {size // MIB} MiB from beginning to end", heads, rows)


def suite_small(place, quick):
    files = 2_000 if quick else 10_000
    source = place.scratch / "small"
    make_small(source, files)
    total = trees.bytes_of(source)
    stream = total / place.rate + place.rtt
    rows, copies = [], {}
    for tool in ("bygone", "restic", "rclone"):
        place.store(tool, source)
        place.forget_caches()
        # The others take minutes: a tenth tells enough.
        part = "" if tool == "bygone" else "/000*"
        share = 1 if tool == "bygone" else min(1, 1000 / files)
        with Drive(place, tool, source) as drive:
            out = place.scratch / "out"
            out.mkdir()
            seconds, _ = timed(lambda: subprocess.run(f"cp -r {drive.root}{part or '/.'} {out}", shell=True, check=True))
            counts, rss = drive.since_mount(), drive.rss_mib()
            if tool == "bygone":
                subprocess.run(["diff", "-r", source, out], check=True)
            trees.remove(out)
        copies[tool] = seconds / share
        rows.append([tool, f"{seconds:.2f} s" + ("" if share == 1 else f" for {share:.0%}"), f"{copies[tool] / copies['bygone']:.0f}",
                     f"{stream / copies[tool]:.2f}", str(counts["requests"]), f"{counts['bytes_down'] / MIB:.1f} MiB", f"{rss:.0f} MiB"])
    trees.remove(source)
    heads = ["", "cp -r", "times bygone's", "stream time / time", "requests", "fetched", "memory"]
    table(f"{files} files of 0 to 8 KiB, {total / MIB:.0f} MiB; one stream of that would take {stream:.2f} s", heads, rows)


def suite_find(place, quick):
    files = 20_000 if quick else 100_000
    source = place.scratch / "names"
    trees.make_many(source, files, lambda number: b"%010d" % number * 4)
    entries = trees.count(source)
    rows = []
    for tool in ("bygone", "restic"):
        place.store(tool, source)
        place.forget_caches()
        with Drive(place, tool, source) as drive:
            command = f"find {drive.root} -printf '%s %m\\n' | wc -l"
            seconds, done = timed(lambda: subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE))
            counts, rss = drive.since_mount(), drive.rss_mib()
        assert int(done.stdout) == entries, (tool, done.stdout, entries)
        rows.append([tool, f"{drive.first_ls:.2f} s", f"{seconds:.2f} s", str(counts["requests"]),
                     f"{counts['bytes_down'] / MIB:.1f} MiB", f"{rss:.0f} MiB"])
    trees.remove(source)
    table(f"find with sizes over {files} files, cold", ["", "mount to first ls", "find", "requests", "fetched", "memory"], rows)


def suite_random(place, quick):
    size = 512 * MIB if quick else 4096 * MIB
    source = place.scratch / "image"
    trees.make_noise(source / "file", size, 17)
    place.store("bygone", source)
    place.forget_caches()
    dice = random.Random(17)
    offsets = [dice.randrange(size // 4096) * 4096 for _ in range(200)]

    def read_all(drive):
        taken = []
        with open(f"{drive.root}/file", "rb", buffering=0) as file, open(source / "file", "rb", buffering=0) as truth:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for offset in offsets:
                seconds, got = timed(lambda: os.pread(file.fileno(), 4096, offset))
                assert got == os.pread(truth.fileno(), 4096, offset)
                taken.append(seconds)
        return sorted(taken)

    rows = []
    for name in ("cold", "warm"):
        with Drive(place, "bygone", source) as drive:
            before = drive.since_mount()
            taken = read_all(drive)
            after, rss = drive.since_mount(), drive.rss_mib()
        count = len(taken)
        rows.append([name, f"{taken[count // 2] * 1000:.1f} ms", f"{taken[count * 99 // 100] * 1000:.1f} ms",
                     f"{statistics.mean(taken) / place.rtt:.2f}", f"{(after['requests'] - before['requests']) / count:.2f}",
                     f"{(after['bytes_down'] - before['bytes_down']) / count / 1024:.0f} KiB", f"{rss:.0f} MiB"])
    trees.remove(source)
    heads = ["", "median", "99 %", "mean in round trips", "requests each", "fetched each", "memory"]
    table(f"200 reads of 4 KiB at random in a file of {size // MIB} MiB", heads, rows)


def suite_upload(place, quick):
    size = 256 * MIB if quick else 1024 * MIB
    source = place.scratch / "upload"
    rows = []
    for tool, seed in [("bygone", 19), ("restic", 23)]:
        folder = source / tool
        trees.make_noise(folder / "file", size, seed)
        cost = place.run(tool, "--quiet", "backup", folder, far=True)
        rows.append([tool, f"{cost.seconds:.2f} s", f"{size / cost.seconds / place.rate:.2f}", f"{cost.cpu:.1f} s", f"{cost.rss_mib:.0f} MiB"])
    trees.remove(source)
    table(f"First backup of {size // MIB} MiB of noise over the link", ["", "time", "share of the link", "processor", "memory"], rows)


OUTAGE_SECS = 30


def suite_outage(place, quick):
    size = 512 * MIB
    ways = {"everything lost on the way": ("silent",), "connections refused": ("refuse", "reset")}
    rows = []

    def interrupted(work, orders):
        """Seconds that some work takes when the network fails for a while in the middle of it."""
        ended, done = [], threading.Event()

        def at_work():
            try:
                ended.append(timed(work))
            finally:
                done.set()

        before = place.link.counts()
        threading.Thread(target=at_work).start()
        while sum(place.link.counts()[way] - before[way] for way in ("bytes_up", "bytes_down")) < size // 4:
            if done.wait(0.02):
                raise RuntimeError("it ended before the network failed")
        for order in orders:
            place.link.order(order)
        time.sleep(OUTAGE_SECS)
        assert not done.is_set(), "it ended while the network was away"
        place.link.order("mend")
        done.wait()
        return ended[0]

    for name, orders in ways.items():
        source = place.scratch / "outage" / orders[0]
        trees.make_noise(source / "file", size, len(rows) + 31)
        backup, _ = interrupted(lambda: place.run("bygone", "--quiet", "backup", source, far=True), orders)
        place.forget_caches()
        with Drive(place, "bygone", source) as drive:
            read, got = interrupted(lambda: read_through(f"{drive.root}/file"), orders)
            assert got == size and filecmp.cmp(f"{drive.root}/file", source / "file", shallow=False)
        rows.append([name, f"{backup - OUTAGE_SECS:.1f} s", f"{read - OUTAGE_SECS:.1f} s"])
    trees.remove(place.scratch / "outage")
    heads = [f"{OUTAGE_SECS} s without a network", "backup, without them", "reading the file, without them"]
    table(f"Backup and reading of {size // MIB} MiB, a network that fails in the middle", heads, rows)


SUITES = {"open": suite_open, "find": suite_find, "small": suite_small, "large": suite_large, "random": suite_random,
          "upload": suite_upload, "outage": suite_outage}


def main():
    parser = common.parser("cloud", "Measures drives on a distant bucket.", "less data: to see that it works")
    parser.add_argument("--only", action="append", choices=SUITES, help="only this suite (repeatable)")
    parser.add_argument("--rtt", type=float, default=50, help="milliseconds there and back (50)")
    parser.add_argument("--mbit", type=float, default=1000, help="each way (1000)")
    arguments = parser.parse_args()
    report = common.Report("cloud", arguments.quick)
    with common.scratch("cloud", "/dev/shm") as scratch, common.scratch("cloud", "/var/tmp") as disk:
        place = Place(arguments, scratch, disk)
        try:
            place.run("bygone", "init")
            place.run("restic", "init")
            report.head(f"S3 server behind {arguments.rtt:.0f} ms and {arguments.mbit:.0f} Mbit/s")
            for name in arguments.only or SUITES:
                SUITES[name](place, arguments.quick)
        finally:
            place.link.stop()
            place.server.stop()
    return 0


if __name__ == "__main__":
    common.end(main)
