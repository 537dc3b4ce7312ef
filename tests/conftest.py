"""What all tests share: hypothesis keeps to a fixed seed, so that a run says the same each time, and interrupts arrive.

PLANESHIFT_TESTS_END (seconds since 1970) is for those whose time is bounded, such as CI: what has not begun by then is
skipped, and says so.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "planeshift", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("planeshift")

# A shell's background job ignores interrupts, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

END = float(os.environ.get("PLANESHIFT_TESTS_END", "inf"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before anything is made for a test."""
    if time.time() >= END:
        pytest.skip("not begun: the time of this run of tests is over (PLANESHIFT_TESTS_END)")
