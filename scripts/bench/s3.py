"""An S3 server on loopback and a link to it: Garage, one node, behind a proxy that adds latency and limits bandwidth."""

import json
import os
import re
import secrets
import socket
import subprocess
import time
from pathlib import Path

PATIENCE_SECS = 60
REGION = "garage"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, child, what):
    deadline = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"{what} ended with {child.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{what} does not answer on port {port}")


def end(child):
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


class Garage:
    """One node of Garage with its data in `folder`; `bucket(name)` makes a bucket that the one key may use."""

    def __init__(self, program, folder):
        self.program = program
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.port, rpc, admin = free_port(), free_port(), free_port()
        self.config = self.folder / "garage.toml"
        self.config.write_text(
            f'metadata_dir = "{self.folder}/meta"\ndata_dir = "{self.folder}/data"\ndb_engine = "sqlite"\n'
            f'replication_factor = 1\ncompression_level = "none"\nblock_size = "1M"\n'
            f'rpc_bind_addr = "127.0.0.1:{rpc}"\nrpc_public_addr = "127.0.0.1:{rpc}"\nrpc_secret = "{secrets.token_hex(32)}"\n'
            f'[s3_api]\ns3_region = "{REGION}"\napi_bind_addr = "127.0.0.1:{self.port}"\n'
            f'[admin]\napi_bind_addr = "127.0.0.1:{admin}"\nadmin_token = "{secrets.token_hex(16)}"\n'
        )
        self.log = open(self.folder / "log", "wb")
        env = dict(os.environ, RUST_LOG="garage=warn")
        self.child = subprocess.Popen([program, "-c", self.config, "server"], stdout=self.log, stderr=self.log, env=env)
        wait_for(self.port, self.child, "garage")
        node = self.ask("node", "id", "-q").split("@")[0]
        self.ask("layout", "assign", "-z", "here", "-c", "100G", node)
        self.ask("layout", "apply", "--version", "1")
        said = self.ask("key", "create", "bench")
        self.key = re.search(r"Key ID:\s*(\S+)", said).group(1)
        self.secret = re.search(r"Secret key:\s*(\S+)", said).group(1)

    def ask(self, *words):
        command = [self.program, "-c", self.config, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"garage {' '.join(words)}: {done.stderr[-2000:]}")
        return done.stdout

    def bucket(self, name):
        self.ask("bucket", "create", name)
        self.ask("bucket", "allow", "--read", "--write", "--owner", name, "--key", self.key)

    def environment(self, endpoint):
        """What S3 clients read."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT": endpoint,
            "AWS_ENDPOINT_URL": endpoint,
        }

    def stop(self):
        end(self.child)
        self.log.close()


class Link:
    """A proxy to a port of this machine, `rtt_ms` there and back, `mbit` each way."""

    def __init__(self, program, to_port, rtt_ms, mbit):
        words = ["link", f"127.0.0.1:{to_port}", "--rtt-ms", rtt_ms, "--up-mbit", mbit, "--down-mbit", mbit]
        command = [program, *map(str, words)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://{self.child.stdout.readline().strip()}"

    def order(self, word):
        """One of the proxy's orders: cut, refuse, reset, silent, mend."""
        self.child.stdin.write(f"{word}\n")
        self.child.stdin.flush()

    def counts(self):
        """Connections, HTTP requests and bytes each way so far."""
        self.order("counts")
        return json.loads(self.child.stdout.readline())

    def stop(self):
        end(self.child)
