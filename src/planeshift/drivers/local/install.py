"""A service's programs from its lock, by uv, complete or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.beside import beside
from planeshift.drivers.local.command import run
from planeshift.drivers.local.uv import install_locked, uv
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.render.desired import Environment


def install(environment: Environment, root: Path, process_environment: Mapping[str, str], say: Say) -> None:
    """Install into `root/ID`.

    What was installed once is kept, compiled, in the user's cache, and linked from there. All is built beside and
    renamed, so that a kill leaves nothing that looks complete. Raises PlaneshiftError: PS405 without network or
    registry, PS406 for a package that does not match its lock, PS407 for a distribution package that is missing.
    """
    final = root / environment.id
    if final.is_dir():
        return
    _distribution_packages(environment)
    kept = _cache(process_environment) / _key(environment)
    if not kept.is_dir():
        _build(environment, kept, process_environment, say)
    files.private(root)
    with files.failing(f"{final} cannot be made"), beside(final) as partial:
        try:
            shutil.copytree(kept, partial, symlinks=True, copy_function=_link)
        except shutil.Error as error:  # which holds (source, target, words) of every file that failed
            words = str(error.args[0][0][2])
            full = f"[Errno {errno.ENOSPC}]" in words
            raise OSError(errno.ENOSPC if full else errno.EIO, words) from error


def _cache(environment: Mapping[str, str]) -> Path:
    return files.cache(environment) / "environments"


def _key(environment: Environment) -> str:
    """All that the installed files depend on: what is installed, and for which interpreter."""
    parts = [environment.requirements, *environment.pip, str(environment.system_packages)]
    parts += [sys.version, sys.base_prefix]
    return f"{environment.service}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        shutil.copy2(source, target, follow_symlinks=False)  # another file system


def _build(environment: Environment, kept: Path, process_environment: Mapping[str, str], say: Say) -> None:
    files.private(kept.parent)
    with beside(kept) as target:
        python = "/usr/bin/python3" if environment.system_packages else sys.executable
        command = uv(process_environment, say)
        flags = ["--system-site-packages"] if environment.system_packages else []
        command("venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", python, *flags, str(target))
        extras = f" and {', '.join(environment.pip)}" if environment.pip else ""
        say(f"installing {environment.service} {environment.version}{extras}")
        install_locked(command, target, environment.requirements, environment.pip)
        # Once, here, instead of in every program's first start.
        say(f"compiling {environment.service} {environment.version}")
        compiling = ["-m", "compileall", "-q", "-j", "0", "-x", "/tests?/|/samples/", str(target / "lib")]
        with contextlib.suppress(PlaneshiftError):  # some packages ship templates that are no valid Python
            run([str(target / "bin" / "python"), *compiling], process_environment, "/", say)


def _distribution_packages(environment: Environment) -> None:
    missing = [p for p in environment.dist if not _installed(p)]
    if missing:
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
