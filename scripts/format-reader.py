#!/usr/bin/env python3
"""Reads a repository in a local folder: a second reader, written from src/format/FORMAT.md alone.

usage: format-reader.py FOLDER        (the password is the first line of standard input)

Prints one line for each node of the newest snapshot: path, mode with its type bits (octal), size, SHA-256 of the bytes
of a file or the target of a link, else "-". Bytes of a path that are not plain text stand as %XX. Any broken rule ends
it with status 1. Needs blake3, cryptography, zstandard and argon2-cffi: scripts/tools.sh installs them.
"""
import hashlib
import itertools
import os
import re
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEGMENT, SEALED, CHUNK_MAX, GROUP_MAX = 65536, 65552, 16 << 20, 1 << 20
DATA, NODES, EXTENTS = 1, 2, 3  # kinds of chunks
DATA_PACK, META_PACK, INDEX, RECORD = 1, 2, 3, 4  # types of objects
TYPES = [0o100000, 0o040000, 0o120000, 0o010000, 0o140000, 0o020000, 0o060000]

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
        value = 0
        for shift in range(0, 70, 7):
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                need("needless bytes in a number", byte or shift == 0)
                need(f"{value} is above its limit {most}", value <= most)
                return value
        raise Broken("number too long")

    def time(self):
        raw = self.var()
        return (raw >> 1 ^ -(raw & 1)) * 10**9 + self.var(999_999_999)

    def bytes(self, most):
        return self.take(self.var(most))

    def list(self, item):
        return [item(self) for _ in range(self.var(len(self.data) - self.at))]

    def end(self):
        need("bytes left over", self.at == len(self.data))

    def path(self):
        path = self.bytes(32768)
        parts = path.split(b"/") if path else []
        need("depth", len(parts) <= 4096)
        for part in parts:
            check_name(part)
        return path

def check_name(name):
    need(f"name {name!r}", 1 <= len(name) <= 1024 and name not in (b".", b"..") and not set(name) & {0, 0x2F})

def fields(data, form, *zeros):
    """Fixed fields of a clear header behind magic and version; those named by `zeros` are reserved."""
    need("magic", data[:8] == b"BYGONE\r\n")
    need("version 1, not one of a newer program", data[8:10] == b"\x01\0")
    found = struct.unpack_from("<" + form, data, 10)
    need("reserved bytes are zero", not any(any(found[i]) for i in zeros))
    return found

def check_sum(data):
    need("checksum", blake3(data[:-32]).digest() == data[-32:])

def decode_chunk(encoded):
    """Section 8.1."""
    r = Reader(encoded)
    codec, length, plain = r.fixed(1), r.fixed(4), encoded[5:]
    need("codec", codec <= 1)
    need("length of a chunk", length <= CHUNK_MAX)
    if codec == 1:
        plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=max(length, 1))
    need("declared length of a chunk", len(plain) == length)
    return plain

def decode_group(encoded):
    """Section 8.1: front of the id and content of each member."""
    r = Reader(encoded)
    codec, length = r.fixed(1), r.fixed(4)
    need("length of a group", length <= GROUP_MAX)
    table = r.list(lambda member: (member.take(4), member.var(GROUP_MAX)))
    need("members of a group", len(table) <= 4096 and all(size for _, size in table))
    need("lengths of a group", sum(size for _, size in table) == length)
    plain = r.data[r.at:]
    if codec == 3:
        plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=max(length, 1))
    need("declared length of a group", len(plain) == length)
    starts = itertools.accumulate((size for _, size in table), initial=0)
    return [(mark, plain[start:start + size]) for start, (mark, size) in zip(starts, table)]

