"""A service's code from elsewhere than its lock: a directory, a commit of a repository, a wheelhouse, another version."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.beside import beside
from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import patches, python
from planeshift.images.debian import need
from planeshift.images.entries import tree
from planeshift.images.recipe import Recipe, Source
from planeshift.ports import Say

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_URL = re.compile(r"(https?|ssh|git|file)://|[\w.-]+@[\w.-]+:")
_IGNORED = (".git", ".tox", "__pycache__", ".venv", "build", "dist")


def of(place: str, ref: str, kept: Path, variables: Mapping[str, str], say: Say) -> Source:
    """The source that `--source` and `--ref` mean; a repository's commit is fetched into `kept`.

    Raises PlaneshiftError (PS428) for what cannot be had.
    """
    if not place:
        if not re.fullmatch(r"[0-9][0-9A-Za-z.!+]{0,63}", ref):
            hint = "Without --source, --ref is a version on the package index, such as 33.0.1."
            raise PlaneshiftError(Problem("PS428", f"{ref!r} is no version", hint=hint))
        return Source("version", ref, ref)
    local = Path(place).expanduser()
    if ref or _URL.match(place):
        where = str(local.absolute()) if local.is_dir() else place
        return Source("git", where, _commit(where, ref or "HEAD", kept, variables, say))
    if not local.is_dir():
        raise PlaneshiftError(Problem("PS428", f"there is no source directory {place}"))
    return Source("tree", str(local.absolute()), directory_digest(local))


def wheelhouse(directory: Path) -> Source:
    """A directory of wheels. Raises PlaneshiftError (PS428) where it has none."""
    found = sorted(directory.glob("*.whl"))
    if not found:
        raise PlaneshiftError(Problem("PS428", f"there are no wheels in {directory}"))
    total = hashlib.sha256()
    for wheel in found:
        with wheel.open("rb") as file:
            total.update(f"{wheel.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return Source("wheels", str(directory.absolute()), f"sha256:{total.hexdigest()}")


def directory_digest(directory: Path) -> str:
    """One digest for the names, modes and content of a source tree, without what tools leave there."""
    total = hashlib.sha256()
    for entry in tree(directory):
        if entry.kind == "directory" or any(p in _IGNORED or p.endswith(".egg-info") for p in entry.name.split("/")):
            continue
        content = b"" if isinstance(entry.content, bytes) else Path(entry.content).read_bytes()
        line = f"{entry.name}\0{entry.mode:o}\0{entry.target}\0{hashlib.sha256(content).hexdigest()}\n"
        total.update(line.encode("utf-8", "surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def installer(recipe: Recipe, scratch: Path, say: Say) -> python.Install:
    """What installs a recipe's service from its source, and from the lock all that the source agrees to."""
    source = recipe.source
    assert source  # noqa: S101 - the caller has looked

    def install(command: Callable[..., None], prefix: Path, flags: Sequence[str]) -> None:
        installing = ("pip", "install", "--python", str(prefix / "bin" / "python"), "--no-progress", *flags)
        say(f"installing {recipe.package} from {source.kind} {source.digest[:19]}")
        with tempfile.TemporaryDirectory(dir=scratch, prefix="source-") as work:
            asked = Path(work) / "asked.txt"
            asked.write_text(recipe.top)
            if source.kind == "wheels":
                command(*installing, "--no-index", "--find-links", source.place, "-r", str(asked), *recipe.pip)
                return
            rest = _rest(recipe)
            others = Path(work) / "others.txt"
            others.write_text(rest)
            command(*installing, "--require-hashes", "--no-deps", "-r", str(others))
            what = f"{recipe.package}=={source.digest}" if source.kind == "version" else str(Path(work) / "tree")
            if source.kind != "version":
                _checked_out(source, Path(work) / "tree")
                if recipe.patches:
                    patches.apply(recipe.patches, Path(work) / "tree", installed=False, say=say)
            command(*installing, "--constraint", str(others), what, *recipe.pip)

    return install


def _rest(recipe: Recipe) -> str:
    """The lock without the service itself."""
    blocks = re.split(r"(?m)^(?=\S)", recipe.requirements)
    return "".join(b for b in blocks if not re.match(rf"(?i){re.escape(recipe.package)}\s*==", b))


def _commit(where: str, ref: str, kept: Path, variables: Mapping[str, str], say: Say) -> str:
    """The commit that a ref names; its objects are in `kept` afterwards."""
    mirror = _mirror(where, kept)
    if _COMMIT.fullmatch(ref) and mirror.is_dir() and _git(mirror, "cat-file", "-e", f"{ref}^{{commit}}", check=False):
        return ref
    files.private(kept)
    if not mirror.is_dir():
        with beside(mirror) as partial:
            _git(kept, "init", "--quiet", "--bare", str(partial))
    say(f"fetching {ref}")
    refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    _git(mirror, "fetch", "--quiet", "--force", "--", where, *refs, variables=variables)
    for candidate in (f"refs/tags/{ref}", f"refs/heads/{ref}", ref):
        if ref == "HEAD":
            listed = _git(mirror, "ls-remote", "--", where, "HEAD", variables=variables).split()
            candidate = listed[0] if listed else ref
        found = _git(mirror, "rev-parse", "--verify", "--quiet", f"{candidate}^{{commit}}", check=False).strip()
        if _COMMIT.fullmatch(found):
            return found
    raise PlaneshiftError(Problem("PS428", f"{where} has no {ref}", hint="A ref is a tag, a branch or a commit."))


def _checked_out(source: Source, target: Path) -> None:
    if source.kind == "tree":
        shutil.copytree(source.place, target, symlinks=True, ignore=shutil.ignore_patterns(*_IGNORED[1:]))
        return
    mirror = _mirror(source.place, target.parent.parent.parent / "repositories")
    _git(target.parent, "clone", "--quiet", "--no-checkout", "--", str(mirror), str(target))
    _git(target, "checkout", "--quiet", "--detach", source.digest)


def _mirror(where: str, kept: Path) -> Path:
    return kept / hashlib.sha256(where.encode()).hexdigest()[:20]


def _git(directory: Path, *arguments: str, check: bool = True, variables: Mapping[str, str] | None = None) -> str:
    environment = {**(variables or os.environ), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    command = [need("git", "git"), "-C", str(directory), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode and check:
        why = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise PlaneshiftError(Problem("PS428", f"git {arguments[0]} failed", why=why))
    return (done.stdout or "ok") if not done.returncode else ""
