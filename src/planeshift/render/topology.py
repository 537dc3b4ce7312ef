"""Who runs what where: names, addresses, ports and URLs of a cloud, defaults filled in. Pure."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from planeshift import catalog
from planeshift.catalog.spec import Component, ServiceSpec
from planeshift.model import cloud as model
from planeshift.render.desired import (
    Bind,
    ChartSource,
    ClusterView,
    Environment,
    Frontend,
    Hop,
    Pods,
    Server,
    Unit,
)
from planeshift.render.weights import Shares, server_weights

# A backend's own port, beside the usual one at which the edge listens on the same machine.
BACKEND_OFFSET = 10_000
SQLITE = "sqlite"
ZERO = "cell0"  # holds what was never scheduled to any cell: https://docs.openstack.org/nova/latest/admin/cells.html
CONSUMERS = "consumers"
# Ports of nodes, of https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport.
NODE_PORTS = range(30_000, 32_768)
IMAGES = "planeshift.local"  # no registry: images that were brought to the nodes
REPLICAS = 2


def edges(cloud: model.Cloud) -> list[model.Edge]:
    """The edges; one on the loopback address where the file declares none."""
    return cloud.spec.edges or [model.Edge(name="edge")]


def driven(cloud: model.Cloud) -> list[model.Edge]:
    """The edges that are somebody else's."""
    return [edge for edge in cloud.spec.edges if edge.mode == "driven"]


def edge_host(cloud: model.Cloud, edge: model.Edge) -> str:
    """The host that runs a managed edge: the first local one, unless it says otherwise; empty where there is none."""
    if edge.mode == "driven":
        return ""
    return edge.host or next((h.name for h in cloud.spec.hosts if h.via == "local"), "")


def cluster(cloud: model.Cloud, name: str) -> model.Cluster:
    """A declared cluster by name."""
    return next(c for c in cloud.spec.clusters if c.name == name)


def hosts(cloud: model.Cloud) -> dict[str, model.Host]:
    """The hosts by name."""
    return {host.name: host for host in cloud.spec.hosts}


def ours(cloud: model.Cloud) -> dict[str, ServiceSpec]:
    """The catalogue's word on each service that is run here, in the file's order."""
    return {
        name: catalog.service(name)
        for name, service in cloud.spec.services.items()
        if name in catalog.names() and not service.endpoint
    }


def release(cloud: model.Cloud, service: str, backend: model.Backend) -> str:
    """The release that a backend runs."""
    return backend.release or cloud.spec.services[service].release or cloud.spec.release


def mover(service: str, backend: model.Backend) -> str:
    """What a backend's weight is a share of: the service's requests, else the messages of a cell; empty for neither.

    The name is the service's, or `service@cell`, with cell0 for what takes messages above the cells.
    """
    if serves(service, backend):
        return service
    return f"{service}@{backend.cell or ZERO}" if takers(service, backend) else ""


def takers(service: str, backend: model.Backend) -> frozenset[str]:
    """The names of what a backend runs that takes messages."""
    return frozenset(c.name for c in _named(service, backend) if c.topic)


def movers(cloud: model.Cloud) -> list[str]:
    """Everything that moves by weights: every service, and consumers whose backends have weights."""
    found: dict[str, None] = {}
    for service in ours(cloud):
        found[service] = None
        for backend in cloud.spec.services[service].backends.values():
            name = mover(service, backend)
            if name and backend.weight is not None:
                found[name] = None
    return list(found)


def weights(cloud: model.Cloud, name: str) -> dict[str, int]:
    """The share in percent of each backend of a mover. Consumers without any weight all run, and have none."""
    service = name.partition("@")[0]
    found = {n: b.weight for n, b in cloud.spec.services[service].backends.items() if mover(service, b) == name}
    if name != service and not any(weight is not None for weight in found.values()):
        return {}
    if len(found) == 1:
        return {name: 100 if weight is None else weight for name, weight in found.items()}
    return {name: weight or 0 for name, weight in found.items()}


def frontend_port(cloud: model.Cloud, service: str) -> int:
    """The port of a service at the edge."""
    return cloud.spec.services[service].port or catalog.service(service).components[0].port


def node_port(service: str, backend: model.Backend) -> int:
    """The port of a cluster's nodes that leads to a backend's pods."""
    usual = catalog.service(service).components[0].port
    return backend.port or NODE_PORTS[usual % len(NODE_PORTS)]


def other_port(backend: model.Backend, component: Component) -> int:
    """The port of a cluster's nodes that leads to the pods of a program that no edge sends anything."""
    settings = backend.components.get(component.name)
    return (settings and settings.port) or NODE_PORTS[component.port % len(NODE_PORTS)]


