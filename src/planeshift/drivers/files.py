"""Files written so that a kill or a full disk leaves the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` as a whole. Its directory is made, 0700, where it is not there."""
    with failing(f"{path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def private(path: Path) -> None:
    """Make a directory that is ours alone, 0700.

    Raises PlaneshiftError (PS402) where it is a symbolic link, no directory, or another's: what we keep there could be
    read or led astray by somebody else.
    """
    with failing(f"{path} cannot be made"):
        with contextlib.suppress(FileExistsError):  # what is there instead is told below
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a directory of this user"
        raise PlaneshiftError(Problem("PS402", f"{path} is {what}", hint="Move it away; planeshift makes its own."))
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def cache(environment: Mapping[str, str]) -> Path:
    """The user's cache directory of ours, made where it is not there: what can be made again, shared by all clouds."""
    base = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME', '')}/.cache"
    directory = Path(base) / "planeshift"
    private(directory)
    return directory


@contextlib.contextmanager
def failing(what: str) -> Iterator[None]:
    """Turn an OSError into a PlaneshiftError that says what, why and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Free some space; nothing was half-written."
            raise PlaneshiftError(Problem("PS404", f"{what}: the disk is full", hint=hint)) from error
        raise PlaneshiftError(Problem("PS401", f"{what}: {error.strerror or error}")) from error
