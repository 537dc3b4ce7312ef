"""Whether the moved side fails more of its requests than the other, and more than is tolerated. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from planeshift.traffic.figures import Figures
from planeshift.traffic.pairing import Pair, Pairing
from planeshift.traffic.splitting import Balance, Splitting, beyond

_SURE = 3.0


class Failing:
    """Evidence of it."""

    def __init__(self) -> None:
        self._together = Pairing()
        self._splitting = Splitting()
        self._balance = Balance()

    def begin_step(self) -> None:
        """A step begins."""
        self._together = Pairing()
        self._splitting.begin_again()
        self._balance.begin_again()

    def add(self, moved: Figures, stayed: Figures) -> None:
        """What both sides did at one time."""
        for _, (one, other) in self._together.close({"": moved}, {"": stayed}):
            self._splitting.add(one.failed, one.requests, other.failed, other.requests)

    def add_replayed(self, pairs: Iterable[Pair]) -> None:
        """What the moved side did, by kind, beside what the other did at another time."""
        found = [beyond(one.failures, other.failures) for _, (one, other) in pairs]
        self._balance.add(sum(more for more, _ in found), sum(spread for _, spread in found))

    @property
    def convinced(self) -> bool:
        """Whether chance explains it no longer."""
        return self._splitting.convinced or self._balance.convinced


def tolerable(moved: Figures, stayed: Figures, percent: float) -> bool:
    """Whether the moved side's failures are as many as the other's rate, and this much more, lets expect.

    By Chernoff's bound: with so many expected, what is not tolerable happens by chance in one of twenty cases at most.
    """
    rate = percent / 100 + (stayed.failed / stayed.requests if stayed.requests else 0.0)
    seen, expected = moved.failed, moved.requests * rate
    if seen <= expected:
        return True
    return expected > 0 and seen * math.log(seen / expected) - seen + expected < _SURE
