"""Short commands of the system, with what they say where they fail."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from planeshift.errors import PlaneshiftError, Problem, control_free


def run(argv: Sequence[str], *, text: str = "", timeout: float = 60, code: str = "PS442") -> str:
    """Run a command and return what it prints. Raises PlaneshiftError (`code`) with its words where it fails."""
    name = " ".join(argv[:4])
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except OSError as error:
        raise PlaneshiftError(Problem(code, f"`{name}` cannot be run: {error.strerror}")) from error
    except subprocess.TimeoutExpired as error:
        raise PlaneshiftError(Problem(code, f"`{name}` did not end within {timeout:.0f} s")) from error
    if done.returncode:
        words = control_free((done.stderr or done.stdout).strip()[-1500:])
        raise PlaneshiftError(Problem(code, f"`{name}` exited {done.returncode}", why=words.replace("\\n", "\n")))
    return done.stdout
