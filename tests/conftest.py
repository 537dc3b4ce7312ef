"""What all tests share: hypothesis keeps to a fixed seed, so that a run says the same each time, and interrupts arrive."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "planeshift", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("planeshift")

# A shell's background job ignores interrupts, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
