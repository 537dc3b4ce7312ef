"""Sealed files in git: as they were, and which there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets import files, formats, keys, sealed


def git(*arguments: str, directory: str = ".") -> bytes:
    """Run git and return what it prints. Raises PlaneshiftError (PS1016) with its words."""
    try:
        done = subprocess.run(["git", "-C", directory, *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise PlaneshiftError(Problem("PS1016", "git is not installed", hint="apt-get install git")) from error
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()
        raise PlaneshiftError(Problem("PS1016", f"git {arguments[0]} failed", why=words))
    return done.stdout


def opened(path: str, revision: str, kind: str = "") -> str:
    """A file as git has it at a revision, in the clear; one that was not sealed there is returned as it is."""
    if revision.startswith("-"):
        raise PlaneshiftError(Problem("PS1016", f"{revision} is no revision"))
    folder, name = str(Path(path).resolve().parent), Path(path).name
    content = git("show", f"{revision}:./{name}", directory=folder)
    kind = kind or formats.of(path)
    text = formats.decoded(content, f"{path}@{revision}")
    if not sealed.is_sealed(kind, text, path):
        return text
    parts = sealed.Sealed(kind, text, f"{path}@{revision}")
    return sealed.open_(parts, keys.data_key(parts.meta)).text


def sealed_files() -> list[str]:
    """The sealed files below this directory that git knows."""
    found = []
    for name in git("ls-files", "-z").decode("utf-8", "surrogateescape").split("\0"):
        path = Path(name)
        if not name or not path.is_file() or path.is_symlink() or path.stat().st_size > formats.MAX_BYTES:
            continue
        content = files.read(name)
        if b"ENC[AES256_GCM," not in content or b"sops" not in content:
            continue
        try:
            if sealed.is_sealed(formats.of(name), content.decode("utf-8", "replace"), name):
                found.append(name)
        except PlaneshiftError:
            continue
    return found
