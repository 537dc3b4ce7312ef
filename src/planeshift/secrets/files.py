"""Sealed files on disk: read whole, replaced whole, and never over somebody else's change."""

from __future__ import annotations

import os

from planeshift.secrets.refusal import refuse


def read(path: str) -> bytes:
    """A file's content. Raises PlaneshiftError (PS105)."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        refuse("PS105", f"{path}: {error.strerror}")


def replace(path: str, content: bytes, before: bytes | None, mode: int | None = None) -> None:
    """Replace a file as a whole, if it still holds `before` (None: if it does not exist yet).

    The file keeps its mode; a new one gets `mode`, or what the umask leaves. Raises PlaneshiftError (PS1012) where
    somebody else was faster, and PS401 or PS404 where the system refuses.
    """
    import fcntl

    from planeshift.errors import PlaneshiftError, Problem

    target = os.path.realpath(path)
    folder = os.path.dirname(target) or "."  # noqa: PTH120
    temporary = os.path.join(folder, f".{os.path.basename(target)[:100]}.new")  # noqa: PTH118, PTH119
    try:
        # The lock is on the directory: the file itself is another one after each change.
        guard = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            now = read(target) if os.path.exists(target) else None  # noqa: PTH110
            if now != before:
                refuse("PS1012", f"{path} was changed by somebody else meanwhile", hint="Run the command again.")
            if os.path.lexists(temporary):
                os.unlink(temporary)  # noqa: PTH108 - of a run that was killed: who writes has the lock
            _write(temporary, target, content, mode)
            os.fsync(guard)
        finally:
            os.close(guard)
    except OSError as error:
        import errno

        code = "PS404" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "PS401"
        raise PlaneshiftError(Problem(code, f"{path} cannot be written: {error.strerror}")) from error


def _write(temporary: str, target: str, content: bytes, mode: int | None) -> None:
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666 if mode is None else mode
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if os.path.exists(target):  # noqa: PTH110
                found = os.stat(target)  # noqa: PTH116
                os.fchmod(file.fileno(), found.st_mode & 0o7777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), found.st_uid, found.st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, target)  # noqa: PTH105
    except BaseException:
        if os.path.exists(temporary):  # noqa: PTH110
            os.unlink(temporary)  # noqa: PTH108
        raise
