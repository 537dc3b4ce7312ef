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
from planeshift.lab import cluster, faults, host
from planeshift.lab.processes import Init
from planeshift.lab.site import Site, open_lab
from planeshift.lab.topology import Host

__all__ = ["Machine", "Site", "has_image", "import_image", "machine", "open_lab"]


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
    """A host that runs. Raises PlaneshiftError (PS445) where there is none, or it does not run."""
    declared = site.host(name)
    return Machine(site, declared, faults.running(site, name)[1])


def import_image(site: Site, archive: Path) -> list[str]:
    """Import an archive of images (OCI or Docker's) into every node's containerd; the nodes' names.

    Raises PlaneshiftError: PS445 where a node does not run, PS446 where the archive is not taken.
    """
    nodes = [h for h in site.lab.hosts if h.cluster]
    if not nodes:
        raise PlaneshiftError(Problem("PS445", "the lab has no Kubernetes nodes", hint="Give a host a `cluster`."))
    for node in nodes:
        cluster.import_images(site, node, faults.running(site, node.name)[1], archive)
    return [node.name for node in nodes]


def has_image(site: Site, name: str) -> bool:
    """Whether every node that runs has an image of this name."""
    nodes = [h for h in site.lab.hosts if h.cluster]
    return all(cluster.has_image(site, node, faults.running(site, node.name)[1], name) for node in nodes)
