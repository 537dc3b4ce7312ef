"""Where a lab is: its file, its directory of state, its topology; and what is seen of it in the world."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import model
from planeshift.lab.topology import Host, Topology, topology

FILE = "lab.yaml"


@dataclass(frozen=True)
class Site:
    """An opened lab file."""

    path: Path
    state: Path
    lab: Topology

    @property
    def kubeconfig(self) -> Path:
        """The administrators' kubeconfig, a context for each cluster."""
        return self.state / "kubeconfig"

    def host(self, name: str) -> Host:
        """A declared host. Raises PlaneshiftError (PS445)."""
        found = self.lab.host(name)
        if found is None:
            known = ", ".join(h.name for h in self.lab.hosts)
            raise PlaneshiftError(Problem("PS445", f"the lab has no host {name!r}", hint=f"There are {known}."))
        return found


def open_lab(file: str | None) -> Site:
    """Read a lab file: `file`, or lab.yaml here or in a directory above. Raises PlaneshiftError with every problem."""
    path = _find(file)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise PlaneshiftError(Problem("PS105", f"{path} is not a regular file"))
            text = opened.read(2 * 1024 * 1024 + 1)
    except OSError as error:
        hint = "`planeshift lab up -f FILE` names another; examples/hosts-and-pods has one to copy."
        raise PlaneshiftError(Problem("PS105", f"{path} cannot be read: {error.strerror}", hint=hint)) from error
    lab = model.load(text, os.path.relpath(path))
    state = path.resolve().parent / ".planeshift" / f"lab-{lab.metadata.name}"
    return Site(path, state, topology(lab, str(state)))


def _find(file: str | None) -> Path:
    if file:
        return Path(file)
    here = Path.cwd()
    return next((p / FILE for p in (here, *here.parents) if (p / FILE).exists()), here / FILE)


@dataclass(frozen=True)
class HostSeen:
    """What is seen of a host. `pid` is 0 where it does not run; `ready` is what its disk says that it has become."""

    pid: int = 0
    connected: bool = False
    paused: bool = False
    slow: bool = False
    filled: bool = False
    disk: bool = False
    images: str = ""
    ready: str = ""
    served: str = ""  # servers whose databases, users and keys are made


@dataclass(frozen=True)
class ClusterSeen:
    """What is seen of a cluster. `id` is that of its certificate authority; `nodes` says of each whether it is ready."""

    id: str = ""
    answers: bool = False
    nodes: Mapping[str, bool] = field(default_factory=dict)
    storage: bool = False  # the default StorageClass and all that Kubernetes itself runs are there and available


@dataclass(frozen=True)
class Seen:
    """The world, as far as it is the lab's. `others` are hosts that are there but not declared."""

    pid: int = 0
    network: bool = False
    tools: tuple[str, ...] = ()  # that have to be built
    images: str = ""  # the key of the archives that are there
    hosts: Mapping[str, HostSeen] = field(default_factory=dict)
    zones: Mapping[str, bool] = field(default_factory=dict)  # whether it is cut
    clusters: Mapping[str, ClusterSeen] = field(default_factory=dict)
    others: tuple[str, ...] = ()
