"""The programs that are measured. Each makes a repository, backs up, restores, mounts and prunes, with everything it keeps in
one folder of its own. All encrypt, and compress with zstd at level 3 or what is nearest to it."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECS = 600
COST = Path(__file__).resolve().parent / "cost.py"


@dataclass
class Cost:
    """What a command cost."""

    seconds: float
    cpu: float
    rss_mib: float

    def __add__(self, other):
        return Cost(self.seconds + other.seconds, self.cpu + other.cpu, max(self.rss_mib, other.rss_mib))

    def measures(self, name):
        return {name: self.seconds, f"{name}_cpu": self.cpu, f"{name}_rss": self.rss_mib}


def run(command, env, cwd=None):
    """Runs a command to its end; output only if it fails. The peak of memory is that of its largest process."""
    output = Path(env["TMPDIR"]) / "output"
    words = [sys.executable, "-I", "-S", COST, output, *command]
    told = subprocess.run(words, env=env, cwd=cwd, check=True, capture_output=True, text=True).stdout
    seconds, cpu, rss_mib, code = told.split()
    if code != "0":
        raise RuntimeError(f"{command} ended with {code}: {output.read_text(errors='replace')[-2000:]}")
    return Cost(float(seconds), float(cpu), float(rss_mib))


class Tool:
    """`folder` is the tool's own; nothing of it lies elsewhere."""

    name = ""
    version_words = ["--version"]

    def __init__(self, program, folder):
        self.program = program
        self.folder = Path(folder)
        self.repository = self.folder / "repository"
        self.state = str(self.folder / "state")
        for inner in ("tmp", "state", "drive"):
            (self.folder / inner).mkdir(parents=True)
        self.env = dict(os.environ, TMPDIR=str(self.folder / "tmp"))

    def version(self):
        words = subprocess.run([self.program, *self.version_words], check=True, capture_output=True, text=True)
        return " ".join(words.stdout.split()[:2])

    def command(self, *words):
        return [self.program, *map(str, words)]

    def run(self, *words):
        return run(self.command(*words), self.env)

    def init(self):
        return self.run("init")

    def can_mount(self):
        return True

    def shown(self, at, source):
        """Where a mount shows the source."""
        return f"{at}{source}"

    def drive(self, source):
        """The newest snapshot of a source, to be entered."""
        at = self.folder / "drive"
        return Mounted(self.mount_command(at), self.env, at, self.shown(at, source))


class Bygone(Tool):
    name = "bygone"

    def __init__(self, program, folder):
        super().__init__(program, folder)
        for name in ("BYGONE_PASSWORD_FILE", "BYGONE_PASSWORD_COMMAND"):
            self.env.pop(name, None)
        self.env.update(BYGONE_REPOSITORY=str(self.repository), BYGONE_PASSWORD="bench", BYGONE_STATE_DIR=self.state)

    def backup(self, source):
        return self.run("--quiet", "backup", source)

    def restore(self, to):
        return self.run("--quiet", "restore", "latest", "--to", to)

    def prune(self):
        """Keeps the newest snapshot and frees what it does not need."""
        return self.run("--quiet", "forget", "--keep-last", 1) + self.run("--quiet", "prune", "--grace", 0)

    def check(self):
        """Reads, opens, decompresses and hashes everything."""
        return self.run("--quiet", "check", "--read-data")

    def mount_command(self, at):
        return self.command("mount", "--foreground", "latest", at)

    def told(self, at):
        """What a drive says of itself."""
        command = self.command("--json", "drives", at)
        return json.loads(subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout)


class Restic(Tool):
    name = "restic"
    version_words = ["version"]

    def __init__(self, program, folder):
        super().__init__(program, folder)
        self.env.update(RESTIC_REPOSITORY=str(self.repository), RESTIC_PASSWORD="bench", RESTIC_CACHE_DIR=self.state)

    def backup(self, source):
        return self.run("--quiet", "backup", source)

    def restore(self, to):
        return self.run("--quiet", "restore", "latest", "--target", to)

    def prune(self):
        return self.run("--quiet", "forget", "--keep-last", 1, "--prune")

    def check(self):
        return self.run("--quiet", "check", "--read-data")

    def mount_command(self, at):
        return self.command("mount", at)

    def shown(self, at, source):
        return f"{at}/snapshots/latest{source}"


