#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets for disks: tiny images by the real tools, packed as tests/fuzz/images.rs says.

usage: seeds.py CORPUS        as root, for ntfs-3g and cryptsetup; what exists is replaced
"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile

# Fewer zeros than this between bytes are kept as they are.
GAP = 12
PIECES_MAX, BYTES_MAX = 4000, 48 << 10


def pack(path, drop=()):
    """An image as pieces that are not zero. Pages of nothing but 0xff and the ranges in `drop` are left out."""
    pieces = []
    with open(path, "rb") as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) & ~4095
            except OSError:
                break
            page = os.pread(file.fileno(), 4096, at)
            if page.strip(b"\xff") and page.strip(b"\0") and not any(start <= at < end for start, end in drop):
                pieces += nonzero(page, at)
            at += 4096
    joined = []
    for at, data in pieces:
        if joined and joined[-1][0] + len(joined[-1][1]) == at and len(joined[-1][1]) + len(data) < 65536:
            joined[-1] = (joined[-1][0], joined[-1][1] + data)
        else:
            joined.append((at, data))
    total = sum(len(data) for _, data in joined)
    assert len(joined) <= PIECES_MAX and total <= BYTES_MAX, f"{path}: {len(joined)} pieces, {total} bytes"
    head = struct.pack("<QH", size, len(joined))
    table = b"".join(struct.pack("<Q", at)[:6] + struct.pack("<H", len(data)) for at, data in joined)
    return head + table + b"".join(data for _, data in joined)


def nonzero(page, at):
    found, start = [], None
    end = 0
    for index, byte in enumerate(page):
        if not byte:
            continue
        if start is None:
            start = index
        elif index - end >= GAP:
            found.append((at + start, page[start:end]))
            start = index
        end = index + 1
    if start is not None:
        found.append((at + start, page[start:end]))
    return found


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:].decode(errors='replace')}"


