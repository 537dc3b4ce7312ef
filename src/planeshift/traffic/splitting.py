"""Whether what is marked (failed, slow) falls on one of two sides more often than that side's part of the requests. Pure.

Of the marked requests of a short time, each is on the moved side with the probability that any request is, where the two
sides are alike: whatever the marks' rate, and however it changes over time, since an outage or a stall that both sides
suffer marks requests of both in proportion. Two ways to weigh what is seen follow from it; docs/gates.md compares them.
"""

from __future__ import annotations

import math

from planeshift.traffic.bets import Bets
from planeshift.traffic.figures import Marks

_MORE = (0.002, 0.01, 0.05, 0.5)  # parts of the moved side's requests that may be marked more
_STRENGTHS = tuple(2.0**exponent for exponent in range(-8, 2))
_USUAL = 10_000  # of so many requests, one is thought to be marked before anything was seen


class Splitting(Bets):
    """For marks that fall on requests one by one: every one counts as much as it can.

    The chance of what was seen, where some part of the moved side's requests is marked more than both sides' usual, over
    the chance where the sides are alike. The mean of these factors is 1 at most, by Hoeffding (1963) for drawing without
    replacement, too. What is usual is told by how many of the times before had marks, and, where this one has many, by
    them, all but one: an outage of both sides says nothing then, and is forgotten soon.
    """

    def __init__(self) -> None:
        super().__init__(len(_MORE))
        self._requests, self._times = _USUAL, 1

    def add(self, marked: int, of: int, other_marked: int, other_of: int) -> None:
        """Add what was seen of a short time: marked requests and all requests, of the moved side and of the other."""
        marks, whole = marked + other_marked, of + other_of
        if marks and of and other_of:
            usual = self._times / self._requests + (marks - 1) / whole
            self.multiply(*(_likelier(1 + more / usual, marked, marks, of / whole) for more in _MORE))
        self._requests += whole
        self._times += marks > 0


class Balance(Bets):
    """For marks that come in clumps on one side, too: what was seen is measured by how much it swings.

    With x the marks of the moved side beyond its part, and v what x varies by where marks fall one by one, the factor
    exp(s x - s² max(x², v) / 2) has a mean of 1 at most: by Delyon (2009) where marks fall one by one, since max(x², v) is
    more than x²/3 + 2v/3; and where x is as likely as -x (de la Peña 1999), as when clumps fall on either side alike.
    """

    def __init__(self) -> None:
        super().__init__(len(_STRENGTHS))

    def add(self, beyond: float, variance: float) -> None:
        """Add x and v of a short time."""
        size = max(beyond * beyond, variance)
        self.multiply(*(s * beyond - s * s * size / 2 for s in _STRENGTHS))


def beyond(moved: Marks, stayed: Marks) -> tuple[float, float]:
    """How many marks the moved side has beyond its part, and the variance of that where marks fall one by one."""
    whole, marks = moved.requests + stayed.requests, moved.marks + stayed.marks
    part = moved.requests / whole
    spread = (moved.squares + stayed.squares - marks * marks / whole) * whole / max(1, whole - 1)
    return moved.marks - marks * part, part * (1 - part) * spread


def _likelier(ratio: float, marked: int, marks: int, part: float) -> float:
    return marked * math.log(ratio) - marks * math.log1p(part * (ratio - 1))
