"""The images that a cluster itself runs from, made of the built tools and a few programs of the distribution."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from planeshift.drivers import files
from planeshift.errors import PlaneshiftError, Problem
from planeshift.images import Config, Entry, Store
from planeshift.lab.kubernetes import PAUSE, REPOSITORY
from planeshift.tools import pins
from planeshift.tools.places import built, cache

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
NODE = ("kube-proxy", "coredns", "local-path-provisioner")
HELPER = f"{REPOSITORY}/helper:1"
# What local-path-provisioner's helper pods, and kube-proxy, call.
_HELPER_PROGRAMS = ("/bin/sh", "/bin/mkdir", "/bin/rm", "/bin/chmod")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


@dataclass(frozen=True)
class Archives:
    """Archives to import into every node, and into those with a control plane as well."""

    node: Path
    control_plane: Path


def reference(tool: str) -> str:
    """The name of a tool's image."""
    return f"{REPOSITORY}/{tool}:v{pins()[tool].version}"


def key() -> str:
    """What the images depend on: the tools' builds and the distribution's programs."""
    parts = [f"{name} {pins()[name].key}" for name in (*CONTROL_PLANE, *NODE)]
    for program in ("/usr/bin/catatonit", "/usr/sbin/nft", *_HELPER_PROGRAMS):
        path = Path(program)
        if path.exists():
            status = path.stat()
            parts.append(f"{program} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\0".join(["1", *parts]).encode()).hexdigest()[:12]


def archives() -> Archives:
    """Where the archives are, or will be."""
    directory = cache().parent / "lab" / key()
    return Archives(directory / "node.tar", directory / "control-plane.tar")


def made() -> bool:
    """Whether the archives are there."""
    found = archives()
    return found.node.exists() and found.control_plane.exists()


def make() -> Archives:
    """Make the archives, once for these tools."""
    found = archives()
    if made():
        return found
    directory = found.node.parent
    files.private(cache())
    files.private(directory.parent)
    files.private(directory)
    store = Store(directory / "store")
    _image(store, PAUSE, [_program("/usr/bin/catatonit", "catatonit")], ("/catatonit", "-P"))
    helper = list(closure([*_HELPER_PROGRAMS, "/usr/sbin/nft"]))
    _image(store, HELPER, [helper], ("/bin/sh",))
    for tool in (*CONTROL_PLANE, *NODE):
        layers = [_program(built(pins()[tool]), f"usr/local/bin/{tool}")]
        if tool == "kube-proxy":
            layers.insert(0, helper)
        _image(store, reference(tool), layers, (f"/usr/local/bin/{tool}",))
    for path, names in (
        (found.node, [PAUSE, HELPER, *map(reference, NODE)]),
        (found.control_plane, [reference(tool) for tool in CONTROL_PLANE]),
    ):
        partial = path.with_suffix(".new")
        store.export(names, partial)
        partial.replace(path)
    shutil.rmtree(store.directory, ignore_errors=True)
    for old in directory.parent.iterdir():  # of tools that are no longer pinned
        if old != directory and re.fullmatch(r"[0-9a-f]{12}", old.name):
            shutil.rmtree(old, ignore_errors=True)
    return found


def _image(store: Store, name: str, layers: Iterable[list[Entry]], entrypoint: tuple[str, ...]) -> None:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    written = [store.add_layer(entries) for entries in layers]
    store.add_image(written, Config(entrypoint=entrypoint, environment=environment), name=name)


def _program(path: str | Path, name: str) -> list[Entry]:
    source = Path(path)
    return [*_parents([name]), Entry(name, mode=0o755, content=source, size=source.stat().st_size)]


def closure(programs: Iterable[str]) -> Iterable[Entry]:
    """Programs of this machine with the libraries that they are linked to, as ldd(1) finds them."""
    wanted: dict[str, Path] = {}
    for program in programs:
        if not Path(program).exists():
            raise PlaneshiftError(Problem("PS441", f"{program} is not on this machine"))
        wanted[program] = Path(program).resolve()
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for library in _LIBRARY.findall(done.stdout):
            wanted[library] = Path(library).resolve()
    yield from _parents(path.lstrip("/") for path in wanted)
    for name, source in sorted(wanted.items()):
        yield Entry(name.lstrip("/"), mode=0o755, content=source, size=source.stat().st_size)


def _parents(names: Iterable[str]) -> list[Entry]:
    found = {str(p) for name in names for p in Path(name).parents if str(p) != "."}
    return [Entry(p, "directory", 0o755) for p in sorted(found)]
