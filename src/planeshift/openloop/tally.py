"""What came of a load: lines of JSON, and counts made of them. Pure, but for what is handed to it.

    {"second": 1764096000, "step": "token", "sent": 2, "failed": 0, "waits": {"4711": 2}}
    {"at": 1764096000.25, "step": "token", "wait_ms": 60000.0, "why": "status 503: …"}

A request belongs to the second, since 1970, in which it was due; lines of one second and step add up. Waits are counted by
bins of microseconds (`traffic.figures`), so they are known to 1/64.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from planeshift.traffic.figures import Figures, bin_of

MOST_FAILURES = 10_000  # that are kept with their causes; the rest is counted


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed: when it was due, in seconds since 1970, how long it took, and why."""

    at: float
    step: str
    wait_ms: float
    why: str


@dataclass
class Tally:
    """Counts by second and step, while they come in. May be asked by one thread while another reads."""

    counts: dict[tuple[int, str], Figures] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, lines: Iterable[bytes]) -> None:
        """Take lines until they end."""
        for line in lines:
            self.take(json.loads(line))

    def take(self, told: dict[str, Any]) -> None:
        """Take one line's."""
        with self._lock:
            if "why" in told:
                self.failures.append(Failure(**told))
                return
            waits = {int(place): count for place, count in told["waits"].items()}
            found = self.counts.setdefault((told["second"], told["step"]), Figures())
            found.merge(Figures(told["sent"], told["failed"], waits))

    def figures(
        self, steps: Callable[[str], bool] = lambda step: True, begin: float = 0.0, end: float = math.inf
    ) -> Figures:
        """Of steps with such names, of requests that were due in the whole seconds from `begin` to `end`."""
        whole = Figures()
        with self._lock:
            for (second, step), found in self.counts.items():
                if begin <= second and second + 1 <= end and steps(step):
                    whole.merge(found)
        return whole

    def by_step(self) -> dict[str, Figures]:
        """The counts of each step, by its name."""
        with self._lock:
            names = sorted({step for _, step in self.counts})
        return {name: self.figures(name.__eq__) for name in names}

    @property
    def sent(self) -> int:
        """How many requests have ended."""
        return self.figures().requests

    @property
    def failed(self) -> int:
        """How many of them have failed."""
        return self.figures().failed

    def table(self) -> str:
        """For people: each step's counts, and its waiting times in milliseconds."""
        head = f"{'':<24}{'requests':>10}{'failed':>8}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}"
        return "\n".join([head, *(_row(step, found) for step, found in self.by_step().items())])


def milliseconds(figures: Figures, part: float) -> float:
    """The waiting time that this part of the requests does not exceed, in milliseconds; 0 where there are none."""
    return (figures.quantile(part) or 0.0) / 1000


def _row(step: str, found: Figures) -> str:
    waits = "".join(f"{milliseconds(found, part):>10.1f}" for part in (0.5, 0.99, 1))
    return f"{step:<24}{found.requests:>10,}{found.failed:>8,}{waits}"


class Lines:
    """Makes the lines: counts what ends, and gives out what has come since the last time."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str], Figures] = {}
        self._failures: list[Failure] = []
        self._told = 0

    def add(self, step: str, at: float, wait: float, why: str = "") -> None:
        """A request ended that was due at `at`, seconds since 1970, after `wait` seconds; `why` it failed, if it did."""
        found = self._counts.setdefault((int(at), step), Figures())
        place = bin_of(wait * 1e6)
        found.merge(Figures(1, int(bool(why)), {place: 1}))
        if why and self._told < MOST_FAILURES:
            self._told += 1
            self._failures.append(Failure(round(at, 3), step, round(wait * 1000, 2), why))

    def flush(self) -> str:
        """The lines of what was added since the last time."""
        counts, self._counts = self._counts, {}
        failures, self._failures = self._failures, []
        told: list[dict[str, Any]] = [
            {"second": second, "step": step, "sent": f.requests, "failed": f.failed, "waits": f.waits}
            for (second, step), f in counts.items()
        ]
        told += [asdict(failure) for failure in failures]
        return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in told)
