"""Requests that may be lost when a program is killed: those that it held itself, and no others."""

from __future__ import annotations

from collections.abc import Sequence

from planeshift.openloop.tally import Failure

DYING = 2.0  # seconds: a kubelet gives no pod less, and a killed process's connections end one by one


def held(failures: Sequence[Failure]) -> bool:
    """Whether one program can have held all of these when it died.

    What it held broke off then: no request was due after the first had broken off, but for those that it took while it
    was dying. How many those are is the machine's affair: all that it had not answered.
    """
    broken = min((f.at + f.wait_ms / 1000 for f in failures), default=0.0)
    return all(f.at <= broken + DYING for f in failures)
