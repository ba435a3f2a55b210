"""Fills an empty FAT volume, made by mkfs.fat or mformat, with a tree, and tells what a reader must find.

Names, places and fragments are chosen here, which no driver allows; that the result is FAT is for fsck.fat and 7z to say.
"""
import hashlib
import random
import struct

from listing import shown

EPOCH_1980 = 315532800


class File:
    """`content` of a file; `pieces`: its clusters lie in so many places. `short`: the eleven bytes of the short name,
    and then there is no long one, unless `long` says so."""

    def __init__(self, content=b"", mtime=EPOCH_1980, pieces=1, short=None, case=0, attributes=0x20, long=True):
        self.content, self.mtime, self.pieces, self.short = content, mtime, pieces, short
        self.case, self.attributes, self.long = case, attributes, long and short is None


class Folder(File):
    def __init__(self, children, raw_before=b"", **kwargs):
        super().__init__(attributes=kwargs.pop("attributes", 0x10), **kwargs)
        self.children, self.raw_before = children, raw_before


def dos_time(seconds):
    days, rest = divmod(seconds, 86400)
    # Days to a date, by the calendar of the standard library.
    import datetime
    date = datetime.date(1970, 1, 1) + datetime.timedelta(days=days)
    time = rest // 3600 << 11 | rest // 60 % 60 << 5 | rest % 60 // 2
    return (date.year - 1980) << 9 | date.month << 5 | date.day, time


def checksum(short):
    total = 0
    for byte in short:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    return total


