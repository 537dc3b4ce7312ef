"""A backend of pods: the same files as on a host, and the values of its Helm release. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from planeshift import catalog
from planeshift.catalog.spec import Component
from planeshift.model import cloud as model
from planeshift.model.source import parse
from planeshift.render import adapter, stores, topology
from planeshift.render import chart as ours
from planeshift.render.chart import DATA, PROGRAMS, ROOT, RUN, config_directory
from planeshift.render.consumers import replicas
from planeshift.render.desired import (
    AUTHORITY,
    ChartSource,
    ChartView,
    DesiredPods,
    File,
    Override,
    Pods,
    ReleasedChart,
)
from planeshift.render.sites import Place, Sites, config_path

MAX_OBJECT = 1_000_000  # bytes of a ConfigMap or Secret: https://kubernetes.io/docs/concepts/configuration/configmap/


ChartViews = Mapping[ChartSource, ChartView]


def desired_pods(
    sites: Sites, pods: Pods, views: ChartViews, idle: Collection[str] = (), more: Mapping[str, File] | None = None
) -> DesiredPods:
    """What a cluster's backend wants; `views` is what was found of charts that are not ours.

    `idle` names those pods that are not to take messages now, `more` are further files.
    """
    spec, cloud = catalog.service(pods.service), sites.cloud
    cluster = topology.cluster(cloud, pods.cluster)
    ca_file = f"{ROOT}/{AUTHORITY}" if sites.has_authority() else ""
    config = f"{ROOT}/{config_directory(spec)}"
    database = sites.database_url(pods.service, f"{DATA}/{pods.service}.sqlite", with_password=True, ca_file=ca_file)
    programs = frozenset(c.name for c in (pods.component, *pods.takers, *pods.others))
    place = Place(pods.host, RUN, pods.cell, programs) if spec.cells else None
    site = sites.site(spec, pods.release, config, DATA, PROGRAMS, database, ca_file, place)
    files = {**sites.files(spec, site), **(more or {})}
    if ca_file:
        files[AUTHORITY] = File(sites.authority().encode())
    values, chart = _values(sites, pods, cluster, ca_file), _chart(sites, pods, views)
    if pods.takers or pods.others:
        values["serve"] = bool(pods.port)
    if pods.others:
        values["others"] = {c.name: _other(cloud, pods, cluster, c) for c in pods.others}
    if pods.takers:
        taking = [unit for unit in replicas(pods) if unit not in idle]
        values["takers"] = {c.name: len(taking) for c in pods.takers}
        values["buses"] = sorted({port for store in _buses(sites, pods) for _, port in store.hosts})
    found = DesiredPods(pods, files, values, cluster.namespace, chart)
    if chart and chart.values:
        file, names = str(_declared(sites, pods).values), adapter.overridden(chart.values, _adapted(found, b""))
        sites.overridden += [Override(pods.service, "values", name, file) for name in names]
    return found


def _declared(sites: Sites, pods: Pods) -> model.Chart:
    declared = sites.cloud.spec.services[pods.service].backends[pods.backend].chart
    assert declared is not None  # noqa: S101 - asked only where there is one
    return declared


def _chart(sites: Sites, pods: Pods, views: ChartViews) -> ReleasedChart | None:
    source = topology.chart_source(sites.cloud, pods.service, pods.backend)
    if source is None:
        return None
    declared = _declared(sites, pods)
    text = sites.tree.get(declared.values or "", b"")
    values = parse(text, declared.values or "").data if text.strip() else {}
    cluster = topology.cluster(sites.cloud, pods.cluster)
    kinds = {"standard": adapter.standard(cluster.expose, pull=bool(cluster.pull_secrets)), "planeshift": None}
    tree = kinds[declared.adapter] if isinstance(declared.adapter, str) else declared.adapter
    return ReleasedChart(source, views.get(source, ChartView()), values or {}, tree)


def _adapted(desired: DesiredPods, digest_key: bytes) -> dict[str, Any]:
    """What we put into the values of a chart that is not ours."""
    if desired.chart is None or desired.chart.adapter is None:
        return own_values(desired, digest_key)
    own, pods = own_values(desired, digest_key), desired.pods
    config, secret, ingress = own["existingConfig"], own["existingSecret"], own.get("ingress", {})
    repository, tag = adapter.split(pods.image)
    facts = {
        "cloud": own["cloud"],
        "release": pods.release,
        "image": pods.image,
        "image.repository": repository,
        "image.tag": tag,
        "replicas": pods.replicas,
        "workers": own["workers"],
        "threads": own["threads"],
        "pull.secrets": own.get("imagePullSecrets", []),
        "service.type": own["service"]["type"],
        "service.port": pods.port if "nodePort" in own["service"] else pods.component.port,
        "ingress.host": ingress.get("host", ""),
        "ingress.class": ingress.get("className", ""),
        "ingress.annotations": ingress.get("annotations", {}),
        "root": ROOT,
        "config": config["name"],
        "config.items": config["items"],
        "secret": secret["name"],
        "secret.items": secret["items"],
        "sources": [{"configMap": config}, {"secret": secret}],
    }
    found: dict[str, Any] = adapter.filled(desired.chart.adapter, facts)
    return found


def _values(sites: Sites, pods: Pods, cluster: model.Cluster, ca_file: str) -> dict[str, Any]:
    cloud = sites.cloud
    backend = cloud.spec.services[pods.service].backends[pods.backend]
    values: dict[str, Any] = {
        "cloud": cloud.metadata.name,
        "image": pods.image,
        "workers": pods.component.workers,
        "threads": pods.component.threads,
        "service": _service(pods, cluster),
        "migrate": {"enabled": False},  # one operation of the service, not of every release
        "networkPolicy": {"egress": list(_reached(sites, pods))},
    }
    if backend.autoscale:
        scale = backend.autoscale
        values["autoscaling"] = {"enabled": True, "min": scale.min, "max": scale.max, "cpu": scale.cpu}
    else:
        values["replicas"] = pods.replicas
    if cluster.pull_secrets:
        values["imagePullSecrets"] = [{"name": name} for name in cluster.pull_secrets]
    if cluster.ingress and pods.port:
        controller = cluster.ingress
        values["ingress"] = {"enabled": True, "host": topology.ingress_host(cluster, pods.name)}
        values["ingress"] |= {"className": controller.class_name} if controller.class_name else {}
        values["ingress"] |= {"annotations": dict(controller.annotations)} if controller.annotations else {}
    if backend.resources:
        values["resources"] = {kind: dict(amounts) for kind, amounts in backend.resources.items()}
    if ca_file:
        values["environment"] = {"REQUESTS_CA_BUNDLE": ca_file}
    return values


def _service(pods: Pods, cluster: model.Cluster) -> dict[str, Any]:
    if not pods.port:
        return {"type": "ClusterIP"}
    kinds: dict[str, dict[str, Any]] = {
        "nodeport": {"type": "NodePort", "nodePort": pods.port},
        "loadbalancer": {"type": "LoadBalancer"},
        "ingress": {"type": "ClusterIP"},
    }
    return kinds[cluster.expose]


def _other(cloud: model.Cloud, pods: Pods, cluster: model.Cluster, component: Component) -> dict[str, Any]:
    """The values of a program that no edge sends anything; an ingress controller is for what the edge does send."""
    backend = cloud.spec.services[pods.service].backends[pods.backend]
    threads = {"workers": component.workers, "threads": component.threads} if component.wsgi else {}
    service: dict[str, Any] = {"type": "NodePort", "nodePort": topology.other_port(backend, component)}
    if cluster.expose == "loadbalancer":
        service = {"type": "LoadBalancer"}
    return {"replicas": pods.replicas, **threads, "service": service}


def beside(values: Mapping[str, Any]) -> dict[str, int]:
    """How many pods a release's values ask for besides those that the edge sends requests to, by program."""
    return {**values.get("takers", {}), **{name: own["replicas"] for name, own in values.get("others", {}).items()}}


