"""A service's programs from its lock, by uv, complete or not there at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local.command import run
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.render.desired import Environment


def install(environment: Environment, root: Path, process_environment: dict[str, str], say: Say) -> None:
    """Install into `root/ID`. It is built beside and renamed, so that a kill leaves nothing that looks complete.

    Raises PlaneshiftError: PS405 without network or registry, PS406 for a package that does not match its lock, PS407
    for a distribution package that is missing and cannot be installed.
    """
    final, partial = root / environment.id, root / f".{environment.id}.partial"
    if final.is_dir():
        return
    _distribution_packages(environment, say)
    files.private(root)
    with files.failing(f"{partial} cannot be made"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
    python = "/usr/bin/python3" if environment.system_packages else sys.executable
    command = _uv(process_environment, say)
    flags = ["--system-site-packages"] if environment.system_packages else []
    target = partial / "environment"
    command("venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", python, *flags, str(target))
    lock = partial / "lock.txt"
    files.write(lock, environment.requirements.encode())
    installing = ("pip", "install", "--python", str(target / "bin" / "python"), "--no-progress")
    say(f"installing {environment.service} {environment.version}")
    command(*installing, "--require-hashes", "--no-deps", "-r", str(lock))
    if environment.pip:
        say(f"installing extras: {', '.join(environment.pip)}")
        command(*installing, "--constraint", str(lock), *environment.pip)
    with files.failing(f"{final} cannot be made"):
        target.replace(final)
        shutil.rmtree(partial, ignore_errors=True)


def _uv(environment: dict[str, str], say: Say) -> Callable[..., None]:
    from uv import find_uv_bin

    def command(*arguments: str) -> None:
        try:
            # Anything goes to the program's standard error, and is no secret.
            run([find_uv_bin(), *arguments], environment, "/", say)
        except PlaneshiftError as error:
            raise _explained(error) from error

    return command


def _explained(error: PlaneshiftError) -> PlaneshiftError:
    words = error.problems[0].why
    low = words.lower()
    if "hash mismatch" in low or "invalid wheel" in low or "failed to read" in low:
        hint = "The registry serves another file than was locked: check the mirror, or run `uv cache clean`."
        return PlaneshiftError(Problem("PS406", "a package does not match its lock", why=words, hint=hint))
    if any(w in low for w in ("error sending request", "dns", "failed to fetch", "connect", "network", "timed out")):
        hint = "Check network and package index (UV_INDEX_URL); what was downloaded by now is kept."
        return PlaneshiftError(Problem("PS405", "packages cannot be downloaded", why=words, hint=hint))
    return PlaneshiftError(Problem("PS408", "installing packages failed", why=words))


def _distribution_packages(environment: Environment, say: Say) -> None:
    missing = [p for p in environment.dist if not _installed(p)]
    if missing:
        say(f"distribution packages are missing: {', '.join(missing)}")
        raise PlaneshiftError(
            Problem(
                "PS407",
                f"distribution packages are missing: {', '.join(missing)}",
                hint=f"apt-get install {' '.join(missing)}",
            )
        )


def _installed(package: str) -> bool:
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, check=False)
    return done.stdout.strip() == b"installed"
