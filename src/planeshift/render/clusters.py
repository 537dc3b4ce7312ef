"""Rules on clusters: how they are reached, and their registries. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift.errors import Problem
from planeshift.model import cloud as model
from planeshift.model.source import Document


def check(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """Problems of the clusters and registries, each at its place."""
    for name, registry in cloud.spec.registries.items():
        if registry.ca and registry.plain_http:
            where = document.where(("spec", "registries", name, "plain-http"), key=True)
            hint = "Leave out `plain-http`: with `ca` it is spoken to by TLS."
            yield Problem("PS107", f"the registry `{name}` has a `ca`, and no TLS to check by it", where, hint=hint)
    for index, cluster in enumerate(cloud.spec.clusters):
        here = ("spec", "clusters", index)
        if cluster.expose == "ingress" and cluster.ingress is None:
            where = document.where((*here, "expose"))
            hint = "`ingress: {address: …}` says where the edge reaches its controller."
            yield Problem("PS108", f"`ingress` of the cluster `{cluster.name}` is missing", where, hint=hint)
        if cluster.ingress and cluster.expose != "ingress":
            where = document.where((*here, "ingress"), key=True)
            yield Problem("PS107", "`ingress` goes with `expose: ingress`", where)
