"""Whether a step of a shift is good: the share that moved is judged against the share that stayed. Pure.

`Judge` has no clock: what it is told and when it is asked decide. docs/gates.md says what is judged and how surely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from planeshift.model.cloud import Gates
from planeshift.traffic.failing import Failing, tolerable
from planeshift.traffic.figures import Figures
from planeshift.traffic.lines import Request
from planeshift.traffic.pairing import BLOCK, Kinds, Pair, Pairing, Replay, merged
from planeshift.traffic.silence import Silence
from planeshift.traffic.waiting import MIDDLE, SLOWEST, Waiting

State = Literal["watching", "passed", "failed"]
ERRORS, P50, P99, SERVERS, READINESS, PROBE, DATA = "errors", "p50", "p99", "servers", "readiness", "probe", "data"
GATES = (ERRORS, P50, P99, SERVERS, READINESS, PROBE, DATA)

SLOT = 0.5  # seconds, at least, of which what both sides did is compared
GROSS = 10  # times what is allowed: a median that nobody calls chance …
LONG = 60.0  # … after so many seconds of a step
MOST_KINDS = 200
OTHER = "other requests"


@dataclass(frozen=True)
class Reason:
    """Why a step failed: the gate, and what was seen, with figures."""

    gate: str
    text: str


@dataclass(frozen=True)
class GateView:
    """A gate as it stands: `waived` where it cannot be judged and need not."""

    name: str
    state: Literal["watching", "passed", "failed", "waived"]
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What is to be done: go on watching, take the next step, or return."""

    state: State
    reasons: tuple[Reason, ...]
    gates: tuple[GateView, ...]


@dataclass(frozen=True)
class Counters:
    """HAProxy's own counts of a backend, since a moment before the shift began, over all its servers and all edges."""

    requests: int = 0  # answers, of any status: hrsp_*
    failed: int = 0  # hrsp_5xx, econ, eresp
    in_flight: int = 0  # scur


@dataclass(frozen=True)
class Probe:
    """A real round trip through the new backend alone."""

    ok: bool
    why: str = ""


@dataclass(frozen=True)
class Evidence:
    """What else was seen. Counts are of the whole shift; what is None was not looked at."""

    lost: int = 0  # lines of the log that were dropped or could not be read
    counters: Mapping[str, Counters] | None = None  # backend → its counts at edges whose log we have
    unlogged: Mapping[str, Counters] | None = None  # backend → its counts at edges that keep no log for us
    down: Mapping[str, str] | None = None  # "backend/server" → why, of servers that should serve and are not up
    unready: Mapping[str, str] | None = None  # backend → what is not ready of it
    probe: Probe | None = None  # one that ended since the last time


@dataclass
class _Side:
    """What was seen of one side, by kind of request."""

    kinds: dict[str, Figures] = field(default_factory=dict)
    total: Figures = field(default_factory=Figures)  # without waits

    def add(self, kind: str, figures: Figures) -> None:
        if kind not in self.kinds and len(self.kinds) >= MOST_KINDS:
            kind = OTHER
        self.kinds.setdefault(kind, Figures()).merge(figures)
        self.total.requests += figures.requests
        self.total.failed += figures.failed


@dataclass
class _Sides:
    moved: _Side = field(default_factory=_Side)
    stayed: _Side = field(default_factory=_Side)