def ingress_host(cluster: model.Cluster, release: str) -> str:
    """The name by which an ingress controller knows a release's pods. The edge alone uses it; no DNS has to know it."""
    return f"{release}.{cluster.namespace}.{cluster.name}.internal"


def hop_address(cloud: model.Cloud, edge: model.Edge) -> str:
    """Where an edge listens for what it sends to an ingress controller itself: an address of its machine for each edge."""
    return f"127.0.0.{1 + [e.name for e in edges(cloud)].index(edge.name)}"


def backend_port(cloud: model.Cloud, service: str, backend: model.Backend, host: model.Host) -> int:
    """The port of a backend on a host."""
    found = next((c for c in components(cloud, service, backend) if c.wsgi), None)
    if found is None:
        return 0
    settings = backend.components.get(found.name) or cloud.spec.services[service].components.get(found.name)
    chosen = backend.port or (settings.port if settings else None)
    return chosen or (found.port if host.via == "external" else found.port + BACKEND_OFFSET)


@dataclass(frozen=True)
class Faces:
    """The two names of the edge: what users and what services are told."""

    public: model.Endpoint
    internal: model.Endpoint
    address: str

    def url(self, endpoint: model.Endpoint, port: int) -> str:
        """The URL of a port under an endpoint's name."""
        host = endpoint.host or endpoint.address or self.address
        scheme = "https" if endpoint.tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def faces(cloud: model.Cloud) -> Faces:
    """The endpoints, the internal one as the public one where it is not given."""
    endpoints = cloud.spec.endpoints
    return Faces(endpoints.public, endpoints.internal or endpoints.public, edges(cloud)[0].address)


def has_authority(cloud: model.Cloud) -> bool:
    """Whether services and clients are to trust other authorities than their machine does."""
    return bool(cloud.spec.trust) or has_trial(cloud)


def has_trial(cloud: model.Cloud) -> bool:
    """Whether an endpoint wants a certificate of our own making."""
    found = faces(cloud)
    return any(e.tls and e.tls.trial for e in (found.public, found.internal))


def urls(cloud: model.Cloud, service: str) -> tuple[str, str]:
    """Public and internal URL of a service, without the catalogue's path."""
    foreign = cloud.spec.services[service].endpoint if service in cloud.spec.services else None
    if foreign:
        base = foreign.rstrip("/").removesuffix(catalog.service(service).path)
        return base, base
    found, port = faces(cloud), frontend_port(cloud, service)
    return found.url(found.public, port), found.url(found.internal, port)


def identity_url(cloud: model.Cloud) -> str:
    """Keystone's internal URL, with /v3."""
    return urls(cloud, "keystone")[1] + "/v3"


def environment(cloud: model.Cloud, service: str, release_: str) -> Environment:
    """The environment that a service's backends of one release run from; its id follows from all that is in it."""
    declared = cloud.spec.services[service]
    return _environment(
        service, release_, tuple(declared.extras.pip), tuple(declared.extras.dist), declared.server == "httpd"
    )


@functools.cache
def _environment(service: str, release_: str, pip: tuple[str, ...], extra: tuple[str, ...], httpd: bool) -> Environment:
    spec = catalog.service(service)
    dist = (*extra, *(("apache2-bin",) if httpd else ()))
    lock = catalog.data(service, release_, "lock.txt")
    material = "\n".join([lock, *sorted(pip), "", *sorted(dist)])
    return Environment(
        id=f"{spec.name}-{release_}-{hashlib.sha256(material.encode()).hexdigest()[:10]}",
        service=service,
        release=release_,
        version=str(catalog.facts(service, release_)["version"]),
        requirements=lock,
        pip=pip,
        dist=dist,
        system_packages=bool(extra),
    )


def image(cloud: model.Cloud, service: str, backend: model.Backend, release_: str) -> str:
    """The image of a cluster's backend: the declared one, else ours, named after all that is in it."""
    if backend.image:
        return backend.image
    registry = next(c.registry for c in cloud.spec.clusters if c.name == backend.cluster)
    tag = environment(cloud, service, release_).id.removeprefix(f"{service}-")
    return f"{registry or IMAGES}/{service}:{tag}"


def components(cloud: model.Cloud, service: str, backend: model.Backend) -> tuple[Component, ...]:
    """What a backend runs: the components that it names, else the usual ones; with what the file says of each."""
    return tuple(_settled(cloud, service, backend, c) for c in _named(service, backend))


