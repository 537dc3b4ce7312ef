"""What the edges see of a shift: requests that end, HAProxy's own counts, and the servers that its checks find down."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from planeshift.engine.telling import LINES, Telling
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Collector, Say
from planeshift.render.desired import driven_unit
from planeshift.traffic.gates import Counters, Judge
from planeshift.traffic.lines import Request

UNREACHABLE = 30.0  # seconds that an edge may be away, started again by its supervisor, before a shift ends where it is


@dataclass(frozen=True)
class Seen:
    """One look at all edges: lines lost by now, counts by backend (None where they are not known), what is down and why."""

    lost: int
    counters: Mapping[str, Counters] | None
    unlogged: Mapping[str, Counters]
    down: Mapping[str, str]
    away: bool  # an edge does not answer


class Account:
    """Of one mover's shift. What ended is told to the judge at once."""

    def __init__(
        self, world: World, mover: str, moved: frozenset[str], judge: Judge, telling: Telling, say: Say
    ) -> None:
        """`moved` are the backends that get more."""
        desired = world.desired
        self.world, self.moved, self.judge, self.telling, self.say = world, moved, judge, telling, say
        self.service = mover.partition("@")[0]
        self.served = mover in desired.specs  # else it is consumers alone that move
        self.edges = [unit for unit, _ in desired.fronts.values()]
        self.collectors: list[Collector] = []
        self.requests = self.failed = 0
        self.step_requests = self.step_failed = 0
        self.failures: deque[Request] = deque(maxlen=LINES)
        self._backends = {  # unit of the edge, what it calls the service, server → our backend
            (unit, f.place, s.name): s.backend
            for unit, frontends in desired.fronts.values()
            for f in frontends
            for s in f.servers
            if f.service == mover
        }
        self._unlogged = {driven_unit(name) for name in desired.driven}
        self._counted: dict[str, Mapping[tuple[str, str], Counters]] = {}  # unit of the edge → what it counted last
        self._away_since: float | None = None
        self._window: list[tuple[str, Request]] = []

    def open(self, stack: ExitStack) -> None:
        """Collect from now on, until the stack is closed. Raises PlaneshiftError (PS607) where an edge does not answer."""
        self.collectors = [stack.enter_context(self.world.traffic.collect(unit)) for unit in self.edges]

    def begin_step(self) -> None:
        """What ended until now is not of the step."""
        self.step_requests = self.step_failed = 0

    def take(self) -> None:
        """Take what ended."""
        for unit, collector in zip(self.edges, self.collectors, strict=True):
            self._add(unit, collector.take())

    def window(self) -> list[tuple[str, Request]]:
        """What ended since the last time, of what moves, each with the backend that served it."""
        found, self._window = self._window, []
        return found

    def look(self) -> Seen:
        """Take what ended; and what edges count, and their checks say, of the service's servers.

        Lines are taken before they are counted, so that what is told is never ahead of what is counted.
        """
        logged, unlogged, lost, silent = dict[str, Counters](), dict[str, Counters](), 0, False
        for unit, collector in zip(self.edges, self.collectors, strict=True):
            taken, now = collector.take(), collector.counters()
            silent |= now is None and unit not in self._unlogged
            self._counted[unit] = self._counted.get(unit, {}) if now is None else now
            counts = unlogged if unit in self._unlogged else logged
            for (place, server), counted in self._counted[unit].items():
                backend = self._backends.get((unit, place, server))
                if backend:
                    counts[backend] = _sum(counts.get(backend, Counters()), counted)
            self._add(unit, taken)
            lost += collector.lost()
        down, away = self._down()
        self._wait_for(away)
        return Seen(lost, None if silent else logged, unlogged, down, bool(away))

    def _add(self, unit: str, taken: Iterable[Request]) -> None:
        """Requests that ended at an edge."""
        found = [(b, r) for r in taken if (b := self._backends.get((unit, r.service, r.server)))]
        self.judge.add(found)
        ours = [r for _, r in found] if self.served else [r for r in taken if r.service == self.service]
        failures = [r for r in ours if r.failed]
        self.requests += len(ours)
        self.step_requests += len(ours)
        self.failed += len(failures)
        self.step_failed += len(failures)
        self.failures += failures
        self._window += found

    def _down(self) -> tuple[dict[str, str], list[str]]:
        """Servers that get more traffic and that an edge's own check does not find up; and edges that do not answer."""
        down, away = dict[str, str](), list[str]()
        for unit in self.edges:
            state = self.world.edge.state(unit)
            if state is None:
                away.append(unit)
            for (place, name), server in (state.servers if state else {}).items():
                backend = self._backends.get((unit, place, name))
                if backend in self.moved and server.weight and not server.up:
                    down[f"{backend}/{name}"] = server.check
        return down, away

    def _wait_for(self, away: list[str]) -> None:
        """An edge that is away is started again by its supervisor; if it is not, the shift ends where it is.

        How long it was away is told: clients were refused for so long.
        """
        now = self.world.clock.monotonic()
        if away and self._away_since is None:
            self.say(f"waiting for HAProxy of {', '.join(away)}")
        elif self._away_since is not None and not away:
            text = f"an edge was away for {now - self._away_since:.1f} s, and refused requests meanwhile"
            self.telling.keep("edge", [text])
            self.say(text)
        self._away_since = (self._away_since or now) if away else None
        if self._away_since and now - self._away_since > UNREACHABLE:
            raise PlaneshiftError(
                Problem("PS607", f"HAProxy of {', '.join(away)} is away for {UNREACHABLE:.0f} s", hint="planeshift up")
            )


def _sum(one: Counters, other: Counters) -> Counters:
    return Counters(one.requests + other.requests, one.failed + other.failed, one.in_flight + other.in_flight)
