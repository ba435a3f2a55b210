#!/usr/bin/env python3
"""Reads a repository in a local folder: a second reader, written from src/format/FORMAT.md alone.

usage: format-reader.py FOLDER        (the password is the first line of standard input)

Prints one line for each node of the newest snapshot: path, mode with its type bits (octal), size, SHA-256 of the bytes of a
file or the target of a link, else "-". Bytes of a path that are not plain text stand as %XX. Any broken rule ends it with status 1.
Needs the packages blake3, cryptography, zstandard, argon2-cffi: scripts/tools.sh installs them.
"""

import hashlib
import os
import re
import sys

import argon2.low_level
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEGMENT = 65536
CHUNK_MAX = 16 << 20
DATA, NODES, EXTENTS = 1, 2, 3
DATA_PACK, META_PACK, INDEX, RECORD = 1, 2, 3, 4


class Broken(Exception):
    """A rule of FORMAT.md that does not hold."""


def need(rule, holds):
    if not holds:
        raise Broken(rule)


class Reader:
    """Section 3."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need("ends too early", count <= len(self.data) - self.at)
        self.at += count
        return self.data[self.at - count:self.at]

    def fixed(self, count):
        return int.from_bytes(self.take(count), "little")

    def var(self, most=2**64 - 1):
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                need("needless bytes in a number", byte or shift == 7)
                need(f"{value} is above the limit {most}", value <= most)
                return value
            need("number too long", shift < 70)

    def zig(self):
        raw = self.var()
        return raw >> 1 ^ -(raw & 1)

    def bytes(self, most):
        return self.take(self.var(most))

    def time(self):
        return self.zig() * 10**9 + self.var(999_999_999)

    def list(self, item):
        return [item(self) for _ in range(self.var(len(self.data) - self.at))]

    def reserved(self, count):
        need("reserved bytes are not zero", not any(self.take(count)))

    def end(self):
        need("bytes left over", self.at == len(self.data))

    def name(self):
        name = self.bytes(1024)
        check_name(name)
        return name

    def path(self):
        path = self.bytes(32768)
        parts = path.split(b"/") if path else []
        need("too deep", len(parts) <= 4096)
        for part in parts:
            check_name(part)
        return path


def check_name(name):
    need(f"bad name {name!r}", 1 <= len(name) <= 1024 and name not in (b".", b"..") and not set(name) & {0, 0x2F})


def prefix(r):
    need("magic", r.take(8) == b"BYGONE\r\n")
    version = r.fixed(2)
    need(f"written by a newer program (version {version})", version == 1)


def checksum(data):
    need("checksum", blake3(data[:-32]).digest() == data[-32:])


def path_key(path):
    return path.replace(b"/", b"\0")


class Repository:
    def __init__(self, folder, password):
        self.folder = folder
        config = self.get("config")
        r = Reader(config)
        prefix(r)
        need("config has 96 bytes", len(config) == 96)
        checksum(config)
        need("chunker", r.fixed(1) == 1)
        need("conditional", r.fixed(1) <= 1)
        r.reserved(4)
        self.id = r.take(16)
        low, avg, high = r.fixed(4), r.fixed(4), r.fixed(4)
        need("chunk sizes", 64 <= low < avg < high <= CHUNK_MAX and avg & (avg - 1) == 0)
        self.master = self.unlock(config, password)
        self.chunk_key = blake3(self.master, derive_key_context="bygone 2026 v1 chunk id").digest()
        self.ciphers = {}
        self.places = None

    def get(self, name):
        with open(os.path.join(self.folder, name), "rb") as f:
            return f.read()

    def names(self, prefix, form):
        found = []
        for top, _, files in os.walk(os.path.join(self.folder, prefix)):
            for file in files:
                name = os.path.relpath(os.path.join(top, file), self.folder)
                match = re.fullmatch(form, name)
                if match:
                    found.append(match.groups())
        return sorted(found)

    def unlock(self, config, password):
        """Section 6."""
        for (slot_id,) in self.names("keys", "keys/([0-9a-f]{32})"):
            slot = self.get("keys/" + slot_id)
            r = Reader(slot)
            prefix(r)
            need("slot has 232 bytes", len(slot) == 232)
            checksum(slot)
            need("kdf", r.fixed(1) == 1)
            r.reserved(5)
            need("repository of the slot", r.take(16) == self.id)
            need("id of the slot", r.take(16).hex() == slot_id)
            memory, passes, lanes = r.fixed(4), r.fixed(4), r.fixed(4)
            need("cost", 1 <= lanes <= 16 and 1 <= passes <= 16 and 8 * lanes <= memory <= 2 << 20)
            r.reserved(4)
            both = argon2.low_level.hash_secret_raw(password, r.take(16), passes, memory, lanes, 64, argon2.low_level.Type.ID)
            if r.take(32) != both[32:]:
                continue
            secret = AESGCM(both[:32]).decrypt(bytes(12), slot[112:200], slot[:112])
            need("config of the slot", secret[32:64] == blake3(config).digest())
            return secret[:32]
        raise Broken("no slot opens with this password")

    def header(self, data, kind, object_id):
        """Section 7: gives the cipher, the associated data and the length of the plaintext."""
        r = Reader(data[:128])
        prefix(r)
        need("algorithm", r.fixed(1) == 1)
        need("type of the object", r.fixed(1) == kind)
        r.reserved(4)
        need("repository of the object", r.take(16) == self.id)
        own = r.take(16)
        need("id of the object", object_id is None or own.hex() == object_id)
        salt, commitment, length = r.take(32), r.take(32), r.fixed(8)
        r.reserved(8)
        need("length of the object", 16 <= length <= 1 << 30)
        secret = self.master + bytes([kind]) + self.id + own + salt
        both = blake3(secret, derive_key_context="bygone 2026 v1 sealed object").digest(length=64)
        need("commitment", commitment == both[32:])
        return AESGCM(both[:32]), blake3(data[:128]).digest(), length

    def plain(self, opened, first, last, segment_bytes):
        """Opens segments first..=last; segment_bytes(i, n) gives n sealed bytes of segment i."""
        cipher, aad, length = opened
        count = -(-length // SEGMENT)
        need("segment beyond the end", last < count)
        out = b""
        for i in range(first, last + 1):
            size = min(SEGMENT, length - i * SEGMENT)
            nonce = i.to_bytes(8, "little") + bytes(3) + bytes([i + 1 == count])
            out += cipher.decrypt(nonce, segment_bytes(i, size + 16), aad)
        return out

    def open_object(self, name, kind, object_id):
        data = self.get(name)
        checksum(data)
        opened = self.header(data, kind, object_id)
        count = -(-opened[2] // SEGMENT)
        need("length of the object", len(data) == 128 + opened[2] + 16 * count + 32)
        plain = self.plain(opened, 0, count - 1, lambda i, n: data[128 + i * (SEGMENT + 16):][:n])
        payload, directory = (int.from_bytes(plain[at:][:8], "little") for at in (-16, -8))
        need("trailer", payload + directory <= len(plain) - 16)
        return plain[:payload], plain[payload:payload + directory], data

    def chunk(self, kind, ref):
        """Section 8, at the hint or wherever the index says."""
        chunk_id, length, hint = ref
        try:
            return self.chunk_at(kind, chunk_id, length, hint)
        except Exception as error:
            first = error
        if self.places is None:
            self.places = {}
            for (index,) in self.names("index", "index/([0-9a-f]{32})"):
                self.read_index(Reader(self.open_object("index/" + index, INDEX, index)[0]))
        for place in self.places.get((kind, chunk_id), []):
            return self.chunk_at(kind, chunk_id, length, place)
        raise first

    def read_index(self, r):
        packs = r.list(lambda r: (r.take(16).hex(), r.var())[0])
        for _ in range(r.var()):
            key = (r.fixed(1), r.take(32))
            place = (packs[r.var()], r.var(), r.var(CHUNK_MAX + 5))
            r.var(CHUNK_MAX)
            self.places.setdefault(key, []).append(place)
        r.end()

    def chunk_at(self, kind, chunk_id, length, place):
        pack, offset, size = place
        with open(os.path.join(self.folder, "packs", pack[:2], pack), "rb") as f:
            if pack not in self.ciphers:
                self.ciphers[pack] = self.header(f.read(128), DATA_PACK if kind == DATA else META_PACK, pack)

            def segment(i, n):
                f.seek(128 + i * (SEGMENT + 16))
                return f.read(n)

            need("encoded chunk", 5 <= size)
            first = offset // SEGMENT
            plain = self.plain(self.ciphers[pack], first, (offset + size - 1) // SEGMENT, segment)
        encoded = plain[offset - first * SEGMENT:][:size]
        need("encoded chunk is cut", len(encoded) == size)
        plain = decode_chunk(encoded)
        covered = plain if kind == DATA else plain[:length]
        need("length of the chunk", len(covered) == length)
        need("id of the chunk", blake3(bytes([kind]) + covered, key=self.chunk_key).digest() == chunk_id)
        return plain

    def newest(self):
        """Section 13: the newest snapshot that is not forgotten."""
        chains = {}
        for writer, seq in self.names("log", "log/([0-9a-f]{32})/([0-9]{10})"):
            chains.setdefault(writer, []).append(int(seq))
        events = {}
        for writer, seqs in chains.items():
            need(f"gap in the chain of {writer}", seqs == list(range(len(seqs))))
            last = seqs[-1]
            for seq in {last, last - last % 32}:
                for number, event in self.record(writer, seq):
                    events[writer, number] = event
        forgotten, found = set(), []
        for _, (kind, value) in sorted(events.items()):
            if kind == 1:
                found.append(value)
            elif kind == 3:
                forgotten.add(value)
            elif kind == 4:
                forgotten.discard(value)
        found = [snapshot for snapshot in found if snapshot["id"] not in forgotten]
        need("there is no snapshot", found)
        return max(found, key=lambda snapshot: snapshot["time"])

    def record(self, writer, seq):
        payload, _, data = self.open_object(f"log/{writer}/{seq:010}", RECORD, None)
        r = Reader(decode_chunk(payload))
        need("place of the record", (r.take(16), r.take(16).hex(), r.var()) == (self.id, writer, seq))
        previous = blake3(self.get(f"log/{writer}/{seq - 1:010}")).digest() if seq else bytes(32)
        need("hash of the record before", r.take(32) == previous)
        r.time()
        own = read_event(r)
        r.bytes(CHUNK_MAX)
        history = r.list(lambda r: (r.var(seq - 1), read_event(r)))
        r.list(lambda r: (r.take(16), r.var(), r.take(32)))
        r.end()
        return history + [(seq, own)]


def decode_chunk(encoded):
    r = Reader(encoded)
    codec, length = r.fixed(1), r.fixed(4)
    need("codec", codec <= 1)
    need("length of a chunk", length <= CHUNK_MAX)
    plain = encoded[5:]
    if codec == 1:
        plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=max(length, 1))
    need("declared length of a chunk", len(plain) == length)
    return plain


def read_event(r):
    kind = r.fixed(1)
    need("kind of event", 1 <= kind <= 6)
    if kind >= 5:
        return kind, r.list(lambda r: r.take(16))
    if kind >= 3:
        return kind, r.take(16)
    s = {"id": r.take(16), "time": r.time(), "host": r.bytes(65536), "user": r.bytes(65536)}
    s["sources"], s["tags"] = r.list(lambda r: r.path()), r.list(lambda r: r.bytes(65536))
    r.bytes(65536), r.bytes(65536)
    need("parent", len(r.bytes(16)) in (0, 16))
    length, chunk_id = r.var(CHUNK_MAX), r.take(32)
    s["root"] = (chunk_id, length, (r.take(16).hex(), r.var(), r.var(CHUNK_MAX + 5)))
    s["level"], s["nodes"], s["bytes"], s["with_xattrs"] = r.fixed(1), r.var(), r.var(), r.var()
    need("level", s["level"] <= 12)
    for _ in range(6):
        r.var()
    return kind, s


class Page(Reader):
    """A page, hashed part and hints (section 11)."""

    def __init__(self, plain, length):
        super().__init__(plain[:length])
        h = Reader(plain[length:])
        packs = h.list(lambda r: r.take(16).hex())
        self.hints = iter(h.list(lambda r: (packs[r.var()], r.var(2**32 - 1), r.var(CHUNK_MAX + 5))))
        h.end()
        self.level = self.fixed(1)
        need("level", self.level <= 12)

    def ref(self):
        length = self.var(CHUNK_MAX)
        return self.take(32), length, next(self.hints)

    def finish(self):
        self.end()
        need("hints left over", next(self.hints, None) is None)


def walk(repo, ref, level):
    """All (folder, node) of a page of nodes and below it, in order."""
    page = Page(repo.chunk(NODES, ref), ref[1])
    need("level of a page", page.level == level)
    if level == 0:
        owners = page.list(lambda r: (r.var(2**32 - 1), r.var(2**32 - 1), r.bytes(256), r.bytes(256)))
        found = []
        for _ in range(page.var()):
            folder, count = page.path(), page.var()
            need("empty run", count)
            found += [(folder, read_node(page, owners)) for _ in range(count)]
        page.finish()
        yield from found
        return
    children = page.list(lambda r: (r.path(), r.bytes(1024), r.var(2**48), r.var(2**62), r.ref()))
    page.finish()
    for folder, name, nodes, size, child in children:
        below = list(walk(repo, child, level - 1))
        need("first key", (below[0][0], below[0][1]["name"]) == (folder, name))
        need("number of nodes", len(below) == nodes)
        need("sum of sizes", min(sum(node["size"] for _, node in below), 2**62) == size)
        yield from below


TYPES = {0: 0o100000, 1: 0o040000, 2: 0o120000, 3: 0o010000, 4: 0o140000, 5: 0o020000, 6: 0o060000}


def read_node(r, owners):
    node = {"name": r.bytes(1024), "kind": r.fixed(1), "target": b"", "content": (0,)}
    need("kind of node", node["kind"] in TYPES)
    if node["kind"] == 2:
        node["target"] = r.bytes(65536)
    if node["kind"] >= 5:
        r.var(2**32 - 1), r.var(2**32 - 1)
    node["mode"] = TYPES[node["kind"]] | r.var(0o7777)
    owners[r.var()], r.time(), r.time(), r.var(), r.var(2**32 - 1)
    fields = r.var(31)
    if fields & 1:
        r.time()
    if fields & 2:
        need("link group", r.fixed(8) and node["kind"] != 1)
    if fields & 4:
        r.var(2**32 - 1)
    if fields & 8:
        names = r.list(lambda r: (r.bytes(1024), r.bytes(1 << 20))[0])
        need("order of xattrs", names == sorted(set(names)))
    if fields & 16:
        r.var(2**32 - 1), r.bytes(1 << 20), r.bytes(1 << 20), r.list(lambda r: (r.name(), read_content(r)))
    if node["kind"] == 0:
        node["content"] = read_content(r)
    node["size"] = content_len(node["content"]) if node["kind"] == 0 else len(node["target"])
    return node


def read_content(r):
    kind = r.fixed(1)
    need("content", kind <= 3)
    if kind == 1:
        return kind, r.bytes(4096)
    if kind == 2:
        return kind, r.ref()
    if kind == 3:
        ref, length = r.ref(), r.var(2**62)
        return kind, ref, length, r.var(length)
    return (kind,)


def content_len(content):
    return [0, lambda: len(content[1]), lambda: content[1][1], lambda: content[2]][content[0]]() if content[0] else 0


def extents(repo, ref, length, level=None):
    """(length, reference or None for a hole) of a page of extents and below it."""
    page = Page(repo.chunk(EXTENTS, ref), ref[1])
    need("level of a page of extents", level in (None, page.level))
    found, sizes = [], []
    for _ in range(page.var()):
        size = page.var()
        if page.level == 0:
            hole, size = size & 1, size >> 1
            found.append((size, None if hole else (page.take(32), size, next(page.hints))))
        else:
            found.append((size, page.ref()))
        sizes.append(size)
    page.finish()
    need("sum of extents", all(sizes) and sizes and sum(sizes) == length)
    for size, child in found:
        if page.level == 0:
            yield size, child
        else:
            yield from extents(repo, child, size, page.level - 1)


def digest(repo, content):
    sha = hashlib.sha256()
    if content[0] == 1:
        sha.update(content[1])
    elif content[0] == 2:
        sha.update(repo.chunk(DATA, content[1]))
    elif content[0] == 3:
        data = 0
        for size, ref in extents(repo, content[1], content[2]):
            data += size if ref else 0
            if ref:
                sha.update(repo.chunk(DATA, ref))
                continue
            while size:
                sha.update(bytes(min(size, 1 << 20)))
                size -= min(size, 1 << 20)
        need("data bytes", data == content[3])
    return sha.hexdigest()


def main():
    repo = Repository(sys.argv[1], sys.stdin.buffer.readline().rstrip(b"\n"))
    snapshot = repo.newest()
    before, nodes, total = None, 0, 0
    for folder, node in walk(repo, snapshot["root"], snapshot["level"]):
        key = (path_key(folder), node["name"])
        need("order of nodes", before is None or before < key)
        need("root node", (before is None) == (key == (b"", b"")) and (before or node["kind"] == 1))
        before, nodes, total = key, nodes + 1, min(total + node["size"], 2**62)
        if key[1]:
            check_name(node["name"])
        path = folder + b"/" + node["name"] if folder else node["name"]
        shown = "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x25 else f"%{b:02x}" for b in path)
        sha = "-"
        if node["kind"] == 0:
            sha = digest(repo, node["content"])
        elif node["kind"] == 2:
            sha = hashlib.sha256(node["target"]).hexdigest()
        print(f"/{shown} {node['mode']:06o} {node['size']} {sha}")
    need("figures of the snapshot", (nodes, total) == (snapshot["nodes"], snapshot["bytes"]))


if __name__ == "__main__":
    try:
        main()
    except Broken as broken:
        sys.exit(f"broken rule: {broken}")
