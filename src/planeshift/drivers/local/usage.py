"""What programs of ours use on this machine: memory and processors. Formats: proc(5), smaps_rollup and stat."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from planeshift.drivers.local.processes import PROC, marked

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.M)


@dataclass(frozen=True)
class Usage:
    """Of one program of a unit: MiB of proportional set size, and cores on average since it began."""

    unit: str  # host/service/backend
    program: str
    parent: int  # MiB
    workers: int
    worker: int  # MiB each
    cores: float


def usage(runtime: str) -> Iterator[Usage]:
    """What each running program below a runtime directory uses, supervisors left out."""
    found = [p for p in marked(runtime) if p.program != "supervisord"]
    for place, program in dict.fromkeys((p.place, p.program) for p in found):
        own = [p for p in found if (p.place, p.program) == (place, program)]
        pids = {p.pid for p in own}
        parents = [p for p in own if p.parent not in pids]
        memory = {p.pid: _memory(p.pid) for p in own}
        children = [memory[p.pid] for p in own if p.parent in pids]
        yield Usage(
            unit=place.removeprefix(runtime).strip("/"),
            program=program,
            parent=round(sum(memory[p.pid] for p in parents)),
            workers=len(children),
            worker=round(sum(children) / len(children)) if children else 0,
            cores=round(sum(_cores(p.pid, p.started) for p in own), 4),
        )


def _memory(pid: int) -> float:
    """MiB; 0 for a process that ended meanwhile."""
    try:
        found = _PSS.search((PROC / str(pid) / "smaps_rollup").read_bytes())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _cores(pid: int, started: int) -> float:
    """Cores that a process used on average since it began, at `started` clock ticks after the boot."""
    ticks = os.sysconf("SC_CLK_TCK")
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    lived = time.clock_gettime(time.CLOCK_BOOTTIME) - started / ticks
    return (int(fields[11]) + int(fields[12])) / ticks / max(lived, 1.0)
