"""A shift: traffic of one service moved from backend to backend in steps, each watched; back at once when one fails.

Where it stands is noted before each step, so that a run that is killed leaves traffic where it is and the next one goes on
from there. A verdict against the shift is noted first, as a hold, and then traffic returns: killed in between, the next
run sends it back before anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TypeVar

from planeshift.engine.account import UNREACHABLE, Account
from planeshift.engine.consumers import Deaf, Taking
from planeshift.engine.proving import Proving
from planeshift.engine.readiness import Readiness
from planeshift.engine.telling import Telling, texts
from planeshift.engine.weights import achieved_by, move, send_back
from planeshift.engine.world import World
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.plan import shifts
from planeshift.plan.observed import Hold, Standing
from planeshift.ports import Say
from planeshift.traffic import events
from planeshift.traffic.gates import READINESS, Evidence, Judge, Verdict

T = TypeVar("T")
LOOK = 0.2  # seconds between two looks at what was served
SAMPLE = 1.0  # seconds between two samples for those who watch


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
        self.taking = Taking(world, service, self.moved, say, self._alive) if service in desired.consumers else None
        self.proving = Proving(world, service, self.moved, self.stayed)
        self.readiness = Readiness(world, service, self.moved)
        self.telling = Telling(world, service)
        self.account = Account(world, service, self.moved, self.judge, self.telling, say)
        self.returning = False
        self.result: events.Result = "interrupted"

    def go(self) -> None:
        """Carry it out. Raises PlaneshiftError: PS610 where the gates sent traffic back, PS803 at an interrupt.

        A shift that is paused ends where it is, and is no failure: others go on.
        """
        self.telling.begin(self.origin, self.target, self.stages, self.settings.time)
        try:
            with ExitStack() as stack:
                self.account.open(stack)
                for number, shares in enumerate(self.stages, 1):
                    try:
                        self._step(number, shares)
                    except Deaf as silence:
                        self._return(number, [f"{READINESS}: {silence}"])
                    verdict = self._watch(number, shares)
                    if verdict.state == "failed":
                        self._return(number, texts(verdict.reasons))
            self.world.control.stand(self.service, None)
            self.result = "done"
        except Paused as pause:
            self.say(str(pause))
        finally:
            self.proving.finish()
            self.telling.end(self.result, self.account.requests, self.account.failed)

    # --- a step

    def _step(self, number: int, shares: dict[str, float]) -> None:
        world = self.world
        self._alive()
        before = world.control.standing().get(self.service)
        world.control.stand(self.service, Standing(self.origin, self.target, shares))
        try:
            took = self._move(shares)
        except Exception:
            # Traffic is where it was, which no edge may be there to tell the next run. Consumers may run already that no
            # step has proved: the next run must know where this one began.
            began_here = Standing(self.origin, self.target, self.origin) if self.taking else None
            world.control.stand(self.service, before or began_here)
            raise
        got = achieved_by(world, self.service) if self.account.served else shares
        self.account.begin_step()
        if self.taking:
            self.taking.begin_step()
        self.judge.begin_step(self._part(got), world.clock.monotonic())
        self.telling.step(number, len(self.stages), shares, got, took)

    def _part(self, shares: Mapping[str, float]) -> float:
        """Of what the two sides have together, the percent that has moved; a third one may have traffic that stays."""
        moved, stayed = (sum(shares.get(b, 0.0) for b in side) for side in (self.moved, self.stayed))
        return 100 * moved / (moved + stayed) if stayed else 100.0

    def _move(self, shares: dict[str, float]) -> float:
        """Move: consumers that are to take messages do so before anything leaves. Returns milliseconds.

        What ended until then, and they may take long to join, is not of the step; all that ends afterwards is.
        """
        began = self.world.clock.monotonic()
        before = dict(self.world.desired.shares[self.service])
        if self.taking:
            self.world.move(self.service, shares, look=False)  # which says what is to run where
            self.taking.join(shares)
        self.account.take()
        took = self._patiently(lambda: move(self.world, self.service, shares, before)) if self.account.served else 0.0
        if self.taking:
            self.taking.leave(shares)
            took = round((self.world.clock.monotonic() - began) * 1000, 2)
        return took

    def _move_back(self) -> None:
        """Requests first, in a moment; then messages. What fails keeps nothing else from going back, and is raised then.

        Nobody stops taking messages while those that should take them instead cannot be started.
        """
        problems: list[Problem] = []
        if self.account.served:
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

    def _watch(self, number: int, shares: Mapping[str, float]) -> Verdict:
        """Look until the step is judged."""
        clock = self.world.clock
        begun = sampled = clock.monotonic()
        self.proving.begin(number)
        self.account.window()  # what ended before
        while True:
            self._alive()
            self._look(number, shares)
            now = clock.monotonic()
            verdict = self.judge.judge(now)
            if verdict.state != "watching" or now - sampled >= SAMPLE:
                left = max(0.0, self.settings.time - (now - begun))
                self.telling.sample(number, shares, self.account.window(), now - sampled, left, verdict)
                sampled = now
            if verdict.state != "watching":
                if self.taking:
                    self.telling.keep(f"consumers at step {number}", self.taking.told(shares))
                self.telling.verdict(number, verdict.state, verdict.reasons)
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

    def _look(self, number: int, shares: Mapping[str, float]) -> None:
        """Tell the judge what is seen."""
        seen = self.account.look()
        self.proving.disturbed |= seen.away
        evidence = Evidence(
            lost=seen.lost,
            counters=seen.counters,
            unlogged=seen.unlogged,
            down=seen.down,
            unready={**self.readiness.look(), **self._unready(shares)},
            probe=self.proving.look(number),
        )
        self.judge.evidence(evidence)

    def _unready(self, shares: Mapping[str, float]) -> dict[str, str]:
        """What is wrong with consumers that move, or with what is asked of their service meanwhile."""
        if self.taking is None:
            return {}
        found = dict(self.taking.look(shares))
        asked, failed = self.account.step_requests, self.account.step_failed
        if not self.account.served and failed > max(1, asked * self.settings.gates.errors / 100):
            found["requests"] = f"{failed} of {asked} requests of {self.account.service} failed"
        return found

    # --- the end

    def _return(self, number: int, reasons: list[str]) -> None:
        """Note the hold, send all traffic back in one move, keep the evidence, and raise."""
        world, telling, reason = self.world, self.telling, "; ".join(reasons)
        digest = shifts.digest(world.desired, self.service, world.control.key())
        hold = Hold(world.clock.now(), f"step {number}: {reason}.", digest, telling.place)
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
            telling.returned(self.origin, took, reasons)
        if self.account.failures:
            telling.keep("requests that failed, the last ones", [request.text for request in self.account.failures])
        telling.keep_logs(self.moved)
        verdict = Problem(
            "PS610",
            f"{self.service} {came} {shifts.shown(self.origin)}",
            why=reason,
            hint=f"What was seen: {telling.place}/report.html. Then: planeshift shift {self.service} --resume",
        )
        raise PlaneshiftError([*problems, verdict], exit_code=code)


def _float(item: tuple[str, int]) -> tuple[str, float]:
    return item[0], float(item[1])
