"""What a cloud file was before: another file, or what git has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from planeshift.app.site import shown
from planeshift.errors import PlaneshiftError, Problem
from planeshift.model import cloud as model
from planeshift.model.load import load


def read(path: Path) -> model.Cloud:
    """The cloud of a file. Raises PlaneshiftError with every problem."""
    try:
        return load(path.read_bytes(), shown(path.absolute())).cloud
    except OSError as error:
        raise PlaneshiftError(Problem("PS105", f"{path}: {error.strerror}")) from error


def committed(path: Path) -> model.Cloud:
    """The cloud file as git's HEAD has it. Raises PlaneshiftError (PS823) where git has none."""
    argv = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except OSError:
        done = subprocess.CompletedProcess(argv, 1, b"", b"git is not installed")
    if done.returncode:
        raise PlaneshiftError(
            Problem(
                "PS823",
                f"what {shown(path)} was before is not known",
                why=done.stderr.decode("utf-8", "replace").strip()[-500:],
                hint="Say it: --from OLD.yaml; or a shift: planeshift rehearse SERVICE BACKEND=PERCENT",
            )
        )
    return load(done.stdout, f"HEAD:{path.name}").cloud
