"""A backend of pods: the same files as on a host, and the values of its Helm release. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from planeshift import catalog
from planeshift.model import cloud as model
from planeshift.render import topology
from planeshift.render.chart import DATA, PROGRAMS, ROOT, config_directory
from planeshift.render.desired import DesiredPods, File, Pods
from planeshift.render.sites import Sites, config_path

AUTHORITY = "ca.pem"  # of a trial certificate, below ROOT
MAX_OBJECT = 1_000_000  # bytes of a ConfigMap or Secret: https://kubernetes.io/docs/concepts/configuration/configmap/


def desired_pods(sites: Sites, pods: Pods) -> DesiredPods:
    """What a cluster's backend wants."""
    spec, cloud = catalog.service(pods.service), sites.cloud
    cluster = topology.cluster(cloud, pods.cluster)
    ca_file = f"{ROOT}/{AUTHORITY}" if sites.has_trial() else ""
    config = f"{ROOT}/{config_directory(spec)}"
    database = sites.database_url(pods.service, f"{DATA}/{pods.service}.sqlite", with_password=True)
    site = sites.site(spec, pods.release, config, DATA, PROGRAMS, database, ca_file)
    files = dict(sites.files(spec, site))
    if ca_file:
        files[AUTHORITY] = File(sites.trial().get("ca_certificate", "").encode())
    return DesiredPods(pods, files, _values(sites, pods, cluster, ca_file), cluster.namespace)


def _values(sites: Sites, pods: Pods, cluster: model.Cluster, ca_file: str) -> dict[str, Any]:
    cloud = sites.cloud
    backend = cloud.spec.services[pods.service].backends[pods.backend]
    nodeport = cluster.expose == "nodeport"
    values: dict[str, Any] = {
        "cloud": cloud.metadata.name,
        "image": pods.image,
        "workers": pods.component.workers,
        "threads": pods.component.threads,
        "service": {"type": "NodePort", "nodePort": pods.port} if nodeport else {"type": "LoadBalancer"},
        "migrate": {"enabled": False},  # one operation of the service, not of every release
        "networkPolicy": {"egress": list(_reached(sites, pods.service))},
    }
    if backend.autoscale:
        scale = backend.autoscale
        values["autoscaling"] = {"enabled": True, "min": scale.min, "max": scale.max, "cpu": scale.cpu}
    else:
        values["replicas"] = pods.replicas
    if backend.resources:
        values["resources"] = {kind: dict(amounts) for kind, amounts in backend.resources.items()}
    if ca_file:
        values["environment"] = {"REQUESTS_CA_BUNDLE": ca_file}
    return values


def _reached(sites: Sites, service: str) -> Iterator[dict[str, Any]]:
    """Whom the service must reach: its database, caches, Keystone and the services behind the same edge.

    What its own configuration names besides, such as a store of images, cannot be known: where the operator gives the
    service files of his own, HTTP's usual ports and those above 1023 stay open.
    """
    cloud = sites.cloud
    database = topology.database(cloud, service)
    if database and database.host:
        yield _to(database.host, [database.port])
    for cache in sites.caches(service):
        host, _, port = cache.rpartition(":")
        yield _to(host, [int(port)])
    ports: dict[str, set[int]] = {}
    for name in cloud.spec.services:
        if name in catalog.names():
            url = urlsplit(topology.urls(cloud, name)[1])
            ports.setdefault(url.hostname or "", set()).add(url.port or (443 if url.scheme == "https" else 80))
    for host, found in ports.items():
        yield _to(host, sorted(found))
    if any(path.startswith(f"{config_path(cloud, service)}/") for path in sites.tree):
        web = [{"port": port, "protocol": "TCP"} for port in (80, 443)]
        yield {"ports": [*web, {"port": 1024, "endPort": 65535, "protocol": "TCP"}]}


def _to(host: str, ports: Sequence[int]) -> dict[str, Any]:
    """A rule for an address; a policy knows no names, so for a name only the ports are said."""
    rule: dict[str, Any] = {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return rule
    return {"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], **rule}


def key(path: str) -> str:
    """A path as the key of a ConfigMap or Secret."""
    return re.sub(r"[^-._a-zA-Z0-9]", "_", path)


def items(files: Mapping[str, File], *, secret: bool) -> list[dict[str, str]]:
    """Where a projected volume puts each file. Raises ValueError where two paths would have one key."""
    paths = sorted(path for path, file in files.items() if file.secret is secret)
    if len({key(path) for path in paths}) < len(paths):
        raise ValueError("two files whose names differ by special characters alone")
    return [{"key": key(path), "path": path} for path in paths]


def release_values(desired: DesiredPods, digest_key: bytes) -> dict[str, Any]:
    """All values of its Helm release: no secret, but the names of the objects that hold them."""
    return {
        **desired.values,
        "existingConfig": {
            "name": desired.object_name(digest_key, secret=False),
            "items": items(desired.files, secret=False),
        },
        "existingSecret": {
            "name": desired.object_name(digest_key, secret=True),
            "items": items(desired.files, secret=True),
        },
    }
