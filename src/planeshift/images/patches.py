"""A site's patches: read in the order of their names, and applied as `git apply` does, exactly or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.images.debian import need
from planeshift.ports import Say

_ENDINGS = (".patch", ".diff")
_MAX = 32 << 20
# Of a repository, but of no wheel: what a patch from git may touch, and an installed service does not have.
_UNINSTALLED = ("releasenotes", "doc", "api-ref", "api-guide", "playbooks", "roles", "zuul.d", "tools", ".github")

Patches = Sequence[tuple[str, bytes]]


def read(directory: Path) -> tuple[tuple[str, bytes], ...]:
    """Every patch of a directory: in the order of a quilt `series` file, else of the names.

    Raises PlaneshiftError (PS428) where there is none, or one that cannot be read.
    """
    try:
        series = directory / "series"
        if series.is_file():
            lines = (line.partition("#")[0].split() for line in series.read_text("utf-8").splitlines())
            names = [words[0] for words in lines if words]
        else:
            names = sorted(p.name for p in directory.iterdir() if p.suffix in _ENDINGS)
        found = tuple((name, (directory / name).read_bytes()) for name in names)
    except (OSError, UnicodeDecodeError) as error:
        raise PlaneshiftError(Problem("PS428", f"the patches cannot be read: {error}")) from error
    if not found:
        hint = "Patches are files *.patch or *.diff, as `git format-patch` writes them."
        raise PlaneshiftError(Problem("PS428", f"there are no patches in {directory}", hint=hint))
    if sum(len(data) for _, data in found) > _MAX:
        raise PlaneshiftError(Problem("PS428", f"the patches in {directory} have more than {_MAX:,} bytes"))
    return found


def touched(name: str, data: bytes, directory: Path) -> list[str]:
    """The paths that a patch would change, old and new ones. Raises PlaneshiftError (PS427) where it is no patch."""
    done = _git(["apply", "--numstat", "-z", "-"], data, directory)
    if done.returncode:
        raise _refused(name, done)
    fields = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    found: list[str] = []
    while fields and (row := fields.pop(0)):
        path = row.split("\t", 2)[2]
        found += [path] if path else [fields.pop(0), fields.pop(0)]  # a renamed file
    return found


def apply(patches: Patches, directory: Path, *, installed: bool, say: Say) -> None:
    """Apply patches, one after the other. `installed`: to a wheel's tree, which lacks what only a repository has.

    Raises PlaneshiftError (PS427), naming the patch, with git's words.
    """
    for name, data in patches:
        paths = touched(name, data, directory)
        absent = [path for path in paths if installed and not in_wheel(path)]
        if len(absent) == len(paths):
            raise PlaneshiftError(Problem("PS427", f"{name} changes nothing that is installed"))
        say(f"applying {name}" + (f" (without {', '.join(absent)})" if absent else ""))
        left_out = [f"--exclude={_literally(path)}" for path in absent]
        done = _git(["apply", "--whitespace=nowarn", *left_out, "-"], data, directory)
        if done.returncode:
            raise _refused(name, done)


def copied(names: Iterable[str], source: Path, target: Path) -> None:
    """Copy those of these files that exist, so that patches find them."""
    for name in names:
        path = source / name
        if path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(source.resolve()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
            (target / name).chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def in_wheel(path: str) -> bool:
    """Whether a path of a repository is one that its wheel has, too."""
    top, _, rest = path.partition("/")
    return bool(rest) and top not in _UNINSTALLED and not top.startswith(".")


def _literally(path: str) -> str:
    return "".join(f"\\{c}" if c in "*?[\\" else c for c in path)


def _git(arguments: Sequence[str], data: bytes, directory: Path) -> subprocess.CompletedProcess[bytes]:
    # A repository that the directory may lie in is none of git's business here, and neither is its user's configuration.
    variables = {"GIT_CEILING_DIRECTORIES": str(directory.parent), "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **variables}
    command = [need("git", "git"), *arguments]
    return subprocess.run(command, input=data, cwd=directory, env=environment, capture_output=True, check=False)


def _refused(name: str, done: subprocess.CompletedProcess[bytes]) -> PlaneshiftError:
    why = "\n".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-8:])
    hint = "Rebase the patch on the version that the image has: `planeshift image inspect` tells it. Nothing was built."
    return PlaneshiftError(Problem("PS427", f"{name} does not apply", why=why, hint=hint))
