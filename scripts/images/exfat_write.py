"""Fills an empty exFAT volume, made by mkfs.exfat, with a tree, and tells what a reader must find.

As fat_write.py: names, places and fragments are chosen here; fsck.exfat and exfat-fuse say whether the result is exFAT.
"""
import hashlib
import random
import struct

from fat_write import File
from fat_write import Folder
from fat_write import Volume
from fat_write import dos_time
from listing import shown

END = 0xFFFFFFFF


class Node:
    """What exFAT has and FAT has not: `quarters` of an hour east of Greenwich, `hundredths` of seconds, `valid`: so many
    bytes were written, `extra`: entries at the end of the set."""

    def __init__(self, node, quarters=None, hundredths=0, valid=None, extra=b""):
        self.node, self.quarters, self.hundredths, self.valid, self.extra = node, quarters, hundredths, valid, extra


def rotated_sum(data, bits, left_out):
    total, mask = 0, (1 << bits) - 1
    for at, byte in enumerate(data):
        if at not in left_out:
            total = ((total & 1) << (bits - 1)) + (total >> 1) + byte & mask
    return total


class ExVolume(Volume):
    def __init__(self, path):
        self.file = open(path, "r+b")
        boot = self.file.read(512)
        table, self.table_sectors, heap, self.count, self.root = struct.unpack_from("<IIIII", boot, 80)
        self.sector = 1 << boot[108]
        self.cluster = self.sector << boot[109]
        self.table_at, self.heap_at = table * self.sector, heap * self.sector
        self.file.seek(self.table_at)
        self.links = list(struct.unpack("<%dI" % (self.count + 2), self.file.read(4 * self.count + 8)))
        self.file.seek(self.offset(self.root))
        raw = self.file.read(self.cluster)
        self.raw_root = raw.rstrip(b"\0")
        self.raw_root = self.raw_root.ljust(-(-len(self.raw_root) // 32) * 32, b"\0")
        entries = [self.raw_root[i:i + 32] for i in range(0, len(self.raw_root), 32)]
        places = {e[0]: struct.unpack_from("<IQ", e, 20) for e in entries if e[0] in (0x81, 0x82)}
        self.bitmap_at, self.bitmap_bytes = self.offset(places[0x81][0]), places[0x81][1]
        self.file.seek(self.bitmap_at)
        bitmap = self.file.read(self.bitmap_bytes)
        self.used = [bitmap[i // 8] >> i % 8 & 1 for i in range(self.count)]
        self.upper = self.read_upper(*places[0x82])
        self.next_free = self.root + 1
        self.end = END
        self.random = random.Random(1)
        self.truth = []

    def offset(self, cluster):
        return self.heap_at + (cluster - 2) * self.cluster

    def read_upper(self, first, size):
        self.file.seek(self.offset(first))
        units = struct.unpack("<%dH" % (size // 2), self.file.read(size))
        upper, at = [], 0
        while at < len(units):
            if units[at] == 0xFFFF and at + 1 < len(units):
                upper += range(len(upper), len(upper) + units[at + 1])
                at += 2
            else:
                upper.append(units[at])
                at += 1
        return upper + list(range(len(upper), 0x10000))

    def chain(self, clusters):
        for cluster in clusters:
            self.used[cluster - 2] = 1
        if clusters != list(range(clusters[0], clusters[0] + len(clusters))):
            super().chain(clusters)

    def entry_set(self, name, item, clusters, size):
        node = item.node
        units = name.encode("utf-16-le", "surrogatepass")
        parts = [units[i:i + 30].ljust(30, b"\0") for i in range(0, len(units), 30)]
        upper = b"".join(struct.pack("<H", self.upper[u]) for u in struct.unpack("<%dH" % (len(units) // 2), units))
        name_hash = rotated_sum(upper, 16, ())
        quarters = item.quarters
        offset = 0 if quarters is None else 0x80 | quarters & 0x7F
        date, time = dos_time(node.mtime + (quarters or 0) * 900)
        stamp = date << 16 | time
        straight = clusters and clusters == list(range(clusters[0], clusters[0] + len(clusters)))
        valid = size if item.valid is None else item.valid
        count = 1 + len(parts) + len(item.extra) // 32
        file = struct.pack("<BBHHHIIIBBBBB7x", 0x85, count, 0, node.attributes, 0, stamp, stamp, stamp, item.hundredths,
                           item.hundredths, offset, offset, offset)
        stream = struct.pack("<BBBBHHQIIQ", 0xC0, 3 if straight else 1, 0, len(units) // 2, name_hash, 0, valid, 0,
                             clusters[0] if clusters else 0, size)
        entries = file + stream + b"".join(b"\xc1\0" + part for part in parts) + item.extra
        return entries[:2] + struct.pack("<H", rotated_sum(entries, 16, (2, 3))) + entries[4:]

    def set_bytes(self, name, item):
        return 32 * (2 + -(-len(name.encode("utf-16-le", "surrogatepass")) // 30)) + len(item.extra)

    def item(self, node):
        return node if isinstance(node, Node) else Node(node)

    def folder(self, folder, path):
        out = [folder.raw_before]
        for name, node in folder.children:
            item = self.item(node)
            node, below = item.node, path + ("/" if path else "") + name
            clusters, size = [], 0
            self.truth.append(self.line(below, item))
            if isinstance(node, Folder):
                size = sum(self.set_bytes(name, self.item(child)) for name, child in node.children) + len(node.raw_before)
                # Also an empty folder has a cluster.
                size = max(1, -(-size // self.cluster)) * self.cluster
                clusters = self.take(size // self.cluster, node.pieces)
                self.write(clusters, self.folder(node, below).ljust(size, b"\0"))
            elif node.content:
                size = len(node.content)
                clusters = self.take(-(-size // self.cluster), node.pieces)
                self.write(clusters, node.content)
            out.append(self.entry_set(name, item, clusters, size))
        return b"".join(out)

    def line(self, path, item):
        node = item.node
        is_folder = isinstance(node, Folder)
        nanos = item.hundredths * 10_000_000
        content = node.content
        if item.valid is not None:
            content = content[:item.valid].ljust(len(content), b"\0")
        return "\t".join([shown(path.encode("utf-8", "surrogatepass")), "d" if is_folder else "f",
                          str(0 if is_folder else len(content)),
                          "%d.%09d" % ((node.mtime & ~1) + nanos // 10**9, nanos % 10**9), "-", "-", "-", "-", "", "",
                          "" if is_folder else hashlib.sha256(content).hexdigest()])

    def fill(self, root):
        self.truth.append("\t".join([".", "d", "0", "-", "-", "-", "-", "-", "", "", ""]))
        size = len(self.raw_root) + len(root.raw_before)
        size += sum(self.set_bytes(name, self.item(child)) for name, child in root.children)
        more = -(-size // self.cluster) - 1
        clusters = [self.root] + (self.take(more, root.pieces) if more else [])
        # The root has a chain always.
        Volume.chain(self, clusters)
        data = self.raw_root + self.folder(root, "")
        self.write(clusters, data.ljust(len(clusters) * self.cluster, b"\0"))
        self.file.seek(self.table_at)
        self.file.write(struct.pack("<%dI" % len(self.links), *self.links))
        bits = self.used + [0] * (-len(self.used) % 8)
        self.file.seek(self.bitmap_at)
        self.file.write(bytes(sum(bit << at for at, bit in enumerate(bits[i:i + 8])) for i in range(0, len(bits), 8)))
        self.file.seek(112)
        self.file.write(bytes([sum(self.used) * 100 // self.count]))
        self.file.flush()
