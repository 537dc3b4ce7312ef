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
from collections.abc import Iterable
from pathlib import Path

from planeshift.charts.index import Entry

_HEAD = struct.Struct("<II")
_MAGIC = b"planeshift-ledger 2 "


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
        data = self._open()
        entries: dict[str, Entry] = {}
        unusable: dict[str, str] = {}
        at = len(self._magic) if data.startswith(self._magic) else 0
        end = len(data) if at else 0
        unpack, crc, head = _HEAD.unpack_from, zlib.crc32, _HEAD.size
        while at + head <= end:
            check, length = unpack(data, at)
            body = data[at + head : at + head + length]
            if not length or len(body) != length or crc(body) != check:  # a crash of the machine may leave zeros
                break
            fields, json, yaml = body.split(b"\n", 2)
            kind, file, name, version, size, stamp, created, digest, prov = fields.decode().split("\t")
            if kind == "+":
                entries[file] = Entry(name, version, file, int(size), stamp, created, digest, json, yaml, prov)
                unusable.pop(file, None)
            elif kind == "-":
                entries.pop(file, None)
                unusable.pop(file, None)
            else:
                unusable[file] = stamp
            self._records += 1
            at += head + length
        if self._file is not None and (at != len(data) or not at):
            os.ftruncate(self._file, at)
            if not at:
                os.write(self._file, self._magic)
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

    def compact(self, entries: Iterable[Entry], unusable: dict[str, str]) -> None:
        """Write it anew, in order, if much of it is history."""
        found = list(entries)
        if self._file is None or self._records < 2 * len(found) + 10_000:
            return
        with self._lock:
            self._rewrite(found, unusable)

    def _rewrite(self, found: list[Entry], unusable: dict[str, str]) -> None:
        fresh = self.path.with_suffix(".new")
        with contextlib.suppress(OSError):
            with fresh.open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.write(self._magic)
                file.writelines(_record("+", e) for e in found)
                file.writelines(_plain("!", f, s) for f, s in unusable.items())
                descriptor = os.dup(file.fileno())
            os.set_inheritable(descriptor, False)
            fresh.replace(self.path)
            if self._file is not None:
                os.close(self._file)
            self._file, self._records = descriptor, len(found) + len(unusable)

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

    def _open(self) -> bytes:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return b""  # a cache that cannot be kept is done without
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = descriptor
        except OSError:
            os.close(descriptor)
        return data

    def _append(self, record: bytes) -> None:
        with self._lock:
            if self._file is None:
                return
            with contextlib.suppress(OSError):
                end = os.lseek(self._file, 0, os.SEEK_END)
                if os.write(self._file, record) != len(record):
                    os.ftruncate(self._file, end)
            self._records += 1


def _record(kind: str, e: Entry) -> bytes:
    fields = "\t".join((kind, e.file, e.name, e.version, str(e.size), e.stamp, e.created, e.digest, e.prov))
    body = b"\n".join((fields.encode(), e.json, e.yaml))
    return _HEAD.pack(zlib.crc32(body), len(body)) + body


def _plain(kind: str, file: str, stamp: str) -> bytes:
    body = "\t".join((kind, file, "", "", "0", stamp, "", "", "")).encode() + b"\n\n"
    return _HEAD.pack(zlib.crc32(body), len(body)) + body
