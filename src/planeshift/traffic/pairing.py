"""What the two sides did at the same time, as pairs that can be compared. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from planeshift.traffic.figures import Figures

Kinds = Mapping[str, Figures]  # by kind of request
Pair = tuple[str, tuple[Figures, Figures]]  # a kind; of the moved side, and of the side that stayed
_KEPT = 2400  # times of the side that stayed
_TURNS = 3
BLOCK = 10  # short times of a longer one


def merged(times: Iterable[Kinds]) -> Kinds:
    """Several short times as one."""
    found: dict[str, Figures] = {}
    for kinds in times:
        for kind, figures in kinds.items():
            found.setdefault(kind, Figures()).merge(figures)
    return found


class Pairing:
    """Puts together, by kind of request, what both sides did in short times that follow one another.

    A kind that only one side had waits for the other side's next. Only how many there were decides that, never how they
    went, so that nothing is preferred.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[Figures, Figures]] = {}

    def close(self, moved: Kinds, stayed: Kinds) -> list[Pair]:
        """A short time is over: its pairs."""
        for side, kinds in enumerate((moved, stayed)):
            for kind, figures in kinds.items():
                self._open.setdefault(kind, (Figures(), Figures()))[side].merge(figures)
        whole = [(kind, pair) for kind, pair in self._open.items() if pair[0].requests and pair[1].requests]
        for kind, _ in whole:
            del self._open[kind]
        return whole


class Replay:
    """What the side that stayed did, played again where it does nothing any more: the newest first, some times over."""

    def __init__(self) -> None:
        self._times: deque[Kinds] = deque(maxlen=_KEPT)
        self._turn: Iterator[Kinds] | None = None

    def keep(self, kinds: Kinds) -> None:
        """A short time of it."""
        if kinds:
            self._times.append(kinds)
            self._turn = None

    def next(self) -> Kinds:
        """Another one; nothing where there is none (more): what was seen once too often is no news."""
        if self._turn is None:
            self._turn = iter([kinds for _ in range(_TURNS) for kinds in reversed(self._times)])
        return next(self._turn, {})

    def blocks(self) -> list[Kinds]:
        """The same, in longer times, each of which may be thought to be like any other: stalls and lulls are in them."""
        times = list(self._times)
        return [merged(times[at : at + BLOCK]) for at in range(0, len(times) - BLOCK + 1, BLOCK)]

    def __bool__(self) -> bool:
        return bool(self._times)
