"""Simulated shifts, made of recorded traffic: the same seed gives the same trial.

What was recorded is played in pieces of some seconds, of any place, so that what follows one another in reality does so
here: real waits of four kinds of requests at a real edge, with the stalls of a busy machine. Both sides get requests of the
same moment, each by its share, as HAProxy deals them out. More stalls, and failures that both sides have, are added.
"""

from __future__ import annotations

import functools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from planeshift.model.cloud import Gates
from planeshift.traffic.figures import Figures, bin_of
from planeshift.traffic.gates import Evidence, Judge, Probe, Verdict

RATE = 200  # requests a second
SLOT = 0.5  # seconds of a recorded slot
PIECE = 20  # slots of a piece, in the mean
STALL_EVERY, STALL_LASTS = 30.0, 0.7  # seconds, in the mean
FAILS = 1 / 20_000  # of all requests, anywhere
STALL_FAILS = 0.02  # of those that come in a stall
STEPS = (1.0, 5.0, 25.0, 50.0, 100.0)
SECONDS = 60

Fault = Callable[[random.Random, int], tuple[int, bool]]  # what becomes of a wait in ms, and whether the request fails


def no_fault(chance: random.Random, wait: int) -> tuple[int, bool]:
    return wait, False


def failing(one_in: int) -> Fault:
    return lambda chance, wait: (wait, chance.random() * one_in < 1)


def slower(times: float) -> Fault:
    return lambda chance, wait: (int(wait * times), False)


@dataclass(frozen=True)
class Trial:
    """How a simulated shift goes. The fault, of the side that moved, begins with step `fault_from` (from 0)."""

    fault: Fault = no_fault
    fault_from: int = 0
    steps: tuple[float, ...] = STEPS
    rate: int = RATE

    def run(self, seed: int) -> tuple[int, float, Verdict]:
        """The step at which it ended (from 0), the seconds of it that had passed, and the last verdict."""
        chance = random.Random(seed)
        judge = Judge(Gates(), frozenset({"new"}), frozenset({"old"}), seconds=SECONDS)
        traffic, now = _traffic(chance, self.rate), 0.0
        for step, share in enumerate(self.steps):
            judge.begin_step(share, now)
            judge.evidence(Evidence(probe=Probe(ok=True)))
            began, due = now, 0.0
            while True:
                now += SLOT
                requests = next(traffic)
                due += len(requests) * share / 100
                moved = round(due) if share < 100 else len(requests)
                due -= moved
                fault = self.fault if step >= self.fault_from else no_fault
                _count(judge, "new", [(k, *_both(fault(chance, w), f)) for k, w, f in requests[:moved]])
                _count(judge, "old", requests[moved:])
                verdict = judge.judge(now)
                if verdict.state == "failed" or (verdict.state == "passed" and step == len(self.steps) - 1):
                    return step, now - began, verdict
                if verdict.state == "passed":
                    break
        raise AssertionError


Requests = list[tuple[str, int, bool]]  # kind, wait in ms, whether it failed


def _both(changed: tuple[int, bool], failed: bool) -> tuple[int, bool]:
    return changed[0], changed[1] or failed


def _count(judge: Judge, backend: str, requests: Requests) -> None:
    found: dict[str, Figures] = {}
    for (kind, wait, failed), count in Counter(requests).items():
        figures = found.setdefault(kind, Figures())
        figures.requests += count
        figures.failed += count * failed
        place = _bin(wait)
        figures.waits[place] = figures.waits.get(place, 0) + count
    for kind, figures in found.items():
        judge.count(backend, kind, figures)


def _traffic(chance: random.Random, rate: int) -> Iterator[Requests]:
    """The requests of one slot after the other, in no order."""
    recorded = _recorded()
    at, stalled, next_stall = 0, 0.0, chance.expovariate(1 / STALL_EVERY)
    left = 0
    while True:
        if not left:
            at, left = chance.randrange(len(recorded)), 1 + int(chance.expovariate(1 / PIECE))
        at, left = (at + 1) % len(recorded), left - 1
        requests: Requests = chance.choices(recorded[at], k=int(rate * SLOT))
        next_stall -= SLOT
        if next_stall <= 0:
            stalled, next_stall = chance.expovariate(1 / STALL_LASTS), chance.expovariate(1 / STALL_EVERY)
        if stalled > 0:
            part = min(1.0, stalled / SLOT)
            requests = [_stalled(chance, r, stalled) if chance.random() < part else r for r in requests]
            stalled -= SLOT
        yield [(k, w, f or chance.random() < FAILS) for k, w, f in requests]


def _stalled(chance: random.Random, request: tuple[str, int, bool], seconds: float) -> tuple[str, int, bool]:
    kind, wait, failed = request
    return kind, wait + int(1000 * seconds * chance.random()), failed or chance.random() < STALL_FAILS


@functools.cache
def _recorded() -> list[Requests]:
    found = json.loads((Path(__file__).parent / "shifts" / "waits.json").read_text())
    assert found["seconds"] == SLOT
    slots = [
        [(kind, wait, False) for kind, waits in zip(found["kinds"], slot, strict=True) for wait in waits]
        for slot in found["slots"]
    ]
    return [slot for slot in slots if len(slot) >= 10]


@functools.cache
def _bin(wait: int) -> int:
    return bin_of(wait)
