"""What a repository holds, and its index in every form that clients ask for. Pure, but for a lock: threads may share it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from planeshift.charts import emit, names, segments, versions
from planeshift.charts.metadata import Metadata

_MODULUS = 1 << 128


@dataclass(slots=True, eq=False)  # not frozen: a hundred thousand are made at a start, and freezing doubles that
class Entry:
    """One version of a chart, as it lies in the store. Never changed."""

    name: str
    version: str
    file: str  # in the store
    size: int
    stamp: str  # tells this content of the file from another
    created: str  # RFC 3339, UTC
    digest: str  # SHA-256, hexadecimal
    json: bytes
    yaml: bytes
    weight: int  # what it adds to the index's entity tag
    prov: str = ""  # the provenance file's stamp; empty: there is none
    key: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.key = (self.name, versions.newest_first(self.version))


def entry(
    found: Metadata, file: str, *, size: int, stamp: str, created: str, digest: str, base: str = "", prov: str = ""
) -> Entry:
    """The entry of a chart: its metadata, where it lies, and the URL below `base` that it is downloaded from."""
    name, version = found["name"], found["version"]
    shown = {**found, "created": created, "digest": digest, "urls": [base + names.download(name, version)]}
    text = emit.as_json(shown)
    weight = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
    return Entry(name, version, file, size, stamp, created, digest, text, emit.as_yaml(shown), weight, prov)


@dataclass(frozen=True)
class Form:
    """The index in one encoding: its buffers, in order, their length in all, and its entity tag."""

    buffers: Sequence[bytes]
    length: int
    etag: str


class Index:
    """The charts of one repository."""

    def __init__(self, entries: Iterable[Entry] = (), *, as_json: bool = False, context: str = "") -> None:
        self._lock = threading.RLock()
        self._as_json = as_json
        self._info = emit.as_json({"contextPath": context} if context else {}).decode()
        self._charts: dict[str, dict[str, Entry]] = {}
        found = list(entries)
        for e in found:
            self._charts.setdefault(e.name, {})[e.version] = e
        self._sum = sum(e.weight for e in found) % _MODULUS
        self._sorted = segments.SortedItems(found)
        self._forms: dict[str, Form] = {}
        self.bytes = sum(e.size for e in found)
        self.versions = len(found)

    # --- changing

    def add(self, new: Entry) -> None:
        """Add an entry, or replace that of the same name and version."""
        with self._lock:
            known = self._charts.setdefault(new.name, {})
            old = known.get(new.version)
            known[new.version] = new
            self._count(old, -1)
            self._count(new, 1)
            self._sorted.add(new)

    def remove(self, name: str, version: str) -> Entry | None:
        """Remove an entry, and return it if it was there."""
        with self._lock:
            old = self._charts.get(name, {}).pop(version, None)
            if old is None:
                return None
            if not self._charts[name]:
                del self._charts[name]
            self._count(old, -1)
            self._sorted.remove(old.key)
            return old

    def swap(self, old: Entry | None, new: Entry | None, name: str, version: str) -> bool:
        """Put `new` in the place of `old`, if `old` is what is there now; whether it was."""
        with self._lock:
            if self.get(name, version) is not old:
                return False
            if new is not None:
                self.add(new)
            else:
                self.remove(name, version)
            return True

    def _count(self, e: Entry | None, by: int) -> None:
        if e is not None:
            self._sum = (self._sum + by * e.weight) % _MODULUS
            self.bytes += by * e.size
            self.versions += by
            self._forms.clear()

    # --- looking

    def get(self, name: str, version: str) -> Entry | None:
        """The entry of a name and version."""
        return self._charts.get(name, {}).get(version)

    def names(self) -> list[str]:
        """All charts, sorted."""
        with self._lock:
            return sorted(self._charts)

    def chart(self, name: str) -> list[Entry]:
        """A chart's versions, newest first."""
        with self._lock:
            return sorted(self._charts.get(name, {}).values(), key=lambda e: e.key)

    def all(self) -> list[Entry]:
        """Every entry: by name, newest version first."""
        with self._lock:
            return list(self._sorted)

    @property
    def charts(self) -> int:
        """How many charts there are."""
        return len(self._charts)

    def find(self, name: str, wanted: str) -> Entry | None:
        """The newest version that `wanted` names, as Helm understands it: a version, a range; empty: the newest release.

        Raises ValueError where it is neither.
        """
        if wanted and (exact := self.get(name, wanted)):
            return exact
        span = versions.parse_range(wanted)
        if span is None:
            raise ValueError(f"improper constraint: {wanted[:100]}")
        for found in self.chart(name):
            version = versions.parse(found.version)
            if version is not None and span.holds(version):
                return found
        return None

    # --- the index file

    def etag(self) -> str:
        """Tells this content from any other; the same on every server and after every restart."""
        return f"{self._sum:032x}"

    def generated(self) -> str:
        """When the youngest entry came to be."""
        with self._lock:
            return self._sorted.newest() or "1970-01-01T00:00:00Z"

    def form(self, encoding: str, compress: Callable[[bytes], bytes] | None = None) -> Form:
        """The index as `identity`, `gzip` or `zstd` (by `compress`, one frame a part)."""
        with self._lock:
            etag = self.etag()
            found = self._forms.get(encoding)
            if found is not None and found.etag == etag:
                return found
            pairs = self._sorted.texts(_json if self._as_json else _yaml)
            head, tail = self._ends(bool(pairs))
        # Compressing takes long and needs no lock: a form that is made twice is the same.
        if encoding == "gzip":
            parts = [(*s.deflated(t), len(t)) for s, t in pairs]
            buffers = segments.gzip_of(
                [(*segments.deflate(head), len(head)), *parts, (*segments.deflate(tail), len(tail))]
            )
        elif encoding == "zstd" and compress is not None:
            buffers = [compress(head), *(s.zstd(t, compress) for s, t in pairs), compress(tail)]
        else:
            buffers = [head, *(t for _, t in pairs), tail]
        made = Form(buffers, sum(map(len, buffers)), etag)
        with self._lock:
            self._forms[encoding] = made
        return made

    def _ends(self, some: bool) -> tuple[bytes, bytes]:
        generated = self._sorted.newest() or "1970-01-01T00:00:00Z"
        if self._as_json:
            end = "]" if some else ""
            tail = f'{end}}},"generated":"{generated}","serverInfo":{self._info}}}\n'
            return b'{"apiVersion":"v1","entries":{', tail.encode()
        head = "apiVersion: v1\nentries:" + ("\n" if some else " {}\n")
        return head.encode(), f'generated: "{generated}"\nserverInfo: {self._info}\n'.encode()


def _yaml(items: list[Entry], before: str) -> bytes:
    parts: list[bytes] = []
    for e in items:
        if e.name != before:
            before = e.name
            parts.append(f"  {emit.scalar(before)}:\n".encode())
        parts.append(e.yaml)
    return b"".join(parts)


def _json(items: list[Entry], before: str) -> bytes:
    parts: list[bytes] = []
    for e in items:
        if e.name != before:
            parts.append((b"]," if before else b"") + emit.as_json(e.name) + b":[")
            before = e.name
        else:
            parts.append(b",")
        parts.append(e.json)
    return b"".join(parts)


def as_json_list(entries: Iterable[Entry]) -> bytes:
    """Entries as a JSON list."""
    return b"[" + b",".join(e.json for e in entries) + b"]"


def as_json_map(charts: Mapping[str, Iterable[Entry]]) -> bytes:
    """Charts as a JSON object of lists."""
    return b"{" + b",".join(emit.as_json(n) + b":" + as_json_list(es) for n, es in charts.items()) + b"}"