def _named(service: str, backend: model.Backend) -> list[Component]:
    known = catalog.service(service).components
    where = "cell" if backend.cell else "top"
    return [c for c in known if c.name in backend.components] or [c for c in known if c.usual and where in c.where]


def parts(found: tuple[Component, ...]) -> Iterator[tuple[str, tuple[Component, ...]]]:
    """What of a backend is looked after together: consumers, which can stop alone, apart from the rest, if there is any."""
    takers = tuple(c for c in found if c.topic)
    rest = tuple(c for c in found if not c.topic)
    if rest:
        yield "", rest
    if takers:
        yield (CONSUMERS if rest else ""), takers


def serves(service: str, backend: model.Backend) -> bool:
    """Whether a backend runs what the edge sends requests to: the service's first component."""
    main = catalog.service(service).components[0]
    return bool(main.wsgi) and not backend.cell and (main.name in backend.components if backend.components else True)


def _settled(cloud: model.Cloud, service: str, backend: model.Backend, found: Component) -> Component:
    if found.wsgi and engine(cloud, service) == SQLITE:
        # SQLite has one writer, and refuses a transaction that read before another one wrote: one request at a time.
        found = replace(found, workers=1, threads=found.threads if found.streams else 1)
    for settings in (cloud.spec.services[service].components.get(found.name), backend.components.get(found.name)):
        if settings:
            found = replace(found, workers=settings.workers or found.workers, threads=settings.threads or found.threads)
    return found


def database(cloud: model.Cloud, service: str) -> model.Database | None:
    """The database that a service uses: the one it names, else one called `main`, else none declared."""
    return cloud.spec.databases.get(database_name(cloud, service))


def database_name(cloud: model.Cloud, service: str) -> str:
    """What the cloud file calls the database that a service uses."""
    declared = cloud.spec.services[service].database
    return declared.get("api") or declared.get("main", "main")


def engine(cloud: model.Cloud, service: str) -> str:
    """The engine of a service's database; SQLite where the file does not say."""
    chosen = database(cloud, service)
    return chosen.engine if chosen else SQLITE


def units(cloud: model.Cloud) -> list[Unit]:
    """What runs on hosts of ours."""
    known, result = hosts(cloud), []
    for service in ours(cloud):
        for name, backend in cloud.spec.services[service].backends.items():
            for host in backend.hosts:
                if known[host].via == "external":
                    continue
                series = release(cloud, service, backend)
                result += [
                    Unit(
                        host=host,
                        service=service,
                        backend=name,
                        release=series,
                        components=those,
                        address=known[host].address,
                        port=backend_port(cloud, service, backend, known[host]) if any(c.wsgi for c in those) else 0,
                        environment=environment(cloud, service, series).id,
                        httpd=cloud.spec.services[service].server == "httpd",
                        cell=backend.cell or "",
                        part=part,
                    )
                    for part, those in parts(components(cloud, service, backend))
                ]
    return result


def chart_source(cloud: model.Cloud, service: str, backend: str) -> ChartSource | None:
    """Where the chart of a cluster's backend is had; None where it is ours."""
    chart = cloud.spec.services[service].backends[backend].chart
    return ChartSource((cloud.spec.charts.repository or "").rstrip("/"), chart.name, chart.version) if chart else None


def chart_sources(cloud: model.Cloud) -> list[ChartSource]:
    """Every chart that is not ours, once."""
    found = (chart_source(cloud, p.service, p.backend) for p in pods(cloud))
    return list(dict.fromkeys(source for source in found if source))


def pods(cloud: model.Cloud) -> list[Pods]:
    """What runs in clusters."""
    result = []
    for service, spec in ours(cloud).items():
        others = {c.name for c in spec.others}
        for name, backend in cloud.spec.services[service].backends.items():
            if not backend.cluster:
                continue
            series = release(cloud, service, backend)
            found = components(cloud, service, backend)
            result.append(
                Pods(
                    cluster=backend.cluster,
                    service=service,
                    backend=name,
                    release=series,
                    component=found[0],
                    takers=tuple(c for c in found if c.topic),
                    others=tuple(c for c in found if c.name in others),
                    cell=backend.cell or "",
                    replicas=backend.replicas or REPLICAS,
                    port=node_port(service, backend) if serves(service, backend) else 0,
                    environment=environment(cloud, service, series).id,
                    image=image(cloud, service, backend, series),
                    built=not backend.image,
                )
            )
    return result


