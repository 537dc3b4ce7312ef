"""A ledger of which a copy lies in the store, for a server that starts with nothing, as a container over a bucket does.

It is had by one request, where reading the charts takes one each. It is believed as little as the ledger itself: what does
not fit the store's listing is read anew. Of several servers that write it, each writes a whole one. It is written when
a twentieth of it is out of date, so that an upload's part in it stays the same however many charts there are.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

from planeshift.charts import ledger
from planeshift.charts.index import Entry
from planeshift.charts.ledger import Ledger
from planeshift.charts.store import KNOWN, Missing, Store, StoreError

log = logging.getLogger("planeshift.charts")
_FEW = 100  # changes for which no copy is written
_MAX_BYTES = 2 * 1024 * 1024 * 1024  # of a copy, unpacked


class SharedLedger(Ledger):
    """A ledger with a copy in a store."""

    def __init__(self, path: Path, purpose: str, store: Store, tenant: str) -> None:
        super().__init__(path, purpose)
        self._store = store
        self._name = hashlib.sha256(f"{tenant}\0{purpose}".encode()).hexdigest()[:32] + ".ledger.zst"
        self._changes = 0  # since the copy was read or written

    def load(self) -> tuple[dict[str, Entry], dict[str, str]]:
        """As a ledger; from the copy where the ledger knows nothing."""
        entries, unusable = super().load()
        if entries:
            return entries, unusable
        copy = self._copy()
        entries, unusable, _, _ = ledger.unpacked(self._magic, lambda at, size: copy[at : at + size])
        if entries:
            self.rewrite(list(entries.values()), unusable)
        return entries, unusable

    def add(self, e: Entry) -> None:
        self._changes += 1
        super().add(e)

    def drop(self, file: str) -> None:
        self._changes += 1
        super().drop(file)

    def compact(self, entries: Sequence[Entry], unusable: Mapping[str, str], *, closing: bool = False) -> None:
        super().compact(entries, unusable)
        if self._changes > (_FEW if closing else max(_FEW, len(entries) // 20)):
            self._write(entries, unusable)

    def _copy(self) -> bytes:
        try:
            data = self._store.read(KNOWN, self._name)[0]
            found = io.BytesIO()
            with zstandard.ZstdDecompressor().stream_reader(data) as reader:
                while found.tell() < _MAX_BYTES and (piece := reader.read(1 << 20)):
                    found.write(piece)
            return found.getvalue()
        except (Missing, StoreError, zstandard.ZstdError) as error:
            if not isinstance(error, Missing):
                log.warning("what is known of the store cannot be had from it: %s", error)
            return b""

    def _write(self, entries: Sequence[Entry], unusable: Mapping[str, str]) -> None:
        changes = self._changes
        packer = zstandard.ZstdCompressor(level=3).compressobj()
        pieces = [packer.compress(piece) for piece in ledger.packed(self._magic, entries, unusable)]
        try:
            self._store.save(KNOWN, [(self._name, b"".join([*pieces, packer.flush()]))], replace=True)
            self._changes -= changes
        except StoreError as error:
            log.info("what is known of the store cannot be kept in it: %s", error)