class Seeds:
    def __init__(self, corpus, work):
        self.corpus, self.work, self.tree = corpus, work, work + "/tree"
        self.make_tree()

    def make_tree(self):
        os.makedirs(self.tree + "/d/deep")
        for number in range(6):
            self.file(f"d/file {number}", b"%d" % number * (number * 37))
        self.file("text", b"a line of text\n" * 90)
        self.file("d/deep/x", b"x")
        os.symlink("d/file 1", self.tree + "/short")
        os.symlink("d/" + "no/" * 25, self.tree + "/long")
        os.link(self.tree + "/text", self.tree + "/again")
        with open(self.tree + "/sparse", "wb") as file:
            file.seek(40_000)
            file.write(b"end")
        try:
            os.setxattr(self.tree + "/text", "user.note", b"a note")
        except OSError:
            pass

    def file(self, name, data):
        with open(f"{self.tree}/{name}", "wb") as file:
            file.write(data)

    def image(self, size=None):
        path = self.work + "/image"
        if os.path.exists(path):
            os.remove(path)
        if size is not None:
            with open(path, "wb") as file:
                file.truncate(size)
        return path

    def put(self, target, name, path, drop=()):
        os.makedirs(f"{self.corpus}/{target}", exist_ok=True)
        with open(f"{self.corpus}/{target}/{name}", "wb") as file:
            file.write(pack(path, drop))

    def ext(self):
        base = ["mke2fs", "-q", "-F", "-N", "40", "-d", self.tree, "-E", "lazy_itable_init=0,root_owner=0:0"]
        for name, size, options in [
            ("ext2", 256, ["-t", "ext2", "-b", "1024"]),
            ("ext4", 512, ["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal,inline_data,64bit"]),
            ("ext4-checksums", 512, ["-t", "ext4", "-b", "1024", "-O", "metadata_csum,^has_journal"]),
            ("ext4-bigalloc", 8192, ["-t", "ext4", "-O", "bigalloc,^metadata_csum,^has_journal,^resize_inode"]),
        ]:
            path = self.image(size << 10)
            run(*base, *options, path)
            self.put("ext", name, path)
        # A folder with an index, and a journal that has to be replayed.
        many = self.work + "/many"
        os.makedirs(many)
        for number in range(40):
            open(f"{many}/{number:060}", "wb").close()
        path = self.image(4 << 20)
        run("mke2fs", "-q", "-F", "-N", "64", "-d", many, "-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^resize_inode",
            "-J", "size=1", path)
        subprocess.run(["e2fsck", "-fyD", path], capture_output=True, check=False)
        self.file("block", b"\xC0journal" * 64)
        run("debugfs", "-w", "-f", "/dev/stdin", path,
            input=f"journal_open\njournal_write -b 500,501 {self.tree}/block\njournal_close\n".encode())
        os.remove(self.tree + "/block")
        self.put("ext", "ext4-journal", path)

    def fat(self):
        for name, kib, options in [("fat12", 128, ["-F", "12"]), ("fat16", 4400, ["-F", "16", "-s", "1"]),
                                   ("fat32", 34 << 10, ["-F", "32", "-s", "1"])]:
            path = self.image(kib << 10)
            run("mkfs.fat", "-n", "LABEL", *options, path)
            for source in ["d", "text", "sparse"]:
                run("mcopy", "-s", "-i", path, f"{self.tree}/{source}", f"::{source} with a long name")
            self.put("fat", name, path)

    def exfat(self):
        path = self.image(4 << 20)
        run("mkfs.exfat", "-b", "4096", "-c", "4096", "-L", "LABEL", path)
        self.populate_mounted(path, "mount.exfat-fuse")
        self.put("exfat", "exfat", path)

    def populate_mounted(self, path, driver):
        mounted = self.work + "/mounted"
        os.makedirs(mounted, exist_ok=True)
        device = None
        if driver == "ntfs-3g":
            run(driver, "-o", "compression,streams_interface=xattr,big_writes", path, mounted)
        else:
            device = subprocess.run(["losetup", "-f", "--show", path], stdout=subprocess.PIPE, check=True).stdout.strip()
            run(driver, device, mounted)
        try:
            for name in ["d", "text"]:
                source, target = f"{self.tree}/{name}", f"{mounted}/{name}"
                shutil.copytree(source, target) if os.path.isdir(source) else shutil.copyfile(source, target)
            if driver == "ntfs-3g":
                os.symlink("text", mounted + "/link")
                os.makedirs(mounted + "/packed")
                os.setxattr(mounted + "/packed", "system.ntfs_attrib_be", struct.pack(">I", 0x810))
                with open(mounted + "/packed/zeros", "wb") as file:
                    file.write(b"text " * 600)
                os.setxattr(mounted + "/text", "user.stream", b"of bytes")
                with open(mounted + "/sparse", "wb") as file:
                    file.truncate(1 << 20)
                    file.seek(1 << 19)
                    file.write(b"middle")
        finally:
            run("umount", mounted)
            if device:
                run("losetup", "-d", device)

    def ntfs(self):
        for name, options in [("ntfs", ["-c", "4096"]), ("ntfs-512", ["-c", "512", "-s", "512"])]:
            path = self.image(4 << 20)
            run("mkfs.ntfs", "-q", "-Q", "-F", "-H", "16", "-S", "63", "-p", "2048", *options, path)
            self.populate_mounted(path, "ntfs-3g")
            # The table of upper case letters is 128 KiB that do no harm; the journal is not looked into.
            with open(path, "rb") as file:
                data = file.read()
            upcase = data.find(b"".join(struct.pack("<H", letter) for letter in range(97)))
            drop = [(upcase & ~4095, upcase + (128 << 10))]
            at = data.find(b"RSTR")
            while at >= 0:
                drop.append((at & ~4095, at + 4096))
                at = data.find(b"RSTR", at + 1)
            at = data.find(b"RCRD")
            while at >= 0:
                drop.append((at & ~4095, at + 4096))
                at = data.find(b"RCRD", at + 1)
            self.put("ntfs", name, path, drop)

    def xfs(self):
        plain = self.work + "/plain"
        shutil.copyfile(self.tree + "/text", plain)
        lines = "".join(f"{'name' * (1 + number % 9)}{number} ---644 0 0 {plain}\n" for number in range(12))
        with open(self.work + "/proto", "w") as file:
            file.write(f"/nothing\n0 0\nd--755 0 0\ntext ---644 0 0 {plain}\nlink l--777 0 0 text\n"
                       f"dir d--755 3 4\n{lines}$\nfew d--755 0 0\na ---600 5 6 {plain}\n$\npipe p--644 0 0\n$\n")
        for name, options in [("v5", []), ("v4", ["-m", "crc=0,finobt=0,rmapbt=0,reflink=0,bigtime=0,inobtcount=0"]),
                              ("v4-512", ["-m", "crc=0,finobt=0,rmapbt=0,reflink=0,bigtime=0,inobtcount=0", "-b", "size=512"])]:
            path = self.image(304 << 20)
            run("mkfs.xfs", "-q", "-f", "-p", self.work + "/proto", "-d", "agcount=2", *options, path)
            self.put("xfs", name, path)

    def btrfs(self):
        for name, options in [("node4k", ["-n", "4096"]), ("mixed", ["-M", "-n", "4096"])]:
            path = self.image(128 << 20)
            run("mkfs.btrfs", "-q", "-f", "-m", "single", "-d", "single", "-s", "4096", "--rootdir", self.tree, *options, path)
            self.put("btrfs", name, path)

    def iso(self):
        for name, options in [("rock-ridge", ["-R"]), ("joliet", ["-J"]), ("plain", [])]:
            path = self.image()
            run("genisoimage", "-quiet", "-o", path, *options, self.tree)
            self.put("iso", name, path)

    def squash(self):
        for name in ["gzip", "zstd", "xz", "lzo", "lz4"]:
            path = self.image()
            run("mksquashfs", self.tree, path, "-quiet", "-noappend", "-comp", name)
            self.put("squash", name, path)
        path = self.image()
        run("mksquashfs", self.tree, path, "-quiet", "-noappend", "-noI", "-noD", "-noF", "-noX", "-b", "4096")
        self.put("squash", "plain", path)

    def containers(self):
        raw = self.work + "/raw"
        with open(raw, "wb") as file:
            file.truncate(1 << 20)
            for at, data in [(0, b"first " * 100), (200_000, b"text" * 500), (1_048_000, b"end")]:
                file.seek(at)
                file.write(data)
        for target, kind, name, options in [
            ("qcow2", "qcow2", "small", ["-o", "cluster_size=512"]),
            ("qcow2", "qcow2", "zlib", ["-c", "-o", "cluster_size=4k"]),
            ("qcow2", "qcow2", "zstd", ["-c", "-o", "cluster_size=4k,compression_type=zstd"]),
            ("qcow2", "qcow2", "split", ["-o", "extended_l2=on,cluster_size=16k"]),
            ("qcow2", "qcow2", "old", ["-o", "compat=0.10"]),
            ("vdi", "vdi", "growing", []),
            ("vhd", "vpc", "dynamic", ["-o", "force_size=on"]),
            ("vhd", "vpc", "fixed", ["-o", "force_size=on,subformat=fixed"]),
            ("vhdx", "vhdx", "dynamic", []),
            ("vhdx", "vhdx", "fixed", ["-o", "subformat=fixed"]),
            ("vmdk", "vmdk", "sparse", []),
            ("vmdk", "vmdk", "stream", ["-o", "subformat=streamOptimized"]),
        ]:
            path = self.image()
            run("qemu-img", "convert", "-f", "raw", "-O", kind, *options, raw, path)
            self.put(target, name, path)
        path = self.image()
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", raw, path)
        run("qemu-img", "bitmap", "--add", "-g", "4k", path, "b")
        run("qemu-io", "-f", "qcow2", "-c", "write -P 1 100k 9k", path)
        self.put("qcow2", "bitmap", path)
        path = self.image()
        with open(path, "w") as file:
            file.write('# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
                       'RW 4 FLAT "flat.vmdk" 0\nRW 3 ZERO\nRW 2 FLAT "flat.vmdk" 2\n')
        self.put("vmdk", "described", path)

    def table(self):
        gpt = "label: gpt\nsize=1MiB, type=U, name=EFI\nsize=2MiB, type=L, name=root\nsize=1MiB, type=S\n"
        mbr = "label: dos\nsize=1MiB, type=c, bootable\nsize=1MiB, type=83\nsize=5MiB, type=5\nsize=1MiB, type=82\nsize=1MiB, type=83\n"
        for name, script in [("gpt", gpt), ("mbr", mbr)]:
            path = self.image(16 << 20)
            run("sfdisk", "-q", path, input=script.encode())
            fat = self.work + "/fat"
            with open(fat, "wb") as file:
                file.truncate(1 << 20)
            run("mkfs.fat", "-n", "LABEL", fat)
            with open(path, "r+b") as file, open(fat, "rb") as part:
                file.seek(1 << 20)
                file.write(part.read(64 << 10))
            self.put("table", name, path)

    def lvm(self):
        home = os.path.join(os.environ.get("BYGONE_TOOLS", os.path.expanduser("~/.cache/bygone-tools")), "images/lvm")
        for name in ["one", "kinds"]:
            size = os.path.getsize(f"{home}/{name}.pv")
            self.put("lvm", name, f"{home}/{name}.pv", [(1 << 20, size)])

    def luks(self):
        for name, options in [("v1", ["--type", "luks1"]), ("v2", ["--type", "luks2"])]:
            path = self.image(20 << 20)
            run("cryptsetup", "-q", "luksFormat", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", *options, path, "-",
                input=b"fuzz")
            # Without the areas of the keys: those are noise.
            self.put("luks", name, path, [(4096 if name == "v1" else 32 << 10, 20 << 20)])


def main():
    with tempfile.TemporaryDirectory() as work:
        seeds = Seeds(sys.argv[1], work)
        for make in sys.argv[2:] or ["ext", "fat", "exfat", "ntfs", "xfs", "btrfs", "iso", "squash", "containers", "table", "lvm", "luks"]:
            try:
                getattr(seeds, make)()
            except AssertionError as problem:
                print(f"{make}: {problem}")


main()