class Repository:
    def __init__(self, folder, password):
        self.folder, self.packs, self.places = folder, {}, None
        config = self.get("config")
        check_sum(config)
        chunker, conditional, _, self.id, low, avg, high, _, _, _ = fields(config, "BB4s16sIII4sq8s", 2, 7, 9)
        need("form of config", len(config) == 96 and chunker == 1 and conditional <= 1)
        need("chunk sizes", 64 <= low < avg < high <= CHUNK_MAX)
        self.master = self.unlock(config, password)
        self.chunk_key = blake3(self.master, derive_key_context="bygone 2026 v1 chunk id").digest()

    def get(self, name):
        with open(os.path.join(self.folder, name), "rb") as f:
            return f.read()

    def names(self, form):
        """Objects of this form (section 2): the groups of each."""
        walk = os.walk(os.path.join(self.folder, form.split("/")[0]))
        all_names = (os.path.relpath(os.path.join(top, file), self.folder) for top, _, files in walk for file in files)
        return sorted(match.groups() for match in (re.fullmatch(form, name) for name in all_names) if match)

    def unlock(self, config, password):
        """Section 6."""
        for (name,) in self.names("keys/([0-9a-f]{32})"):
            slot = self.get("keys/" + name)
            check_sum(slot)
            kdf, _, repo, own, memory, passes, lanes, _, salt, commitment = fields(slot, "B5s16s16sIII4s16s32s", 1, 7)
            need("form and place of the slot", (len(slot), kdf, repo, own.hex()) == (232, 1, self.id, name))
            need("cost", 1 <= lanes <= 16 and 1 <= passes <= 16 and 8 * lanes <= memory <= 2 << 20)
            both = hash_secret_raw(password, salt, passes, memory, lanes, 64, Type.ID)
            if commitment == both[32:]:
                secret = AESGCM(both[:32]).decrypt(bytes(12), slot[112:200], slot[:112])
                need("config of the slot", secret[32:64] == blake3(config).digest())
                return secret[:32]
        raise Broken("no slot opens with this password")

    def header(self, data, kind, name):
        """Section 7: cipher, associated data, length of the plaintext, number of segments."""
        alg, typ, _, repo, own, salt, commitment, length, _ = fields(data, "BB4s16s16s32s32sQ8s", 2, 8)
        need("algorithm, type, repository", (alg, typ, repo) == (1, kind, self.id))
        need("id and length of the object", name in (None, own.hex()) and 16 <= length <= 1 << 30)
        secret = self.master + bytes([kind]) + self.id + own + salt
        both = blake3(secret, derive_key_context="bygone 2026 v1 sealed object").digest(length=64)
        need("commitment", commitment == both[32:])
        return AESGCM(both[:32]), blake3(data[:128]).digest(), length, -(-length // SEGMENT)

    def segments(self, header, first, last, sealed):
        """Plaintext of segments first to last; `sealed` begins with the first of them."""
        cipher, aad, length, count = header
        need("segment beyond the end", last < count)
        plain = b""
        for i in range(first, last + 1):
            at, size = (i - first) * SEALED, min(SEGMENT, length - i * SEGMENT) + 16
            nonce = i.to_bytes(8, "little") + bytes(3) + bytes([i + 1 == count])
            plain += cipher.decrypt(nonce, sealed[at:at + size], aad)
        return plain

    def payload(self, name, kind, own):
        data = self.get(name)
        check_sum(data)
        header = self.header(data, kind, own)
        need("length of the object", len(data) == 128 + header[2] + 16 * header[3] + 32)
        plain = self.segments(header, 0, header[3] - 1, data[128:])
        payload, directory = (int.from_bytes(plain[at:][:8], "little") for at in (-16, -8))
        need("trailer", payload + directory <= len(plain) - 16)
        return plain[:payload]

    def chunk(self, kind, ref):
        """A chunk at its hint, or wherever the index says (section 16)."""
        try:
            return self.chunk_at(kind, ref, ref[2])
        except Exception:
            self.places = self.index() if self.places is None else self.places
            for place in self.places.get((kind, ref[0]), []):
                if place != ref[2]:
                    return self.chunk_at(kind, ref, place)
            raise

    def chunk_at(self, kind, ref, place):
        pack, offset, size = place
        need("encoded chunk", size >= 5)
        first, last = offset // SEGMENT, (offset + size - 1) // SEGMENT
        with open(os.path.join(self.folder, "packs", pack[:2], pack), "rb") as f:
            if pack not in self.packs:
                self.packs[pack] = self.header(f.read(128), DATA_PACK if kind == DATA else META_PACK, pack)
            f.seek(128 + first * SEALED)
            plain = self.segments(self.packs[pack], first, last, f.read((last + 1 - first) * SEALED))
        encoded = plain[offset - first * SEGMENT:][:size]
        need("encoded chunk is whole", len(encoded) == size)
        is_named = lambda covered: blake3(bytes([kind]) + covered, key=self.chunk_key).digest() == ref[0]
        if kind == DATA and encoded[0] in (2, 3):
            alike = (plain for mark, plain in decode_group(encoded) if mark == ref[0][:4] and len(plain) == ref[1])
            plain = next(filter(is_named, alike), None)
            need("chunk of this id in its group", plain is not None)
            return plain
        plain = decode_chunk(encoded)
        covered = plain if kind == DATA else plain[:ref[1]]
        need("length of the chunk", len(covered) == ref[1])
        need("id of the chunk", is_named(covered))
        return plain

    def index(self):
        """Section 10."""
        places = {}
        for (name,) in self.names("index/([0-9a-f]{32})"):
            r = Reader(self.payload("index/" + name, INDEX, name))
            packs = r.list(lambda r: (r.take(16).hex(), r.var())[0])
            for key, place, _ in r.list(lambda r: ((r.fixed(1), r.take(32)), hint(r, packs), r.var(CHUNK_MAX))):
                places.setdefault(key, []).append(place)
            r.end()
        return places

    def newest(self):
        """Section 13: the newest snapshot that is not forgotten."""
        events, said, found, chains = {}, {}, [], {}
        for writer, seq in self.names("log/([0-9a-f]{32})/([0-9]{10})"):
            chains.setdefault(writer, []).append(int(seq))
        for writer, seqs in chains.items():
            need(f"gapless chain of {writer}", seqs == list(range(len(seqs))))
            for seq in {seqs[-1], seqs[-1] - seqs[-1] % 32}:
                events.update(((writer, number), event) for number, event in self.record(writer, seq))
        parts = ((writer, one) for (writer, _), (kind, value) in sorted(events.items(), key=lambda item: item[0])
                 for one in (value if kind == 8 else [(kind, value)]))
        for writer, (kind, value) in parts:
            if kind == 1:
                found.append(value)
            elif kind in (3, 4):
                said[value, writer, kind] = said.get((value, writer, kind), 0) + 1
        turns = {}
        for (value, _, kind), times in said.items():
            turns[value] = max(turns.get(value, 0), 2 * times - (kind == 3))
        return max((s for s in found if turns.get(s["id"], 0) % 2 == 0), key=lambda s: s["time"])

    def record(self, writer, seq):
        r = Reader(decode_chunk(self.payload(f"log/{writer}/{seq:010}", RECORD, None)))
        need("place of the record", (r.take(16), r.take(16).hex(), r.var()) == (self.id, writer, seq))
        before = blake3(self.get(f"log/{writer}/{seq - 1:010}")).digest() if seq else bytes(32)
        need("hash of the record before", r.take(32) == before)
        r.time()
        own, _, history = read_event(r), r.bytes(CHUNK_MAX), r.list(lambda r: (r.var(seq - 1), read_event(r)))
        r.list(lambda r: (r.take(16), r.var(), r.take(32)))
        r.end()
        return history + [(seq, own)]

def hint(r, packs):
    return packs[r.var(len(packs) - 1)], r.var(2**32 - 1), r.var(CHUNK_MAX + 5)

def read_event(r):
    kind = r.fixed(1)
    need("kind of event", kind >= 1)
    if kind >= 7:
        body = Reader(r.bytes(1 << 20))
        return kind, body.list(read_event) if kind == 8 else None
    if kind >= 3:
        return kind, r.take(16) if kind <= 4 else r.list(lambda r: r.take(16))
    s = {"id": r.take(16), "time": r.time()}
    text = lambda r: r.bytes(65536)  # noqa: E731
    text(r), text(r), r.list(Reader.path), r.list(text), text(r), text(r)
    need("parent", len(r.bytes(16)) in (0, 16))
    length, own = r.var(CHUNK_MAX), r.take(32)
    s["root"] = own, length, (r.take(16).hex(), r.var(), r.var(CHUNK_MAX + 5))
    s["level"], s["nodes"], s["bytes"], _ = r.fixed(1), r.var(), r.var(), [r.var() for _ in range(7)]
    return kind, s

class Page(Reader):
    """A page: hashed part, and the hints of its references in order (section 11)."""

    def __init__(self, plain, length, level):
        super().__init__(plain[:length])
        h = Reader(plain[length:])
        packs = h.list(lambda r: r.take(16).hex())
        self.hints = iter(h.list(lambda r: hint(r, packs)))
        h.end()
        self.level = self.fixed(1)
        need("level of a page", self.level <= 12 and level in (None, self.level))

    def ref(self):
        length = self.var(CHUNK_MAX)
        return self.take(32), length, next(self.hints)

    def finish(self):
        self.end()
        need("as many hints as references", next(self.hints, None) is None)

def walk(repo, ref, level):
    """All (folder, node) below a page of nodes, in order."""
    page, found = Page(repo.chunk(NODES, ref), ref[1], level), []
    if level == 0:
        owners = page.list(lambda r: (r.var(2**32 - 1), r.var(2**32 - 1), r.bytes(256), r.bytes(256)))
        for folder, nodes in page.list(lambda r: (r.path(), r.list(lambda r: read_node(r, len(owners))))):
            need("nodes in a run", nodes)
            found += [(folder, node) for node in nodes]
        page.finish()
        return found
    children = page.list(lambda r: (r.path(), r.bytes(1024), r.var(2**48), r.var(2**62), r.ref()))
    page.finish()
    for folder, name, nodes, size, child in children:
        below = walk(repo, child, level - 1)
        need("first key", (below[0][0], below[0][1]["name"]) == (folder, name))
        need("counts", (len(below), size_of(below)) == (nodes, size))
        found += below
    return found

def size_of(nodes):
    return min(sum(node["size"] for _, node in nodes), 2**62)

def read_node(r, owners):
    """Section 11.2."""
    name, kind = r.bytes(1024), r.fixed(1)
    need("kind of node", kind < len(TYPES))
    target = r.bytes(65536) if kind == 2 else b""
    if kind >= 5:
        r.var(2**32 - 1), r.var(2**32 - 1)
    mode = r.var(0o7777)
    r.var(owners - 1), r.time(), r.time(), r.var(), r.var(2**32 - 1)
    fields = r.var(31)
    if fields & 1:
        r.time()
    if fields & 2:
        need("link group", r.fixed(8) and kind != 1)
    if fields & 4:
        r.var(2**32 - 1)
    if fields & 8:
        names = r.list(lambda r: (r.bytes(1024), r.bytes(1 << 20))[0])
        need("order of xattrs", names == sorted(set(names)))
    if fields & 16:
        r.var(2**32 - 1), r.bytes(1 << 20), r.bytes(1 << 20), r.list(lambda r: (r.bytes(1024), read_content(r)))
    content = read_content(r) if kind == 0 else (len(target), 0)
    node = {"name": name, "kind": kind, "mode": TYPES[kind] | mode, "size": content[0]}
    return node | {"target": target, "content": content}

def read_content(r):
    """(length, tag, what belongs to the tag)"""
    tag = r.fixed(1)
    need("content", tag <= 3)
    if tag <= 1:
        inline = r.bytes(4096) if tag else b""
        return len(inline), tag, inline
    ref = r.ref()
    length = ref[1] if tag == 2 else r.var(2**62)
    return length, tag, ref, length if tag == 2 else r.var(length)

def extents(repo, ref, length, level=None):
    """Section 12.3: (length, reference or None for a hole) of all extents below a page."""
    page = Page(repo.chunk(EXTENTS, ref), ref[1], level)
    found = page.list(lambda r: read_extent(r) if r.level == 0 else (r.var(), r.ref()))
    page.finish()
    need("lengths of extents", found and all(n for n, _ in found) and sum(n for n, _ in found) == length)
    pairs = zip(found, found[1:])
    need("holes apart", page.level > 0 or all(a is not None or b is not None for (_, a), (_, b) in pairs))
    for size, child in found:
        yield from [(size, child)] if page.level == 0 else extents(repo, child, size, page.level - 1)

def read_extent(r):
    length = r.var()
    return length >> 1, None if length & 1 else (r.take(32), length >> 1, next(r.hints))

def digest(repo, content):
    sha, data = hashlib.sha256(), 0
    if content[1] == 1:
        sha.update(content[2])
    elif content[1] == 2:
        sha.update(repo.chunk(DATA, content[2]))
    elif content[1] == 3:
        for size, ref in extents(repo, content[2], content[0]):
            sha.update(repo.chunk(DATA, ref) if ref else bytes(size))
            data += size if ref else 0
        need("bytes of data", data == content[3])
    return sha.hexdigest()

def main():
    repo = Repository(sys.argv[1], sys.stdin.buffer.readline().rstrip(b"\n"))
    snapshot = repo.newest()
    nodes = walk(repo, snapshot["root"], snapshot["level"])
    keys = [(folder.replace(b"/", b"\0"), node["name"]) for folder, node in nodes]
    need("order", all(a < b for a, b in zip(keys, keys[1:])) and keys[0] == (b"", b"") and nodes[0][1]["kind"] == 1)
    need("figures", (len(nodes), size_of(nodes)) == (snapshot["nodes"], snapshot["bytes"]))
    for folder, node in nodes:
        if node is not nodes[0][1]:
            check_name(node["name"])
        path = folder + b"/" + node["name"] if folder else node["name"]
        shown = "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x25 else f"%{b:02x}" for b in path)
        sha = {0: lambda: digest(repo, node["content"]), 2: lambda: hashlib.sha256(node["target"]).hexdigest()}
        print(f"/{shown} {node['mode']:06o} {node['size']} {sha.get(node['kind'], lambda: '-')()}")

if __name__ == "__main__":
    try:
        main()
    except Broken as broken:
        sys.exit(f"broken rule: {broken}")
