"""One operator at a time: the lease at control, and one in each cluster, where operators of other machines see it.

Two machines' clocks may differ, so nobody's time stamps are compared: as client-go's leader election does it, whoever
wants a lease that another holds watches it, by his own clock. If it is renewed, its holder is alive, and we are refused;
if it is not for as long as it is valid, its holder is dead, and the lease is taken over. What was left by a dead run of
this control, whose own lease the kernel has freed, is taken over at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from planeshift.engine.world import PATIENCE, Keep, World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Clock, Lease, LeaseRecord, Say

VALID = 15  # seconds for which a lease is its holder's without being renewed
PERIOD = 5  # seconds after which it is renewed


@contextlib.contextmanager
def held(world: World, say: Say) -> Iterator[Keep]:
    """Hold the lease at control and that of every cluster of the world.

    Yields a check, to be asked before every operation. Raises PlaneshiftError (PS801), by name of the holder, where
    another has one of them.
    """
    who = world.clock.who()
    with world.control.lease(who) as keep, contextlib.ExitStack() as stack:
        mine = LeaseRecord(who, world.control.mark(), VALID)
        # In the order of their names: of two operators one has the first, and none waits for the other.
        taken = [
            stack.enter_context(_taken(_Lease(name, cluster.lease, world.clock, mine), say))
            for name, cluster in sorted(world.clusters.items())
        ]

        def check(*, wait: bool = True) -> None:
            keep()
            for lease in taken:
                lease.keep(wait)

        yield check


@contextlib.contextmanager
def _taken(lease: _Lease, say: Say) -> Iterator[_Lease]:
    lease.take(say)
    try:
        with lease.clock.every(PERIOD, lease.beat):
            yield lease
    finally:
        lease.release()


class _Lease:
    """A cluster's lease, as one holder sees it."""

    def __init__(self, cluster: str, lease: Lease, clock: Clock, mine: LeaseRecord) -> None:
        self.cluster, self.lease, self.clock, self.mine = cluster, lease, clock, mine
        self.held: LeaseRecord | None = None  # as we wrote it; None where that is not known
        self.lost = False  # somebody else has it
        self.renewed = 0.0
        self.say: Say | None = None  # while it is not taken yet
        self.lock = threading.Lock()

    def take(self, say: Say) -> None:
        """Take it, once it is free. Raises PlaneshiftError (PS801) where its holder is alive.

        Where nothing was ever changed there is none, nor a place for it, and it is made with the first operation only:
        somebody may still have to agree to that.
        """
        self.say = say
        if self.lease.read() is not None:
            self._claim(say)

    def _claim(self, say: Say) -> None:
        first, since = None, 0.0
        while True:
            there = self.lease.read()
            if there is None or not there.who or there.mark == self.mine.mark:
                if self._write(there):
                    self.say = None
                    return
                continue
            if first is None:
                first, since = there, self.clock.monotonic()
                say(f"{there.who} has the lease of {self.cluster}: {there.valid} s to see whether that still runs")
            elif there.version != first.version:
                raise self._refused(there)
            elif self.clock.monotonic() - since >= there.valid:
                if self._write(there):
                    say(f"took the lease of {self.cluster} over: {there.who} has not renewed it")
                    self.say = None
                    return
                first = None
            self.clock.sleep(1)

    def _refused(self, there: LeaseRecord) -> PlaneshiftError:
        hint = f"Wait until that is done, or end it; its lease of {self.cluster} is free {there.valid} s later."
        return PlaneshiftError(Problem("PS801", f"{there.who} is changing {self.cluster}", hint=hint))

    def _write(self, seen: LeaseRecord | None) -> bool:
        sent = self.clock.monotonic()  # others count from when they see it
        self.held = self.lease.write(self.mine.at(self.clock.now()), seen)
        self.renewed = sent
        return self.held is not None

    def keep(self, wait: bool) -> None:
        """See that it is still ours. Raises PlaneshiftError where it is not (PS802), or cannot be renewed (PS711)."""
        if not wait:
            if self.lost:
                raise self._gone("somebody else has it")
            return
        began = self.clock.monotonic()
        while True:
            try:
                with self.lock:
                    self._renew(PERIOD)
                return
            except PlaneshiftError as error:
                if error.problems[0].code != "PS711" or self.clock.monotonic() - began > PATIENCE:
                    raise
            self.clock.sleep(1)

    def beat(self) -> None:
        """Renew it. What goes wrong is found again before the next operation."""
        with self.lock, contextlib.suppress(PlaneshiftError):
            self._renew(0)

    def _renew(self, period: float) -> None:
        if self.say:
            if period:  # before an operation
                self._claim(self.say)
            return
        if self.held is not None and self.clock.monotonic() - self.renewed < period:
            return
        if self.held and self._write(self.held):
            return
        there = self.lease.read()
        # It may be as we wrote it ourselves, when the answer was lost.
        ours = there and (there.who, there.mark) == (self.mine.who, self.mine.mark)
        self.lost = not ours or not self._write(there)
        if self.lost:
            raise self._gone(f"{there.who} has it" if there and there.who else "it is gone")

    def _gone(self, why: str) -> PlaneshiftError:
        return PlaneshiftError(Problem("PS802", f"the lease of {self.cluster} was taken away", why=f"{why}."))

    def release(self) -> None:
        """Let others have it; where that cannot be said, they take it over in a while."""
        with self.lock, contextlib.suppress(PlaneshiftError):
            if self.held is not None:
                self.lease.write(LeaseRecord("", "", VALID, self.clock.now()), self.held)
