"""Where a repository's files are kept. Blocking; made to be called from several threads.

A store holds files in folders (a tenant's path; empty: the root). Writing is all or nothing, and durable when the call
returns; several servers may write to one store at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from planeshift.charts.names import RESERVED

KNOWN = f"{RESERVED}/index"  # the folder of what servers know of the store: each may write there, lease or not


class Missing(Exception):
    """There is no such file."""


class Exists(Exception):
    """The file is there already, and was not to be replaced."""


class StoreError(Exception):
    """The store failed; nothing was acknowledged. `full`: for want of room; `readonly`: another server writes."""

    def __init__(self, message: str, *, full: bool = False, readonly: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.readonly = readonly


class Stat(NamedTuple):
    """A file as the store lists it. `stamp` tells one content from another; `modified`: nanoseconds since 1970."""

    file: str
    size: int
    stamp: str
    modified: int

    @property
    def created(self) -> str:
        """When it was written, UTC, as Go writes times (RFC 3339)."""
        seconds, rest = divmod(self.modified, 1_000_000_000)
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{whole}.{rest:09d}".rstrip("0").rstrip(".") + "Z"


class Store(Protocol):
    """Files in folders."""

    @property
    def name(self) -> str:
        """What to call it in messages; tells one store from another."""

    def list(self, folder: str) -> Sequence[Stat]:
        """The files directly in a folder; none where there is no such folder."""

    def folders(self, folder: str) -> Sequence[str]:
        """The names of the folders directly in a folder."""

    def stat(self, folder: str, file: str) -> Stat | None:
        """A file as `list` shows it, as of now."""

    def read(self, folder: str, file: str) -> tuple[bytes, Stat]:
        """A file's content. Raises Missing."""

    def save(self, folder: str, files: Sequence[tuple[str, bytes]], *, replace: bool) -> Sequence[Stat]:
        """Write files, all or none; the first decides: where it exists and is not to be replaced, raises Exists."""

    def delete(self, folder: str, files: Sequence[str]) -> bool:
        """Delete files; whether the first was there."""

    def token(self, folder: str) -> str | None:
        """Changes when somebody adds or removes a file; None where this store cannot tell cheaply."""

    def close(self) -> None:
        """Let go of what is held."""