class Borg(Tool):
    """With repokey, and zstd,3: its own default, lz4, stores more."""

    name = "borg"
    how = ["--compression", "zstd,3"]

    def __init__(self, program, folder):
        super().__init__(program, folder)
        self.env.update(BORG_REPO=str(self.repository), BORG_PASSPHRASE="bench", BORG_BASE_DIR=self.state)
        self.count = 0

    def init(self):
        return self.run("init", "--encryption=repokey-blake2")

    def backup(self, source):
        self.count += 1
        return self.run("create", *self.how, f"::{self.count}", source)

    def restore(self, to):
        return run(self.command("extract", "--sparse", f"::{self.count}"), self.env, cwd=to)

    def prune(self):
        return self.run("prune", "--keep-last", 1) + self.run("compact", "--threshold", 5)

    def check(self):
        return self.run("check", "--verify-data")

    def can_mount(self):
        """FUSE comes in a package of its own."""
        command = self.command("mount", "--foreground", "::none", self.folder / "drive")
        return "FUSE" not in subprocess.run(command, env=self.env, capture_output=True, text=True, check=False).stderr

    def mount_command(self, at):
        return self.command("mount", "--foreground", f"::{self.count}", at)


class Rustic(Tool):
    name = "rustic"

    def __init__(self, program, folder):
        super().__init__(program, folder)
        # No settings of whoever measures.
        self.env.update(RUSTIC_REPOSITORY=str(self.repository), RUSTIC_PASSWORD="bench", RUSTIC_CACHE_DIR=self.state)
        self.env.update(XDG_CONFIG_HOME=self.state, RUSTIC_NO_PROGRESS="true", RUSTIC_LOG_LEVEL="error")

    def backup(self, source):
        return self.run("backup", source)

    def restore(self, to):
        return self.run("restore", "latest", to)

    def prune(self):
        return self.run("forget", "--keep-last", 1) + self.run("prune", "--instant-delete")

    def check(self):
        return self.run("check", "--read-data")

    def can_mount(self):
        """It can be built without."""
        return subprocess.run(self.command("mount", "--help"), capture_output=True, check=False).returncode == 0

    def mount_command(self, at):
        return self.command("mount", at, "latest")


class Mounted:
    """A drive that a command serves until it is left: `root` is a folder on it, `first_ls` the seconds until that could be
    listed, `rss_mib()` the peak of memory so far, `cpu()` the processor seconds so far."""

    def __init__(self, command, env, at, root):
        self.command, self.env, self.at, self.root = command, env, at, str(root)

    def __enter__(self):
        self.output = open(os.path.join(self.env["TMPDIR"], "drive-output"), "w+b")
        began = time.perf_counter()
        how = {"stdin": subprocess.DEVNULL, "stdout": self.output, "stderr": self.output}
        self.child = subprocess.Popen(self.command, env=self.env, **how)
        while not self.is_listed():
            if self.child.poll() is not None or time.perf_counter() - began > PATIENCE_SECS:
                self.output.seek(0)
                said = self.output.read()[-2000:].decode(errors="replace")
                self.__exit__()
                raise RuntimeError(f"{self.command} did not mount: {said}")
            time.sleep(0.002)
        self.first_ls = time.perf_counter() - began
        return self

    def is_listed(self):
        try:
            return os.path.ismount(self.at) and bool(os.listdir(self.root))
        except OSError:
            return False

    def rss_mib(self):
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self):
        words = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *_):
        deadline = time.perf_counter() + 10
        # Somebody may still be looking.
        while os.path.ismount(self.at) and time.perf_counter() < deadline:
            if subprocess.run(["fusermount3", "-u", self.at], stderr=subprocess.DEVNULL, check=False).returncode != 0:
                time.sleep(0.1)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        if os.path.ismount(self.at):
            subprocess.run(["fusermount3", "-uz", self.at], check=False)
        self.output.close()


TOOLS = {tool.name: tool for tool in (Bygone, Restic, Borg, Rustic)}


def programs(binary, more=""):
    """Where each program is; those that are not there are left out. `more` is a folder that is looked into first."""
    path = f"{more}{os.pathsep}{os.environ['PATH']}"
    found = {name: shutil.which(name, path=path) for name in TOOLS}
    return {name: program for name, program in dict(found, bygone=str(binary)).items() if program}
