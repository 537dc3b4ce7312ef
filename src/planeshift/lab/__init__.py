"""Hosts and Kubernetes nodes made of Linux namespaces on one machine, to rehearse and to test on.

    from planeshift import lab

    site = lab.open_lab("lab.yaml")
    site.kubeconfig                           # of its clusters, a context for each
    vm = lab.machine(site, "vm1")             # a host that runs
    vm.command(["hostname"])                  # the argv that runs a command in it
    vm.root / "etc/hostname"                  # its files, as this machine reaches them
    lab.import_image(site, Path("image.tar")) # into the containerd of every node

Pure: `model` (the lab file), `topology` (names and addresses), `kubernetes` (what kubeadm and the rest are told), `plan`
(what has to be done). The rest acts. There is no state to go wrong: what runs is found by its marker (`processes`), and
all of it ends with one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import cgroups, cluster, faults, host, processes
from planeshift.lab.processes import Init
from planeshift.lab.site import Site, open_lab
from planeshift.lab.topology import Host

__all__ = ["Machine", "Site", "has_image", "import_image", "machine", "open_lab", "runs"]


@dataclass(frozen=True)
class Machine:
    """A host of a lab that runs."""

    site: Site
    host: Host
    init: Init

    @property
    def address(self) -> str:
        """Its address, which this machine reaches."""
        return self.host.address

    @property
    def root(self) -> Path:
        """Its root directory, as this machine reaches it; absolute symbolic links in it would lead back here."""
        return Path(f"/proc/{self.init.pid}/root")

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command that, run here, runs `argv` in it: as its root, with its own environment, in its control groups."""
        return host.entering(self.site.state, self.site.lab, self.host, self.init, argv)


def machine(site: Site, name: str) -> Machine:
    """A host that runs. Raises PlaneshiftError (PS445) where there is none, or it does not run, or is paused."""
    declared = site.host(name)
    init = faults.running(site, name)[1]
    if cgroups.frozen(site.lab.id, name):  # what is started in it would never begin
        raise PlaneshiftError(Problem("PS445", f"{name} is paused", hint=f"planeshift lab fault resume {name}"))
    return Machine(site, declared, init)


def runs(site: Site, name: str) -> bool:
    """Whether a declared host runs. Raises PlaneshiftError (PS445) where none of this name is declared."""
    return site.host(name).name in processes.inits(site.state)


def import_image(site: Site, archive: Path, of: str = "") -> list[str]:
    """Import an archive of images (OCI or Docker's) into the containerd of each node that runs, and return their names.

    `of` is a cluster; without it the nodes are those of all clusters. Raises PlaneshiftError: PS445 where no node runs,
    PS446 where the archive is not taken.
    """
    nodes = _running_nodes(site, of)
    if not nodes:
        raise PlaneshiftError(Problem("PS445", "no Kubernetes node of the lab runs", hint="planeshift lab up"))
    for node in nodes:
        cluster.import_images(site, node.host, node.init, archive)
    return [node.host.name for node in nodes]


def has_image(site: Site, name: str, of: str = "") -> bool:
    """Whether each node that runs, of a cluster or of all, has an image of this name."""
    return all(cluster.has_image(site, node.host, node.init, name) for node in _running_nodes(site, of))


def _running_nodes(site: Site, of: str) -> list[Machine]:
    """Nodes that take commands: one that is down or paused gets what it lacks when it is back."""
    found = processes.inits(site.state)
    nodes = [h for h in site.lab.hosts if h.cluster and of in ("", h.cluster) and h.name in found]
    return [Machine(site, node, found[node.name]) for node in nodes if not cgroups.frozen(site.lab.id, node.name)]
