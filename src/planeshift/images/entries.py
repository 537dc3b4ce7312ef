"""What a layer holds: files, directories and links, in the one order and with the one owner and time of ours."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from planeshift.errors import PlaneshiftError, Problem

EPOCH = 1767225600  # 2026-01-01: the time of every file in a layer
WHITEOUT = ".wh."  # https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
OPAQUE = f"{WHITEOUT}{WHITEOUT}.opq"
_CAPABILITY = "security.capability"
_KINDS = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}

_NUMBERS = b"%07o\0%07o\0%07o\0%011o\0%011o\0"
_MAGIC = b"ustar\x0000" + b"\0" * 64 + b"0000000\0" * 2
_MAX_USTAR = 0o77777777777

Kind = Literal["file", "directory", "link", "hardlink"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of a layer. `name` is its path in the image without a leading slash.

    A file's content is bytes, or the path to read it from; `size` must then be that file's. A link's `target` is text
    as it will be read; a hard link's is the name of an earlier member.
    """

    name: str
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: bytes | os.PathLike[str] = b""
    size: int = 0
    target: str = ""
    capability: bytes = field(default=b"")  # the extended attribute of setcap(8)

    def header(self) -> bytes:
        """The tar header. Format: POSIX.1-1988 (ustar), or pax (POSIX.1-2001) where that has no room."""
        name = self.name + ("/" if self.kind == "directory" else "")
        size = self.length if self.kind == "file" else 0
        return self._ustar(name, size) or self._pax(name, size)

    def _ustar(self, name: str, size: int) -> bytes:
        """Written by hand, since tarfile takes three times as long; empty where it does not fit."""
        if self.capability or not (name + self.target).isascii() or len(self.target) > 100 or size >= _MAX_USTAR:
            return b""
        cut = name.rfind("/", 0, 156) if len(name) > 100 else -1
        prefix, base = (name[:cut], name[cut + 1 :]) if cut > 0 else ("", name)
        if not base or len(base) > 100 or max(self.uid, self.gid) > 0o7777777:
            return b""
        head = base.encode().ljust(100, b"\0") + _NUMBERS % (self.mode, self.uid, self.gid, size, EPOCH)
        tail = _KINDS[self.kind] + self.target.encode().ljust(100, b"\0") + _MAGIC
        tail += prefix.encode().ljust(155, b"\0") + b"\0" * 12
        return b"".join((head, b"%06o\0 " % (sum(head) + sum(tail) + 8 * 32), tail))

    def _pax(self, name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = _KINDS[self.kind], self.target, size
        info.mode, info.uid, info.gid, info.mtime = self.mode, self.uid, self.gid, EPOCH
        if self.capability:
            info.pax_headers = {f"SCHILY.xattr.{_CAPABILITY}": self.capability.decode("utf-8", "surrogateescape")}
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

    @property
    def length(self) -> int:
        """Bytes of a file's content."""
        return len(self.content) if isinstance(self.content, bytes) else self.size


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, "link", mode=0o777, target=target)


def whiteout(name: str) -> Entry:
    """A mark that what a lower layer has of this name is gone."""
    directory, _, base = name.rpartition("/")
    return Entry(f"{directory}/{WHITEOUT}{base}" if directory else f"{WHITEOUT}{base}", mode=0)


def opaque(directory: str) -> Entry:
    """A mark that a directory has nothing of what lower layers have in it."""
    return Entry(f"{directory}/{OPAQUE}", mode=0)


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """Sorted, parents before children. Raises PlaneshiftError (PS422) for a name that stands twice or leads out."""
    found = sorted(entries, key=lambda e: e.name.split("/"))
    before = ""
    for entry in found:
        parts = entry.name.split("/")
        if not entry.name or entry.name == before or ".." in parts or "." in parts or "" in parts:
            raise PlaneshiftError(Problem("PS422", f"a layer cannot hold {entry.name!r}"))
        before = entry.name
    return found


def tree(
    root: Path,
    *,
    at: str = "",
    owner: tuple[int, int] | None = (0, 0),
    hardlinks: bool = False,
    modes: Mapping[str, int] | None = None,
) -> list[Entry]:
    """Everything below a directory, to lie below `at` in the image.

    With an `owner` modes are 0755 or 0644, whatever the umask was; with None owner and mode are those of the tree.
    `modes` overrides by name in the image. `hardlinks`: files that are one in the tree are one in the layer, too.
    Devices, sockets and pipes are left out. Raises PlaneshiftError (PS401) for what cannot be read.
    """
    found: list[Entry] = []
    shared: dict[str, tuple[int, int]] = {}
    try:
        pending = [(os.fspath(root), at.strip("/"))]
        while pending:
            directory, prefix = pending.pop()
            with os.scandir(directory) as listed:
                for item in listed:
                    name = f"{prefix}/{item.name}" if prefix else item.name
                    status = item.stat(follow_symlinks=False)
                    entry = _entry(item, name, status, owner)
                    if entry is None:
                        continue
                    if entry.kind == "directory":
                        pending.append((item.path, name))
                    elif hardlinks and entry.kind == "file" and status.st_nlink > 1:
                        shared[name] = (status.st_dev, status.st_ino)
                    found.append(entry)
    except OSError as error:
        raise PlaneshiftError(Problem("PS401", f"{error.filename} cannot be read: {error.strerror}")) from error
    if modes:
        found = [replace(e, mode=modes.get(e.name, e.mode)) for e in found]
    first: dict[tuple[int, int], str] = {}
    found = ordered(found)
    return [_linked(e, first.setdefault(shared[e.name], e.name)) if e.name in shared else e for e in found]


def _entry(item: os.DirEntry[str], name: str, status: os.stat_result, owner: tuple[int, int] | None) -> Entry | None:
    uid, gid = owner or (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "link", 0o777, uid, gid, target=os.readlink(item))  # noqa: PTH115
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, "directory", 0o755 if owner else stat.S_IMODE(status.st_mode), uid, gid)
    if not stat.S_ISREG(status.st_mode):
        return None
    plain = 0o755 if status.st_mode & 0o100 else 0o644
    mode = plain if owner else stat.S_IMODE(status.st_mode)
    return Entry(name, "file", mode, uid, gid, item, status.st_size)


def _linked(entry: Entry, first: str) -> Entry:
    return entry if first == entry.name else replace(entry, kind="hardlink", target=first)


def member(info: tarfile.TarInfo, archive: tarfile.TarFile) -> Entry | None:
    """A member of another tar file as an entry; None for devices and pipes. A file's content is read into memory."""
    name = info.name.removeprefix("./").strip("/")
    if not name or name == ".":
        return None
    capability = info.pax_headers.get(f"SCHILY.xattr.{_CAPABILITY}", "").encode("utf-8", "surrogateescape")
    mode, uid, gid = info.mode & 0o7777, info.uid, info.gid
    if info.isdir():
        return Entry(name, "directory", mode, uid, gid)
    if info.issym():
        return Entry(name, "link", 0o777, uid, gid, target=info.linkname)
    if info.islnk():
        return Entry(name, "hardlink", mode, uid, gid, target=info.linkname.removeprefix("./").strip("/"))
    if not info.isreg():
        return None
    content = archive.extractfile(info) or io.BytesIO()
    return Entry(name, "file", mode, uid, gid, content.read(), capability=capability)
