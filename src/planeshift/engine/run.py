"""Carry out a plan: operations in the order of their needs, several at once, journalled, under a lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Literal

from planeshift.engine.actions import perform
from planeshift.engine.world import Keep, World
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.plan.operations import Operation, Plan, in_order

WORKERS = 6  # most operations wait for a program or a network; two cores stay busy with this many


@dataclass(frozen=True)
class Event:
    """What happens to an operation: `begin`, `line` (a line of its progress), `end` or `fail`."""

    what: Literal["begin", "line", "end", "fail"]
    operation: Operation
    done: int
    total: int
    at: str
    text: str = ""
    seconds: float = 0.0


Listener = Callable[[Event], None]


def execute(plan: Plan, world: World, listen: Listener, keep: Keep, *, workers: int = WORKERS) -> None:
    """Carry out `plan`; `keep` raises when the lease is lost, and is asked before every operation.

    Raises PlaneshiftError with the causes of all operations that failed; none is begun after the first failure. On the
    first interrupt nothing new is begun, and what runs is waited for.
    """
    _Run(plan, world, listen, keep).go(workers)


class _Run:
    def __init__(self, plan: Plan, world: World, listen: Listener, keep: Keep) -> None:
        self.plan, self.world, self.listen, self.keep = plan, world, listen, keep
        world.keep = keep
        self.waiting = in_order(plan.operations)
        self.done: set[str] = set()
        self.failures: list[tuple[Operation, PlaneshiftError]] = []
        self.stopping = False
        self.ended = 0
        self.lock = threading.Lock()  # listeners are told one thing at a time

    def go(self, workers: int) -> None:
        names = {o.id for o in self.waiting}
        running: dict[Future[None], Operation] = {}
        with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="operation") as pool:
            while True:
                for operation in self._ready(names, workers - len(running)):
                    running[pool.submit(self._perform, operation)] = operation
                if not running:
                    break
                self._wait(running)
        if self.failures:
            codes = {error.exit_code for _, error in self.failures}
            problems = [p for operation, error in self.failures for p in _named(operation, error)]
            raise PlaneshiftError(problems, exit_code=codes.pop() if len(codes) == 1 else Exit.FAILED)
        if self.stopping and self.waiting:
            raise PlaneshiftError(
                Problem("PS803", "stopped by an interrupt", hint="The next `planeshift up` goes on from here."),
                exit_code=Exit.INTERRUPTED,
            )

    def _ready(self, names: set[str], room: int) -> Iterator[Operation]:
        if self.failures or self.stopping:
            return
        for operation in [o for o in self.waiting if not ((o.needs & names) - self.done)][: max(room, 0)]:
            self.waiting.remove(operation)
            yield operation

    def _wait(self, running: dict[Future[None], Operation]) -> None:
        try:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt:
            if self.stopping:
                raise
            self.stopping = True
            self.world.stopping.set()
            return
        for future in finished:
            operation = running.pop(future)
            try:
                future.result()
                self.done.add(operation.id)
            except PlaneshiftError as error:
                self.failures.append((operation, error))

    def _perform(self, operation: Operation) -> None:
        clock, control = self.world.clock, self.world.control
        self.keep()
        began = clock.monotonic()
        control.journal({"operation": operation.id, "what": "begin", "at": clock.now()})
        self._tell("begin", operation)
        try:
            perform(self.world, operation, lambda line: self._tell("line", operation, line))
        except PlaneshiftError as error:
            self._tell("fail", operation, str(error), clock.monotonic() - began)
            raise
        control.journal({"operation": operation.id, "what": "end", "at": clock.now()})
        self._tell("end", operation, "", clock.monotonic() - began)

    def _tell(
        self, what: Literal["begin", "line", "end", "fail"], operation: Operation, text: str = "", seconds: float = 0.0
    ) -> None:
        with self.lock:
            self.ended += what == "end"
            total = len(self.plan.operations)
            self.listen(Event(what, operation, self.ended, total, self.world.clock.now(), text, seconds))


def _named(operation: Operation, error: PlaneshiftError) -> Iterator[Problem]:
    for problem in error.problems:
        yield Problem(
            problem.code,
            f"{operation.id}: {problem.message}",
            problem.where,
            problem.why,
            problem.hint or "Mend the cause; the next `planeshift up` goes on from here.",
        )
