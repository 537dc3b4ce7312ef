"""What is carried to a host that has none of it: the agent with its libraries, and environments without a registry there.

Each is a gzipped tar of an environment's content (bin, lib, …), made here by uv for the host's machine and Python, and kept
in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local.uv import install_locked, uv
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.render.desired import Environment

_LIBRARIES = ("pydantic", "supervisor", "uv")  # of the agent
# As pip writes it: a script that finds its interpreter beside itself, wherever it lies. Format: a Python program, too.
_BESIDE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""


@dataclass(frozen=True)
class Target:
    """What a host runs programs on."""

    python: str  # 3.11
    machine: str  # x86_64
    libc: str  # glibc, musl

    @property
    def platform(self) -> str:
        """As uv names it: the oldest C library that is still of use."""
        return f"{self.machine}-{'manylinux_2_28' if self.libc == 'glibc' else 'unknown-linux-musl'}"


def agent_name() -> str:
    """Which agent this program takes: another one where any source or library is another."""
    sources = hashlib.sha256("\n".join(_pins()).encode())
    for path, content in _sources().items():
        sources.update(f"{path} {len(content)}\n".encode() + content)
    return sources.hexdigest()[:16]


def agent(target: Target, environment: Mapping[str, str], say: Say) -> Path:
    """The agent's tree for a host. Raises PlaneshiftError: PS404, PS405, PS408 or PS474."""

    def fill(tree: Path, command: Callable[..., None]) -> None:
        say("making the agent")
        command("pip", "install", "--no-progress", *_into(tree, target), *_pins())
        packages = next((tree / "lib").iterdir()) / "site-packages"
        for path, content in _sources().items():
            (packages / path).parent.mkdir(parents=True, exist_ok=True)
            (packages / path).write_bytes(content)

    return _tree(f"agent-{agent_name()}", target, environment, fill, say)


def environment(wanted: Environment, target: Target, environment: Mapping[str, str], say: Say) -> Path:
    """An environment's tree for a host. Raises PlaneshiftError: PS404, PS405, PS406, PS408 or PS474."""

    def fill(tree: Path, command: Callable[..., None]) -> None:
        say(f"collecting {wanted.service} {wanted.version} for the host")
        install_locked(command, tree, wanted.requirements, wanted.pip, into=_into(tree, target))
        (tree / "lock.txt").unlink()

    parts = [wanted.requirements, *wanted.pip]
    name = f"{wanted.service}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}"
    return _tree(name, target, environment, fill, say)


def _tree(
    name: str,
    target: Target,
    environment: Mapping[str, str],
    fill: Callable[[Path, Callable[..., None]], None],
    say: Say,
) -> Path:
    if target.machine not in ("x86_64", "aarch64"):
        raise PlaneshiftError(Problem("PS474", f"nothing can be carried to a machine of the kind {target.machine}"))
    kept = files.cache(environment) / "carried"
    files.private(kept)
    final = kept / f"{name}-py{target.python}-{target.platform}.tar.gz"
    if final.exists():
        return final
    with files.failing(f"{final} cannot be made"), tempfile.TemporaryDirectory(dir=kept, prefix=".") as place:
        tree = Path(place) / "tree"
        tree.mkdir()
        fill(tree, uv(environment, say))
        _rename(tree, target)
        _scripts(tree)
        packed = Path(place) / "packed"
        with packed.open("wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
            for path in sorted(tree.iterdir()):
                tar.add(path, path.name, filter=_portable)
        packed.replace(final)
    return final


def _rename(tree: Path, target: Target) -> None:
    """uv lays libraries out for the Python that it runs beside."""
    libraries = next((tree / "lib").iterdir())
    libraries.rename(libraries.with_name(f"python{target.python}"))


def _scripts(tree: Path) -> None:
    """Let scripts find the interpreter that they will lie beside, in the place of the one that installed them."""
    for path in (tree / "bin").iterdir():
        first, _, rest = path.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            path.write_bytes(_BESIDE + rest)


def _portable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return None if "__pycache__" in entry.name else entry


def _into(tree: Path, target: Target) -> tuple[str, ...]:
    there = ("--python-version", target.python, "--python-platform", target.platform)
    return ("--prefix", str(tree), "--python", sys.executable, *there)


def _pins() -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in _LIBRARIES]


def _sources() -> dict[str, bytes]:
    root = Path(__file__).parents[2]
    return {f"planeshift/{p.relative_to(root)}": p.read_bytes() for p in sorted(root.rglob("*.py"))}
