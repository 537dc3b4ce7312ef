"""The course of a shift: what its events come to, for every view of it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from planeshift.traffic.events import (
    End,
    Event,
    Evidence,
    Gate,
    Return,
    Sample,
    Shift,
    Step,
    Traffic,
    Verdict,
)

SIGNS = {"passed": "✓", "failed": "✗", "watching": "▸", "": "·"}
_JUMP = 60.0  # seconds between two events beyond which a clock was set rather than time passed


@dataclass(frozen=True)
class Rung:
    """A step on the way: the percent that has moved after it; how it was judged, `watching`, or nothing yet."""

    share: float
    state: str

    @property
    def sign(self) -> str:
        return SIGNS[self.state]


@dataclass
class Course:
    """A shift so far. `elapsed` are the seconds since its begin; each moment below has its own."""

    shift: Shift | None = None
    steps: list[tuple[float, Step]] = field(default_factory=list)
    samples: list[tuple[float, Sample]] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    judged: dict[int, float] = field(default_factory=dict)  # step → when
    returned: tuple[float, Return] | None = None
    evidence: list[Evidence] = field(default_factory=list)
    end: End | None = None
    elapsed: float = 0.0
    last: str = ""
    _totals: dict[int, dict[str, Traffic]] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Course:
        """The course that the events make."""
        made = cls()
        for event in events:
            made.add(event)
        return made

    def add(self, event: Event) -> None:
        """Take in what happened next."""
        self._pass(event)
        match event:
            case Shift():
                self.shift = event
            case Step():
                self.steps.append((self.elapsed, event))
            case Sample():
                self.samples.append((self.elapsed, event))
                totals = self._totals.setdefault(event.step, {})
                for name, seen in event.backends.items():
                    totals[name] = _with(totals.get(name, Traffic()), seen)
            case Verdict():
                self.verdicts[event.step] = event
                self.judged[event.step] = self.elapsed
            case Return():
                self.returned = (self.elapsed, event)
            case Evidence():
                self.evidence.append(event)
            case End():
                self.end = event

    def _pass(self, event: Event) -> None:
        """Let time pass. A clock that jumps passes a sample's own time, so that no plot is torn."""
        passed = _between(self.last, event.at)
        if not 0 <= passed <= _JUMP:
            passed = event.seconds if isinstance(event, Sample) else 0.0
        self.elapsed += passed
        self.last = event.at

    # --- what it comes to

    @property
    def service(self) -> str:
        return self.shift.service if self.shift else ""

    @property
    def backends(self) -> list[str]:
        """Names, those that give traffic away first."""
        before, after = (self.shift.before, self.shift.after) if self.shift else ({}, {})
        names = dict.fromkeys([*before, *after, *(b for _, s in self.steps for b in s.shares)])
        return sorted(names, key=lambda n: after.get(n, 0) - before.get(n, 0))

    @property
    def shares(self) -> Mapping[str, float]:
        """Where traffic is now, in percent."""
        if self.returned:
            return self.returned[1].shares
        return self.steps[-1][1].shares if self.steps else self.shift.before if self.shift else {}

    @property
    def step(self) -> Step | None:
        """The step that was taken last."""
        return self.steps[-1][1] if self.steps else None

    @property
    def sample(self) -> Sample | None:
        """The newest sample of the present step."""
        if not self.samples or not self.step or self.samples[-1][1].step != self.step.step:
            return None
        return self.samples[-1][1]

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates as they were seen last."""
        return self.samples[-1][1].gates if self.samples else ()

    @property
    def due(self) -> str:
        """When the present step is judged, in a few words; empty where none is watched."""
        if not self.sample or self.end or self.sample.step in self.verdicts:
            return ""
        if self.sample.left > 0:
            return f"verdict in {self.sample.left:.0f} s"
        return f"its time is over, it waits for: {', '.join(g.name for g in self.gates if g.state == 'watching')}"

    @property
    def ladder(self) -> list[Rung]:
        """Every step of the way, those to come as well."""
        reached = self.step.step if self.step else 0
        rungs = []
        for number, share in enumerate(self.shift.steps if self.shift else (), 1):
            verdict = self.verdicts.get(number)
            present = "watching" if number == reached and not self.end else ""
            rungs.append(Rung(share, verdict.state if verdict else present))
        return rungs

    @property
    def title(self) -> str:
        """What moves, in a few words: `vms -> pods`."""
        if self.shift is None:
            return ""
        change = {n: self.shift.after.get(n, 0) - self.shift.before.get(n, 0) for n in self.backends}
        source, target = ([n for n in change if change[n] * sign > 0] for sign in (-1, 1))
        return f"{', '.join(source) or 'nothing'} → {', '.join(target) or 'nothing'}"

    def state(self, live: bool = False) -> str:
        """`in progress`, `done`, `returned` or `interrupted`. `live`: whether its writer lives."""
        if self.end:
            return self.end.result
        return "in progress" if live else "interrupted"

    def totals(self, step: int | None = None) -> dict[str, Traffic]:
        """Requests and failures by backend, of a step or of all; p50 and p99 are the worst of all samples with some."""
        found = {name: Traffic() for name in self.backends}
        for number, totals in self._totals.items():
            if step is None or number == step:
                for name, seen in totals.items():
                    found[name] = _with(found.get(name, Traffic()), seen)
        return found

    @property
    def counted(self) -> tuple[int, int]:
        """Requests and failures of all backends: as the end counts them, else as samples do."""
        if self.end:
            return self.end.requests, self.end.failed
        totals = self.totals().values()
        return sum(t.requests for t in totals), sum(t.failed for t in totals)

    @property
    def losses(self) -> str:
        """How many requests there were, and failed."""
        requests, failed = self.counted
        return f"{requests:,} requests, {f'{failed:,} failed' if failed else 'none failed'}"

    def sentence(self, live: bool = False) -> str:
        """What came of it, in one or two sentences."""
        state, step = self.state(live), self.step
        where = f"step {step.step} of {step.steps}" if step else "the start"
        if state == "returned":
            back = f" All traffic was back in {self.returned[1].took_ms:.0f} ms." if self.returned else ""
            return f"Stopped at {where}.{back} {self.losses}."
        if state == "done":
            steps = len(self.steps)
            taken = f"All {steps} steps were taken and passed" if steps > 1 else "Its one step was taken and passed"
            return f"{taken}. {self.losses}."
        if state == "interrupted":
            return f"Ended at {where}, before it was judged; traffic stayed where it was. {self.losses}."
        return f"At {where}. {self.losses}."


def percent(share: float) -> str:
    """A share as a person reads it."""
    return f"{share:.1f}".removesuffix(".0") + " %"


def duration(seconds: float) -> str:
    """A time as a person reads it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _with(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(
        one.requests + other.requests,
        one.failed + other.failed,
        _worst(one.p50, other.p50),
        _worst(one.p99, other.p99),
    )


def _worst(*values: float | None) -> float | None:
    return max((v for v in values if v is not None), default=None)


def _between(one: str, other: str) -> float:
    """Seconds from one moment (ISO 8601) to another; 0 where one of them is no moment."""
    try:
        first, second = datetime.datetime.fromisoformat(one), datetime.datetime.fromisoformat(other)
        return (second - first).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def thinned(samples: list[tuple[float, Sample]], most: int = 240) -> list[tuple[float, Sample]]:
    """As many samples as a plot can show: neighbours of one step are taken together, so that no failure is left out."""
    size = -(-len(samples) // most) if samples else 1
    groups: list[list[tuple[float, Sample]]] = []
    for at, sample in samples:
        if groups and len(groups[-1]) < size and groups[-1][0][1].step == sample.step:
            groups[-1].append((at, sample))
        else:
            groups.append([(at, sample)])
    return [(group[-1][0], _together([s for _, s in group])) for group in groups]


def _together(samples: list[Sample]) -> Sample:
    if len(samples) == 1:
        return samples[0]
    last = samples[-1]
    backends: dict[str, Traffic] = {}
    for sample in samples:
        for name, seen in sample.backends.items():
            backends[name] = _with(backends[name], seen) if name in backends else seen
    return Sample(
        at=last.at,
        service=last.service,
        step=last.step,
        seconds=sum(s.seconds for s in samples),
        left=last.left,
        shares=last.shares,
        backends=backends,
        gates=last.gates,
    )
