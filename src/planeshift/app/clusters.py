"""The clusters of a cloud: how each is reached, how images are built, and how they come to the nodes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planeshift.app import images
from planeshift.app.site import Site
from planeshift.drivers import files
from planeshift.model import cloud as model
from planeshift.ports import Cluster, Say
from planeshift.render.desired import Environment


def clusters(site: Site) -> dict[str, Cluster]:
    """Drivers of the declared clusters, by name. Nothing is imported, and nobody asked, where there are none."""
    declared = site.cloud.spec.clusters
    if not declared:
        return {}
    from planeshift.drivers.kubernetes import KubernetesCluster

    return {
        c.name: KubernetesCluster(
            name=c.name,
            cloud=site.cloud.metadata.name,
            kubeconfig=_kubeconfig(site, c),
            context=c.context or (c.name if c.lab else ""),
            namespace=c.namespace,
            helm=_helm,
            bringer=LabBringer(site.root / c.lab, c.name) if c.lab else None,
        )
        for c in declared
    }


def _kubeconfig(site: Site, cluster: model.Cluster) -> str:
    """The kubeconfig of a declared cluster; empty for the user's own."""
    if cluster.lab:
        from planeshift.lab import open_lab

        return str(open_lab(str(site.root / cluster.lab)).kubeconfig)
    return str(site.root / cluster.kubeconfig) if cluster.kubeconfig else ""


def _helm() -> str:
    from planeshift import tools

    return str(tools.find("helm"))


@dataclass(frozen=True)
class LabBringer:
    """Imports images into the nodes of a lab."""

    lab: Path
    cluster: str

    def has(self, image: str) -> bool:
        """Whether every node has it."""
        from planeshift.lab import has_image, open_lab

        return has_image(open_lab(str(self.lab)), image)

    def bring(self, image: str, archive: str, say: Say) -> None:
        """Import it into each."""
        from planeshift.lab import import_image, open_lab

        for node in import_image(open_lab(str(self.lab)), Path(archive)):
            say(f"{node} has {image}")


class LocalImages:
    """Images of services, built on this machine and kept in the user's cache. Implements `ports.Images`.

    The id of the environment that an image holds is in its name.
    """

    def built(self) -> frozenset[str]:
        return frozenset(name.rpartition("/")[2].replace(":", "-") for name in images.kept().store.named())

    def build(self, environment: Environment, image: str, say: Say) -> None:
        what = images.Request(
            environment.service, environment.release, image, dist=environment.dist, pip=environment.pip
        )
        images.build(what, say)

    @contextlib.contextmanager
    def archive(self, environment: str, image: str) -> Iterator[str]:
        store = images.kept().store
        names = [n for n in store.named() if n.rpartition("/")[2].replace(":", "-") == environment]
        kept = store.named()[image if image in names else names[0]]
        store.name(image, kept)  # another cluster may know it by another name
        with files.failing("the image cannot be written"), tempfile.TemporaryDirectory(dir=store.directory) as place:
            path = Path(place) / "image.tar"
            store.export([image], path)
            yield str(path)
