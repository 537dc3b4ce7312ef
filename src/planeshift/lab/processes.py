"""The lab's processes, found by the marker in their environment: nothing has to be remembered, so nothing can be wrong.

The marker is `PLANESHIFT_LAB=<directory of state>#<host>`, with an empty host for the lab itself. The first process of
each has PID 1 in the innermost PID namespace (NSpid in proc_pid_status(5)).
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from planeshift.drivers.local.processes import identity, marked

MARKER = "PLANESHIFT_LAB"


@dataclass(frozen=True)
class Init:
    """The first process of a host (or, with an empty name, of the lab), by its pid on the machine and start time."""

    host: str
    pid: int
    started: int
    nested: int  # how deep its PID namespace is: 2 for the lab's, 3 for a host's


def inits(state: Path) -> dict[str, Init]:
    """The first processes of the lab and its hosts that live."""
    found = {}
    for process in marked(f"{state}", MARKER):
        if process.place != str(state):
            continue
        numbers = _namespaced(process.pid)
        if len(numbers) >= 2 and numbers[-1] == 1:
            found[process.program] = Init(process.program, process.pid, process.started, len(numbers))
    return found


def since(init: Init) -> float:
    """When a first process was started, in seconds since the epoch."""
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return booted + init.started / os.sysconf("SC_CLK_TCK")


def stray(state: Path) -> list[int]:
    """All processes that carry the lab's marker and live, first ones or not."""
    return [p.pid for p in marked(f"{state}", MARKER) if p.place == str(state)]


def end(pid: int, started: int, patience: float = 10) -> None:
    """Kill a process, if it still is the one, and wait until it is gone; with a first process all of its namespace go."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        now = identity(pid)
        if now is None or now[0] != started:
            return
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], patience)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def end_any(pid: int) -> None:
    """Kill a process that carries the lab's marker, whichever it is."""
    now = identity(pid)
    if now:
        end(pid, now[0])


def _namespaced(pid: int) -> list[int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    line = next((x for x in lines if x.startswith("NSpid:")), "NSpid:")
    return [int(n) for n in line.split()[1:]]
