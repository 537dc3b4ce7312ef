"""The virtual environment of a service in an image, at /var/lib/openstack as LOCI has it, and compiled Python files.

Wheels are chosen for the image's own Python and C library, whatever the building machine has. Compiled files are those of
the image's Python, hold their source's hash instead of its time (PEP 552), and are the same bytes in every build.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local.uv import uv
from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import roots
from planeshift.images.oci import broken
from planeshift.ports import Say

PREFIX = "var/lib/openstack"
# The C libraries that uv has wheels' platforms for, as (major, minor) of glibc.
_GLIBC = ((2, 17), (2, 28), *((2, minor) for minor in range(31, 41)))
_ASK = (
    "import json, os, platform, sys; print(json.dumps(['planeshift', *sys.version_info[:3], platform.machine(),"
    " *platform.libc_ver(), os.path.realpath(sys.executable)]))"
)
# Of uv's own, or holding paths of the building machine.
_DROPPED = (".gitignore", ".lock", "CACHEDIR.TAG", "lock.txt")
_DROPPED_PROGRAMS = re.compile(r"activate.*|deactivate.*|pydoc\.bat")
_DROPPED_METADATA = ("direct_url.json", "uv_cache.json", "uv_build.json")
_TRAMPOLINE = re.compile(rb"\A#!/bin/sh\n'''exec' [^\n]*\n' '''\n")

# Runs in the image. What marshal writes depends on what its process has compiled before, so files are dealt to a fixed
# number of processes in a fixed order. A template that is no valid Python stays uncompiled.
_SHARDS = 16
_COMPILE = f"""
import os, py_compile, re, subprocess, sys
top, shard = sys.argv[1], int(sys.argv[2])
if shard < 0:
    waiting, running = list(range({_SHARDS})), []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            running.append(subprocess.Popen([sys.executable, "-I", "-c", sys.argv[3], top, str(waiting.pop(0))]))
        if running.pop(0).wait():
            sys.exit("compiling failed")
    sys.exit()
if os.path.isfile(top):
    found = [line.rstrip("\\n") for line in open(top)]
else:
    skip = re.compile("/(tests?|samples)/")
    found = sorted(os.path.join(d, f) for d, _, names in os.walk(top) for f in names if f.endswith(".py"))
    found = [f for f in found if not skip.search(f)]
