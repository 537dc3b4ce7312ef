"""A shift: traffic of one service moved from backend to backend in steps, each watched; back at once when one fails.

Where it stands is noted before each step, so that a run that is killed leaves traffic where it is and the next one goes on
from there. A verdict against the shift is noted first, as a hold, and then traffic returns: killed in between, the next
run sends it back before anything else.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from planeshift.engine.consumers import Deaf, Taking
from planeshift.engine.proving import Proving
from planeshift.engine.readiness import Readiness
from planeshift.engine.weights import achieved_by, move, send_back
from planeshift.engine.world import World
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.plan import shifts
from planeshift.plan.observed import Hold, Standing
from planeshift.ports import Collector, Say
from planeshift.render.desired import driven_unit
from planeshift.traffic import events
from planeshift.traffic.figures import Figures, by_backend
from planeshift.traffic.gates import READINESS, Counters, Evidence, Judge, Reason, Verdict
from planeshift.traffic.lines import Request
from planeshift.traffic.report import report

T = TypeVar("T")
LOOK = 0.2  # seconds between two looks at what was served
SAMPLE = 1.0  # seconds between two samples for those who watch
UNREACHABLE = (
    30.0  # seconds that an edge may be away, started again by its supervisor, before the shift ends where it is
)
EVIDENCE_LINES = 60


class Paused(Exception):
    """Somebody wants the shift to stay where it is."""


class Shift:
    """One shift of one service's traffic; `say` is told what is waited for; the rest is told as events."""

    def __init__(self, world: World, service: str, say: Say) -> None:
        desired = world.desired
        self.world, self.service, self.say = world, service, say
        self.target = dict(map(_float, desired.weights[service].items()))
        record = world.control.standing().get(service)
        self.origin = shifts.begins(desired, service, record)
        self.settings = desired.shifts[service]
        self.stages = shifts.way(desired, service, self.origin)
        self.moved = frozenset(b for b, share in self.target.items() if share > self.origin[b])
        self.stayed = frozenset(b for b, share in self.target.items() if share < self.origin[b])
        self.judge = Judge(
            self.settings.gates, self.moved, self.stayed, seconds=self.settings.time, logs=bool(desired.edges)
        )
        self.backends = {  # unit of the edge, what it calls the service, server → our backend
            (unit, f.place, s.name): s.backend
            for unit, frontends in desired.fronts.values()
            for f in frontends
            for s in f.servers
            if f.service == service
        }
        self.served = service in desired.specs  # else it is consumers alone that move
        self.taking = Taking(world, service, self.moved, say, self._alive) if service in desired.consumers else None
        self.asked = self.refused = 0  # requests of the service's API in a step, where consumers move
        self.unlogged = {driven_unit(name) for name in desired.driven}
        self.proving = Proving(world, service, self.moved, self.stayed)
        self.readiness = Readiness(world, service, self.moved)
        self.away_since: float | None = None
        self.log = world.control.shift_log(service)
        self.told: list[events.Event] = []
        self.began = world.clock.monotonic()
        self.returning = False
        self.result: events.Result = "interrupted"
        self.counted: dict[str, Mapping[tuple[str, str], Counters]] = {}  # unit of the edge → what it counted last
        self.requests = self.failed = 0
        self.failures: deque[Request] = deque(maxlen=EVIDENCE_LINES)

    def go(self) -> None:
        """Carry it out. Raises PlaneshiftError: PS610 where the gates sent traffic back, PS803 at an interrupt.

        A shift that is paused ends where it is, and is no failure: others go on.
        """
        world = self.world
        self._tell(
            events.Shift(
                at=self._at,
                service=self.service,
                before=self.origin,
                after=self.target,
                steps=tuple(_moved(self.origin, s) for s in self.stages),
                seconds=self.settings.time,
                who=world.clock.who(),
                edges=tuple(world.desired.fronts),
            )
        )
        try:
            with contextlib.ExitStack() as stack:
                collectors = [stack.enter_context(world.traffic.collect(unit)) for unit in self._units()]
                for number, shares in enumerate(self.stages, 1):
                    try:
                        self._step(number, shares, collectors)
                    except Deaf as silence:
                        self._return(number, [Reason(READINESS, str(silence))])
                    verdict = self._watch(number, shares, collectors)
                    if verdict.state == "failed":
                        self._return(number, verdict.reasons)
            world.control.stand(self.service, None)
            self.result = "done"
        except Paused as pause:
            self.say(str(pause))
        finally:
            self.proving.finish()
            self._end(self.result)

    # --- a step

    def _step(self, number: int, shares: dict[str, float], collectors: Iterable[Collector]) -> None:
        world = self.world
        self._alive()
        before = world.control.standing().get(self.service)
        world.control.stand(self.service, Standing(self.origin, self.target, shares))
        try:
            took = self._move(shares, collectors)
        except Exception:
            # Traffic is where it was, which no edge may be there to tell the next run. Consumers may run already that no
            # step has proved: the next run must know where this one began.
            began_here = Standing(self.origin, self.target, self.origin) if self.taking else None
            world.control.stand(self.service, before or began_here)
            raise
        got = achieved_by(world, self.service) if self.served else shares
        self.asked = self.refused = 0
        if self.taking:
            self.taking.begin_step()
        self.judge.begin_step(self._part(got), world.clock.monotonic())
        self._tell(
            events.Step(
                at=self._at,
                service=self.service,
                step=number,
                steps=len(self.stages),
                shares=shares,
                achieved=got,
                took_ms=took,
            )
        )

    def _part(self, shares: Mapping[str, float]) -> float:
        """Of what the two sides have together, the percent that has moved; a third one may have traffic that stays."""
        moved, stayed = (sum(shares.get(b, 0.0) for b in side) for side in (self.moved, self.stayed))
        return 100 * moved / (moved + stayed) if stayed else 100.0

    def _move(self, shares: dict[str, float], collectors: Iterable[Collector]) -> float:
        """Move: consumers that are to take messages do so before anything leaves. Returns milliseconds.

        What ended until then, and they may take long to join, is not of the step; all that ends afterwards is.
        """
        began = self.world.clock.monotonic()
        before = dict(self.world.desired.shares[self.service])
        if self.taking:
            self.world.move(self.service, shares, look=False)  # which says what is to run where
            self.taking.join(shares)
        for unit, collector in zip(self._units(), collectors, strict=True):
            self._account(unit, collector.take())
        took = self._patiently(lambda: move(self.world, self.service, shares, before)) if self.served else 0.0
        if self.taking:
            self.taking.leave(shares)
            took = round((self.world.clock.monotonic() - began) * 1000, 2)
        return took

    def _move_back(self) -> None:
        """Requests first, in a moment; then messages. What fails keeps nothing else from going back, and is raised then.

        Nobody stops taking messages while those that should take them instead cannot be started.
        """
        problems: list[Problem] = []
        if self.served:
            try:
                self._patiently(lambda: send_back(self.world, self.service, self.origin))
            except PlaneshiftError as error:
                problems += error.problems
            self._alive()  # not where somebody else has the lease by now
        if self.taking:
            self.world.move(self.service, self.origin, look=False)
            try:
                self.taking.join(self.origin, back=True)
                self.taking.leave(self.origin)
            except PlaneshiftError as error:
                raise PlaneshiftError([*problems, *error.problems], exit_code=error.exit_code) from error
        if problems:
            raise PlaneshiftError(problems)

    def _patiently(self, weigh: Callable[[], T]) -> T:
        """Weigh; an edge, or a cluster, that cannot be reached holds the shift for a while."""
        since = self.world.clock.monotonic()
        while True:
            try:
                return weigh()
            except PlaneshiftError as error:
                waited = self.world.clock.monotonic() - since
                if waited > UNREACHABLE:
                    raise
                self.say(f"waiting since {waited:.0f} s: {error.problems[0].message}")
                self._alive()
                self.world.clock.sleep(1.0)

    def _watch(self, number: int, shares: Mapping[str, float], collectors: list[Collector]) -> Verdict:
        """Look until the step is judged."""
        clock = self.world.clock
        begun = sampled = clock.monotonic()
        self.proving.begin(number)
        window: list[tuple[str, Request]] = []
        while True:
            self._alive()
            self._collect(number, shares, collectors, window)
            now = clock.monotonic()
            verdict = self.judge.judge(now)
            if verdict.state != "watching" or now - sampled >= SAMPLE:
                left = max(0.0, self.settings.time - (now - begun))
                self._sample(number, shares, window, now - sampled, left, verdict)
                sampled, window = now, []
            if verdict.state != "watching":
                if self.taking:
                    self._keep(f"consumers at step {number}", self.taking.told(shares))
                reasons = tuple(_texts(verdict.reasons))
                self._tell(
                    events.Verdict(at=self._at, service=self.service, step=number, state=verdict.state, reasons=reasons)
                )
                return verdict
            clock.sleep(LOOK)

    def _alive(self) -> None:
        self.world.keep(wait=False)  # the judge looks on, whatever a cluster does
        if self.world.stopping.is_set():
            hint = "Traffic stays where it is; the next `planeshift up` goes on from here."
            raise PlaneshiftError(
                Problem("PS803", f"the shift of {self.service} was stopped by an interrupt", hint=hint),
                exit_code=Exit.INTERRUPTED,
            )
        pause = None if self.returning else self.world.control.paused().get(self.service)
        if pause:
            raise Paused(f"paused by {pause.who}: stays where it is until `planeshift shift {self.service} --resume`")

    # --- what is seen

    def _collect(
        self,
        number: int,
        shares: Mapping[str, float],
        collectors: Iterable[Collector],
        window: list[tuple[str, Request]],
    ) -> None:
        """Take what ended; and what edges count, and their checks say, of the service's servers.

        Lines are taken before they are counted, so that what is told is never ahead of what is counted.
        """
        logged, unlogged, lost, silent = dict[str, Counters](), dict[str, Counters](), 0, False
        for unit, collector in zip(self._units(), collectors, strict=True):
            taken, now = collector.take(), collector.counters()
            silent |= now is None and unit not in self.unlogged
            self.counted[unit] = self.counted.get(unit, {}) if now is None else now
            counts = unlogged if unit in self.unlogged else logged
            for (place, server), counted in self.counted[unit].items():
                backend = self.backends.get((unit, place, server))
                if backend:
                    counts[backend] = _sum(counts.get(backend, Counters()), counted)
            window += self._account(unit, taken)
            lost += collector.lost()
        down, trip = self._down(), self.proving.look(number)
        unready = {**self.readiness.look(), **self._unready(shares)}
        answers = None if silent else logged
        seen = Evidence(lost=lost, counters=answers, unlogged=unlogged, down=down, unready=unready, probe=trip)
        self.judge.evidence(seen)

    def _account(self, unit: str, taken: Iterable[Request]) -> list[tuple[str, Request]]:
        """Requests that ended at an edge. Returns those of what moves, each with the backend that served it."""
        found = [(b, r) for r in taken if (b := self.backends.get((unit, r.service, r.server)))]
        self.judge.add(found)
        ours = [r for _, r in found] if self.served else [r for r in taken if r.service == self._service]
        failures = [r for r in ours if r.failed]
        self.requests += len(ours)
        self.asked += len(ours)
        self.failed += len(failures)
        self.refused += len(failures)
        self.failures += failures
        return found

    def _unready(self, shares: Mapping[str, float]) -> dict[str, str]:
        """What is wrong with consumers that move, or with what is asked of their service meanwhile."""
        if self.taking is None:
            return {}
        found = dict(self.taking.look(shares))
        if not self.served and self.refused > max(1, self.asked * self.settings.gates.errors / 100):
            found["requests"] = f"{self.refused} of {self.asked} requests of {self._service} failed"
        return found

    def _down(self) -> dict[str, str]:
        """Servers that get more traffic and that an edge's own check does not find up."""
        down, away = dict[str, str](), list[str]()
        for unit in self._units():
            state = self.world.edge.state(unit)
            if state is None:
                away.append(unit)
            for (place, name), server in (state.servers if state else {}).items():
                backend = self.backends.get((unit, place, name))
                if backend in self.moved and server.weight and not server.up:
                    down[f"{backend}/{name}"] = server.check
        self._away(away)
        return down

    def _away(self, units: list[str]) -> None:
        """An edge that is away is started again by its supervisor; if it is not, the shift ends where it is.

        How long it was away is told: clients were refused for so long.
        """
        now = self.world.clock.monotonic()
        self.proving.disturbed |= bool(units)
        if units and self.away_since is None:
            self.say(f"waiting for HAProxy of {', '.join(units)}")
        elif self.away_since is not None and not units:
            text = f"an edge was away for {now - self.away_since:.1f} s, and refused requests meanwhile"
            self._tell(events.Evidence(at=self._at, service=self.service, name="edge", text=text))
            self.say(text)
        self.away_since = (self.away_since or now) if units else None
        if self.away_since and now - self.away_since > UNREACHABLE:
            raise PlaneshiftError(
                Problem("PS607", f"HAProxy of {', '.join(units)} is away for {UNREACHABLE:.0f} s", hint="planeshift up")
            )

    def _sample(
        self,
        number: int,
        shares: Mapping[str, float],
        window: list[tuple[str, Request]],
        seconds: float,
        left: float,
        verdict: Verdict,
    ) -> None:
        figures = by_backend(window)
        self._tell(
            events.Sample(
                at=self._at,
                service=self.service,
                step=number,
                seconds=round(seconds, 2),
                left=round(left, 1),
                shares=shares,
                backends={b: _traffic(figures.get(b, Figures())) for b in self.target},
                gates=tuple(events.Gate(g.name, g.state, g.detail) for g in verdict.gates),
            )
        )

    # --- the end

    def _return(self, number: int, reasons: Iterable[Reason]) -> None:
        """Note the hold, send all traffic back in one move, keep the evidence, and raise."""
        world, texts = self.world, _texts(reasons)
        reason = "; ".join(texts)
        digest = shifts.digest(world.desired, self.service, world.control.key())
        hold = Hold(world.clock.now(), f"step {number}: {reason}.", digest, self.log.place)
        world.control.stand(self.service, Standing(self.origin, self.target, self.origin, hold))
        began, self.returning = world.clock.monotonic(), True
        problems, code, came = tuple[Problem, ...](), Exit.FAILED, "was sent back to"
        try:
            self._move_back()
        except PlaneshiftError as error:
            problems, code, came = error.problems, error.exit_code, "is not back everywhere at"
        else:
            self.result = "returned"
            took = (world.clock.monotonic() - began) * 1000  # from the verdict, what had to be prepared included
            self._tell(
                events.Return(
                    at=self._at, service=self.service, shares=self.origin, took_ms=round(took, 2), reasons=tuple(texts)
                )
            )
        if self.failures:
            self._keep("requests that failed, the last ones", [request.text for request in self.failures])
        for name, lines in self._logs():
            self._keep(name, lines)
        verdict = Problem(
            "PS610",
            f"{self.service} {came} {shifts.shown(self.origin)}",
            why=reason,
            hint=f"What was seen: {self.log.place}/report.html. Then: planeshift shift {self.service} --resume",
        )
        raise PlaneshiftError([*problems, verdict], exit_code=code)

    def _keep(self, name: str, lines: Iterable[str]) -> None:
        """Keep evidence."""
        self._tell(events.Evidence(at=self._at, service=self.service, name=name, text="\n".join(lines)))

    def _logs(self) -> Iterable[tuple[str, list[str]]]:
        """The last lines of what was given more traffic."""
        world, desired = self.world, self.world.desired
        looks: list[tuple[str, Callable[[str, int], list[str]]]] = []
        for unit_id, unit in desired.units.items():
            if (unit.unit.service, unit.unit.backend) in self._places():
                looks.append((unit_id, world.host_of(unit_id).tail))
        for pods_id, pods in desired.pods.items():
            if (pods.pods.service, pods.pods.backend) in self._places():
                looks.append((pods_id, world.cluster_of(pods_id).tail))
        for name, tail in looks:
            with contextlib.suppress(PlaneshiftError):
                yield f"log of {name}", tail(name, EVIDENCE_LINES)

    def _places(self) -> set[tuple[str, str]]:
        return {(self._service, backend) for backend in self.moved}

    @property
    def _service(self) -> str:
        """The service of the mover."""
        return self.service.partition("@")[0]

    def _end(self, result: events.Result) -> None:
        seconds = round(self.world.clock.monotonic() - self.began, 1)
        self._tell(
            events.End(
                at=self._at,
                service=self.service,
                result=result,
                requests=self.requests,
                failed=self.failed,
                seconds=seconds,
            )
        )
        self.log.finish(report(self.told))

    @property
    def _at(self) -> str:
        return self.world.clock.now()

    def _tell(self, event: events.Event) -> None:
        self.told.append(event)
        self.log.write(events.to_json(event))
        self.world.watch(event)

    def _units(self) -> list[str]:
        return [unit for unit, _ in self.world.desired.fronts.values()]


def _float(item: tuple[str, int]) -> tuple[str, float]:
    return item[0], float(item[1])


def _moved(origin: Mapping[str, float], shares: Mapping[str, float]) -> float:
    return round(sum(max(0.0, share - origin.get(b, 0.0)) for b, share in shares.items()), 3)


def _texts(reasons: Iterable[Reason]) -> list[str]:
    return [f"{reason.gate}: {reason.text}" for reason in reasons]


def _sum(one: Counters, other: Counters) -> Counters:
    return Counters(one.requests + other.requests, one.failed + other.failed, one.in_flight + other.in_flight)


def _traffic(figures: Figures) -> events.Traffic:
    return events.Traffic(requests=figures.requests, failed=figures.failed, p50=figures.p50, p99=figures.p99)
