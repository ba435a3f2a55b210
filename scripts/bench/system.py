"""A whole Debian on a disk, through a backup and back; see `system`."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import common
import tools
import trees
from common import MIB

IMAGES = common.ROOT / "scripts" / "images"
BLOCK = 4096
CHUNK = 64 << 10
PIECE = 1 << 20
CHANGED_SHARE = 0.02
# Bytes stored for each byte of a changed block.
STORED_MAX = 1.5
# What the running system does not need to start, so that it may be changed.
FOLDERS = ["srv", "usr/share", "usr/lib/modules"]
BOOT_PATIENCE_SECS = 240
FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
FIRMWARE_STATE = "/usr/share/OVMF/OVMF_VARS_4M.fd"


def told(*command, allow=(0,), env=None):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=env, errors="replace")
    if done.returncode not in allow:
        raise trees.Differs(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def made(quick):
    """The disk, made if it is not there."""
    home = Path(os.environ.get("BYGONE_TOOLS", Path.home() / ".cache" / "bygone-tools"))
    recipe = hashlib.sha256((IMAGES / "system.sh").read_bytes()).hexdigest()[:16]
    image = home / f"system-{'quick-' if quick else ''}{recipe}" / "disk.img"
    if not image.exists():
        image.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        new = image.with_suffix(".new")
        with open(image.parent / "made.log", "wb") as log:
            command = [IMAGES / "system.sh", new, *(["--quick"] if quick else [])]
            if subprocess.run(command, stdout=log, stderr=log, check=False).returncode:
                raise RuntimeError(f"no Debian could be made, see {image.parent}/made.log")
        new.rename(image)
        print(f"a Debian was made in {time.perf_counter() - began:.0f} s: {image}", file=sys.stderr)
    return image


def partitions(image):
    table = json.loads(told("sfdisk", "--json", image))["partitiontable"]
    return [(part["start"] * 512, part["size"] * 512) for part in table["partitions"]]


@contextmanager
def loop(image, number, writable=False):
    """A partition as a device."""
    start, size = partitions(image)[number - 1]
    how = [] if writable else ["--read-only"]
    device = told("losetup", "--find", "--show", *how, "--offset", start, "--sizelimit", size, image).strip()
    try:
        yield device
    finally:
        told("losetup", "-d", device)


@contextmanager
def root_of(image, at, writable=False):
    """The ext4 of a disk, mounted by the kernel."""
    with loop(image, 2, writable) as device:
        told("mount", "-t", "ext4", "-o", "rw" if writable else "ro", device, at)
        try:
            yield at
        finally:
            told("umount", at)


def change(image, at, wanted):
    """Changes a disk by about that much; gives the number of files to prove, and the word."""
    word = os.urandom(8).hex()
    with root_of(image, at, writable=True):
        names = told(IMAGES / "change.py", at, wanted, *FOLDERS).splitlines()
        sums = [f"{hashlib.sha256((at / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        (at / "etc/proof.sha256").write_text("".join(sums))
        (at / "etc/proof").write_text(f"{word}\n")
    return len(names), word


def changed_bytes(one, two, block=BLOCK):
    """Bytes of the blocks in which two disks differ."""
    count = 0
    with open(one, "rb") as a, open(two, "rb") as b:
        while left := a.read(PIECE):
            right = b.read(PIECE)
            if left != right:
                pairs = (left[at : at + block] != right[at : at + block] for at in range(0, len(left), block))
                count += sum(pairs)
    return count * block


def listing(folder, to, *without):
    with open(to, "wb") as out:
        subprocess.run([sys.executable, IMAGES / "listing.py", folder, *without], check=True, stdout=out)
    return to


def same(truth, found, what):
    done = subprocess.run([IMAGES / "compare.py", truth, found], capture_output=True, text=True, check=False)
    if done.returncode:
        raise trees.Differs(f"{what}:\n{done.stdout}")
    return len(truth.read_text().splitlines())


def from_esp(image, folder):
    """The files of the FAT, as mtools see them: not every kernel has a driver."""
    folder.mkdir()
    start, _ = partitions(image)[0]
    env = dict(os.environ, TZ="UTC")
    told("mcopy", "-s", "-p", "-m", "-Q", "-i", f"{image}@@{start}", "::/*", folder, env=env)
    return folder


NOT_IN_FAT = ["mode", "uid", "gid", "links"]


def fat_listing(folder, to):
    listing(folder, to, *NOT_IN_FAT)
    # The folder itself is not on the disk.
    to.write_text("".join(line for line in to.read_text().splitlines(True) if not line.startswith(".\t")))
    return to


class Drive:
    """A snapshot of the disk, mounted."""

    def __init__(self, tool, snapshot, at):
        self.tool, self.snapshot, self.at = tool, snapshot, at

    def __enter__(self):
        self.at.mkdir()
        self.tool.run("--quiet", "mount", self.snapshot, str(self.at))
        folders = {name.split(" ")[0]: self.at / name for name in os.listdir(self.at) if not name.endswith(".img")}
        self.esp, self.root = folders["1"], folders["2"]
        return self

    def __exit__(self, *_):
        self.tool.run("--quiet", "umount", str(self.at))


class DiskTool(tools.Bygone):
    def backup_disk(self, image, *options):
        """What it cost, and what it says about it."""
        before = trees.bytes_of(self.repository)
        cost = self.run("--quiet", "backup", "--image", *options, str(image))
        told_last = json.loads(told(self.program, "--json", "snapshots", "--latest", "1", env=self.env).splitlines()[-1])
        return cost, trees.bytes_of(self.repository) - before, told_last

    def restore_disk(self, snapshot, to):
        return self.run("--quiet", "restore", "--image", snapshot, str(to))


def differing(one, two):
    """What diff says about two trees, without where they are."""
    printed = told("diff", "-r", "--no-dereference", "-q", one, two, allow=(0, 1))
    return sorted(re.sub(rf"{re.escape(str(one))}|{re.escape(str(two))}", "", line) for line in printed.splitlines())


def boot(image, scratch):
    """Starts a disk; seconds, and what it said on the serial line. What it writes is thrown away."""
    state = scratch / "firmware"
    shutil.copyfile(FIRMWARE_STATE, state)
    # In software: what passes for KVM inside virtual machines does not always run firmware.
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-m", "1024", "-smp", "2", "-nographic",
               "-no-reboot", "-nic", "none", "-monitor", "none", "-snapshot",
               "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}",
               "-drive", f"if=pflash,format=raw,unit=1,file={state}",
               "-drive", f"if=virtio,format=raw,file={image}"]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=BOOT_PATIENCE_SECS, check=False,
                              env=dict(os.environ, TMPDIR=str(scratch)))
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
    return time.perf_counter() - began, output.decode(errors="replace")


def check_boot(image, scratch, files, word):
    seconds, said = boot(image, scratch)
    if f"PROOF {word}: {files} files as they were" not in said:
        raise trees.Differs(f"the restored system does not start: {said[-3000:]}")
    return seconds


def clean(image):
    """What the file systems' own checkers say."""
    with loop(image, 2) as device:
        told("fsck.ext4", "-fn", device)
    with loop(image, 1) as device:
        told("fsck.fat", "-n", device)


