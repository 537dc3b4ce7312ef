"""The clusters of a cloud: how each is reached, how images are built, and how they come to the nodes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from planeshift.app import images
from planeshift.app.labs import LabBringer, opened
from planeshift.app.site import Site
from planeshift.drivers import files
from planeshift.errors import PlaneshiftError
from planeshift.model import cloud as model
from planeshift.ports import Archive, Cluster, Say
from planeshift.render.desired import Environment

if TYPE_CHECKING:
    from planeshift.drivers.kubernetes.cluster import Bringer
    from planeshift.images.store import Image, Store


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
            bringer=_bringer(site, c),
            hint=f"Its lab may be down: planeshift lab up -f {c.lab}" if c.lab else "",
        )
        for c in declared
    }


def _kubeconfig(site: Site, cluster: model.Cluster) -> str:
    """The kubeconfig of a declared cluster; empty for the user's own."""
    if cluster.lab:
        return str(opened(site, cluster.lab).kubeconfig)
    return str(site.root / cluster.kubeconfig) if cluster.kubeconfig else ""


def _bringer(site: Site, cluster: model.Cluster) -> Bringer:
    """How images reach a cluster's nodes: by its registry, else straight into those of a lab."""
    if cluster.lab and not cluster.registry:
        return LabBringer(site.root / cluster.lab, cluster.context or cluster.name)
    return RegistryBringer.of(site, cluster.registry or "")


def _helm() -> str:
    from planeshift import tools

    return str(tools.find("helm"))


@dataclass(frozen=True)
class RegistryBringer:
    """Pushes images to the registry that a cluster's nodes pull from."""

    ca: str = ""
    plain_http: bool = False

    @classmethod
    def of(cls, site: Site, registry: str) -> RegistryBringer:
        """For a cluster's registry, as the cloud file says that its host is spoken to."""
        host = registry.partition("/")[0]
        said = next((r for r in site.cloud.spec.registries.values() if r.host == host), None)
        return cls(str(site.root / said.ca) if said.ca else "", said.plain_http) if said else cls()

    def has(self, image: str) -> bool:
        """Whether the registry has it. Asked once: a registry that is down is not waited for, only to look."""
        from planeshift.images.reference import Reference
        from planeshift.images.registry import Registry
        from planeshift.images.transport import Transport

        reference = Reference.parse(image)
        transport = replace(Transport.of(reference, plain=self.plain_http, ca=self.ca), attempts=1)
        try:
            Registry(transport, reference.repository).manifest(reference.tag)
        except PlaneshiftError as error:
            if error.problems[0].code == "PS423":
                return False
            raise
        return True

    def bring(self, image: str, archive: Archive, say: Say) -> None:
        """Push it; what the registry has already is not sent."""
        kept = images.kept()
        images.push(_named(kept.store, image), kept, image, say, plain_http=self.plain_http, ca=self.ca)


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
        _named(store, image)
        with files.failing("the image cannot be written"), tempfile.TemporaryDirectory(dir=store.directory) as place:
            path = Path(place) / "image.tar"
            store.export([image], path)
            yield str(path)


def _named(store: Store, image: str) -> Image:
    """An image by its name; one that was built for another cluster, under another name, gets this one as well."""
    known = store.named()
    same = [n for n in known if n.rpartition("/")[2] == image.rpartition("/")[2]]
    if image not in known and same:
        store.name(image, known[same[0]])
    return store.image(image)
