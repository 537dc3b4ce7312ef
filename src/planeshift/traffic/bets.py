"""Evidence that gathers over time and may be looked at as often as one likes. Pure.

A bet begins with 1 and is multiplied, at each look, by a factor whose mean is 1 at most where nothing is wrong, whatever
was seen before. So it reaches 1/a, at any time of a whole shift, with a probability of a at most (Ville's inequality). The
same holds for a mean of several bets, each good at finding one size of a difference, and of bets that begin later: what is
wrong from the third step on should not have to make up for what two good ones have cost.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

LIMIT = math.log(600)  # of the evidence that convinces, the logarithm: three gates, one of 200 shifts by chance at most


class Bets:
    """Some bets, and for each begin of a time those that begin then."""

    def __init__(self, count: int) -> None:
        self._begins = 1
        self._logs = [self._stake()] * count

    def begin_again(self) -> None:
        """A time begins that may differ from what was before. The k-th begin is worth 1/k(k+1) of all."""
        self._begins += 1
        self._logs = [_log_sum(value, self._stake()) for value in self._logs]

    def multiply(self, *logs: float) -> None:
        """Multiply each bet by a factor, given as its logarithm."""
        self._logs = [value + factor for value, factor in zip(self._logs, logs, strict=True)]

    @property
    def log(self) -> float:
        """The natural logarithm of the evidence."""
        top = max(self._logs)
        return top + math.log(sum(math.exp(value - top) for value in self._logs) / len(self._logs))

    @property
    def convinced(self) -> bool:
        """Whether chance explains it no longer."""
        return self.log >= LIMIT

    def _stake(self) -> float:
        return -math.log(self._begins * (self._begins + 1))


class Ranks:
    """Evidence that what follows one another is greater than what was before, by its ranks alone (Mann and Whitney 1947).

    Of all that may be spent on chance, the k-th look has 1/k(k+1). The ranks' sum is taken to be normal, which says less
    than the truth where it matters: of 4 that exceed all of 48, it says one in 2,000. Where all exceed all, the truth is
    taken, of which there is one way among all in which they can be mixed: one in 270,725.
    """

    def __init__(self, before: Iterable[float]) -> None:
        self._before = sorted(before)
        self._looks = self._count = self._wins = 0
        self.convinced = False

    def begin_again(self) -> None:
        """Forget what was added. What was spent is spent."""
        self._count = self._wins = 0

    def add(self, value: float) -> None:
        """Add another one. It does not win against its equals."""
        self._looks, self._count = self._looks + 1, self._count + 1
        self._wins += bisect_left(self._before, value)
        pairs = self._count * len(self._before)
        spread = math.sqrt(pairs * (self._count + len(self._before) + 1) / 12)
        chance = math.erfc((self._wins - pairs / 2) / spread / math.sqrt(2)) / 2 if pairs else 1.0
        if pairs and self._wins == pairs:
            chance = 1 / math.comb(self._count + len(self._before), self._count)
        self.convinced = self.convinced or chance * self._looks * (self._looks + 1) < math.exp(-LIMIT)


def _log_sum(one: float, other: float) -> float:
    """The logarithm of a sum, of logarithms."""
    return max(one, other) + math.log1p(math.exp(-abs(one - other)))
