"""Processes of this machine, found by the marker in their environment. Format: proc(5)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from planeshift.plan.observed import Process
from planeshift.render.supervisor import MARKER

PROC = Path("/proc")
RUN_MARKER = "PLANESHIFT_RUN"  # of commands that end by themselves


@dataclass(frozen=True)
class Marked:
    """A process that carries our marker: `place` is the unit's directory, `program` what it is there."""

    pid: int
    started: int
    parent: int
    place: str
    program: str


def marked(prefix: str, marker: str = MARKER) -> Iterator[Marked]:
    """The processes of this user whose marker's place begins with `prefix`."""
    wanted = f"{marker}=".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # ended meanwhile, or another user's
            continue
        if wanted not in environment:
            continue
        value = next((e for e in environment.split(b"\0") if e.startswith(wanted)), b"").removeprefix(wanted)
        place, _, program = value.decode("utf-8", "replace").partition("#")
        found = identity(int(entry.name))
        if found and place.startswith(prefix):
            yield Marked(int(entry.name), found[0], found[1], place, program)


def identity(pid: int) -> tuple[int, int] | None:
    """Start time in clock ticks and parent of a living process; None for one that is gone or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[19]), int(fields[1]))


def lives(process: Process) -> bool:
    """Whether it is there still, and not another one of its number."""
    found = identity(process.pid)
    return found is not None and found[0] == process.started


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is `ancestor` or one of its descendants."""
    seen: set[int] = set()
    while pid not in seen and pid > 1:
        if pid == ancestor:
            return True
        seen.add(pid)
        found = identity(pid)
        pid = found[1] if found else 0
    return False


def end(processes: Sequence[Process], *, grace: float) -> None:
    """End processes: TERM, and KILL for those that are there after `grace` seconds. Those alone are touched.

    A process is held by a pidfd and compared by its start time, so that a reused number is never hit.
    """
    with contextlib.ExitStack() as stack:
        held: list[int] = []
        for process in processes:
            try:
                descriptor = os.pidfd_open(process.pid)
            except OSError:
                continue
            stack.callback(os.close, descriptor)
            found = identity(process.pid)
            if found and found[0] == process.started:
                held.append(descriptor)
        for name in (signal.SIGTERM, signal.SIGKILL):
            for descriptor in held:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(descriptor, name)
            held = _remaining(held, grace if name is signal.SIGTERM else 5.0)


def _remaining(descriptors: list[int], seconds: float) -> list[int]:
    """Those whose process still lives after at most `seconds`; a pidfd is readable when its process has ended."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    left = list(descriptors)
    while left:
        ended = poll.poll(int(seconds * 1000))
        if not ended:
            break
        for descriptor, _ in ended:
            poll.unregister(descriptor)
            left.remove(descriptor)
    return left
