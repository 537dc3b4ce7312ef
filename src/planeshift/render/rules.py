"""Rules that hold across the cloud file. Pure: a valid `Cloud` in, every problem out, each at its place."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import combinations
from urllib.parse import urlsplit

from planeshift import catalog
from planeshift.errors import Problem
from planeshift.model import cloud as model
from planeshift.model.load import Loaded, nearest
from planeshift.model.source import Document, Path
from planeshift.render import adapter, cells, clusters, stores, topology

SERVICES: Path = ("spec", "services")


def check(loaded: Loaded) -> list[Problem]:
    """Every cross-field problem of a cloud (PS2xx). Rules that build on names run only where the names are right."""
    cloud, document = loaded.cloud, loaded.document
    problems = [*_names(cloud, document), *_services(cloud, document), *_backends(cloud, document)]
    problems += [*cells.check(cloud, document), *clusters.check(cloud, document)]
    if not problems:
        problems = [
            *_weights(cloud, document),
            *_releases(cloud, document),
            *_sharing(cloud, document),
            *_endpoints(cloud, document),
            *_tls(cloud, document),
        ]
    if not problems:
        problems = list(_ports(cloud, document))
    return problems


def _names(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    spec = cloud.spec
    places = [c.name for c in spec.clusters]
    for kind, names in (
        ("hosts", [h.name for h in spec.hosts]),
        ("edges", [e.name for e in spec.edges]),
        ("clusters", places),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Problem(
                    "PS208", f"`{name}` stands twice in `{kind}`", document.where(("spec", kind, index, "name"))
                )
    for index, host in enumerate(spec.hosts):
        if host.zone is not None and host.zone not in spec.zones:
            where = document.where(("spec", "hosts", index, "zone"))
            yield Problem(
                "PS207", f"the zone `{host.zone}` is not declared", where, hint=nearest(host.zone, spec.zones)
            )
    for index, host in enumerate(spec.hosts):
        if host.name in places:
            where = document.where(("spec", "hosts", index, "name"))
            yield Problem("PS208", f"`{host.name}` is a host and a cluster", where)
    for index, host in enumerate(spec.hosts):
        here = document.where(("spec", "hosts", index))
        if host.via == "lab" and not host.lab:
            hint = "`lab: lab.yaml` names the file that declares it."
            yield Problem("PS108", f"`lab` of the host `{host.name}` is missing", here, hint=hint)
        if host.via == "lab" and _loopback(host.address):
            hint = "`planeshift lab status` shows it."
            yield Problem("PS108", f"`address` of the host `{host.name}` is missing", here, hint=hint)
        by_ssh = "ssh" in (host.via, host.observe)
        if by_ssh and "address" not in host.model_fields_set:
            hint = "It is where the edge reaches the host's services; ssh connects to it as well."
            yield Problem("PS108", f"`address` of the host `{host.name}` is missing", here, hint=hint)
        for kind, goes in (("lab", host.via == "lab"), ("ssh", by_ssh)):
            if getattr(host, kind) and not goes:
                where = document.where(("spec", "hosts", index, kind), key=True)
                yield Problem("PS107", f"`{kind}` goes with `via: {kind}`", where)
        if host.observe != "none" and host.via != "external":
            where = document.where(("spec", "hosts", index, "observe"), key=True)
            yield Problem("PS107", f"`observe: {host.observe}` goes with `via: external`", where)
        if host.supervisor == "systemd" and host.via not in ("local", "ssh"):
            where = document.where(("spec", "hosts", index, "supervisor"), key=True)
            yield Problem("PS107", f"`supervisor: systemd` does not go with `via: {host.via}`", where)
    ours = [h.name for h in spec.hosts if h.via == "local"]
    for index, edge in enumerate(spec.edges):
        yield from _driven(cloud, document, index, edge)
        if edge.host is not None and edge.host not in ours:
            where = document.where(("spec", "edges", index, "host"))
            yield Problem("PS201", f"no host of ours is called `{edge.host}`", where, hint=nearest(edge.host, ours))


def _driven(cloud: model.Cloud, document: Document, index: int, edge: model.Edge) -> Iterator[Problem]:
    """An edge of somebody else's has a socket and names; one of ours has neither."""
    path: Path = ("spec", "edges", index)
    if edge.mode == "managed":
        for key in (k for k in ("socket", "services") if getattr(edge, k)):
            where = document.where((*path, key), key=True)
            yield Problem("PS107", f"`{key}` goes with `mode: driven`", where)
        return
    if not edge.socket:
        hint = "`socket: /run/haproxy/admin.sock` names it."
        yield Problem("PS108", f"`socket` of the edge `{edge.name}` is missing", document.where(path), hint=hint)
    for name, driven in edge.services.items():
        if name not in topology.ours(cloud):
            where = document.where((*path, "services", name), key=True)
            hint = nearest(name, list(topology.ours(cloud)))
            yield Problem("PS205", f"this cloud runs no service `{name}`", where, hint=hint)
            continue
        backends = cloud.spec.services[name].backends
        for backend in driven.servers:
            where = document.where((*path, "services", name, "servers", backend), key=True)
            if backend not in backends:
                hint = nearest(backend, list(backends))
                yield Problem("PS202", f"{name} has no backend `{backend}`", where, hint=hint)
            elif backends[backend].hosts and len(driven.servers[backend]) != len(backends[backend].hosts):
                what = f"{len(driven.servers[backend])} names for {len(backends[backend].hosts)} hosts"
                yield Problem("PS107", f"the servers of `{backend}` are {what}", where)


