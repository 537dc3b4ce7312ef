"""What all tests share: hypothesis keeps to a fixed seed, so that a run says the same each time."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "planeshift", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("planeshift")
