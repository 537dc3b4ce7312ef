"""What came of a rehearsal: requests, failures, latency, times of steps, what was broken and how it came back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

AFTERMATH = 2.0  # seconds after something came back in which a failure is still put down to it
Result = Literal["done", "returned", "failed"]


@dataclass(frozen=True)
class Served:
    """What clients got in a part of a rehearsal: of `requests`, how many failed; waits in milliseconds."""

    part: str
    requests: int
    failed: int
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Stepped:
    """A step of a shift: how much had moved, how long it was watched, and how it was judged."""

    service: str
    step: int
    steps: int
    share: float
    seconds: float
    state: str


@dataclass(frozen=True)
class Broken:
    """What was broken: when (seconds since 1970), at which step, how it came back, after how long (None: it did not).

    `failed` are the requests that were lost to it.
    """

    kind: str
    what: str
    at: float
    step: str
    how: str
    back: float | None
    failed: int = 0


@dataclass(frozen=True)
class Lost:
    """A request that failed: when it was due, when it had its answer or none, and why."""

    at: float
    until: float
    what: str
    why: str


@dataclass(frozen=True)
class Account:
    """A rehearsal that is over. `untried` are faults that no step was left for; `unexplained` failures no fault's.

    `retried` says why gates sent traffic back while something was broken, after which it was tried again.
    """

    cloud: str
    change: tuple[str, ...]
    result: Result
    reason: str
    spent: tuple[tuple[str, float], ...]  # seconds, by what they went into
    runs: int
    served: tuple[Served, ...]
    steps: tuple[Stepped, ...]
    broken: tuple[Broken, ...]
    untried: tuple[str, ...]
    unexplained: tuple[str, ...]
    notes: tuple[str, ...]
    retried: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """Requests of all parts."""
        return sum(s.requests for s in self.served)

    @property
    def failed(self) -> int:
        """Failures of all parts."""
        return sum(s.failed for s in self.served)

    @property
    def added(self) -> float | None:
        """Milliseconds by which the p99 of the change, while nothing was broken, is above that of before."""
        waits = {s.part: s.p99 for s in self.served}
        before, change = waits.get("before"), waits.get("change")
        return None if before is None or change is None else round(change - before, 1)

    @property
    def good(self) -> bool:
        """Whether the change came out, what was broken came back, and nothing was lost but to what was broken."""
        return self.result == "done" and not self.unexplained and all(b.back is not None for b in self.broken)

    @property
    def sentence(self) -> str:
        """What came of it, in a sentence or two."""
        words = {
            "done": "The change came out",
            "returned": "The gates sent traffic back",
            "failed": "The change did not come out",
        }[self.result]
        lost = "no request was lost" if not self.failed else f"{self.failed:,} of {self.requests:,} requests failed"
        due = self.failed - len(self.unexplained)
        if self.failed and not self.unexplained:
            lost += ", all of them lost to what was broken"
        elif self.failed and due:
            lost += f", {due:,} of them lost to what was broken"
        why = f" {self.reason}" if self.reason else ""
        return f"{words}; {lost}.{why}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        derived = {"requests": self.requests, "failed": self.failed, "added_p99_ms": self.added, "good": self.good}
        return {**asdict(self), "spent": dict(self.spent), "sentence": self.sentence, **derived}


def attributed(broken: Sequence[Broken], lost: Iterable[Lost]) -> tuple[tuple[Broken, ...], tuple[str, ...]]:
    """Each failure put down to what was broken last while it was under way; and those that nothing explains, in words."""
    counts, rest = [0] * len(broken), []
    for failure in lost:
        during = [n for n, b in enumerate(broken) if failure.until >= b.at and failure.at <= _over(b)]
        if during:
            counts[during[-1]] += 1
        else:
            rest.append(f"{failure.what}: {failure.why}")
    return tuple(replace(b, failed=b.failed + n) for b, n in zip(broken, counts, strict=True)), tuple(rest)


def seconds(begin: int, end: int, broken: Sequence[Broken]) -> tuple[list[int], list[int]]:
    """The whole seconds in which nothing was broken, and those in which something was, or had come back only just."""
    troubled = {s for s in range(begin, end) if any(s + 1 > b.at and s <= _over(b) for b in broken)}
    return [s for s in range(begin, end) if s not in troubled], sorted(troubled)


def _over(broken: Broken) -> float:
    return broken.at + (broken.back if broken.back is not None else float("inf")) + AFTERMATH