def _services(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    spec = cloud.spec
    known = list(catalog.names())
    if not spec.services:
        yield Problem("PS213", "the cloud has no services", document.where(("spec",)), hint="Add keystone, for one.")
    for name, service in spec.services.items():
        path = (*SERVICES, name)
        if name not in known:
            where = document.where(path, key=True)
            why = f"The catalog has {', '.join(known)}."
            yield Problem("PS205", f"unknown service `{name}`", where, why=why, hint=nearest(name, known))
            continue
        yield from _needs(cloud, document, name)
        if service.endpoint and service.backends:
            yield Problem(
                "PS213", f"{name} has an `endpoint` and backends", document.where((*path, "endpoint"), key=True)
            )
        if service.endpoint and name != "keystone":
            yield Problem(
                "PS110",
                f"`endpoint` of {name} is not yet supported",
                document.where((*path, "endpoint"), key=True),
                hint="Only Keystone can be somebody else's; leave the service out.",
            )
        if not service.endpoint and not service.backends:
            hint = "Give it backends, or `endpoint:` where somebody else runs it."
            yield Problem("PS213", f"nobody runs {name}", document.where(path, key=True), hint=hint)
        yield from _references(cloud, document, name, service)


def _needs(cloud: model.Cloud, document: Document, name: str) -> Iterator[Problem]:
    for need in catalog.service(name).needs:
        if need not in cloud.spec.services:
            hint = f"Add `{need}` with backends, or `{need}: {{endpoint: …}}` where somebody else runs it."
            where = document.where((*SERVICES, name), key=True)
            yield Problem("PS204", f"{name} needs {need}, which is not declared", where, hint=hint)


def _references(cloud: model.Cloud, document: Document, name: str, service: model.Service) -> Iterator[Problem]:
    path, spec = (*SERVICES, name), catalog.service(name)
    components = [c.name for c in spec.components]
    databases, caches = list(cloud.spec.databases), list(cloud.spec.caches)
    for use, database in service.database.items():
        if database not in databases:
            where = document.where((*path, "database", use))
            yield Problem("PS209", f"no database is called `{database}`", where, hint=nearest(database, databases))
    if service.cache is not None and service.cache not in caches:
        where = document.where((*path, "cache"))
        yield Problem("PS209", f"no cache is called `{service.cache}`", where, hint=nearest(service.cache, caches))
    places = [(path, service.components)]
    places += [((*path, "backends", n), b.components) for n, b in service.backends.items()]
    for place, named in places:
        for component in named:
            if component not in components:
                where = document.where((*place, "components", component), key=True)
                hint = nearest(component, components) or f"It has {', '.join(components)}."
                yield Problem("PS206", f"{name} has no component `{component}`", where, hint=hint)
    for index, extra in enumerate(service.extras.pip):
        if "==" not in extra:
            where = document.where((*path, "extras", "pip", index))
            yield Problem("PS216", f"`{extra}` is not pinned", where, hint="Write name==version.")


def _backends(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    known = topology.hosts(cloud)
    for name, service in cloud.spec.services.items():
        for backend, settings in service.backends.items():
            path = (*SERVICES, name, "backends", backend)
            yield from _kind(cloud, document, path, name, settings)
            for index, host in enumerate(settings.hosts):
                where = document.where((*path, "hosts", index))
                if host not in known:
                    hint = nearest(host, list(known))
                    yield Problem("PS201", f"no host is called `{host}`", where, hint=hint)
                elif host in settings.hosts[:index]:
                    yield Problem("PS208", f"`{host}` stands twice in the backend `{backend}`", where)
            kinds = {known[h].via == "external" for h in settings.hosts if h in known}
            if len(kinds) > 1:
                yield Problem(
                    "PS217",
                    f"the backend `{backend}` of {name} mixes external hosts with hosts of ours",
                    document.where((*path, "hosts")),
                    hint="Make two backends of it: each is run by one party, and has a weight of its own.",
                )


def _kind(cloud: model.Cloud, document: Document, path: Path, name: str, backend: model.Backend) -> Iterator[Problem]:
    """A backend is of hosts or of a cluster, and has what belongs to that."""
    what, clusters = f"the backend `{path[-1]}` of {name}", {c.name: c for c in cloud.spec.clusters}
    if bool(backend.hosts) == bool(backend.cluster):
        word = "both hosts and a cluster" if backend.hosts else "neither hosts nor a cluster"
        yield Problem("PS218", f"{what} has {word}", document.where(path, key=True))
        return
    if backend.hosts:
        for key in ("replicas", "image", "autoscale", "resources", "chart"):
            if getattr(backend, key):
                where = document.where((*path, key), key=True)
                yield Problem("PS218", f"`{key}` is for pods, and {what} is of hosts", where)
        return
    cluster = clusters.get(backend.cluster or "")
    if cluster is None:
        hint = nearest(backend.cluster or "", list(clusters)) or "Declare it in `clusters`."
        where = document.where((*path, "cluster"))
        yield Problem("PS201", f"no cluster is called `{backend.cluster}`", where, hint=hint)
        return
    yield from _long(document, path, name, backend)
    ports: dict[Path, int | None] = {(*path, "port"): backend.port}
    ports |= {(*path, "components", n, "port"): settings.port for n, settings in backend.components.items()}
    for place, port in ports.items():
        if port and port not in topology.NODE_PORTS:
            first, last = topology.NODE_PORTS[0], topology.NODE_PORTS[-1]
            where = document.where(place)
            yield Problem("PS203", f"a port of a cluster's nodes is one of {first} to {last}", where)
    if backend.autoscale and (backend.replicas or backend.autoscale.min > backend.autoscale.max):
        where = document.where((*path, "autoscale"), key=True)
        yield Problem("PS218", f"{what}: `autoscale` goes from `min` to `max`, and `replicas` has no part in it", where)
    if backend.chart:
        yield from _chart(cloud, document, path, what, backend, backend.chart)
    if not (backend.image or cluster.lab or cluster.registry):
        hint = "Give the backend an `image`, or its cluster a `registry` that images are pushed to."
        where = document.where((*path, "cluster"))
        yield Problem(
            "PS716", f"an image that is built here cannot reach the nodes of {cluster.name}", where, hint=hint
        )
    if cloud.spec.services[name].server == "httpd":
        where = document.where((*SERVICES, name, "server"))
        yield Problem("PS110", "`server: httpd` of pods is not yet supported", where)


def _long(document: Document, path: Path, name: str, backend: model.Backend) -> Iterator[Problem]:
    """Helm's limit for a release is 53, so that its objects have room; Kubernetes' for a Service 63 (RFC 1123)."""
    release = f"{name}-{path[-1]}"
    others = {c.name for c in catalog.service(name).others} & set(backend.components)
    for made, what, most in (
        (release, "Helm release", 53),
        *((f"{release}-{o}", "Service", 63) for o in sorted(others)),
    ):
        if len(made) > most:
            where, hint = document.where(path, key=True), f"Give the backend a name that is {len(made) - most} shorter."
            yield Problem("PS218", f"the {what} `{made}` has {len(made)} letters of {most}", where, hint=hint)


def _chart(
    cloud: model.Cloud, document: Document, path: Path, what: str, backend: model.Backend, chart: model.Chart
) -> Iterator[Problem]:
    """A chart that is not ours has a repository, and says itself what ours are told by keys of the backend."""
    if not cloud.spec.charts.repository:
        where, hint = document.where((*path, "chart"), key=True), "`charts: {repository: https://…}` names it."
        yield Problem("PS228", f"{what} names a chart, and the cloud no repository", where, hint=hint)
    if chart.adapter != "planeshift":
        for key in ("autoscale", "resources"):
            if getattr(backend, key):
                where, hint = document.where((*path, key), key=True), "Say it in the chart's `values`."
                yield Problem("PS218", f"`{key}` is for our own charts, and {what} has another", where, hint=hint)
    if isinstance(chart.adapter, dict):
        for name in dict.fromkeys(adapter.unknown(chart.adapter)):
            where, known = document.where((*path, "chart", "adapter"), key=True), list(adapter.FACTS)
            hint = nearest(name, known) or f"There are {', '.join(known)}."
            yield Problem("PS228", f"the adapter's {{{name}}} stands for nothing", where, hint=hint)


def _weights(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    for mover in topology.movers(cloud):
        name = mover.partition("@")[0]
        service, path = cloud.spec.services[name], (*SERVICES, name, "backends")
        shares = topology.weights(cloud, mover)
        unlike = [n for n in shares if topology.takers(name, service.backends[n]) != _takers(cloud, name, shares)]
        if mover != name and unlike:
            where, hint = (
                document.where((*path, unlike[0]), key=True),
                "Give them the same `components`, or no weights.",
            )
            yield Problem("PS233", f"backends of {mover} with weights run different programs", where, hint=hint)
        without = [n for n in shares if service.backends[n].weight is None]
        if len(shares) > 1 and without:
            rest = 100 - sum(shares.values())
            hint = f"`weight: {rest}` would make 100." if len(without) == 1 and rest >= 0 else ""
            where = document.where((*path, without[0]), key=True)
            yield Problem("PS202", f"of several backends of {mover}, `{without[0]}` has no weight", where, hint=hint)
        elif shares and sum(shares.values()) != 100:
            total = sum(shares.values())
            where = document.where((*path, next(iter(shares)), "weight"))
            yield Problem("PS202", f"the weights of {mover} make {total}, not 100", where)


def _takers(cloud: model.Cloud, service: str, shares: Mapping[str, int]) -> frozenset[str]:
    """What the first of these backends runs that takes messages."""
    return topology.takers(service, cloud.spec.services[service].backends[next(iter(shares))])


def _releases(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    for name in topology.ours(cloud):
        service, used = cloud.spec.services[name], {}
        known = catalog.releases(name)
        for backend, settings in service.backends.items():
            series = topology.release(cloud, name, settings)
            path = (*SERVICES, name, "backends", backend)
            where = document.where((*path, "release") if settings.release else ("spec", "release"))
            used[series] = where
            if series not in known:
                hint = f"There are {' and '.join(known)}."
                yield Problem("PS210", f"{name} is not locked for the release {series}", where, hint=hint)
        for older, newer in combinations(sorted(s for s in used if s in known), 2):
            if not share_schema(name, older, newer):
                yield Problem(
                    "PS211",
                    f"{name} {older} cannot live with the schema of {newer}",
                    used[older],
                    hint="Upgrade all backends of the service at once, in a declared stop.",
                )


def share_schema(service: str, older: str, newer: str) -> bool:
    """Whether code of an older release may use a database whose schema a newer one has expanded."""
    migration = catalog.service(service).migration
    same = catalog.facts(service, older)["heads"] == catalog.facts(service, newer)["heads"]
    known = catalog.releases(service)
    adjacent = known.index(newer) - known.index(older) == 1
    return same or (migration.kind == "expand-contract" and adjacent) or (older, newer) in migration.lives_with


def _sharing(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """SQLite is a file on one machine: no other host can share it."""
    known = topology.hosts(cloud)
    for name in topology.ours(cloud):
        service = cloud.spec.services[name]
        places = {known[h].name for b in service.backends.values() for h in b.hosts if known[h].via == "external"}
        machines = {known[h].via for b in service.backends.values() for h in b.hosts}
        where = document.where((*SERVICES, name), key=True)
        if topology.engine(cloud, name) == topology.SQLITE and "local" in machines and "external" in machines:
            yield Problem(
                "PS212",
                f"{name} runs here and on {', '.join(sorted(places))}, but its database is a file on this machine",
                where,
                hint="Declare `databases: {shared: {engine: mysql, host: …}}` and `database: {main: shared}`.",
            )
        if any(b.cluster for b in service.backends.values()):
            yield from _reachable(cloud, document, name, "pods", "the cluster's nodes")
        elif "lab" in machines:
            yield from _reachable(cloud, document, name, "lab hosts", "the lab's hosts")
        elif "ssh" in machines:
            yield from _reachable(cloud, document, name, "hosts elsewhere", "those hosts")


def _reachable(cloud: model.Cloud, document: Document, name: str, what: str, who: str) -> Iterator[Problem]:
    """What pods and lab hosts need must have an address that is not this machine's own."""
    where, database = document.where((*SERVICES, name), key=True), topology.database(cloud, name)
    hint = f"Give it an address that {who} can reach."
    if database is None or database.engine == topology.SQLITE:
        declare = "Declare `databases: {main: {engine: mysql, host: …}}`."
        yield Problem(
            "PS212",
            f"{name} runs {'as' if what == 'pods' else 'on'} {what}, but its database is a file on one machine",
            where,
            hint=declare,
        )
    for kind, store in (
        *(("database", s) for s in stores.all_databases(cloud, name)),
        *(("message bus", s) for s in stores.all_buses(cloud, name)),
    ):
        for host in dict.fromkeys(host for host, _ in store.hosts if _loopback(host)):
            what_ = f"{what} of {name} cannot reach the {kind} of {store.name} at {host}"
            yield Problem("PS219", what_, where, hint=hint)
    internal = urlsplit(topology.identity_url(cloud)).hostname or ""
    if _loopback(internal):
        face = f"Give the edge an `address`, or the internal endpoint a `host`, that {who} can reach."
        yield Problem("PS219", f"{what} of {name} cannot reach Keystone at {internal}", where, hint=face)
    for host in (h for cache in cloud.spec.caches.values() for h in cache.hosts if _loopback(h.rpartition(":")[0])):
        yield Problem("PS219", f"{what} of {name} cannot reach a cache at {host}", where, hint=hint)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _endpoints(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    endpoints = cloud.spec.endpoints
    for edge in topology.edges(cloud):
        public, internal = endpoints.public, endpoints.internal
        same = internal and (public.address or edge.address) == (internal.address or edge.address)
        if internal and same and public.tls != internal.tls:
            where = document.where(("spec", "endpoints", "internal"))
            hint = "Give one of them another `address`."
            yield Problem("PS214", "public and internal share an address, but not their TLS", where, hint=hint)
    for name, endpoint in (("public", endpoints.public), ("internal", endpoints.internal)):
        tls = endpoint.tls if endpoint else None
        if (tls and bool(tls.certificate) != bool(tls.key)) or (tls and bool(tls.certificate) == tls.trial):
            where = document.where(("spec", "endpoints", name, "tls"))
            yield Problem("PS214", "`tls` takes `certificate` and `key`, or `trial: true`", where)
    if not any(h.via == "local" for h in cloud.spec.hosts) and any(e.mode == "managed" for e in topology.edges(cloud)):
        yield Problem("PS201", "no host is of ours, so nothing can run the edge", document.where(("spec", "hosts")))


def _tls(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """A database by TLS: whose certificate is believed, and by whom."""
    for name in (n for n, d in cloud.spec.databases.items() if d.tls):
        declared, where = cloud.spec.databases[name], document.where(("spec", "databases", name, "tls"))
        if declared.engine != "mysql" or declared.manage:
            yield Problem(
                "PS234", f"`{name}` does not speak TLS: it is {'ours' if declared.manage else 'a file'}", where
            )
        elif not cloud.spec.trust:
            hint = "Name a PEM file with its authority: `trust: tls/authorities.pem`, below `spec`."
            yield Problem("PS234", f"nothing says which certificate of `{name}` to believe", where, hint=hint)
    for name in (n for n, s in topology.ours(cloud).items() if s.cells):
        if any(store.tls for store in stores.all_databases(cloud, name)):
            where = document.where((*SERVICES, name), key=True)
            yield Problem("PS234", f"{name}'s cells cannot have a database with `tls`", where)


def _ports(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    taken: dict[tuple[str, int], str] = {}
    listeners: list[tuple[str, int, str, Path]] = []
    for index, edge in enumerate(topology.edges(cloud)):
        if edge.mode == "driven":
            continue
        path: Path = ("spec", "edges", index)
        listeners.append((edge.address, edge.statistics.port, f"statistics of the edge {edge.name}", path))
        for service in topology.ours(cloud):
            for bind in topology.binds(cloud, edge, topology.frontend_port(cloud, service)):
                listeners.append((bind.address, bind.port, f"{service} at the edge {edge.name}", (*SERVICES, service)))
    for unit in topology.units(cloud):
        path = (*SERVICES, unit.service, "backends", unit.backend)
        if unit.port:
            listeners.append((unit.address, unit.port, f"{unit.service}/{unit.backend} on {unit.host}", path))
    for pods in (p for p in topology.pods(cloud) if p.port):
        path = (*SERVICES, pods.service, "backends", pods.backend)
        what = f"{pods.service}/{pods.backend}"
        if topology.cluster(cloud, pods.cluster).ingress:
            listeners += [(topology.hop_address(cloud, e), pods.port, what, path) for e in topology.edges(cloud)]
        else:
            listeners.append((f"{pods.cluster}'s nodes", pods.port, what, path))
    for pods in topology.pods(cloud):
        backend = cloud.spec.services[pods.service].backends[pods.backend]
        path = (*SERVICES, pods.service, "backends", pods.backend, "components")
        for component in pods.others if topology.cluster(cloud, pods.cluster).expose != "loadbalancer" else ():
            what = f"{component.name} of {pods.service}/{pods.backend}"
            port = topology.other_port(backend, component)
            listeners.append((f"{pods.cluster}'s nodes", port, what, (*path, component.name)))
    for address, port, what, path in listeners:
        other = taken.get((address, port)) or taken.get(("0.0.0.0", port))  # noqa: S104 - compared, not bound
        if other:
            hint = f"Give it a port of its own, say `port: {port + 100}`."
            yield Problem(
                "PS203", f"{what} and {other} both want {address}:{port}", document.where(path, key=True), hint=hint
            )
        taken.setdefault((address, port), what)
