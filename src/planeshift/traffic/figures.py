"""Figures of requests: how many, how many failed, how long they waited. Pure.

Waiting times are counted in bins, since counts of several backends, edges and windows can be added, are of a bounded size,
and are exact where it matters: HAProxy tells whole milliseconds, and every one up to 127 has a bin of its own; above it
a bin is at most 1/64 of its value wide.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from planeshift.traffic.lines import Request

_EXACT = 128
_HALF = _EXACT // 2


def bin_of(milliseconds: float) -> int:
    """The number of the bin that a waiting time is counted in; greater times never have a smaller one."""
    value = max(0, int(milliseconds))
    shift = max(0, value.bit_length() - _EXACT.bit_length() + 1)
    return value if shift == 0 else (value >> shift) + shift * _HALF


def least(number: int) -> int:
    """The least whole number of milliseconds in a bin."""
    if number < _EXACT:
        return number
    shift = number // _HALF - 1
    return (number - shift * _HALF) << shift


def after(milliseconds: float) -> float:
    """The least number of milliseconds that is counted as more than this."""
    return float(least(bin_of(milliseconds) + 1))


def from_bin(milliseconds: float) -> int:
    """The first bin of which every wait is at least that long."""
    place = bin_of(milliseconds)
    return place if least(place) >= milliseconds else place + 1


@dataclass(frozen=True, slots=True)
class Marks:
    """What some requests were marked with: the sum of their marks, and of the squares of these."""

    requests: int
    marks: int
    squares: int


@dataclass(slots=True)
class Figures:
    """Of some requests. `waits` are counts by bin."""

    requests: int = 0
    failed: int = 0
    waits: dict[int, int] = field(default_factory=dict)

    def add(self, request: Request) -> None:
        """Count a request."""
        self.requests += 1
        self.failed += request.failed
        place = bin_of(request.wait_ms)
        self.waits[place] = self.waits.get(place, 0) + 1

    def merge(self, other: Figures) -> None:
        """Add another's counts."""
        self.requests += other.requests
        self.failed += other.failed
        for place, count in other.waits.items():
            self.waits[place] = self.waits.get(place, 0) + count

    def quantile(self, part: float) -> float | None:
        """The waiting time in milliseconds that this part of the requests does not exceed; None where there are none."""
        wanted = part * sum(self.waits.values())
        for place in sorted(self.waits):
            wanted -= self.waits[place]
            if wanted <= 0:
                return float(least(place))
        return None

    def reached(self, limits: Sequence[int]) -> Marks:
        """How many of these limits, bins in rising order, the waits have reached."""
        marks = squares = 0
        for place, count in self.waits.items():
            if place >= limits[0]:
                reached = bisect_right(limits, place)
                marks += reached * count
                squares += reached * reached * count
        return Marks(self.requests, marks, squares)

    @property
    def failures(self) -> Marks:
        """Each failed request is marked once."""
        return Marks(self.requests, self.failed, self.failed)

    @property
    def p50(self) -> float | None:
        """The median wait, in milliseconds."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float | None:
        """What 99 of 100 requests do not wait longer than, in milliseconds."""
        return self.quantile(0.99)


def by_backend(requests: Iterable[tuple[str, Request]]) -> Mapping[str, Figures]:
    """Figures of each backend."""
    found: dict[str, Figures] = {}
    for backend, request in requests:
        found.setdefault(backend, Figures()).add(request)
    return found
