"""Consumers of a message bus that move: what is to run is started and seen to take messages before anything stops.

They are judged by their processes, by the signs of life that they leave in their cell's database, by queues, and by calls
over the bus that were not answered in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from planeshift.engine.fleet import ALIVE, reports
from planeshift.engine.starting import bring_up
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import QueueState, UnitState
from planeshift.ports import Say
from planeshift.render.consumers import of_pods, programs, running
from planeshift.render.weights import Shares

JOIN = 120.0  # seconds in which what was started must take messages
BACK = 30.0  # the same of those that messages go back to: what fails is stopped then in any case
AWAY = 30.0  # seconds that a host, or a cluster, may not answer
LOOK = 1.0  # seconds between two looks
STUCK = 30.0  # seconds that a queue may hold messages, none fewer than before
SHORT = 10.0  # seconds that a queue may have fewer consumers than run
LINES = 200  # of a log that are searched for calls that came too late


class Deaf(Exception):
    """What was started takes no messages; its text says why that is thought."""


class Taking:
    """The consumers of one mover."""

    def __init__(self, world: World, name: str, gaining: Iterable[str], say: Say, alive: Callable[[], None]) -> None:
        """`gaining` are the backends that are to take more; `alive` raises where the shift is to end."""
        self.world, self.name, self.say, self.alive = world, name, say, alive
        self.found = world.desired.consumers[name]
        self.units = [i for those in self.found.units.values() for i in those]
        self.gaining = {i for backend in gaining for i in self.found.units.get(backend, ())}
        self.bad: dict[str, str] = {}
        self._seen: frozenset[str] = frozenset()  # units that were seen to take messages, by this run
        self._ran: set[str] = set()  # units that this run has found at work, or has told to start
        self._looked = float("-inf")
        self._since: dict[
            str, tuple[float, int]
        ] = {}  # what is doubted → since when, and how many messages waited then
        self._late: dict[str, frozenset[str]] = {}

    # --- moving

    def join(self, shares: Shares, *, back: bool = False) -> None:
        """Start what runs by these shares. Raises Deaf where it does not take messages in time, unless it is a way back.

        What runs already may have been started by a run that was killed before it took any: it is waited for as well.
        Where a host does not answer, nothing is started. Raises PlaneshiftError where on a way back that is all of it.
        """
        wanted, states = self._answering(running(self.found, shares), back)
        missing = [i for i in self.units if i in wanted and not _runs(self.world, i, states)]
        doubted = missing if back else [i for i in self.units if i in wanted and (i in missing or i not in self._seen)]
        began = self.world.clock.monotonic()
        self._ran |= {*missing}
        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(self._start, dict.fromkeys(of_pods(i) or i for i in missing)))
        except PlaneshiftError:
            answering, states = self._answering(wanted, back)
            if answering == wanted or not back:
                raise
            wanted = answering
        there = {i for i in self.units if i in wanted or _runs(self.world, i, states)}
        told = began
        while doubted and (silent := self._silent(doubted, there, began)):
            now = self.world.clock.monotonic()
            if now - began > (BACK if back else JOIN):
                if back:
                    return
                raise Deaf("; ".join(silent))
            if now - told > 5:
                told = now
                self.say(f"waiting since {now - began:.0f} s: {silent[0]}")
            self.alive()
            self.world.clock.sleep(LOOK)
        self._seen |= wanted

    def _answering(self, wanted: frozenset[str], back: bool) -> tuple[frozenset[str], dict[str, UnitState]]:
        """Of these units those that can be asked, and how all are, once those that matter can be.

        Those are what is to take more, and on a way back any at all; they are waited for. Raises Deaf, and on a way back
        PlaneshiftError (PS409), where they stay away.
        """
        began = self.world.clock.monotonic()
        while True:
            states = self._states()
            away = {i: state.problem for i, state in states.items() if i in wanted and state.away}
            why = "; ".join(f"{i}: {problem}" for i, problem in away.items() if back or i in self.gaining)
            if not why or (back and wanted - away.keys()):
                return wanted - away.keys(), states
            waited = self.world.clock.monotonic() - began
            if waited > AWAY:
                if not back:
                    raise Deaf(why)
                hint = "What takes messages now goes on with that; the next `planeshift up` looks again."
                what = "nothing that messages should go back to answers"
                raise PlaneshiftError(Problem("PS409", what, why=why, hint=hint))
            self.say(f"waiting since {waited:.0f} s: {why}")
            self.alive()
            self.world.clock.sleep(LOOK)

    def leave(self, shares: Shares) -> None:
        """Stop what has no share: it takes nothing more, and finishes what it holds.

        Raises PlaneshiftError (PS409) at the end, where it is not known whether something has stopped.
        """
        states, wanted = self._states(), running(self.found, shares)
        leaving = [i for i in self.units if i not in wanted and i in states and _any(states[i])]
        places = list(dict.fromkeys(of_pods(i) or i for i in leaving))
        for place in places:
            self.say(f"{place} finishes what it holds")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._stop, places))
        away = {i: state.problem for i, state in states.items() if i in self._ran - wanted and state.away}
        if away:
            what = f"{', '.join(sorted(away))} may still take messages"
            why, hint = "; ".join(dict.fromkeys(away.values())), "The next `planeshift up` that reaches it stops it."
            raise PlaneshiftError(Problem("PS409", what, why=why, hint=hint))

    def _start(self, place: str) -> None:
        """Start a unit; or let a release have as many pods as are rendered by now."""
        if place in self.world.desired.pods:
            self._release(place)
        else:
            bring_up(self.world, place, self.say, lambda u: self.world.host_of(place).start(place, u.programs))

    def _stop(self, place: str) -> None:
        if place in self.world.desired.pods:
            self._release(place)
        else:
            self.world.host_of(place).stop(place)

    def _release(self, place: str) -> None:
        world = self.world
        world.cluster_of(place).release(world.desired.pods[place], world.control.key(), self.say)

    def _silent(self, started: Iterable[str], there: set[str], began: float) -> list[str]:
        """What of those that were started is not heard of, and queues that have too few consumers."""
        passed, heard = self.world.clock.monotonic() - began, self._heard()
        lacking = [
            f"{program} on {host} was not heard of"
            for unit in started
            for host, program in self._programs(unit)
            if heard is not None and heard.get((host, program), float("inf")) > passed
        ]
        queues = self._queues()
        for topic, wanted in self._takers(there).items():
            if queues is not None and queues.get(topic, QueueState()).consumers < wanted:
                lacking.append(
                    f"the queue {topic} has {queues.get(topic, QueueState()).consumers} consumers of {wanted}"
                )
        return lacking + (["the message bus cannot be looked at"] if queues is None else [])

    # --- watching

    def begin_step(self) -> None:
        """What was said before says nothing of this step."""
        self._since, self._looked = {}, float("-inf")
        self._late = {unit: frozenset(self._late_lines(unit)) for unit in self._heard_by()}

    def look(self, shares: Shares) -> dict[str, str]:
        """What is bad of what runs by these shares: by name, why."""
        now = self.world.clock.monotonic()
        if now - self._looked >= LOOK:
            self._looked, self.bad = now, dict(self._bad(running(self.found, shares), now))
        return self.bad

    def _bad(self, wanted: frozenset[str], now: float) -> Iterator[tuple[str, str]]:
        states, heard = self._states(), self._heard() or {}
        for unit in wanted:
            state = states.get(unit, UnitState())
            if self._doubted(f"away {unit}", state.away, 0, now, AWAY) and unit in self.gaining:
                yield unit, state.problem
            if state.away:  # messages leave the others in any case
                continue
            if not _runs(self.world, unit, states):
                yield unit, states.get(unit, UnitState()).problem or "does not run"
            for host, program in self._programs(unit):
                age = heard.get((host, program))
                if age is not None and age > ALIVE:
                    yield f"{program} on {host}", f"was heard of {age} s ago"
        queues = self._queues() or {}
        for topic, takers in self._takers(wanted).items():
            queue = queues.get(topic, QueueState())
            if queues and self._doubted(f"few {topic}", queue.consumers < takers, 0, now, SHORT):
                yield f"queue {topic}", f"{queue.consumers} consumers of {takers}"
            if self._doubted(f"stuck {topic}", queue.messages > 0, queue.messages, now, STUCK):
                yield f"queue {topic}", f"{queue.messages} messages have waited for {STUCK:.0f} s"
        for unit, before in self._late.items():
            late = [line for line in self._late_lines(unit) if line not in before]
            if late:
                yield f"calls of {unit}", f"{len(late)} not answered in time: {late[-1][-300:]}"

    def _doubted(self, what: str, doubt: bool, messages: int, now: float, patience: float) -> bool:
        """Whether a doubt has lasted for too long; fewer messages than before are none."""
        since, before = self._since.get(what, (now, messages))
        if not doubt or messages < before:
            since, before = now, messages
        self._since[what] = (since, before)
        return doubt and now - since > patience

    def told(self, shares: Shares) -> list[str]:
        """How they are, for people to read."""
        heard, queues = self._heard() or {}, self._queues() or {}
        wanted = running(self.found, shares)
        lines = [
            f"{program} on {host}: heard of {heard.get((host, program), 'never')} s ago".replace("never s ago", "never")
            for unit in self.units
            if unit in wanted
            for host, program in self._programs(unit)
        ]
        return lines + [
            f"queue {topic}: {queue.consumers} consumers, {queue.messages} messages wait"
            for topic, queue in queues.items()
        ]

    # --- what is seen

    def _states(self) -> dict[str, UnitState]:
        states = self.world.consuming(self.units)
        self._ran |= {i for i, state in states.items() if _any(state)}
        return states

    def _programs(self, unit: str) -> list[tuple[str, str]]:
        """Host and program, as signs of life name them."""
        host, components = programs(self.world.desired, unit)
        return [(host, c.name) for c in components]

    def _takers(self, units: Iterable[str]) -> dict[str, int]:
        """How many consumers each queue must have at the least."""
        counted: dict[str, int] = {}
        for unit in units:
            for component in programs(self.world.desired, unit)[1]:
                counted[component.topic] = counted.get(component.topic, 0) + 1
        return counted

    def _heard(self) -> dict[tuple[str, str], int] | None:
        """Seconds since a program on a host was heard of; None where that cannot be looked at."""
        database = self.world.desired.databases.get(f"{self.found.service}@{self.found.cell}")
        try:
            return {(r.host, r.program): r.seconds for r in reports(self.world, database)} if database else None
        except PlaneshiftError:
            return {}

    def _queues(self) -> dict[str, QueueState] | None:
        desired, name = self.world.desired, f"{self.found.service}@{self.found.cell}"
        bus = desired.buses.get(name) or desired.buses[self.found.service]
        try:
            topics = self._takers(self.units)
            return dict(self.world.buses.queues(bus, self.world.secret(bus.service, bus.secret), topics))
        except PlaneshiftError:
            return None

    def _heard_by(self) -> list[str]:
        """The units whose logs tell of calls that nobody answered in time: these, and the service's API."""
        units = self.world.desired.units.items()
        return self.units + [i for i, u in units if u.unit.service == self.found.service and u.unit.web]

    def _late_lines(self, unit: str) -> list[str]:
        spec = self.world.desired.specs[self.found.service].cells
        if spec is None or unit in self.world.desired.idle:
            return []
        place = of_pods(unit)
        try:
            said = (
                self.world.cluster_of(place).tail(place, LINES) if place else self.world.host_of(unit).tail(unit, LINES)
            )
            return [line for line in said if spec.late in line]
        except PlaneshiftError:
            return []


def _runs(world: World, unit: str, states: dict[str, UnitState]) -> bool:
    """Whether all programs of a unit run, under their supervisor."""
    state = states.get(unit, UnitState())
    return state.supervised and all(c.name in state.running for c in programs(world.desired, unit)[1])


def _any(state: UnitState) -> bool:
    return bool(state.supervised or state.running or state.orphans)
