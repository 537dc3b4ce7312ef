"""The change of a rehearsal: `up` as a person would run it, again after it was killed; faults at its steps."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from planeshift.app import watching
from planeshift.app.breaking import Breaker
from planeshift.errors import PlaneshiftError
from planeshift.ports import Say
from planeshift.rehearsal.account import Broken, Result, Stepped
from planeshift.rehearsal.faults import Fault
from planeshift.rehearsal.scale import CLOUD
from planeshift.traffic import events

AMID = 1.0  # seconds after a step was taken at which something is broken
MOST_RUNS = 8
LAST = 12  # lines of what a run said that are kept


class Changing:
    """Runs of `up` until the cloud is as its file says. `due` are the faults by step, from 1, of all services' steps."""

    def __init__(
        self,
        root: Path,
        due: Mapping[int, Sequence[Fault]],
        watch: Callable[[events.Event], None],
        say: Say,
    ) -> None:
        self.file, self.watch, self.say = str(root / CLOUD), watch, say
        self.breaker = Breaker(root)
        self.due = {step: list(found) for step, found in due.items()}
        self.broken: list[Broken] = []
        self.steps: list[Stepped] = []
        self.retried: list[str] = []  # why gates sent traffic back while something was broken
        self.runs = self._taken = 0
        self._process: subprocess.Popen[str] | None = None
        self._killed: tuple[float, str] | None = None  # when and where we killed a run, until the next one went on
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._present: tuple[events.Step, float] | None = None
        self._shares: dict[int, float] = {}

    @property
    def untried(self) -> list[Fault]:
        """Faults for which there was no step."""
        return [fault for found in self.due.values() for fault in found]

    def go(self) -> tuple[Result, str]:
        """Until it is done, or does not come out: then why."""
        argv = ["up", "--yes"]
        while True:
            before = len(self.broken)
            code, said = self._run(argv)
            self._join()
            if code == 0:
                return self._settle()
            held = watching.holds(watching.place(self.file))
            disturbed = len(self.broken) > before or self._killed
            if self.runs >= MOST_RUNS or not disturbed:
                reason = "; ".join(f"{service}: {hold.reason}" for service, hold in held.items())
                return ("returned", reason) if held else ("failed", said)
            argv = ["shift", next(iter(held)), "--resume", "--yes"] if held else ["up", "--yes"]
            for service, hold in held.items():
                self.retried.append(f"{service}, {hold.reason}")
                self.say(f"the gates sent the traffic of {service} back, since something was broken; it is tried again")

    def _settle(self) -> tuple[Result, str]:
        """The last run came to its end. What ran on a host that lost its power is started again by one more."""
        self._went_on("the next run went on")
        if any(b.kind == "host" for b in self.broken):
            code, said = self._run(["up", "--yes"])
            return ("done", "") if code == 0 else ("failed", said)
        return "done", ""

    def _run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """One run: its exit code, and the last lines that it said."""
        self.runs += 1
        argv = [sys.executable, "-P", "-m", "planeshift", *arguments, "-f", self.file, "-o", "json"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            self._process = process
            said: list[str] = []
            listener = threading.Thread(target=_read, args=(process.stderr, said), daemon=True)
            listener.start()
            try:
                for line in process.stdout or ():
                    self._take(line)
                code = process.wait()
            finally:
                process.kill()
                listener.join()
        self._present = None
        return code, " ".join(line.strip() for line in said[-LAST:] if line.strip())

    def _take(self, line: str) -> None:
        """An event of a run."""
        told: dict[str, Any] = json.loads(line) if line.startswith("{") and line.endswith("}\n") else {}
        if not told or "operation" in told or told.get("event") == "plan":
            return
        event = events.from_json(line)
        self.watch(event)
        match event:
            case events.Shift():
                self._shares = dict(enumerate(event.steps, 1))
            case events.Step():
                self._went_on("the next run went on with the step")
                self._present, self._taken = (event, time.monotonic()), self._taken + 1
                for fault in self.due.pop(self._taken, []):
                    thread = threading.Thread(target=self._break, args=(fault,), daemon=True)
                    self._threads.append(thread)
                    thread.start()
            case events.Verdict() if self._present:
                step, since = self._present
                seconds = round(time.monotonic() - since, 1)
                share = self._shares.get(step.step, 0.0)
                self.steps.append(Stepped(step.service, step.step, step.steps, share, seconds, event.state))

    def _break(self, fault: Fault) -> None:
        time.sleep(AMID)
        with self._lock:  # one after the other
            present, process = self._present, self._process
            if present is None or process is None or process.poll() is not None:
                # The run has ended meanwhile: at the next one's first step, if there is one.
                self.due.setdefault(self._taken + 1, []).append(fault)
                return
            where = f"{present[0].service}, step {present[0].step} of {present[0].steps}"
            self.say(f"breaking {fault.what}")
            at = time.time()
            if fault.kind == "planeshift":
                self._killed = at, where
                process.kill()
                return
            try:
                how, back = self.breaker(fault)
            except (PlaneshiftError, OSError, IndexError) as error:
                how, back = f"it could not be broken: {error}", None
            self.broken.append(Broken(fault.kind, fault.what, at, where, how, back))

    def _went_on(self, how: str) -> None:
        """The run that we killed has a successor that has got somewhere."""
        if self._killed:
            at, where = self._killed
            self._killed = None
            self.broken.append(Broken("planeshift", "planeshift", at, where, how, round(time.time() - at, 1)))

    def _join(self) -> None:
        """Until what was broken is back."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def _read(stream: IO[str] | None, into: list[str]) -> None:
    into.extend(stream or ())