def frontends(
    cloud: model.Cloud, edge: model.Edge, views: Mapping[str, ClusterView], shares: Mapping[str, Shares]
) -> list[Frontend]:
    """What an edge serves; `shares` are those of services whose traffic is not where the file wants it yet."""
    return [
        _frontend(cloud, edge, service, views, shares.get(service))
        for service, spec in ours(cloud).items()
        if spec.components[0].wsgi
    ]


def _frontend(
    cloud: model.Cloud, edge: model.Edge, service: str, views: Mapping[str, ClusterView], shares: Shares | None
) -> Frontend:
    spec, declared = catalog.service(service), cloud.spec.services[service]
    serving = [name for name, backend in declared.backends.items() if serves(service, backend)]
    named, hop = edge.services.get(service, model.Driven()), hop_address(cloud, edge)
    found = {name: list(_servers(cloud, service, name, views, hop)) for name in serving}
    servers = [s for name, those in found.items() for s in _renamed(named.servers.get(name), those)]
    parts: dict[str, dict[str, int]] = {}
    for server, part in servers:
        parts.setdefault(server.backend, {})[server.name] = part
    weight = server_weights(weights(cloud, service) if shares is None else shares, parts)
    weighted = tuple(replace(s, weight=weight[s.backend][s.name]) for s, _ in servers)
    main = spec.components[0]
    listens = binds(cloud, edge, frontend_port(cloud, service))
    return Frontend(service, listens, weighted, main.health, main.drain, named.backend or "")


def _renamed(names: list[str] | None, servers: list[tuple[Server, int]]) -> list[tuple[Server, int]]:
    """Servers by the names that a driven edge has for them, one after the other; those without a name are not there."""
    if names is None:
        return servers
    return [(replace(server, name=name), part) for name, (server, part) in zip(names, servers, strict=False)]


def _servers(
    cloud: model.Cloud, service: str, name: str, views: Mapping[str, ClusterView], hop: str
) -> Iterator[tuple[Server, int]]:
    """The servers of a backend, and how much of it each carries: a host one part, a node one for each ready pod.

    `hop` is the edge's own address for what goes to an ingress controller.
    """
    known, backend = hosts(cloud), cloud.spec.services[service].backends[name]
    limit = _at_once(cloud, service, backend)
    for host in backend.hosts:
        port, external = backend_port(cloud, service, backend, known[host]), known[host].via == "external"
        at_once = 0 if external else limit
        yield Server(f"{name}-{host}", name, known[host].address, port, 0, host, external, at_once=at_once), 1
    if not backend.cluster:
        return
    view, release_ = views.get(backend.cluster, ClusterView()), f"{service}-{name}"
    declared = cluster(cloud, backend.cluster)
    if declared.ingress:
        to = Hop(ingress_host(declared, release_), declared.ingress.address, declared.ingress.port)
        port = node_port(service, backend)
        yield Server(f"{name}-{backend.cluster}", name, hop, port, 0, backend.cluster, False, to, limit), 1
        return
    if declared.expose == "loadbalancer":
        address = view.balancers.get(release_)
        usual = catalog.service(service).components[0].port
        if address:
            yield Server(f"{name}-{backend.cluster}", name, address, usual, 0, backend.cluster, False, at_once=limit), 1
        return
    ready = view.ready.get(release_, {})
    for node, address in sorted(view.nodes.items()):
        port = node_port(service, backend)
        # Before the first pod is ready nothing is known: all nodes alike, and the edge's checks tell them apart.
        yield (
            Server(f"{name}-{node}", name, address, port, 0, backend.cluster, False, at_once=limit),
            ready.get(node, 0 if ready else 1),
        )


def _at_once(cloud: model.Cloud, service: str, backend: model.Backend) -> int:
    """How many requests a server of a backend is given at once: as many as its threads, but for one that health checks find
    free. A node may have all pods of a cluster's. 0 where a stock chart says how many threads there are.
    """
    if backend.chart:
        return 0
    main = next(c for c in components(cloud, service, backend) if c.wsgi)
    pods = backend.autoscale.max if backend.autoscale else backend.replicas or REPLICAS
    return (pods if backend.cluster else 1) * max(1, main.workers * main.threads - 1)


def binds(cloud: model.Cloud, edge: model.Edge, port: int) -> tuple[Bind, ...]:
    """Where an edge listens for a port: at the public and the internal address, once where they are the same."""
    found = faces(cloud)
    result: dict[str, Bind] = {}
    for name, endpoint in (("public", found.public), ("internal", found.internal)):
        address = endpoint.address or edge.address
        result.setdefault(address, Bind(address, port, f"{name}.pem" if endpoint.tls else ""))
    return tuple(result.values())