def long_entries(name, short):
    units = name.encode("utf-16-le", "surrogatepass")
    count = -(-len(units) // 26)
    if len(units) % 26:
        units += b"\0\0"
    units = units.ljust(count * 26, b"\xff")
    entries = []
    for n in range(count, 0, -1):
        part = units[(n - 1) * 26:n * 26]
        order = n | (0x40 if n == count else 0)
        entries.append(struct.pack("<B10sBBB12sH4s", order, part[:10], 0x0F, 0, checksum(short), part[10:22], 0, part[22:]))
    return b"".join(entries)


class Volume:
    def __init__(self, path):
        self.file = open(path, "r+b")
        boot = self.file.read(512)
        self.sector, per_cluster, reserved, self.tables, roots, few = struct.unpack_from("<HBHBHH", boot, 11)
        table_sectors = struct.unpack_from("<H", boot, 22)[0]
        self.is_fat32 = table_sectors == 0
        if self.is_fat32:
            table_sectors = struct.unpack_from("<I", boot, 36)[0]
        sectors = few or struct.unpack_from("<I", boot, 32)[0]
        self.table_at, self.table_bytes = reserved * self.sector, table_sectors * self.sector
        self.root_at = self.table_at + self.tables * self.table_bytes
        self.root_bytes = roots * 32
        self.heap_at = self.root_at + -(-self.root_bytes // self.sector) * self.sector
        self.cluster = per_cluster * self.sector
        self.count = (sectors * self.sector - self.heap_at) // self.cluster
        self.bits = 32 if self.is_fat32 else 12 if self.count < 4085 else 16
        self.end = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}[self.bits]
        self.links = [0] * (self.count + 2)
        self.links[0], self.links[1] = self.end & ~0xFF | boot[21], self.end
        self.next_free = 2
        self.random = random.Random(1)
        self.shorts = 0
        self.truth = []
        label = self.read_root_label()
        self.root_entries = label

    def read_root_label(self):
        self.file.seek(self.heap_at if self.is_fat32 else self.root_at)
        entry = self.file.read(32)
        return entry if entry[11:12] == b"\x08" else b""

    def take(self, count, pieces):
        """Clusters in `pieces` runs, in no order."""
        first = self.next_free
        if pieces > 1:
            run = max(1, count // pieces)
            # With gaps, so that no two runs join.
            starts = [first + i * (run + 1) for i in range(-(-count // run))]
            self.random.shuffle(starts)
            clusters = [c for start in starts for c in range(start, start + run)][:count]
            self.next_free = first + len(starts) * (run + 1)
        else:
            clusters = list(range(first, first + count))
            self.next_free = first + count
        assert self.next_free <= self.count + 2, "the volume is full"
        self.chain(clusters)
        return clusters

    def chain(self, clusters):
        for here, after in zip(clusters, clusters[1:] + [self.end]):
            self.links[here] = after

    def write(self, clusters, content):
        at = 0
        while at < len(clusters):
            run = 1
            while at + run < len(clusters) and clusters[at + run] == clusters[at] + run:
                run += 1
            self.file.seek(self.heap_at + (clusters[at] - 2) * self.cluster)
            self.file.write(content[at * self.cluster:(at + run) * self.cluster])
            at += run

    def entries_of(self, name, node, first, size):
        short, long = node.short, b""
        if short is None:
            self.shorts += 1
            short = b"L%07d   " % self.shorts
        if node.long:
            long = long_entries(name, short)
        date, time = dos_time(node.mtime)
        tail = struct.pack("<BBBHHHHHHHI", node.attributes, node.case, 0, time, date, date, first >> 16, time, date,
                           first & 0xFFFF, size)
        return long + short + tail

    def entry_count(self, name, node):
        return 1 + (-(-len(name.encode("utf-16-le", "surrogatepass")) // 26) if node.long else 0)

    def folder(self, folder, path, own, parent):
        """The bytes of a folder, after everything below it was written."""
        out = [folder.raw_before]
        if path:
            for name, first in ((b".", own), (b"..", parent)):
                out.append(self.entries_of("", Folder([], short=name.ljust(11), mtime=folder.mtime), first, 0))
        for name, node in folder.children:
            below = path + ("/" if path else "") + name
            first = size = 0
            line = self.line(below, node)
            if isinstance(node, Folder):
                entries = 2 + sum(self.entry_count(*child) for child in node.children)
                clusters = self.take(-(-(entries * 32 + len(node.raw_before)) // self.cluster), node.pieces)
                first = clusters[0]
                self.truth.append(line)
                data = self.folder(node, below, first, own)
                self.write(clusters, data.ljust(len(clusters) * self.cluster, b"\0"))
            else:
                size = len(node.content)
                if size:
                    clusters = self.take(-(-size // self.cluster), node.pieces)
                    first = clusters[0]
                    self.write(clusters, node.content)
                self.truth.append(line)
            out.append(self.entries_of(name, node, first, size))
        return b"".join(out)

    def line(self, path, node):
        is_folder = isinstance(node, Folder)
        fields = [shown(path.encode("utf-8", "surrogatepass")), "d" if is_folder else "f", str(0 if is_folder else len(node.content)),
                  "%d.000000000" % (node.mtime & ~1), "-", "-", "-", "-", "", "",
                  "" if is_folder else hashlib.sha256(node.content).hexdigest()]
        return "\t".join(fields)

    def fill(self, root):
        """Writes the tree `root` and the tables."""
        self.truth.append("\t".join([".", "d", "0", "-", "-", "-", "-", "-", "", "", ""]))
        own = 0
        if self.is_fat32:
            entries = 1 + sum(self.entry_count(*child) for child in root.children)
            clusters = self.take(-(-(entries * 32 + len(root.raw_before)) // self.cluster), root.pieces)
            own = clusters[0]
            assert own == 2 or root.pieces > 1
        data = self.root_entries + self.folder(root, "", 0, 0)
        if self.is_fat32:
            self.write(clusters, data.ljust(len(clusters) * self.cluster, b"\0"))
            self.file.seek(44)
            self.file.write(struct.pack("<I", own))
            self.file.seek(self.sector * 6 + 44)
            self.file.write(struct.pack("<I", own))
            free = self.links.count(0)
            self.file.seek(self.sector + 488)
            self.file.write(struct.pack("<II", free, self.next_free))
        else:
            assert len(data) <= self.root_bytes, "the root is full"
            self.file.seek(self.root_at)
            self.file.write(data)
        table = self.table()
        for n in range(self.tables):
            self.file.seek(self.table_at + n * self.table_bytes)
            self.file.write(table)
        self.file.flush()

    def leave_second_table(self):
        """The first table is rubbish from now on, and the boot sector says so."""
        self.file.seek(40)
        self.file.write(b"\x81")
        self.file.seek(self.table_at + 8)
        self.file.write(self.random.randbytes(self.table_bytes - 8))
        self.file.flush()

    def table(self):
        if self.bits != 12:
            return struct.pack("<%d%s" % (len(self.links), "I" if self.bits == 32 else "H"), *self.links)
        links = self.links + [0]
        table = bytearray()
        for a, b in zip(links[::2], links[1::2]):
            table += (a | b << 12).to_bytes(3, "little")
        return bytes(table)[:self.table_bytes]
