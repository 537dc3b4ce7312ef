"""What came of a run of shifts under load, as lines of JSON in the file that PLANESHIFT_RECORD names.

A run writes a line when it begins and another when it ends, so that one which was cut off is not forgotten either.
`benchmarks/soak.py` adds the runs up.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from planeshift.openloop.tally import Tally, milliseconds

SHOWN = 20  # failures that are kept with their causes; all are counted


@contextlib.contextmanager
def recorded(came: Callable[[], dict[str, Any]], **settings: float) -> Iterator[None]:
    """Record the block as a run with such settings; `came` is asked what came of it when it ends, however it ends."""
    path, run = os.environ.get("PLANESHIFT_RECORD"), uuid.uuid4().hex[:8]

    def write(line: dict[str, Any]) -> None:
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps({"run": run, "at": _now()} | line, separators=(",", ":")) + "\n")

    write({"what": "begin", "machine": _machine(), "commit": _commit()} | settings)
    try:
        yield
    finally:
        why = sys.exc_info()[1]
        broken = f"{type(why).__name__}: {why}".splitlines()[0][:300] if why else ""
        write({"what": "end", "why": broken, "load": round(os.getloadavg()[0], 1)} | came())


def requests(tally: Tally) -> dict[str, Any]:
    """The requests of a load: by step, and what is known of those that failed."""
    steps = {
        step: {
            "sent": found.requests,
            "failed": found.failed,
            "p50_ms": round(milliseconds(found, 0.5), 2),
            "p99_ms": round(milliseconds(found, 0.99), 2),
            "longest_ms": round(milliseconds(found, 1), 2),
        }
        for step, found in tally.by_step().items()
    }
    return {"requests": steps, "failures": [str(f)[:300] for f in tally.failures[:SHOWN]]}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def _commit() -> str:
    """Of this tree; `+` where it was changed since."""
    argv = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
