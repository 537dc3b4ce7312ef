"""What of a cloud is in labs: how it is reached, and whether it is there at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planeshift.app.site import Site
from planeshift.engine.world import World
from planeshift.ports import Archive, Say

if TYPE_CHECKING:
    from planeshift import lab


def opened(site: Site, file: str) -> lab.Site:
    """A lab that the cloud file names. Raises PlaneshiftError where its file cannot be read."""
    from planeshift.lab import open_lab

    return open_lab(str(site.root / file))


def command(site: Site, file: str, host: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` in a lab's host. Raises PlaneshiftError (PS445) where that does not run."""
    from planeshift.lab import machine

    return machine(opened(site, file), host).command(argv)


def there(site: Site, world: World, say: Say) -> World:
    """The world without the labs' hosts and clusters that are gone: nothing runs there that could be stopped.

    A host that does not run has lost its processes and their files, which lay in its memory; a cluster is gone when its
    lab was taken down. One that merely does not answer is there.
    """
    from planeshift.lab import runs

    spec = site.cloud.spec
    hosts = {h.name for h in spec.hosts if h.lab and not runs(opened(site, h.lab), h.name)}
    clusters = {c.name for c in spec.clusters if c.lab and not opened(site, c.lab).kubeconfig.exists()}
    for name in sorted(hosts):
        say(f"{name} does not run, so nothing of this cloud runs there")
    for name in sorted(clusters):
        say(f"{name} is gone with its lab, and what ran there with it")
    return replace(
        world,
        hosts={name: host for name, host in world.hosts.items() if name not in hosts},
        clusters={name: cluster for name, cluster in world.clusters.items() if name not in clusters},
    )


@dataclass(frozen=True)
class LabBringer:
    """Imports images into the nodes of a lab's cluster."""

    lab: Path
    cluster: str

    def has(self, image: str) -> bool:
        """Whether every node that runs has it."""
        from planeshift.lab import has_image, open_lab

        return has_image(open_lab(str(self.lab)), image, self.cluster)

    def bring(self, image: str, archive: Archive, say: Say) -> None:
        """Import it into each that runs."""
        from planeshift.lab import import_image, open_lab

        with archive() as path:
            for node in import_image(open_lab(str(self.lab)), Path(path), self.cluster):
                say(f"{node} has {image}")
