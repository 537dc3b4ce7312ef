"""Replace a running gunicorn's workers without a moment in which none accepts.

On HUP the old workers stop accepting at once, and requests wait until new ones have loaded the application: seconds.
TTIN adds a worker, TTOU ends the oldest one when it has finished what it holds:
https://docs.gunicorn.org/en/stable/signals.html.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from planeshift.drivers.local import processes
from planeshift.drivers.local.supervision import Supervisor
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.desired import Program
from planeshift.render.server import COUNT, READ, SERVER, WORKER

LOAD_SECONDS = 180
AGAIN_SECONDS = 5  # a signal that was not answered by then was lost


def settings_read(directory: Path) -> bool:
    """Whether the running gunicorn has read its settings as they lie there; if not, only HUP brings them in."""
    try:
        there = hashlib.sha256((directory / SERVER).read_bytes()).hexdigest()
        return (directory / READ).read_text() == there
    except OSError:
        return False


def replace_workers(supervisor: Supervisor, program: Program) -> None:
    """Add as many workers as there are, wait until they are ready, and let the older ones go.

    Raises PlaneshiftError (PS604) where new ones do not become ready; the older ones go on then.
    """
    before = _ready(supervisor.directory)
    deadline = time.monotonic() + LOAD_SECONDS
    wanted = _wanted(supervisor.directory) or program.workers
    for number in range(wanted + 1, wanted + program.workers + 1):
        _tell(supervisor, program, "TTIN", number, deadline)
    while len(_ready(supervisor.directory) - before) < program.workers:
        if time.monotonic() > deadline:
            where = f"{supervisor.directory.parent.name}/{supervisor.directory.name}"
            raise PlaneshiftError(Problem("PS604", f"the new workers of {where} did not become ready"))
        time.sleep(0.03)
    # An interrupted run may have left more than it found.
    for number in range(wanted + program.workers - 1, program.workers - 1, -1):
        _tell(supervisor, program, "TTOU", number, deadline)


def _tell(supervisor: Supervisor, program: Program, signal: str, wanted: int, deadline: float) -> None:
    """Signal until the server says how many workers it wants now: of two signals in a row one may be lost.

    Raises PlaneshiftError (PS604) where it does not say so in time.
    """
    again = 0.0
    while _wanted(supervisor.directory) != wanted:
        now = time.monotonic()
        if now > deadline:
            where = f"{supervisor.directory.parent.name}/{supervisor.directory.name}"
            raise PlaneshiftError(Problem("PS604", f"the server of {where} does not take {signal}"))
        if now > again:
            supervisor.signal(program.name, signal)
            again = now + AGAIN_SECONDS
        time.sleep(0.01)


def _wanted(directory: Path) -> int | None:
    """How many workers the server wants, by its own word."""
    try:
        return int((directory / COUNT).read_text())
    except (OSError, ValueError):
        return None


def _ready(directory: Path) -> set[int]:
    pids = {int(p.name.removeprefix(WORKER)) for p in directory.glob(f"{WORKER}*")}
    return {pid for pid in pids if processes.identity(pid)}
