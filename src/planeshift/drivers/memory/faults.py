"""Calls of ports, counted, and what shall go wrong with them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Concatenate, Literal, ParamSpec, TypeVar

from planeshift.drivers.memory.data import Data
from planeshift.errors import PlaneshiftError

Moment = Literal["before", "half", "after"]


class Killed(BaseException):
    """The process that called was killed. Nothing of it is there any more."""


@dataclass(frozen=True)
class Call:
    """A call of a port. `subject` is its first argument, where that is text."""

    index: int
    name: str
    subject: str
    changes: bool


@dataclass
class _Failure:
    name: str
    subject: str
    error: PlaneshiftError
    times: int


@dataclass
class Faults:
    """What shall go wrong. `calls` are those of the running process: `revive` begins another one.

    `kill` maps a call's index to the moment: before its effect, in the midst of it (as far as it has one), or after it,
    when only the answer is lost. `watch` is told each call at its moments, and may look, or do harm.
    """

    kill: dict[int, Moment] = field(default_factory=dict)
    watch: Callable[[Call, Moment], None] | None = None
    calls: list[Call] = field(default_factory=list)
    dead: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    _failures: list[_Failure] = field(default_factory=list)
    _now: list[Call] = field(default_factory=list)

    def fail(self, name: str, error: PlaneshiftError, *, subject: str = "", times: int = 1) -> None:
        """Let the next calls of this name (`host.install`), and subject, raise an error."""
        self._failures.append(_Failure(name, subject, error, times))

    def changes(self) -> list[Call]:
        """The calls that change something."""
        return [c for c in self.calls if c.changes]

    def begin(self, name: str, subject: str, changes: bool) -> None:
        """A call begins: count it, and let it fail where that is wanted."""
        call = Call(len(self.calls), name, subject, changes)
        self.calls.append(call)
        self._now.append(call)
        self._moment(call, "before")
        for failure in self._failures:
            if failure.times and failure.name == name and failure.subject in ("", subject):
                failure.times -= 1
                raise failure.error

    def tear(self) -> None:
        """The midst of a call: a kill here leaves half of its effect."""
        if self._now:
            self._moment(self._now[-1], "half")

    def end(self) -> None:
        """A call ends well."""
        self._moment(self._now[-1], "after")

    def leave(self) -> None:
        """A call is over, however it came out."""
        self._now.pop()

    def _moment(self, call: Call, moment: Moment) -> None:
        if self.watch:
            self.watch(call, moment)
        if self.kill.get(call.index) == moment:
            self.dead = True
            raise Killed

    def alive(self) -> None:
        """Raise Killed where the calling process is dead."""
        if self.dead:
            raise Killed


class Port:
    """Base of the ports: the world, and what shall go wrong."""

    role = ""

    def __init__(self, data: Callable[[], Data], faults: Faults) -> None:
        self._data, self.faults = data, faults

    @property
    def data(self) -> Data:
        return self._data()


S = TypeVar("S", bound=Port)
P = ParamSpec("P")
R = TypeVar("R")


def port(*, changes: bool) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Make a method a call that is counted, one at a time, and can go wrong."""

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        def called(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            faults = self.faults
            with faults.lock:
                faults.alive()
                first = args[0] if args else ""
                subject = first if isinstance(first, str) else str(getattr(first, "id", getattr(first, "service", "")))
                try:
                    faults.begin(f"{self.role}.{method.__name__}", subject, changes)
                    result = method(self, *args, **kwargs)
                    faults.end()
                    return result
                finally:
                    faults.leave()

        called.__doc__ = method.__doc__
        return called

    return decorate
