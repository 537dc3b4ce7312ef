"""A store in a directory, as ChartMuseum lays it out: a tenant's path is a directory, a file is a file in it.

A file is written aside, flushed, and then linked to its name, which fails where the name is taken: so a reader sees all
of it or nothing, and of several writers one wins. The flush of the directory is shared by all writers that wait for one
(a commit group). What is ours alone is in `.planeshift`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from planeshift.charts.names import RESERVED, is_tenant
from planeshift.charts.store import Exists, Missing, Stat, StoreError

_ABANDONED = 3600.0  # seconds after which a file that was written aside belongs to nobody
_MAX_READ = 256 * 1024 * 1024


@dataclass(eq=False)
class _Save:
    folder: str
    names: list[str]
    aside: list[Path]
    replace: bool
    stats: list[Stat] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False


class DirectoryStore:
    """Files below a directory, which is made where it is not there. Raises StoreError where it cannot be used."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.name = str(self.root)
        self._aside = self.root / RESERVED / "new"
        with _failing(f"{root} cannot be used"):
            self._aside.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.root / RESERVED / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._sweep()
        self._turn = threading.Lock()
        self._group = _Group(self._commit)

    # --- reading

    def list(self, folder: str) -> Sequence[Stat]:
        found: list[Stat] = []
        for entry in self._scan(folder):
            if entry.name.endswith((".tgz", ".prov", ".blob")):
                try:
                    now = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(now.st_mode):
                    found.append(_stat(entry.name, now))
        return found

    def folders(self, folder: str) -> Sequence[str]:
        return sorted(e.name for e in self._scan(folder) if e.is_dir() and is_tenant(e.name) and e.name != RESERVED)

    def _scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        with _failing(f"{folder or self.name} cannot be listed"), contextlib.suppress(FileNotFoundError):
            yield from os.scandir(self._path(folder))

    def stat(self, folder: str, file: str) -> Stat | None:
        with _failing(f"{file} cannot be looked at"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = (self._path(folder) / file).lstat()
            return _stat(file, found) if stat.S_ISREG(found.st_mode) else None
        return None

    def read(self, folder: str, file: str) -> tuple[bytes, Stat]:
        try:
            descriptor = os.open(self._path(folder) / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(file) from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                raise Missing(file) from None
            raise StoreError(f"{file} cannot be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as opened:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_READ:
                raise Missing(file)
            with _failing(f"{file} cannot be read"):
                return opened.read(), _stat(file, found)

    def token(self, folder: str) -> str | None:
        try:
            return str(self._path(folder).stat().st_mtime_ns)
        except OSError:
            return ""

    # --- writing

    def save(self, folder: str, files: Sequence[tuple[str, bytes]], *, replace: bool) -> Sequence[Stat]:
        aside: list[Path] = []
        try:
            with _failing(f"{files[0][0]} cannot be written"):
                for _, content in files:
                    path = self._aside / f"{os.getpid()}-{secrets.token_hex(8)}"
                    aside.append(path)
                    _write(path, content)
            work = _Save(folder, [n for n, _ in files], aside, replace)
            self._group.run(work)
            if work.error is not None:
                raise work.error
            return work.stats
        finally:
            for path in aside:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def delete(self, folder: str, files: Sequence[str]) -> bool:
        directory = self._path(folder)
        with _failing(f"{files[0]} cannot be deleted"), self._alone():
            there = False
            for position, file in enumerate(files):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    (directory / file).unlink()
                    there = there or position == 0
            if directory.is_dir():
                _flush(directory)
            return there

    def close(self) -> None:
        os.close(self._lock)

    def _commit(self, works: Sequence[_Save]) -> None:
        """Give files that were written aside their names, and flush each directory once."""
        with self._alone():
            directories: dict[Path, list[_Save]] = {}
            for work in works:
                directory = self._path(work.folder)
                try:
                    with _failing(f"{work.names[0]} cannot be written"):
                        self._make(directory)
                        self._name(directory, work)
                    directories.setdefault(directory, []).append(work)
                except (Exists, StoreError) as error:
                    work.error = error
            for directory, named in directories.items():
                try:
                    with _failing(f"{directory} cannot be flushed"):
                        _flush(directory)
                except StoreError as error:
                    for work in named:
                        work.error = error
                        if not work.replace:  # it was not acknowledged, so nobody may see it
                            with contextlib.suppress(OSError):
                                (directory / work.names[0]).unlink()

    def _name(self, directory: Path, work: _Save) -> None:
        pairs = list(zip(work.names, work.aside, strict=True))
        if not work.replace and os.path.lexists(directory / work.names[0]):
            raise Exists(work.names[0])
        for name, path in reversed(pairs):  # the first decides, and so comes last
            target = directory / name
            if path is work.aside[0] and not work.replace:
                try:
                    os.link(path, target)
                except FileExistsError:
                    raise Exists(name) from None
            else:
                path.replace(target)
        work.stats = [_stat(n, (directory / n).lstat()) for n in work.names]

    def _make(self, directory: Path) -> None:
        if directory.is_dir():
            return
        missing = [directory]
        while not missing[-1].parent.is_dir():
            missing.append(missing[-1].parent)
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            _flush(path.parent)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread of one server at a time names files: several servers may share the directory."""
        with self._turn:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _path(self, folder: str) -> Path:
        if not is_tenant(folder) and not folder.startswith(RESERVED + "/"):
            raise Missing(folder)
        return self.root / folder if folder else self.root

    def _sweep(self) -> None:
        """Remove what a killed server had begun to write."""
        for path in self._aside.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


class _Group:
    """Runs works in groups: while one thread commits, the next ones gather, and one of them commits them all."""

    def __init__(self, commit: Callable[[Sequence[_Save]], None]) -> None:
        self._commit = commit
        self._condition = threading.Condition()
        self._waiting: list[_Save] = []
        self._busy = False

    def run(self, work: _Save) -> None:
        with self._condition:
            self._waiting.append(work)
            while self._busy and not work.done:
                self._condition.wait()
            if work.done:
                return
            self._busy, group, self._waiting = True, self._waiting, []
        failure: Exception | None = None
        try:
            self._commit(group)
        except Exception as error:
            failure = error
        finally:
            with self._condition:
                self._busy = False
                for one in group:
                    one.done = True
                    one.error = one.error or failure
                self._condition.notify_all()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stat(file: str, found: os.stat_result) -> Stat:
    size, modified = found.st_size, found.st_mtime_ns
    return Stat(file, size, f"{size:x}-{modified:x}-{found.st_ino:x}", modified)


@contextlib.contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise StoreError(f"{what}: it is gone") from error
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreError(f"{what}: {'no space left' if full else error.strerror}", full=full) from error
