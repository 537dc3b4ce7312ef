"""How a cloud that is off starts again, and what a person must start by hand for it. Pure.

An inception loop is a machine that is a server of a cell which cannot start servers without what runs on that machine.
Nova cannot break it; a person can, by starting the server on its hypervisor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from planeshift.errors import Problem, few
from planeshift.model.load import Loaded
from planeshift.topology.machines import machines
from planeshift.topology.needs import Need, Needs, needs

SHOWN = 6  # names in one line of a message


@dataclass(frozen=True)
class Step:
    """Things that start together, once the steps before are done; `by_hand`: servers, on their hypervisors."""

    things: tuple[str, ...]
    by_hand: bool = False


@dataclass(frozen=True)
class ColdStart:
    """The order, the loop that makes a hand necessary (empty without one), and what never starts."""

    steps: tuple[Step, ...]
    loop: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    @property
    def by_hand(self) -> tuple[str, ...]:
        """The servers that a person starts."""
        return tuple(thing for step in self.steps if step.by_hand for thing in step.things)


def cold_start(wanted: Needs) -> ColdStart:
    """The order in which all starts, with as few servers by hand as are found."""
    started: set[str] = set()
    steps = _waves(wanted, started)
    loop = _loop(wanted, started) if len(started) < len(wanted) else ()
    while len(started) < len(wanted):
        forced = _cheapest(wanted, started)
        if not forced:
            return ColdStart(tuple(steps), loop, tuple(t for t in wanted if t not in started))
        steps.append(Step(forced, by_hand=True))
        started |= set(forced)
        steps += _waves(wanted, started)
    return ColdStart(tuple(steps), loop)


def check(loaded: Loaded) -> list[Problem]:
    """A warning for a cloud that does not start by itself (PS226), with the order that starts it."""
    found = cold_start(needs(loaded.cloud))
    if not found.loop:
        return []
    known, by_hand = machines(loaded.cloud), found.by_hand
    first = known[by_hand[0]] if by_hand else None
    where = loaded.document.where((*first.path, "cell")) if first else loaded.document.where(("spec", "cells"))
    return [
        Problem(
            "PS226",
            f"the cloud does not start by itself once it is off: {told(found.loop[0])} waits for itself",
            where,
            why="\n".join([" ← ".join(map(told, found.loop)), *order(found)]),
            hint="Give what stands in the loop a backend on machines that are no servers of this cloud, or keep the "
            "order at hand.",
            warning=True,
        )
    ]


def order(found: ColdStart) -> list[str]:
    """The order from cold, a line a step; what needs nothing goes without saying after the first."""
    lines = []
    for number, step in enumerate(found.steps, 1):
        # What stands for processes of one backend is the service's own business.
        things = [told(t) for t in step.things if not t.startswith("run:")]
        if not things:
            continue
        names = few(things, SHOWN)
        lines.append(f"{number}. by hand, on the hypervisor: {names}" if step.by_hand else f"{number}. {names}")
    if found.never:
        lines.append(f"never: {', '.join(map(told, found.never[:SHOWN]))}")
    return lines


def told(thing: str) -> str:
    """A thing as a person says it."""
    kind, _, name = thing.partition(":")
    return name if kind == "service" else f"{kind} {name}"


# --- the fixpoint


def _met(need: Need, started: set[str]) -> bool:
    return sum(thing in started for thing in need.things) >= need.count


def _waves(wanted: Needs, started: set[str]) -> list[Step]:
    """Start what can be started, again and again; one step a wave."""
    waiting = [thing for thing in wanted if thing not in started]
    steps = []
    while wave := [t for t in waiting if all(_met(n, started) for n in wanted[t])]:
        started |= set(wave)
        waiting = [t for t in waiting if t not in started]
        steps.append(Step(tuple(wave)))
    return steps


def _loop(wanted: Needs, started: set[str]) -> tuple[str, ...]:
    """A thing that does not start, what it waits for, what that waits for, … to itself again."""
    path = [next(t for t in wanted if t not in started)]
    while True:
        need = next(n for n in wanted[path[-1]] if not _met(n, started))
        step = next((t for t in need.things if t not in started and t in wanted), "")
        if not step:
            return (*path, need.things[0])  # it waits for something that is nowhere
        if step in path:
            return (*path[path.index(step) :], step)
        path.append(step)


def _cheapest(wanted: Needs, started: set[str]) -> tuple[str, ...]:
    """The fewest servers (about) whose start by hand lets one more cell start servers of its own accord.

    Each thing costs what it needs costs; a way to it is only given up for a cheaper one, so that no way leads in a circle.
    """
    cost: dict[str, float] = {t: 0.0 if t in started else 1.0 if _machine(t) else math.inf for t in wanted}
    ways: dict[str, list[str]] = {}
    waiting = [t for t in wanted if cost[t] == math.inf]
    changed = True
    while changed:
        changed = False
        for thing in waiting:
            chosen = [t for need in wanted[thing] for t in _cheap(need, cost)]
            price = sum(cost.get(t, math.inf) for t in chosen)
            if price < cost[thing]:
                cost[thing], ways[thing], changed = price, chosen, True
    stuck = [t for t in waiting if t.startswith("cell:") and cost[t] < math.inf]
    forced: dict[str, None] = {}
    todo = [min(stuck, key=lambda t: cost[t])] if stuck else []
    seen = set(started)
    while todo:
        thing = todo.pop()
        if thing in seen:
            continue
        seen.add(thing)
        if _machine(thing):
            forced[thing] = None
        todo += ways.get(thing, ())
    return tuple(t for t in wanted if t in forced)


def _machine(thing: str) -> bool:
    return thing.startswith(("host:", "node:"))


def _cheap(need: Need, cost: Mapping[str, float]) -> list[str]:
    return sorted(need.things, key=lambda t: cost.get(t, math.inf))[: need.count]