class Proof:
    def __init__(self, arguments, scratch):
        self.scratch = scratch
        self.binary = arguments.binary
        self.rows = []
        self.first, self.second = scratch / "disk.img", scratch / "second.img"
        told("cp", "--sparse=always", made(arguments.quick), self.first)
        told("cp", "--sparse=always", self.first, self.second)
        self.mnt = scratch / "mnt"
        self.mnt.mkdir()
        self.size = self.first.stat().st_size
        self.tool = DiskTool(str(self.binary), scratch / "some")

    def say(self, what, value, more=""):
        self.rows.append((what, value, more))
        print(f"  {what}: {value} {more}", file=sys.stderr)

    def cost(self, cost):
        return f"{cost.seconds:.1f} s, processor {cost.cpu:.1f} s, {cost.rss_mib:.0f} MiB"

    def backups(self):
        self.files, self.word = change(self.second, self.mnt, int(self.size * CHANGED_SHARE))
        self.changed = changed_bytes(self.first, self.second)
        self.say("the disk", f"{self.size / MIB:.0f} MiB", f"allocated {self.first.stat().st_blocks * 512 / MIB:.0f} MiB")
        self.tool.init()
        cost, grown, _ = self.tool.backup_disk(self.first)
        self.say("first backup", f"{grown / MIB:.1f} MiB stored", self.cost(cost))
        # The same disk a day later.
        os.replace(self.second, self.first.with_suffix(".later"))
        self.first.rename(self.second)
        self.first.with_suffix(".later").rename(self.first)
        self.old, self.new = self.second, self.first
        cost, grown, told_new = self.tool.backup_disk(self.new)
        ratio = grown / self.changed
        self.say("blocks changed since", f"{self.changed / MIB:.1f} MiB", f"{self.changed / self.size:.1%} of the disk")
        self.say("- in whole chunks of 64 KiB", f"{changed_bytes(self.old, self.new, CHUNK) / MIB:.1f} MiB")
        self.say("second backup", f"{grown / MIB:.1f} MiB stored", self.cost(cost))
        new = told_new.get("bytes_new", told_new.get("snapshot", {}).get("bytes_new", 0))
        self.say("- for each changed byte", f"{ratio:.2f}", f"before compression {new / self.changed:.2f}; at most {STORED_MAX}")
        if ratio > STORED_MAX:
            raise trees.Differs(f"{grown} bytes were stored for {self.changed} that changed")
        cost, grown, _ = self.tool.backup_disk(self.new)
        self.say("third backup, nothing changed", f"{grown / MIB:.2f} MiB stored", self.cost(cost))

    def drives(self):
        scratch = self.scratch
        with Drive(self.tool, "latest~2", scratch / "a") as a, Drive(self.tool, "latest~1", scratch / "b") as b:
            for name, image, drive in [("first", self.old, a), ("second", self.new, b)]:
                with root_of(image, self.mnt):
                    truth = listing(self.mnt, scratch / f"{name}.truth")
                count = same(truth, listing(drive.root, scratch / f"{name}.found"), f"{name} snapshot")
                esp = fat_listing(from_esp(image, scratch / f"{name}-esp"), scratch / f"{name}-esp.truth")
                count += same(esp, fat_listing(drive.esp, scratch / f"{name}-esp.found"), f"EFI system of the {name}")
                self.say(f"{name} snapshot on a drive", f"{count} files, folders, links", "as kernel and mtools see them")
            drives = differing(a.root, b.root)
        other = scratch / "other"
        other.mkdir()
        # Two of one UUID: the kernel takes ext4 as it is.
        with root_of(self.old, self.mnt), root_of(self.new, other):
            if drives != differing(self.mnt, other):
                raise trees.Differs("diff sees other differences on the drives than between the disks")
        self.say("diff -r of both drives", f"{len(drives)} differences", "the same as between the disks")

    def restores(self):
        restored = self.scratch / "restored.img"
        cost = self.tool.restore_disk("latest", restored)
        self.say("restore to a file", "", self.cost(cost))
        compared = told(IMAGES / "used.py", self.new, restored).strip()
        self.say("- blocks in use, tables, gaps", "the same", compared.split(",")[0])
        clean(restored)
        self.say("- fsck.ext4 -fn, fsck.fat -n", "clean")
        self.say("- started in qemu", f"{check_boot(restored, self.scratch, self.files, self.word):.1f} s",
                 f"{self.files} changed files verified inside")
        restored.unlink()

        whole = DiskTool(self.tool.program, self.scratch / "all")
        whole.init()
        cost, grown, _ = whole.backup_disk(self.new, "--all-blocks")
        self.say("backup with --all-blocks", f"{grown / MIB:.1f} MiB stored", self.cost(cost))
        whole.restore_disk("latest", restored)
        told("cmp", self.new, restored)
        self.say("- restored", "identical (cmp)")
        clean(restored)


def main():
    parser = common.parser("system", "A whole Debian on a disk, through a backup and back.", "a smaller Debian")
    arguments = parser.parse_args()
    report = common.Report("system", arguments.quick)
    with common.scratch("system", common.room()) as scratch:
        proof = Proof(arguments, scratch)
        proof.backups()
        proof.drives()
        proof.restores()
    report.head(f"Debian on a disk, data in {scratch.parent}")
    common.table("", ["", "", ""], proof.rows)
    return 0


if __name__ == "__main__":
    common.end(main)
