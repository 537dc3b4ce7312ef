"""Secret files, their maker, control and clock in memory. Implements the ports of these names."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from planeshift.catalog.spec import Secret, SecretValue
from planeshift.drivers.memory.faults import Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import Pause, Standing
from planeshift.ports import ShiftLog


class MemorySecrets(Port):
    """Secret files, by path."""

    role = "secrets"

    @port(changes=False)
    def read(self, path: str) -> Mapping[str, SecretValue]:
        if path in self.data.public_secrets:
            raise PlaneshiftError(Problem("PS503", f"{path} can be read by others (mode 0644)"))
        return dict(self.data.secrets.get(path, {}))

    @port(changes=True)
    def add(self, path: str, values: Mapping[str, SecretValue]) -> None:
        there = self.data.secrets.setdefault(path, {})
        there.update({name: value for name, value in values.items() if name not in there})

    @port(changes=True)
    def change(self, path: str, values: Mapping[str, SecretValue | None]) -> None:
        there = self.data.secrets.setdefault(path, {})
        for name, value in values.items():
            if value is None:
                there.pop(name, None)
            else:
                there[name] = value


class MemoryMaker(Port):
    """Values that differ from one another; guessable, so good for nothing but a world in memory."""

    role = "maker"

    @port(changes=False)
    def make(self, secret: Secret, names: Sequence[str]) -> SecretValue:
        if secret.kind == "given":
            raise ValueError(f"{secret.name} comes from the operator")
        if secret.kind == "fernet-keys":
            return {"0": self._text(), "1": self._text()}
        if secret.kind == "trial-tls":
            number = self._text()
            found = {"certificate": f"trial {number} for {','.join(names)}\n", "key": f"key {number}\n"}
            return {"ca_certificate": f"authority {number}\n", **found}
        return self._text()

    def _text(self) -> str:
        self.data.made += 1
        return base64.urlsafe_b64encode(hashlib.sha256(str(self.data.made).encode()).digest()).decode()


class MemoryControl(Port):
    """Lease, journal and audit. The lease of a process that was killed is free, as a lock of the kernel's is."""

    role = "control"

    @contextlib.contextmanager
    def lease(self, who: str) -> Iterator[Callable[[], None]]:
        mine = self._take(who)
        try:
            yield lambda: self.keep(mine)
        finally:
            if self.data.lease == mine and not self.faults.dead:
                self.data.holder = ""

    @port(changes=False)
    def _take(self, who: str) -> int:
        if self.data.holder:
            raise PlaneshiftError(Problem("PS801", f"{self.data.holder} is changing this cloud"))
        self.data.control = True
        self.data.holder = who
        self.data.lease += 1
        return self.data.lease

    @port(changes=False)
    def keep(self, mine: int) -> None:
        """Raise where the lease is no longer the one that was taken."""
        if self.data.lease != mine:
            raise PlaneshiftError(Problem("PS802", "the lease was taken away"))

    @port(changes=False)
    def mark(self) -> str:
        return self.data.mark

    @port(changes=False)
    def key(self) -> bytes:
        return b"a digest key" if self.data.control else b"not kept yet"

    @port(changes=True)
    def journal(self, event: Mapping[str, Any]) -> None:
        if event.get("what") == "begin plan":
            self.data.journal = [dict(event)]
        else:
            self.data.journal.append(dict(event))

    @port(changes=False)
    def unfinished(self) -> Mapping[str, Any] | None:
        events = self.data.journal
        if not events or events[-1].get("what") == "end plan":
            return None
        return {**events[0], "ended": [e["operation"] for e in events if e.get("what") == "end"]}

    @port(changes=True)
    def audit(self, record: Mapping[str, Any]) -> None:
        self.data.audit.append(dict(record))

    @port(changes=False)
    def standing(self) -> Mapping[str, Standing]:
        return dict(self.data.standing)

    @port(changes=True)
    def stand(self, service: str, standing: Standing | None) -> None:
        if standing is None:
            self.data.standing.pop(service, None)
        else:
            self.data.standing[service] = standing

    @port(changes=False)
    def paused(self) -> Mapping[str, Pause]:
        return dict(self.data.paused)

    @port(changes=True)
    def pause(self, service: str, pause: Pause | None) -> None:
        if pause is None:
            self.data.paused.pop(service, None)
        else:
            self.data.paused[service] = pause

    @port(changes=True)
    def shift_log(self, service: str) -> ShiftLog:
        log = MemoryShiftLog(f"shifts/{len(self.data.shift_logs)}-{service}")
        self.data.shift_logs.append(log)
        return log

    @port(changes=False)
    def applied(self) -> Mapping[str, str]:
        for record in reversed(self.data.audit):
            if record.get("result") == "down":
                break
            if record.get("result") == "done" and isinstance(record.get("applied"), dict):
                found: Mapping[str, str] = record["applied"]
                return found
        return {}


@dataclass
class MemoryShiftLog:
    """A log of a shift."""

    place: str
    lines: list[str] = field(default_factory=list)
    report: str = ""

    def write(self, line: str) -> None:
        self.lines.append(line)

    def finish(self, report: str) -> None:
        self.report = report


class MemoryClock(Port):
    """A clock that goes on by one with each look. No effect can be lost of it, so its calls are not counted."""

    role = "clock"

    def now(self) -> str:
        self.faults.alive()
        self.data.ticks += 1
        days, seconds = divmod(self.data.ticks, 86_400)
        return f"2026-01-{days % 28 + 1:02}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}+00:00"

    def monotonic(self) -> float:
        self.faults.alive()
        self.data.ticks += 1
        return float(self.data.ticks)

    def sleep(self, seconds: float) -> None:
        """Time flies: whoever waits finds what was waited for by the second look."""
        self.faults.alive()
        self.data.ticks += 60

    @contextlib.contextmanager
    def every(self, seconds: float, work: Callable[[], None]) -> Iterator[None]:
        """Nothing happens by itself: what is due is done when it is asked for."""
        yield

    def who(self) -> str:
        self.faults.alive()
        return "somebody@memory (pid 1)"
