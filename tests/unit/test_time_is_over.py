"""Runs of tests whose time is bounded: tests/conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_what_has_not_begun_by_the_end_is_skipped_and_says_so() -> None:
    argv = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "tests/unit/test_locks.py"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"PLANESHIFT_TESTS_END": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not begun: the time of this run of tests is over" in done.stdout and "passed" not in done.stdout
