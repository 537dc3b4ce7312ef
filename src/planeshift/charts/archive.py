"""Chart archives: read as Helm reads them, and more strictly; packed so that the same tree gives the same bytes.

Nothing is ever written to a path that an archive names: what is read stays in memory, within Helm's own limits.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from planeshift.charts import metadata
from planeshift.charts.metadata import Invalid, Metadata

MAX_UNPACKED = 100 * 1024 * 1024  # Helm's MaxDecompressedChartSize
MAX_FILE = 5 * 1024 * 1024  # Helm's MaxDecompressedFileSize
MAX_MEMBERS = 20_000
_LARGE = 8 * 1024 * 1024
_MAX_NESTING = 5
_one_large = threading.Lock()  # archives that unpack to much are read one at a time, so that memory stays bounded
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Chart:
    """A chart's metadata and its files, by path below its base directory."""

    metadata: Metadata
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def version(self) -> str:
        return str(self.metadata["version"])


def load(data: bytes) -> Chart:
    """Read and judge a chart archive (.tgz). Raises Invalid with the reason."""
    return _load(data, 0)


def peek(data: bytes) -> Metadata:
    """The metadata of an archive that was judged before: reads no further than it has to. Raises Invalid."""
    unpacker = zlib.decompressobj(31)
    try:
        head = unpacker.decompress(data, tarfile.BLOCKSIZE)
        member = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        if member.isreg() and member.name.count("/") == 1 and member.name.endswith("/Chart.yaml"):
            text = unpacker.decompress(unpacker.unconsumed_tail, min(member.size, MAX_FILE) or 1)
            found = metadata.parse(text)
            if len(text) == member.size and found["apiVersion"] == "v2":
                return found
    except (zlib.error, tarfile.TarError, ValueError):
        pass
    return load(data).metadata


def _load(data: bytes, depth: int) -> Chart:
    raw, lock = _unpack(data)
    try:
        files = _members(raw)
    finally:
        if lock:
            lock.release()
    return _chart(files, depth)


def _chart(files: dict[str, bytes], depth: int) -> Chart:
    if "Chart.yaml" not in files:
        raise Invalid("Chart.yaml file is missing")
    found = metadata.parse(files["Chart.yaml"], files.get("requirements.yaml"))
    if "values.yaml" in files:
        _check_yaml(files["values.yaml"], "values.yaml")
    _subcharts(files, depth)
    return Chart(found, files)


def _subcharts(files: Mapping[str, bytes], depth: int) -> None:
    """What Helm would load below charts/ must be loadable."""
    trees: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        parts = path.split("/", 2)
        if parts[0] != "charts" or len(parts) < 2 or parts[1][:1] in "._":
            continue
        if depth >= _MAX_NESTING:
            raise Invalid(f"charts are nested more than {_MAX_NESTING} deep")
        if len(parts) == 3:
            trees.setdefault(parts[1], {})[parts[2]] = content
        elif parts[1].endswith(".tgz"):
            try:
                _load(content, depth + 1)
            except Invalid as error:
                raise Invalid(f"error unpacking subchart {parts[1][:80]}: {error}") from None
    for name, tree in trees.items():
        try:
            _chart(tree, depth + 1)
        except Invalid as error:
            raise Invalid(f"error unpacking subchart {name[:80]}: {error}") from None


def _check_yaml(text: bytes, file: str) -> None:
    try:
        parser = _PARSER(text)
        try:
            if hasattr(parser, "raw_parse"):  # libyaml alone, without an object for each event: thirty times quicker
                parser.raw_parse()
            else:
                while parser.check_event():
                    parser.get_event()
        finally:
            parser.dispose()
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise Invalid(f"cannot load {file}: {' '.join(str(error).split())[:200]}") from None


def _unpack(data: bytes) -> tuple[bytes, threading.Lock | None]:
    """The tar inside a gzip file, of one or more members; with the lock that is held where it is large."""
    if data[:2] != b"\x1f\x8b":
        raise Invalid("it does not appear to be a gzipped archive")
    raw = bytearray()
    lock: threading.Lock | None = None
    try:
        while data:
            unpacker = zlib.decompressobj(31)
            while not unpacker.eof:
                limit = _LARGE if lock is None else MAX_UNPACKED
                piece = unpacker.decompress(data, limit - len(raw) + 1)
                raw += piece
                data = unpacker.unconsumed_tail
                if len(raw) > MAX_UNPACKED:
                    raise Invalid(f"decompressed chart is larger than the maximum size {MAX_UNPACKED}")
                if len(raw) > _LARGE and lock is None:
                    lock = _one_large
                    lock.acquire()
                if not unpacker.eof and not data and not piece:
                    raise Invalid("the archive ends too early")
            data = unpacker.unused_data
        return bytes(raw), lock
    except zlib.error as error:
        _release(lock)
        raise Invalid(f"it is not a whole gzip file ({error})") from None
    except BaseException:
        _release(lock)
        raise


def _release(lock: threading.Lock | None) -> None:
    if lock:
        lock.release()


def _members(raw: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    base = None
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:", encoding="utf-8") as tar:
            for count, member in enumerate(tar):
                if count > MAX_MEMBERS:
                    raise Invalid(f"it has more than {MAX_MEMBERS:,} members")
                path = _path(member)
                if base not in (None, path[0]):
                    raise Invalid("it has more than one base directory")
                base = path[0]
                if member.isdir():
                    continue
                if member.size > MAX_FILE:
                    raise Invalid(
                        f"decompressed chart file {'/'.join(path)[:80]!r} is larger than the maximum file size"
                    )
                name = "/".join(path[1:])
                if name in files:
                    raise Invalid(f"{name[:80]!r} is there twice")
                end = member.offset_data + member.size
                if end > len(raw):
                    raise Invalid("the archive ends too early")
                files[name] = raw[member.offset_data : end]
            if any(raw[tar.offset : tar.offset + 512]):  # tarfile takes a broken header for the end
                raise Invalid("the archive is damaged")
    except (tarfile.TarError, ValueError, OverflowError, EOFError, UnicodeError, RecursionError) as error:
        if isinstance(error, Invalid):
            raise
        raise Invalid(f"it is not a readable archive ({str(error)[:100]})") from None
    if not files:
        raise Invalid("no files in chart archive")
    return files


def _path(member: tarfile.TarInfo) -> list[str]:
    """A member's path, as parts, if it is harmless."""
    name = member.name
    shown = name[:80].encode("unicode_escape").decode()
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise Invalid(f"{shown} is neither a file nor a directory: links and devices have no place in a chart")
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in parts[0] or (len(parts) > 1 and parts[1][1:2] == ":"):
        raise Invalid(f"chart illegally contains absolute paths ({shown})")
    if any(p in ("", ".", "..") for p in parts):
        raise Invalid(f"chart illegally references a directory outside of it ({shown})")
    if not name.isprintable() or len(name) > 1024:
        raise Invalid(f"{shown} is no name for a file")
    if len(parts) < 2 and not member.isdir():
        raise Invalid(f"chart illegally contains content outside the base directory ({shown})")
    return parts


def pack(base: str, files: Mapping[str, bytes]) -> bytes:
    """A chart archive of files below `base`: Chart.yaml first, then by name; no times, owners or modes of this machine."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files, key=lambda p: (p != "Chart.yaml", p)):
            member = tarfile.TarInfo(f"{base}/{path}")
            member.size = len(files[path])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(files[path]))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(tar_bytes.getvalue())
    return packed.getvalue()
