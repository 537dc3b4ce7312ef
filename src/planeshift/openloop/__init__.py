"""An open-loop load of HTTP requests: each is sent when it is due, however slow the answers are; usable by itself.

`python -m planeshift.openloop < plan.json` runs a plan (`plan`) and tells what came of it, a line at a time (`tally`);
`load` does that beside the program that calls it. Waiting times count from the moment at which a request was due, so that
a server which stalls cannot hide the requests that it kept from being sent.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from planeshift.openloop import openstack
from planeshift.openloop.plan import Flow, Load, Step, to_json
from planeshift.openloop.tally import Tally

__all__ = ["Flow", "Load", "Step", "Tally", "load", "openstack"]

ENDS = 120.0  # seconds that what is under way has to end


@contextmanager
def load(plan: Load) -> Iterator[Tally]:
    """Put load on until the block ends, or the plan's time is over; the tally grows meanwhile, and is whole after it.

    The load has a process of its own, so that what this one does holds no request up. Raises OSError where it cannot be
    started, and ValueError where it ended by itself before its time.
    """
    argv, pipe = [sys.executable, "-P", "-m", "planeshift.openloop"], subprocess.PIPE
    # In a session of its own, since an interrupt is for the caller; the load ends with its standard input.
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdin and process.stdout  # noqa: S101 - they are pipes
        tally = Tally()
        reader = threading.Thread(target=tally.read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            process.stdin.write(to_json(plan).encode() + b"\n")
            process.stdin.flush()
            yield tally
        finally:
            try:
                process.stdin.close()
                code = process.wait(ENDS)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                code = process.wait()
            reader.join()
    if code:
        raise ValueError(f"the load ended with {code}")
