"""What is known of a repository's files, kept beside the store so that a start need not read every chart again.

A cache and nothing more: each record names the content that it was made from (`stamp`), what does not fit the store's
listing is not used, and without the file everything is read anew. Appended to, never changed in place: a kill leaves
whole records and perhaps half a last one, which is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from planeshift.charts.index import Entry

_HEAD = struct.Struct("<IIII")  # CRC-32 of what follows it; bytes of the fields, of the JSON, of the YAML
_MAGIC = b"planeshift-ledger 3 "
_PIECE = 128 * 1024  # bytes that are read at once: memory that is used again costs less than that of a whole file
_MOST = 128 * 1024 * 1024  # bytes of a record


class Ledger:
    """An append-only file of entries. Only one server at a time writes it; others read it at their start."""

    def __init__(self, path: Path, purpose: str) -> None:
        """`purpose`: what entries depend on beside the files; a ledger for another purpose is not used."""
        self.path = path
        self._magic = _MAGIC + purpose.encode("unicode_escape") + b"\n"
        self._file: int | None = None
        self._records = 0
        self._lock = threading.Lock()

    def load(self) -> tuple[dict[str, Entry], dict[str, str]]:
        """What is known: entries by file, and the stamps of files that are no charts. Opens it for writing, too."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return {}, {}  # a cache that cannot be kept is done without
        with contextlib.suppress(OSError):  # another server writes it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = descriptor
        entries, unusable, self._records, end = unpacked(self._magic, lambda at, size: os.pread(descriptor, size, at))
        if self._file is None:
            os.close(descriptor)
        elif end != os.fstat(descriptor).st_size or not end:
            os.ftruncate(descriptor, end)
            if not end:
                os.write(descriptor, self._magic)
        return entries, unusable

    def add(self, e: Entry) -> None:
        """Note an entry."""
        self._append(_record("+", e))

    def drop(self, file: str) -> None:
        """Note that a file is gone."""
        self._append(_plain("-", file, ""))

    def unusable(self, file: str, stamp: str) -> None:
        """Note that a file, as it is, is no chart."""
        self._append(_plain("!", file, stamp))

    def compact(self, entries: Sequence[Entry], unusable: Mapping[str, str], *, closing: bool = False) -> None:
        """Write it anew, in order, if much of it is history. `closing`: nothing will be added any more."""
        if self._records >= 2 * len(entries) + 10_000:
            self.rewrite(entries, unusable)

    def rewrite(self, entries: Sequence[Entry], unusable: Mapping[str, str]) -> None:
        """Write it anew, in order."""
        with self._lock:
            if self._file is not None:
                self._rewrite(entries, unusable)

    def _rewrite(self, entries: Sequence[Entry], unusable: Mapping[str, str]) -> None:
        fresh = self.path.with_suffix(".new")
        with contextlib.suppress(OSError):
            with fresh.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.writelines(packed(self._magic, entries, unusable))
                descriptor = os.dup(file.fileno())
            os.set_inheritable(descriptor, False)
            fresh.replace(self.path)
            if self._file is not None:
                os.close(self._file)
            self._file, self._records = descriptor, len(entries) + len(unusable)

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Remove it."""
        with self._lock:
            if self._file is not None:
                self.path.unlink(missing_ok=True)
                os.close(self._file)
                self._file = None

    def _append(self, record: bytes) -> None:
        with self._lock:
            if self._file is None:
                return
            with contextlib.suppress(OSError):
                end = os.lseek(self._file, 0, os.SEEK_END)
                if os.write(self._file, record) != len(record):
                    os.ftruncate(self._file, end)
            self._records += 1


def packed(magic: bytes, entries: Iterable[Entry], unusable: Mapping[str, str]) -> Iterator[bytes]:
    """What is known, as a ledger has it, in pieces."""
    yield magic
    yield from (_record("+", e) for e in entries)
    yield from (_plain("!", file, stamp) for file, stamp in unusable.items())


def unpacked(magic: bytes, read: Callable[[int, int], bytes]) -> tuple[dict[str, Entry], dict[str, str], int, int]:
    """What a ledger says: entries by file, the stamps of files that are no charts; its records, and where they end.

    `read` gives its bytes: from where, and how many; fewer where it ends.
    """
    entries: dict[str, Entry] = {}
    unusable: dict[str, str] = {}
    records, base, wanted = 0, len(magic), _PIECE
    if read(0, base) != magic:
        return entries, unusable, 0, 0
    unpack, crc, head = _HEAD.unpack_from, zlib.crc32, _HEAD.size
    while len(piece := read(base, wanted)) >= head:
        at, end, view = 0, len(piece), memoryview(piece)
        after = head
        while at + head <= end:
            check, *lengths = unpack(piece, at)
            start = at + head
            json = start + lengths[0]
            yaml = json + lengths[1]
            after = yaml + lengths[2]
            # A kill leaves half a record at the end, a crash of the machine perhaps zeros.
            if json == start or after > end or crc(view[at + 4 : after]) != check:
                break
            kind, file, name, version, size, stamp, created, digest, weight, prov = (
                piece[start:json].decode().split("\t")
            )
            if kind == "+":
                texts = piece[json:yaml], piece[yaml:after]
                entries[file] = Entry(
                    name, version, file, int(size), stamp, created, digest, *texts, int(weight, 16), prov
                )
                unusable.pop(file, None)
            elif kind == "-":
                entries.pop(file, None)
                unusable.pop(file, None)
            else:
                unusable[file] = stamp
            records += 1
            at = after
        if not at and (after <= end or end < wanted or after > _MOST):
            break  # what is there is no record
        base, wanted = base + at, _PIECE if at else after
    return entries, unusable, records, base


def _record(kind: str, e: Entry) -> bytes:
    named = (kind, e.file, e.name, e.version, str(e.size), e.stamp, e.created, e.digest, f"{e.weight:x}", e.prov)
    return _packed("\t".join(named), e.json, e.yaml)


def _plain(kind: str, file: str, stamp: str) -> bytes:
    return _packed("\t".join((kind, file, "", "", "0", stamp, "", "", "0", "")), b"", b"")


def _packed(fields: str, json: bytes, yaml: bytes) -> bytes:
    first = fields.encode()
    record = _HEAD.pack(0, len(first), len(json), len(yaml)) + first + json + yaml
    return zlib.crc32(memoryview(record)[4:]).to_bytes(4, "little") + record[4:]
