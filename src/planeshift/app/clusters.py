"""The clusters of a cloud: how each is reached, and how images come to its nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from planeshift.app.site import Site
from planeshift.model import cloud as model
from planeshift.ports import Cluster


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
            kubeconfig=kubeconfig(site, c),
            context=c.context or "",
            namespace=c.namespace,
            helm=_helm,
            bringer=None,
        )
        for c in declared
    }


def kubeconfig(site: Site, cluster: model.Cluster) -> str:
    """The kubeconfig of a declared cluster; empty for the user's own."""
    return str(site.root / cluster.kubeconfig) if cluster.kubeconfig else ""


def _helm() -> str:
    from planeshift import tools

    return str(tools.find("helm"))


_ = (Callable, Path)