def _buses(sites: Sites, pods: Pods) -> list[stores.Store]:
    """The message buses that pods speak over: their cell's, or all of the service above the cells."""
    found = stores.all_buses(sites.cloud, pods.service)
    return [store for store in found if not pods.cell or store.cell == pods.cell]


def _reached(sites: Sites, pods: Pods) -> Iterator[dict[str, Any]]:
    """Whom the service must reach: its databases, buses, caches, Keystone and the services behind the same edge.

    What its own configuration names besides, such as a store of images, cannot be known: where the operator gives the
    service files of his own, HTTP's usual ports and those above 1023 stay open. So they do for a program that is no
    application: a proxy of consoles is told by its database where to go.
    """
    cloud, service = sites.cloud, pods.service
    databases = [s for s in stores.all_databases(cloud, service) if not pods.cell or s.cell == pods.cell]
    for name, number in dict.fromkeys(place for s in (*databases, *_buses(sites, pods)) for place in s.hosts):
        yield _to(name, [number])
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
    told = any(path.startswith(f"{config_path(cloud, service)}/") for path in sites.tree)
    if told or any(not c.wsgi for c in pods.others):
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
    if desired.chart is None:
        return own_values(desired, digest_key)
    return adapter.merged(desired.chart.values, _adapted(desired, digest_key))


def chart_digest(desired: DesiredPods) -> str:
    """What tells the chart of its release from another one, no longer than a label; empty where that is not known."""
    return desired.chart.view.digest[:63] if desired.chart else ours.chart_digest(desired.pods.service)


def own_values(desired: DesiredPods, digest_key: bytes) -> dict[str, Any]:
    """All values of our own chart, by which commands of the service run in any case."""
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