class Judge:
    """One shift of one service. Fed as it goes; the same calls give the same verdicts.

    `moved` are the backends whose share grows, `stayed` those whose share shrinks; `seconds` is the time of a step.
    Without `logs`, where no edge is ours, HAProxy's counters tell of errors, and waiting times are waived.
    """

    def __init__(
        self,
        settings: Gates,
        moved: frozenset[str],
        stayed: frozenset[str],
        *,
        seconds: float = 60,
        logs: bool = True,
    ) -> None:
        self.settings, self.moved, self.stayed, self.seconds, self.logs = settings, moved, stayed, seconds, logs
        self.share, self.began = 0.0, 0.0
        self._slot, self._step, self._whole = _Sides(), _Sides(), _Sides()
        self._slot_began = 0.0
        self._replay = Replay()
        self._block: list[Kinds] = []
        self._failing = Failing()
        self._kinds = Pairing()
        self._waiting = {
            P50: Waiting(MIDDLE, settings.p50, settings.slack),
            P99: Waiting(SLOWEST, settings.p99, settings.slack),
        }
        self._evidence = Evidence()
        self._silence = Silence()
        self._probes = [0, 0]  # good, bad, of the step
        self._why = ""
        self._lost_before = 0

    def begin_step(self, share: float, now: float) -> None:
        """A step began: the moved side has `share` percent of what moves. What was told before is known, and not of it."""
        self._know()
        self.share, self.began = share, now
        self._step, self._slot_began = _Sides(), now
        self._kinds, self._block = Pairing(), []
        self._failing.begin_step()
        for waiting in self._waiting.values():
            waiting.begin_step()
        self._silence.begin_step()
        self._probes, self._why = [0, 0], ""
        self._lost_before = self._evidence.lost

    def add(self, requests: Iterable[tuple[str, Request]]) -> None:
        """Requests that ended, each with the backend that served it."""
        found: dict[tuple[str, str], Figures] = {}
        for backend, request in requests:
            found.setdefault((backend, request.kind), Figures()).add(request)
        for (backend, kind), figures in found.items():
            self.count(backend, kind, figures)
            self._silence.told += figures.requests if backend in self.moved | self.stayed else 0

    def count(self, backend: str, kind: str, figures: Figures) -> None:
        """The same, of requests of a backend and kind that were counted already."""
        if backend in self.moved or backend in self.stayed:
            for sides in (self._slot, self._step):
                (sides.moved if backend in self.moved else sides.stayed).add(kind, figures)

    def evidence(self, seen: Evidence) -> None:
        """What else was seen."""
        for backend, counted in (seen.unlogged or {}).items():
            before = (self._evidence.unlogged or {}).get(backend, Counters())
            more, failed = counted.requests - before.requests, counted.failed - before.failed
            self.count(backend, "", Figures(max(0, more), max(0, min(more, failed))))
        if seen.counters is not None:
            ours = [counted for backend, counted in seen.counters.items() if backend in self.moved | self.stayed]
            self._silence.count(sum(c.requests for c in ours), sum(c.in_flight for c in ours))
        else:
            self._silence.uncounted()
        self._evidence = seen
        if seen.probe is not None:
            self._probes[not seen.probe.ok] += 1
            self._why = seen.probe.why

    def judge(self, now: float) -> Verdict:
        """How the step stands. Seconds are those of `begin_step`."""
        if now - self._slot_began >= SLOT:
            self._compare()
            self._slot_began = now
        gates = (
            self._judge_errors(),
            self._judge_waiting(P50, 0.5, now),
            self._judge_waiting(P99, 0.99, now),
            self._named(SERVERS, self._evidence.down),
            self._named(READINESS, self._evidence.unready),
            self._judge_probe(),
            self._judge_data(now),
        )
        reasons = tuple(Reason(g.name, g.detail) for g in gates if g.state == "failed")
        over = now - self.began >= self.seconds and all(g.state in ("passed", "waived") for g in gates)
        return Verdict("failed" if reasons else "passed" if over else "watching", reasons, gates)

    # --- what both sides did

    @property
    def _live(self) -> bool:
        """Whether the side that stayed still has traffic to compare with."""
        return self.share < 100

    def _compare(self) -> None:
        """A slot is over: weigh what was seen of it, beside the other side's, or beside what that did before."""
        if self._live:
            self._compare_at_once()
        else:
            self._compare_with_earlier()
        self._know()

    def _know(self) -> None:
        """What the slot has seen is of the whole from now on, and no longer of a slot."""
        for slot, whole in ((self._slot.moved, self._whole.moved), (self._slot.stayed, self._whole.stayed)):
            for kind, figures in slot.kinds.items():
                whole.add(kind, figures)
        self._slot = _Sides()

    def _compare_at_once(self) -> None:
        moved, stayed = self._slot.moved, self._slot.stayed
        pairs = self._kinds.close(moved.kinds, stayed.kinds)
        self._failing.add(moved.total, stayed.total)
        for waiting in self._waiting.values():
            waiting.add(pairs, self._whole.stayed.kinds)
        self._replay.keep(stayed.kinds)

    def _compare_with_earlier(self) -> None:
        moved, known = self._slot.moved, self._whole.stayed.kinds
        pairs = self._kinds.close(moved.kinds, self._replay.next())
        self._failing.add_replayed(pairs if self._replay else _flawless(moved))
        self._block.append(moved.kinds)
        for waiting in self._waiting.values():
            waiting.add_replayed(pairs, known)
            if len(self._block) == BLOCK:
                waiting.add_block(merged(self._block), self._replay.blocks, known)
        if len(self._block) == BLOCK:
            self._block = []

    def _other(self) -> _Side:
        """What the moved side of this step is compared with."""
        return self._step.stayed if self._live else self._whole.stayed

    def _judge_errors(self) -> GateView:
        moved, other = self._step.moved.total, self._other().total
        text = f"{moved.failed} of {moved.requests} failed ({_percent(moved):.2f} %)"
        if other.requests:
            text += f", {other.failed} of {other.requests} ({_percent(other):.2f} %) on the side that stayed"
        bad = self._failing.convinced and not tolerable(moved, other, self.settings.errors)
        return GateView(ERRORS, "failed" if bad else "passed", text)

    def _judge_waiting(self, gate: str, part: float, now: float) -> GateView:
        waiting = self._waiting[gate]
        if not self.logs:
            return GateView(gate, "waived", "the edge keeps no log of its requests for us")
        if not self._live and not self._replay:
            return GateView(gate, "waived", "nothing was seen of the side that stayed")
        if waiting.worst is None:
            return GateView(gate, "waived", "too few requests to compare")
        moved, other = (side.kinds.get(waiting.worst, Figures()) for side in (self._step.moved, self._other()))
        here, there = moved.quantile(part) or 0.0, other.quantile(part) or 0.0
        allowed = waiting.allowed(there)
        text = f"{waiting.worst}: {here:.0f} ms, {there:.0f} ms on the side that stayed; {allowed:.0f} ms allowed"
        if waiting.bad or here <= allowed:
            return GateView(gate, "failed" if waiting.bad else "passed", text)
        # What looks bad, and not surely so, is watched for as long again: more of it makes it sure, if anything does.
        again = waiting.doubtful and now - self.began < 2 * self.seconds
        long = not again and now - self.began >= LONG
        if gate == P50 and waiting.doubtful and long and here > GROSS * allowed:
            return GateView(gate, "failed", f"{text}; more than {GROSS} times that for {now - self.began:.0f} s")
        return GateView(gate, "watching" if again else "passed", f"{text}, and {moved.requests} requests may be chance")

    def _judge_probe(self) -> GateView:
        good, bad = self._probes
        if bad:
            return GateView(PROBE, "failed", self._why)
        return GateView(PROBE, "passed" if good else "watching", f"{good} round trips")

    def _judge_data(self, now: float) -> GateView:
        lost = self._evidence.lost - self._lost_before
        if lost:
            return GateView(DATA, "failed", f"{lost} lines of the edge's log were lost")
        if silent := self._silence.untold(now):
            return GateView(DATA, "failed", silent)
        had = self._step.moved.total.requests
        text = f"{had} requests of {self.settings.min_requests}"
        if had >= self.settings.min_requests:
            return GateView(DATA, "passed", text)
        whole = had + self._step.stayed.total.requests
        if not whole and self._probes[0]:
            return GateView(DATA, "passed", f"no client asks anything; {self._probes[0]} round trips")
        late = now - self.began >= self.seconds + self.settings.data_timeout
        if late and self._probes[0] and whole * self.share / 100 < self.settings.min_requests:
            return GateView(DATA, "passed", f"{text}, as many as its share lets expect; {self._probes[0]} round trips")
        return GateView(DATA, "failed" if late else "watching", text)

    @staticmethod
    def _named(gate: str, bad: Mapping[str, str] | None) -> GateView:
        text = "; ".join(f"{name}: {why}" for name, why in sorted((bad or {}).items()))
        return GateView(gate, "failed" if text else "passed", text)


def _flawless(side: _Side) -> list[Pair]:
    """A side beside one as busy that fails nothing: where nothing else is known, nothing else is expected."""
    return [(kind, (figures, Figures(figures.requests))) for kind, figures in side.kinds.items()]


def _percent(figures: Figures) -> float:
    return 100 * figures.failed / figures.requests if figures.requests else 0.0
