"""A command line that did its work before, upon files that are still the same, has nothing to do. Told in milliseconds.

A note of a command line holds what it printed, and the state of every file that this depends on; the next run of the same
line in the same directory compares. Imports next to nothing, since that is its point; whatever is odd about a note means
that the command does run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

_END = "\0"  # between the parts of a note; no argument and no path holds it


def answer(arguments: Sequence[str], variables: Mapping[str, str]) -> str | None:
    """What the command line printed when it last did its work, if all is still as it was then; else None."""
    key = _key(arguments, variables)
    try:
        with open(_place(key, variables), encoding="utf-8", errors="surrogateescape", newline="") as file:  # noqa: PTH123
            mark, _, note = file.read().partition(_END)
        found, printed, *rest = note.split(_END)
        whole = mark == _sum(note) and found == key
        same = whole and all(state(p) == known for p, known in zip(rest[::2], rest[1::2], strict=True))
        return printed if same else None
    except (OSError, ValueError):
        return None


def remember(arguments: Sequence[str], variables: Mapping[str, str], paths: Iterable[str], printed: str) -> None:
    """Note what a command line printed, and the files and directories that it depends on, with all below them."""
    from pathlib import Path

    from planeshift.drivers import files

    key = _key(arguments, variables)
    depended = [part for given in paths for path in _below(os.path.abspath(given)) for part in (path, state(path))]  # noqa: PTH100
    note = _END.join([key, printed, *depended])
    files.write(Path(_place(key, variables)), f"{_sum(note)}{_END}{note}".encode("utf-8", "surrogateescape"))


def state(path: str) -> str:
    """What changes when a file does; empty where there is none. A directory's own time tells of names in it."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"


def _below(path: str) -> list[str]:
    found = [path]
    for directory, names, files in os.walk(path):
        names[:] = [name for name in names if name != "__pycache__"]
        found += [os.path.join(directory, name) for name in (*names, *files)]  # noqa: PTH118
    return found


def _key(arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    from planeshift import __version__

    ours = sorted(f"{name}={value}" for name, value in variables.items() if name.startswith("PLANESHIFT_"))
    return "\n".join([__version__, os.getcwd(), *ours, *arguments])  # noqa: PTH109


def _place(key: str, variables: Mapping[str, str]) -> str:
    base = variables.get("XDG_CACHE_HOME") or f"{variables.get('HOME', '')}/.cache"
    return f"{base}/planeshift/unchanged/{_sum(key)}"


def _sum(text: str) -> str:
    """By which a note that is not whole is told from one that is."""
    from zlib import crc32

    return f"{crc32(text.encode('utf-8', 'surrogateescape')):08x}"