for file in found[shard::{_SHARDS}]:
    try:
        py_compile.compile(file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    except (py_compile.PyCompileError, OSError, ValueError, RecursionError):
        pass
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python of an image."""

    version: tuple[int, int, int]
    machine: str
    libc: str
    libc_version: tuple[int, ...]
    path: str

    @property
    def series(self) -> str:
        """Such as 3.11."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def platform(self) -> str:
        """uv's name for what its wheels must run on. Raises PlaneshiftError (PS428) for one that has none."""
        if not self.libc:
            return f"{self.machine}-unknown-linux-musl"
        known = [version for version in _GLIBC if version <= self.libc_version[:2]]
        if self.libc != "glibc" or not known:
            raise PlaneshiftError(Problem("PS428", f"there are no wheels for {self.libc} {self.libc_version}"))
        return f"{self.machine}-manylinux_{known[-1][0]}_{known[-1][1]}"


def interpreter(root: Path) -> Interpreter:
    """Ask an unpacked image for its Python. Raises PlaneshiftError (PS428) where it has none that fits."""
    said: list[str] = []
    try:
        roots.inside(root, ["/usr/bin/python3", "-I", "-c", _ASK], said.append)
    except PlaneshiftError as error:
        if (root / "usr" / "bin").is_dir() and roots.within(root, "usr/bin/python3").is_symlink():
            raise
        hint = "Take one that has Debian's or Ubuntu's python3, 3.11 or newer."
        why = error.problems[0].why
        raise PlaneshiftError(Problem("PS428", "the base image has no /usr/bin/python3", why=why, hint=hint)) from error
    try:
        row = next(found for line in said if line.startswith("[") and (found := json.loads(line))[0] == "planeshift")
        numbers = tuple(int(part) for part in row[6].split(".") if part.isdigit())
        return Interpreter((row[1], row[2], row[3]), str(row[4]), str(row[5]), numbers, str(row[7]))
    except (StopIteration, ValueError, IndexError, TypeError) as error:
        raise broken("its Python does not say what it is") from error


def compile_files(root: Path, place: str, say: Say, *, binds: Mapping[str, Path] | None = None) -> None:
    """Compile every Python file below `place` in the image, or those that the file `place` lists, a path a line."""
    command = ["/usr/bin/python3", "-I", "-c", _COMPILE, f"/{place}", "-1", _COMPILE]
    roots.inside(root, command, say, binds=binds or {}, variables={"PYTHONHASHSEED": "0"})


Install = Callable[[Callable[..., None], Path, Sequence[str]], None]


def environment(
    tree: Path, python: Interpreter, system_packages: bool, install: Install, variables: Mapping[str, str], say: Say
) -> None:
    """Make `tree` the content of /var/lib/openstack; not compiled yet.

    `install` is called with uv, the environment's directory and the flags that choose wheels for the image; it installs.
    Raises PlaneshiftError: PS404, PS405, PS406, PS408 as uv fails.
    """
    command = uv(variables, say)
    command("venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", sys.executable, str(tree))
    install(command, tree, ("--python-version", python.series, "--python-platform", python.platform))
    with files.failing(f"{tree} cannot be written"):
        _settle(tree, python, system_packages)


def _settle(tree: Path, python: Interpreter, system_packages: bool) -> None:
    """Take out what is of this machine, and put in what is of the image."""
    for path in [*(tree / name for name in _DROPPED), *tree.glob("bin/*")]:
        if path.parent == tree or _DROPPED_PROGRAMS.fullmatch(path.name) or path.name.startswith("python"):
            path.unlink(missing_ok=True)
    library = tree / "lib" / f"python{python.series}"
    for found in (tree / "lib").iterdir():
        if found != library:
            found.rename(library)
    for name, target in (("python3", python.path), ("python", "python3"), (f"python{python.series}", "python3")):
        (tree / "bin" / name).symlink_to(target)
    version = ".".join(map(str, python.version))
    system = str(system_packages).lower()
    settings = f"home = {Path(python.path).parent}\ninclude-system-site-packages = {system}\nversion = {version}\n"
    files.write(tree / "pyvenv.cfg", settings.encode())
    for path in (tree / "bin").iterdir():
        if path.is_file() and not path.is_symlink():
            _settle_program(path)
    site = library / "site-packages"
    (site / "_virtualenv.py").unlink(missing_ok=True)
    (site / "_virtualenv.pth").unlink(missing_ok=True)
    for metadata in sorted(site.glob("*.dist-info")):
        _settle_metadata(site, metadata)


def _settle_program(path: Path) -> None:
    data = path.read_bytes()
    settled = _TRAMPOLINE.sub(f"#!/{PREFIX}/bin/python3\n".encode(), data, count=1)
    if settled != data:
        files.write(path, settled, 0o755)


def _settle_metadata(site: Path, metadata: Path) -> None:
    """Drop what tells of the building machine, and let RECORD say what is there. Format: PEP 376, PEP 627."""
    for name in _DROPPED_METADATA:
        (metadata / name).unlink(missing_ok=True)
    record = metadata / "RECORD"
    rows = []
    for row in csv.reader(record.read_text("utf-8").splitlines()) if record.is_file() else ():
        path = site / row[0]
        if not path.is_file():
            continue
        if row[0].startswith("../") and row[1]:
            data = path.read_bytes()
            row[1:] = [f"sha256={_encoded(data)}", str(len(data))]
        rows.append(row)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(sorted(rows))
    files.write(record, out.getvalue().encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
