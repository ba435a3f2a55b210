"""The programs that are measured. Each makes a repository, backs up, restores and mounts, with everything it keeps in one
folder of its own."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECS = 600


@dataclass
class Cost:
    """What a command cost."""

    seconds: float
    cpu: float
    rss_mib: float


def run(command, env, cwd=None):
    """Runs a command to its end; output only if it fails.

    The peak of memory is that of the largest process; what this process held when it forked counts as a floor, some 20 MiB."""
    with open(os.path.join(env["TMPDIR"], "output"), "w+b") as output:
        began = time.perf_counter()
        child = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{command} ended with {child.returncode}: {output.read()[-2000:].decode(errors='replace')}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Tool:
    """`folder` is the tool's own; nothing of it lies elsewhere."""

    name = ""

    def __init__(self, program, folder):
        self.program = program
        self.folder = Path(folder)
        self.repository = self.folder / "repository"
        for inner in ("tmp", "state", "drive"):
            (self.folder / inner).mkdir(parents=True)
        self.env = dict(os.environ, TMPDIR=str(self.folder / "tmp"))

    def version(self):
        words = subprocess.run([self.program, *self.version_words], check=True, capture_output=True, text=True)
        return " ".join(words.stdout.split()[:2])

    def command(self, *words):
        return [self.program, *words]

    def run(self, *words):
        return run(self.command(*words), self.env)


class Bygone(Tool):
    name = "bygone"
    version_words = ["--version"]

    def __init__(self, program, folder):
        super().__init__(program, folder)
        for name in ("BYGONE_PASSWORD_FILE", "BYGONE_PASSWORD_COMMAND"):
            self.env.pop(name, None)
        state = str(self.folder / "state")
        self.env.update(BYGONE_REPOSITORY=str(self.repository), BYGONE_PASSWORD="bench", BYGONE_STATE_DIR=state)

    def init(self):
        return self.run("init")

    def backup(self, source):
        return self.run("--quiet", "backup", str(source))

    def restore(self, to):
        return self.run("--quiet", "restore", "latest", "--to", str(to))

    def mount_command(self, at):
        return self.command("mount", "--foreground", "latest", str(at))

    def shown(self, at, source):
        """Where a mount shows the source."""
        return f"{at}{source}"


class Restic(Tool):
    name = "restic"
    version_words = ["version"]

    def __init__(self, program, folder):
        super().__init__(program, folder)
        state = str(self.folder / "state")
        self.env.update(RESTIC_REPOSITORY=str(self.repository), RESTIC_PASSWORD="bench", RESTIC_CACHE_DIR=state)

    def init(self):
        return self.run("init")

    def backup(self, source):
        return self.run("--quiet", "backup", str(source))

    def restore(self, to):
        return self.run("--quiet", "restore", "latest", "--target", str(to))

    def mount_command(self, at):
        return self.command("mount", str(at))

    def shown(self, at, source):
        return f"{at}/snapshots/latest{source}"


class Mounted:
    """A drive of a tool, as a context: `root` is the source as the drive shows it, `first_ls` the seconds until it could be
    listed, `rss_mib()` the peak of memory so far."""

    def __init__(self, tool, source):
        self.tool = tool
        self.at = tool.folder / "drive"
        self.root = tool.shown(self.at, source)

    def __enter__(self):
        self.output = open(self.tool.folder / "tmp" / "drive-output", "w+b")
        began = time.perf_counter()
        self.child = subprocess.Popen(
            self.tool.mount_command(self.at),
            env=self.tool.env,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
        )
        while not self.is_listed():
            if self.child.poll() is not None or time.perf_counter() - began > PATIENCE_SECS:
                self.__exit__()
                self.output.seek(0)
                raise RuntimeError(f"{self.tool.name} did not mount: {self.output.read()[-2000:].decode(errors='replace')}")
            time.sleep(0.002)
        self.first_ls = time.perf_counter() - began
        return self

    def is_listed(self):
        try:
            return bool(os.listdir(self.root))
        except OSError:
            return False

    def rss_mib(self):
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def __exit__(self, *_):
        deadline = time.perf_counter() + 10
        # Somebody may still be looking.
        while os.path.ismount(self.at) and time.perf_counter() < deadline:
            if subprocess.run(["fusermount3", "-u", self.at], stderr=subprocess.DEVNULL).returncode != 0:
                time.sleep(0.1)
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        if os.path.ismount(self.at):
            subprocess.run(["fusermount3", "-uz", self.at], check=False)


TOOLS = {tool.name: tool for tool in (Bygone, Restic)}
