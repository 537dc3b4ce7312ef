"""At which steps of a shift something is broken: at one, or at each where PLANESHIFT_SOAK=1 asks for the whole matrix."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest


def at_each(steps: Sequence[int], usual: int) -> pytest.MarkDecorator:
    """Run a test with `step` as one of these, by default the usual one alone."""
    return pytest.mark.parametrize("step", steps if os.environ.get("PLANESHIFT_SOAK") else [usual])
