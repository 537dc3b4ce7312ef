"""Simulated shifts, made of recorded traffic: how surely a fault is found, and how rarely chance is taken for one.

`PLANESHIFT_SOAK=1` runs a thousand of each; docs/gates.md has the result.
"""

from __future__ import annotations

import math
import os

import pytest
from trials import Trial, failing, slower

TRIALS = 1000 if os.environ.get("PLANESHIFT_SOAK") else 20


def test_shifts_of_sides_that_are_alike_are_not_sent_back() -> None:
    back = [verdict for _, _, verdict in map(Trial().run, range(TRIALS)) if verdict.state == "failed"]
    assert len(back) <= 0.005 * TRIALS, back


@pytest.mark.parametrize(
    "trial",
    [
        pytest.param(Trial(failing(50), 1, (1.0, 5.0)), id="one in 50 fails, at 5 %"),
        pytest.param(Trial(failing(100), 2, (1.0, 5.0, 25.0)), id="one in 100 fails, at 25 %"),
        pytest.param(Trial(slower(1.3), 2, (1.0, 5.0, 25.0)), id="all waits 1.3 times, at 25 %"),
    ],
)
def test_a_fault_is_found_within_a_minute_of_its_begin(trial: Trial) -> None:
    ended = list(map(trial.run, range(TRIALS)))
    found = [e for e in ended if e[2].state == "failed" and e[0] == trial.fault_from and e[1] <= 60]
    assert TRIALS - len(found) <= math.ceil(0.01 * TRIALS)
