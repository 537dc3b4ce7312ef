"""Layers written: entries in, a compressed tar out, with the digests of both forms, in one pass.

Compressed by zstd, level 1, of the one libzstd that the pinned `zstandard` wheel brings: another library could pack the
same bytes differently, and the digest would change. Why zstd and not gzip: on one core of an EPYC it packs a Python tree
at 505 MB/s to 28.2 % where zlib 6 needs 46 MB/s for 27.2 %, zlib 1 123 MB/s for 31.1 % and ISA-L 470 MB/s for 31.5 %;
and the system's zlib is another one on other distributions. Level 2 (407 MB/s, 26.0 %) would leave less than 200 MB/s for
a whole layer where a tree has many small files. containerd reads zstd since 1.5, Docker since 23.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from planeshift.errors import PlaneshiftError, Problem
from planeshift.images.entries import Entry, ordered

LEVEL = 1
COMPRESSOR = "0.25.0"  # of zstandard, as pyproject.toml pins it
_CHUNK = 1 << 20
_BLOCK = 512
_RECORD = 20 * _BLOCK


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: digest and size of the compressed form, digest and size of the tar."""

    digest: str
    size: int
    diff_id: str
    unpacked: int


def write(entries: Iterable[Entry], out: BinaryIO) -> Written:
    """Write a layer. Raises PlaneshiftError: PS401 for a file that cannot be read, PS422 for one that changed meanwhile."""
    import zstandard

    raw, packed = hashlib.sha256(), hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, threads=0).compressobj()
    sizes = [0, 0]

    def put(data: bytes) -> None:
        packed.update(data)
        out.write(data)
        sizes[1] += len(data)

    def take(data: bytes) -> None:
        raw.update(data)
        sizes[0] += len(data)
        put(compressor.compress(data))

    stream = _Blocks(take)
    for entry in ordered(entries):
        stream.write(entry.header())
        if entry.kind == "file":
            _content(entry, stream.write)
            stream.write(b"\0" * (-entry.length % _BLOCK))
    stream.write(b"\0" * (2 * _BLOCK))
    stream.write(b"\0" * (-stream.count % _RECORD))
    stream.close()
    put(compressor.flush())
    return Written(f"sha256:{packed.hexdigest()}", sizes[1], f"sha256:{raw.hexdigest()}", sizes[0])


class _Blocks:
    """Hands on what is written in blocks of one size, since what a compressor makes may depend on them."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take, self._parts, self._held, self.count = take, [b""], 0, 0

    def write(self, data: bytes) -> None:
        self.count += len(data)
        self._parts.append(data)
        self._held += len(data)
        if self._held >= _CHUNK:
            joined = b"".join(self._parts)
            whole = len(joined) - len(joined) % _CHUNK
            for start in range(0, whole, _CHUNK):
                self._take(joined[start : start + _CHUNK])
            self._parts, self._held = [joined[whole:]], len(joined) - whole

    def close(self) -> None:
        self._take(b"".join(self._parts))


def _content(entry: Entry, put: Callable[[bytes], None]) -> None:
    if isinstance(entry.content, bytes):
        put(entry.content)
        return
    left = entry.size
    try:
        descriptor = os.open(entry.content, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while data := os.read(descriptor, wanted := min(_CHUNK, left + 1)):
                left -= len(data)
                if left < 0:
                    break
                put(data)
                if len(data) < wanted:  # its end
                    break
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PlaneshiftError(
            Problem("PS401", f"{os.fspath(entry.content)} cannot be read: {error.strerror}")
        ) from error
    if left:
        raise PlaneshiftError(Problem("PS422", f"{os.fspath(entry.content)} changed while it was written into a layer"))
