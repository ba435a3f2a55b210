#!/usr/bin/env python3
"""Packs files of a mounted NTFS volume as Windows' "compact /exe" does: chunks in a stream, and a reparse point.

usage: ntfs_compact.py MOUNT        (mounted with streams_interface=windows; each file in MOUNT/compact is packed)
needs: libwim15, which has the same packers
"""
import ctypes
import os
import struct
import sys

XPRESS, LZX = 1, 2
# By the number that WOF gives them: packer and size of a chunk.
METHODS = [(XPRESS, 4096), (LZX, 32768), (XPRESS, 8192), (XPRESS, 16384)]

wim = ctypes.CDLL("libwim.so.15")
wim.wimlib_compress.restype = ctypes.c_size_t


def packer(kind, chunk):
    handle = ctypes.c_void_p()
    if wim.wimlib_create_compressor(kind, ctypes.c_size_t(chunk), 0, ctypes.byref(handle)):
        sys.exit("libwim cannot pack")
    return handle


def packed(data, method):
    kind, size = METHODS[method]
    handle, chunks = packer(kind, size), []
    for at in range(0, len(data), size):
        chunk = data[at:at + size]
        out = ctypes.create_string_buffer(size)
        n = wim.wimlib_compress(chunk, ctypes.c_size_t(len(chunk)), out, ctypes.c_size_t(len(chunk) - 1), handle)
        chunks.append(out.raw[:n] if n else chunk)
    wim.wimlib_free_compressor(handle)
    ends, end = [], 0
    for chunk in chunks[:-1]:
        end += len(chunk)
        ends.append(end)
    return struct.pack(f"<{len(ends)}I", *ends) + b"".join(chunks)


def compact(path, method):
    times = os.stat(path)
    with open(path, "rb") as f:
        data = f.read()
    os.truncate(path, 0)
    os.truncate(path, len(data))
    with open(path + ":WofCompressedData", "wb") as f:
        f.write(packed(data, method))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    point = struct.pack("<IIIII", 1, 2, 1, method, 0)[:16]
    os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<IHH", 0x80000017, len(point), 0) + point)


if __name__ == "__main__":
    root = os.path.join(sys.argv[1], "compact")
    for number, name in enumerate(sorted(os.listdir(root))):
        compact(os.path.join(root, name), number % len(METHODS))
