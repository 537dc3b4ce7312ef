"""One writer by lease, over a store that can put, list and delete, but not compare and swap.

Each server that wants to write puts a claim of its own, then looks at all claims. A server writes while it holds: it saw
no other holder after it had put its own claim. Of several that claim at once, the lowest name goes on and the others
give way. A claim that was not renewed for a while is void.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

RENEW, VOID = 5.0, 30.0  # seconds
_CLAIMING, _HOLDING = b"claiming", b"holding"


class Claims(Protocol):
    """Where claims lie."""

    def put(self, server: str, content: bytes) -> None:
        """Write a claim."""

    def delete(self, server: str) -> None:
        """Remove a claim."""

    def all(self) -> Mapping[str, tuple[bytes, float]]:
        """Every claim: what it says, and how many seconds ago it was written."""


class Lease:
    """This server's part in it."""

    def __init__(self, claims: Claims, clock: Callable[[], float] = time.monotonic) -> None:
        self._claims = claims
        self._clock = clock
        self._me = secrets.token_hex(8)
        self._renewed: float | None = None
        self._lock = threading.Lock()

    def hold(self) -> bool:
        """Whether this server may write now; claims or renews as needed."""
        with self._lock:
            now = self._clock()
            if self._renewed is not None and now - self._renewed < RENEW:
                return True
            if self._renewed is not None and now - self._renewed > VOID / 2:
                self._renewed = None  # too late to be sure that nobody else began
            if self._renewed is None and not self._claim():
                return False
            self._claims.put(self._me, _HOLDING)
            self._renewed = now
            return True

    def release(self) -> None:
        """Let others write."""
        with self._lock:
            if self._renewed is not None:
                self._renewed = None
                self._claims.delete(self._me)

    def _claim(self) -> bool:
        """Claim, and look whether anybody else does."""
        if self._others(_HOLDING):
            return False
        self._claims.put(self._me, _CLAIMING)
        if self._others(_HOLDING) or any(other < self._me for other in self._others(_CLAIMING)):
            self._claims.delete(self._me)
            return False
        self._claims.put(self._me, _HOLDING)
        if self._others(_HOLDING):  # whoever put it second sees the other, and gives way; perhaps both do
            self._claims.delete(self._me)
            return False
        return True

    def _others(self, state: bytes) -> list[str]:
        return [s for s, (said, age) in self._claims.all().items() if s != self._me and said == state and age < VOID]
