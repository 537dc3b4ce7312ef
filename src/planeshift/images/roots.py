"""Layers unpacked into a directory, and programs run in it, without a container engine."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from planeshift.drivers import files
from planeshift.drivers.local.command import run
from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import oci
from planeshift.images.debian import need
from planeshift.images.entries import OPAQUE, WHITEOUT, Entry, member
from planeshift.images.oci import Layer
from planeshift.ports import Say

_MAX_UNPACKED = 16 << 30
_INSIDE = """
set -e
root=$1; shift
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
exec chroot "$root" "$@"
"""


@contextlib.contextmanager
def tar_of(path: Path) -> Iterator[tarfile.TarFile]:
    """The tar of a layer's blob, whichever way it is compressed: told by its first bytes, not by its name."""
    import zstandard

    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        stream: IO[bytes] | Any = file
        if magic == b"\x28\xb5\x2f\xfd":
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        elif magic[:2] == b"\x1f\x8b":
            stream = gzip.GzipFile(fileobj=file)
        try:
            with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar:
                yield tar
        except (tarfile.TarError, zstandard.ZstdError, EOFError, gzip.BadGzipFile) as error:
            raise oci.broken(f"layer {path.name[:12]} cannot be unpacked: {error}") from error


def entries_of(path: Path) -> Iterator[Entry]:
    """What a layer's blob holds, files with their content."""
    with tar_of(path) as tar:
        for info in tar:
            entry = member(info, tar)
            if entry:
                yield entry


def unpack(layers: Sequence[tuple[Layer, Path]], root: Path) -> None:
    """Unpack layers, lowest first, so that their programs can be run here; owners and special bits are not kept.

    Nothing is written outside of `root`, whatever a layer says. Raises PlaneshiftError (PS421) for one that tries to.
    """
    root.mkdir(parents=True, exist_ok=True)
    left = _MAX_UNPACKED
    with files.failing(f"{root} cannot be written"):
        for _, path in layers:
            with tar_of(path) as tar:
                for info in tar:
                    left -= max(info.size, 0)
                    if left < 0:
                        raise oci.broken(f"the image unpacks to more than {_MAX_UNPACKED:,} bytes")
                    _member(root, info, tar)


def lay(entries: Iterable[Entry], root: Path) -> None:
    """Write entries as files below `root`, an empty directory, as `unpack` does."""
    with files.failing(f"{root} cannot be written"):
        for entry in entries:
            path = within(root, entry.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "directory":
                path.mkdir(exist_ok=True)
            elif entry.kind == "link":
                path.symlink_to(entry.target)
            elif entry.kind == "hardlink":
                os.link(within(root, entry.target), path)
            else:
                data = entry.content if isinstance(entry.content, bytes) else Path(entry.content).read_bytes()
                path.write_bytes(data)
                path.chmod(0o755 if entry.mode & 0o100 else 0o644)


def within(root: Path, name: str) -> Path:
    """Where `name` lies if `root` were /: links on the way are followed inside of it. The last part is not followed."""
    parts, done, followed = [p for p in name.split("/") if p not in ("", ".")], root, 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = done.parent if done != root else root
            continue
        here = done / part
        if parts and here.is_symlink():
            followed += 1
            if followed > 40:
                raise oci.broken(f"{name[:200]!r}: too many links")
            target = os.fspath(here.readlink())
            if target.startswith("/"):
                done = root
            parts = [p for p in target.split("/") if p not in ("", ".")] + parts
        else:
            done = here
    return done


def inside(
    root: Path, argv: Sequence[str], say: Say, *, binds: Mapping[str, Path] = {}, variables: Mapping[str, str] = {}
) -> None:
    """Run a program of `root` in it, with directories bound at places of it; its output goes to `say`.

    In namespaces of its own, so that no mount and no process outlives it, however it ends. Raises PlaneshiftError: PS424
    without unshare(1), PS429 where the program fails or the machine allows no namespaces.
    """
    for place in binds:
        _directory(root, place)
    flags = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    flags += [] if os.geteuid() == 0 else ["--map-root-user"]
    bound = [part for place, source in binds.items() for part in (str(source), "/" + place.strip("/"))]
    command = [need("unshare", "util-linux"), *flags, "/bin/sh", "-c", _INSIDE, "sh", str(root), *bound, "--", *argv]
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/",
    }
    try:
        run(command, environment | dict(variables), "/", say)
    except PlaneshiftError as error:
        hint = "Running an image's programs needs root, or unprivileged user namespaces."
        why = error.problems[0].why
        problem = Problem("PS429", f"{argv[0]} could not be run in the image", why=why, hint=hint)
        raise PlaneshiftError(problem) from error


def remove(path: Path) -> None:
    """Remove a tree, also one whose directories cannot be written."""
    shutil.rmtree(path, ignore_errors=True)


def _directory(root: Path, name: str) -> Path:
    path = within(root, name)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise oci.broken(f"/{name} is no directory in the image")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _member(root: Path, info: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    path = within(root, info.name)
    if path == root:
        return
    _directory(root, str(path.parent.relative_to(root)))
    if path.name == OPAQUE:
        for left in path.parent.iterdir():
            _gone(left)
    elif path.name.startswith(WHITEOUT):
        _gone(path.with_name(path.name.removeprefix(WHITEOUT)))
    elif info.isdir():
        if path.is_symlink() or not path.is_dir():
            _gone(path)
            path.mkdir()
    elif info.issym():
        _gone(path)
        path.symlink_to(info.linkname)
    elif info.islnk():
        target = within(root, info.linkname)
        if not target.is_file() or target.is_symlink():
            raise oci.broken(f"{info.name[:200]!r} is a hard link to what is not there")
        _gone(path)
        os.link(target, path)
    elif info.isreg():
        _gone(path)
        content = tar.extractfile(info)
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20) if content else None
        path.chmod(0o755 if info.mode & 0o100 else 0o644)


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove(path)
    else:
        path.unlink(missing_ok=True)
