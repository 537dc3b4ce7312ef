"""Python packages by uv, with its failures explained. Shared by environments on hosts and by images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local.command import run
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say


def uv(environment: Mapping[str, str], say: Say) -> Callable[..., None]:
    """A function that runs uv with its arguments. It raises PlaneshiftError: PS404, PS405, PS406 or PS408."""
    from uv import find_uv_bin

    def command(*arguments: str) -> None:
        try:
            # Anything goes to the program's standard error, and is no secret.
            run([find_uv_bin(), *arguments], environment, "/", say)
        except PlaneshiftError as error:
            raise _explained(error) from error

    return command


def install_locked(
    command: Callable[..., None],
    prefix: Path,
    requirements: str,
    extras: Sequence[str],
    *flags: str,
    into: Sequence[str] = (),
) -> None:
    """Install a lock into the environment at `prefix`, each file by its hash, and `extras` that fit it.

    `into` are uv's flags for where to, if that is no environment of this machine's.
    """
    lock = prefix / "lock.txt"
    files.write(lock, requirements.encode())
    into = into or ("--python", str(prefix / "bin" / "python"))
    installing = ("pip", "install", *into, "--no-progress", *flags)
    command(*installing, "--require-hashes", "--no-deps", "-r", str(lock))
    if extras:
        command(*installing, "--constraint", str(lock), *extras)


def _explained(error: PlaneshiftError) -> PlaneshiftError:
    words = error.problems[0].why
    low = words.lower()
    if "no space left on device" in low:
        hint = "Free some space; nothing was half-written."
        return PlaneshiftError(Problem("PS404", "packages cannot be installed: the disk is full", why=words, hint=hint))
    if "hash mismatch" in low or "invalid wheel" in low or "failed to read" in low:
        hint = "The registry serves another file than was locked: check the mirror, or run `uv cache clean`."
        return PlaneshiftError(Problem("PS406", "a package does not match its lock", why=words, hint=hint))
    if any(w in low for w in ("error sending request", "dns", "failed to fetch", "connect", "network", "timed out")):
        hint = "Check network and package index (UV_INDEX_URL); what was downloaded by now is kept."
        return PlaneshiftError(Problem("PS405", "packages cannot be downloaded", why=words, hint=hint))
    return PlaneshiftError(Problem("PS408", "installing packages failed", why=words))
