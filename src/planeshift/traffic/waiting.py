"""Whether requests of the moved side wait longer than the other's, and longer than is allowed. Pure.

Waits are weighed by limits: some quantiles of what the side that stayed has shown so far; a wait counts as many limits as
it reaches. Where both sides are alike, requests of the moved side reach no more, whatever the limits, however waits are
distributed, and whatever slows both down for a while. Several limits tell more than one would: around the median, or in
the slowest tenth, whose far end alone would be too few requests, and those that a stall of both sides has held up. For
what is allowed, the moved side's limits are the longest waits that are allowed instead.

Kinds of requests have limits of their own. A kind counts as long as it has not shown, in this step, that it is better than
the other side's: else kinds that are much better would hide one that is worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from planeshift.traffic.bets import Ranks
from planeshift.traffic.figures import Figures, after, from_bin
from planeshift.traffic.pairing import Kinds, Pair
from planeshift.traffic.splitting import Balance, beyond

MIDDLE = (0.3, 0.4, 0.5, 0.6, 0.7)
SLOWEST = (0.9, 0.95, 0.98, 0.99)
_KNOWN = 100  # requests of a kind that make limits
_RENEWED = 1.1  # limits are made anew when this many times as many requests are known
_DEVIATIONS = 2.0  # by which long waits must exceed what is allowed


class Waiting:
    """Evidence at some quantiles; `percent` and `slack` (milliseconds): waits may be longer by the greater of the two."""

    def __init__(self, quantiles: Sequence[float], percent: float, slack: float) -> None:
        self._quantiles, self._percent, self._slack = quantiles, percent, slack
        self._limits: dict[str, _Limits] = {}
        self._evidence = Balance()
        self._ranks: Ranks | None = None
        self._longer, self._too_long = _Excess(), _Excess()

    def begin_step(self) -> None:
        """A step begins."""
        if self._longer.kinds:
            self._evidence.begin_again()
        if self._ranks is not None:
            self._ranks.begin_again()
        self._longer, self._too_long = _Excess(), _Excess()

    def add(self, pairs: Iterable[Pair], known: Kinds) -> None:
        """Add, by kind, what was seen at one time; `known` is what the side that stayed has shown so far."""
        self._compare(pairs, known)
        self._evidence.add(*self._longer.close())

    def add_replayed(self, pairs: Iterable[Pair], known: Kinds) -> None:
        """The same, of a time of the moved side beside another of the other; it tells how long waits are, not how surely."""
        self._compare(pairs, known)
        self._longer.close()

    def add_block(self, moved: Kinds, blocks: Callable[[], list[Kinds]], known: Kinds) -> None:
        """Add a longer time of the moved side, to be compared with all blocks of the other, when that had traffic."""
        if self._ranks is None:
            self._ranks = Ranks(self._score(block, known) for block in blocks())
        self._ranks.add(self._score(moved, known))

    def allowed(self, milliseconds: float) -> float:
        """The longest wait that is as good as this one."""
        return max(milliseconds * (1 + self._percent / 100), milliseconds + self._slack)

    @property
    def bad(self) -> bool:
        """Whether chance explains no longer that requests wait longer, and hardly that they wait too long."""
        surely = self._evidence.convinced or (self._ranks is not None and self._ranks.convinced)
        return surely and self.doubtful

    @property
    def doubtful(self) -> bool:
        """Whether requests wait too long, which a time that was slow for both may explain."""
        return self._too_long.deviations > _DEVIATIONS

    @property
    def worst(self) -> str | None:
        """The kind that exceeds most, in this step, what is allowed; None where nothing could be compared."""
        return max(self._too_long.kinds, key=self._too_long.kinds.__getitem__, default=None)

    def _compare(self, pairs: Iterable[Pair], known: Kinds) -> None:
        for kind, (moved, stayed) in pairs:
            limits = self._limits_of(kind, known.get(kind))
            if limits:
                other = stayed.reached(limits.plain)
                self._longer.add(kind, beyond(moved.reached(limits.plain), other))
                self._too_long.add(kind, beyond(moved.reached(limits.allowed), other))
        self._too_long.close()

    def _score(self, kinds: Kinds, known: Kinds) -> float:
        """How many more limits the requests of a time reach, each in the mean, than is usual for their kinds."""
        more, requests = 0.0, 0
        for kind, figures in kinds.items():
            limits = self._limits_of(kind, known.get(kind))
            if limits:
                usual = known[kind].reached(limits.plain)
                more += figures.reached(limits.plain).marks - figures.requests * usual.marks / usual.requests
                requests += figures.requests
        return more / requests if requests else 0.0

    def _limits_of(self, kind: str, known: Figures | None) -> _Limits | None:
        """The limits of a kind; None where too little is known."""
        limits = self._limits.get(kind)
        if known is not None and known.waits and known.requests >= (limits.known * _RENEWED if limits else _KNOWN):
            found = [after(known.quantile(part) or 0.0) for part in self._quantiles]
            limits = _Limits(known.requests, [*map(from_bin, found)], [from_bin(self.allowed(f)) for f in found])
            self._limits[kind] = limits
        return limits


@dataclass(frozen=True, slots=True)
class _Limits:
    """Of one kind, made of so many requests; bins in rising order."""

    known: int
    plain: list[int]
    allowed: list[int]


class _Excess:
    """Long waits of the moved side beyond its part, in one step."""

    def __init__(self) -> None:
        self.kinds: dict[str, float] = {}
        self._now = self._variance = self._total = self._size = 0.0

    def add(self, kind: str, seen: tuple[float, float]) -> None:
        """What a kind showed in a short time."""
        before = self.kinds.get(kind, 0.0)
        self.kinds[kind] = before + seen[0]
        if before >= 0:
            self._now, self._variance = self._now + seen[0], self._variance + seen[1]

    def close(self) -> tuple[float, float]:
        """The short time is over: what all kinds that count have shown in it."""
        now, variance = self._now, self._variance
        self._now = self._variance = 0.0
        self._total, self._size = self._total + now, self._size + max(now * now, variance)
        return now, variance

    @property
    def deviations(self) -> float:
        """How large the excess is, in standard deviations."""
        return self._total / math.sqrt(self._size) if self._size else 0.0
