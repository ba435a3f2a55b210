"""The work of `garage-cluster`: a cluster of three, and one node of it that dies at the wrong moment.

Every wait has an end. Processes are ended by their handles, never by name."""

import filecmp
import os
import random
import re
import secrets
import shutil
import subprocess
import time

import common
import s3
from common import MIB

PATIENCE_SECS = 60
# How long the node that is asked stays away: less than the patience of a drive.
AWAY_SECS = 10


def until(what, is_so):
    deadline = time.monotonic() + PATIENCE_SECS
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"in vain: waited {PATIENCE_SECS} s until {what}")
        time.sleep(0.05)


def bytes_below(folder):
    """What lies in a folder that others write into meanwhile."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                pass
    return total


class Node:
    """One node; what it knows survives its death."""

    def __init__(self, program, folder, secret):
        self.program, self.folder = program, folder
        folder.mkdir(parents=True)
        self.port, self.rpc = s3.free_port(), s3.free_port()
        self.config = folder / "garage.toml"
        self.config.write_text(
            f'metadata_dir = "{folder}/meta"\ndata_dir = "{folder}/data"\ndb_engine = "sqlite"\n'
            f'replication_factor = 3\ncompression_level = "none"\nblock_size = "1M"\n'
            f'rpc_bind_addr = "127.0.0.1:{self.rpc}"\nrpc_public_addr = "127.0.0.1:{self.rpc}"\nrpc_secret = "{secret}"\n'
            f'[s3_api]\ns3_region = "{s3.REGION}"\napi_bind_addr = "127.0.0.1:{self.port}"\n'
        )
        self.child = None

    def start(self):
        with open(self.folder / "log", "ab") as log:
            command = [self.program, "-c", self.config, "server"]
            self.child = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ, RUST_LOG="garage=warn"))
        s3.wait_for(self.port, self.child, "garage")

    def die(self):
        """SIGKILL: no goodbye."""
        self.child.kill()
        self.child.wait()

    def ask(self, *words):
        command = [self.program, "-c", self.config, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECS)
        if done.returncode != 0:
            raise RuntimeError(f"garage {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout

    def id(self):
        return self.ask("node", "id", "-q").strip()


class Cluster:
    """Three nodes, each in a zone of its own, that hold everything three times."""

    def __init__(self, program, folder):
        secret = secrets.token_hex(32)
        self.nodes = [Node(program, folder / str(i), secret) for i in range(3)]
        first = self.nodes[0]
        for node in self.nodes:
            node.start()
        ids = [node.id() for node in self.nodes]
        for other in ids[1:]:
            first.ask("node", "connect", other)
        for zone, node in enumerate(ids):
            first.ask("layout", "assign", "-z", f"zone{zone}", "-c", "20G", node.split("@")[0])
        first.ask("layout", "apply", "--version", "1")
        self.wait_whole()
        said = first.ask("key", "create", "tests")
        self.key = re.search(r"Key ID:\s*(\S+)", said).group(1)
        self.secret = re.search(r"Secret key:\s*(\S+)", said).group(1)
        first.ask("bucket", "create", "tests")
        first.ask("bucket", "allow", "--read", "--write", "--owner", "tests", "--key", self.key)

    def is_whole(self):
        """Every node sees the two others."""
        for node in self.nodes:
            try:
                said = node.ask("status")
            except RuntimeError:
                return False
            healthy = said.split("FAILED NODES")[0]
            if len(re.findall(r"127\.0\.0\.1:\d+", healthy)) < 3 or "FAILED NODES" in said:
                return False
        return True

    def wait_whole(self):
        until("all nodes see each other", self.is_whole)

    def stop(self):
        for node in self.nodes:
            if node.child and node.child.poll() is None:
                node.die()


class Trial:
    """A repository in the cluster, and what happens to it."""

    def __init__(self, arguments, scratch):
        self.cluster = Cluster(os.environ["GARAGE"], scratch / "cluster")
        self.program = str(arguments.binary)
        self.size = arguments.mib * MIB
        self.source, self.point, self.scratch = scratch / "source", scratch / "drive", scratch
        self.source.mkdir()
        self.point.mkdir()
        self.env = dict(
            os.environ,
            AWS_ACCESS_KEY_ID=self.cluster.key,
            AWS_SECRET_ACCESS_KEY=self.cluster.secret,
            AWS_REGION=s3.REGION,
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{self.cluster.nodes[0].port}",
            BYGONE_REPOSITORY="s3://tests/repository",
            BYGONE_PASSWORD="cluster",
            BYGONE_STATE_DIR=str(scratch / "state"),
        )
        # Slow enough that there is a middle to die in.
        self.rate = str(max(self.size // 10, 64 << 10))
        self.run("init")

    def start(self, *words):
        with open(self.scratch / "log", "ab") as log:
            command = [self.program, "--no-progress", *map(str, words)]
            return subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, *words):
        command = [self.program, *map(str, words)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, timeout=PATIENCE_SECS)
        if done.returncode != 0:
            raise RuntimeError(f"bygone {' '.join(map(str, words))}: {done.stderr[-2000:]}")
        return done.stdout

    def add_files(self, name, seed):
        """A large file and many small ones of noise."""
        dice = random.Random(seed)
        folder = self.source / name
        folder.mkdir()
        with open(folder / "large", "wb") as out:
            for _ in range(self.size // MIB * 3 // 4):
                out.write(dice.randbytes(MIB))
        for i in range(self.size // 4 // (256 << 10)):
            (folder / f"{i:04d}").write_bytes(dice.randbytes(256 << 10))

    def with_death(self, child, what, node, is_amid, stays_away):
        """Kills a node once `child` is amid its work; it comes back when that is done, or after some seconds."""
        try:
            self.kill_amid(child, what, node, is_amid, stays_away)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()

    def kill_amid(self, child, what, node, is_amid, stays_away):
        victim = self.cluster.nodes[node]
        until(f"{what} is under way", lambda: child.poll() is not None or is_amid())
        if child.poll() is not None:
            raise RuntimeError(f"{what} was over before anything could happen")
        victim.die()
        began = time.monotonic()
        if not stays_away:
            time.sleep(AWAY_SECS)
            if child.poll() is not None:
                raise RuntimeError(f"{what} did not wait for the only node it knows")
            victim.start()
        code = child.wait(timeout=PATIENCE_SECS)
        away = time.monotonic() - began if stays_away else AWAY_SECS
        if stays_away:
            victim.start()
        if code != 0:
            raise RuntimeError(f"{what} ended with {code}: {(self.scratch / 'log').read_text()[-2000:]}")
        which = "the node that is asked" if node == 0 else f"node {node + 1}"
        print(f"{what}: {which} killed in the middle, away for {away:.1f} s; done, exit 0", flush=True)
        self.cluster.wait_whole()

    def backup(self, name, seed, node, stays_away):
        self.add_files(name, seed)
        stored = self.cluster.nodes[1].folder / "data"
        before = bytes_below(stored)
        child = self.start("--limit-upload", self.rate, "backup", self.source)
        self.with_death(
            child, f"backup of '{name}'", node, lambda: bytes_below(stored) > before + self.size // 3, stays_away
        )

    def copy(self, node, stays_away):
        """Copies everything from a new drive without a cache."""
        copied = self.scratch / "copied"
        drive = self.start(
            "--no-cache", "--limit-download", self.rate, "mount", "--foreground", f"latest:{self.source}", self.point
        )
        try:
            until("the drive is there", lambda: drive.poll() is not None or os.path.ismount(self.point))
            child = subprocess.Popen(["cp", "-r", self.point, copied])
            amid = self.size // 3
            self.with_death(child, "copy from the drive", node, lambda: bytes_below(copied) > amid, stays_away)
        finally:
            drive.terminate()
            drive.wait(timeout=PATIENCE_SECS)
        files = [path.relative_to(self.source) for path in self.source.rglob("*") if path.is_file()]
        differ = [path for path in files if not filecmp.cmp(self.source / path, copied / path, shallow=False)]
        if differ:
            raise RuntimeError(f"{len(differ)} of {len(files)} files differ: {differ[:5]}")
        print(f"    {len(files)} files, {bytes_below(copied) // MIB} MiB: byte for byte the same", flush=True)
        shutil.rmtree(copied)

    def expect_snapshots(self, number):
        said = self.run("snapshots", "--json")
        found = said.count('"type":"snapshot"')
        if found != number:
            raise RuntimeError(f"{found} snapshots instead of {number}: {said}")
        print(f"    snapshots: {found}", flush=True)


def main():
    parser = common.parser("garage-cluster", "A store whose nodes die.")
    parser.add_argument("--mib", type=int, default=160, help="size of each of the two backups (160)")
    arguments = parser.parse_args()
    began = time.monotonic()
    with common.scratch("cluster", os.environ.get("TMPDIR", "/dev/shm")) as scratch:
        trial = Trial(arguments, scratch)
        try:
            print("cluster of 3 nodes, 3 copies of everything", flush=True)
            trial.backup("first", 1, node=2, stays_away=True)
            trial.expect_snapshots(1)
            trial.copy(node=1, stays_away=True)
            trial.backup("second", 2, node=0, stays_away=False)
            trial.expect_snapshots(2)
            trial.copy(node=0, stays_away=False)
            trial.expect_snapshots(2)
            print(f"all well after {time.monotonic() - began:.0f} s")
        finally:
            trial.cluster.stop()
    return 0


if __name__ == "__main__":
    common.end(main)
