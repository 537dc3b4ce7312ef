"""Machines, and what lies on them: groups of processes, and the servers of state. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from planeshift.model import cloud as model
from planeshift.model.source import Path
from planeshift.render import cells, topology


@dataclass(frozen=True)
class Machine:
    """A host, or a node of a cluster. `cell` is the one whose server it is; empty where it is none."""

    id: str  # host:NAME or node:CLUSTER/NAME
    zone: str
    cell: str
    cluster: str
    control: bool  # has a member of its cluster's etcd
    cores: int | None
    memory: int | None  # GiB
    path: Path  # of the cloud file


@dataclass(frozen=True)
class Group:
    """The processes of one component of a backend, which do the same work."""

    service: str
    component: str
    backend: str
    cell: str
    machines: tuple[str, ...]  # that it runs on; of a cluster: may run on
    cluster: str
    replicas: int  # of pods the least that is declared
    workers: int  # of each
    serving: bool  # false where no traffic goes to it, since its weight is 0

    @property
    def id(self) -> str:
        return f"{self.service}/{self.backend}/{self.component}"


@dataclass(frozen=True)
class Server:
    """What keeps state (database, messaging, cache, etcd) or takes in traffic (edge)."""

    id: str  # KIND:NAME
    members: tuple[str, ...]  # machines
    outside: int  # further members, of which the file does not say where they are
    least: int  # members without which it does not serve

    @property
    def size(self) -> int:
        return len(self.members) + self.outside


def machines(cloud: model.Cloud) -> dict[str, Machine]:
    """Every host and node, by id. A machine that is a cell's server is in its zone, unless it says otherwise."""
    zones = {c.name: c.zone or "" for c in cloud.spec.cells}
    found: list[tuple[str, model.Host | model.Node, str, bool, Path]] = [
        (f"host:{h.name}", h, "", False, ("spec", "hosts", i)) for i, h in enumerate(cloud.spec.hosts)
    ]
    found += [
        (f"node:{c.name}/{n.name}", n, c.name, n.control, ("spec", "clusters", i, "nodes", j))
        for i, c in enumerate(cloud.spec.clusters)
        for j, n in enumerate(c.nodes)
    ]
    return {
        name: Machine(
            name, m.zone or zones.get(m.cell or "", ""), m.cell or "", cluster, control, m.cores, m.memory, path
        )
        for name, m, cluster, control, path in found
    }


def groups(cloud: model.Cloud) -> list[Group]:
    """What runs, in the file's order."""
    nodes = {c.name: tuple(f"node:{c.name}/{n.name}" for n in workers(c)) for c in cloud.spec.clusters}
    result = []
    for service, spec in topology.ours(cloud).items():
        weights, first = topology.weights(cloud, service), spec.components[0].name
        for name, backend in cloud.spec.services[service].backends.items():
            for component in topology.components(cloud, service, backend):
                hosts = tuple(f"host:{h}" for h in backend.hosts)
                least = backend.autoscale.min if backend.autoscale else backend.replicas or topology.REPLICAS
                result.append(
                    Group(
                        service=service,
                        component=component.name,
                        backend=name,
                        cell=backend.cell or "",
                        machines=hosts or nodes[backend.cluster or ""],
                        cluster=backend.cluster or "",
                        replicas=len(hosts) or least,
                        workers=component.workers,
                        serving=weights.get(name, 1) > 0 if component.name == first else True,
                    )
                )
    return result


def workers(cluster: model.Cluster) -> Sequence[model.Node]:
    """The nodes that take a cluster's pods: those of the control plane only where there are no others."""
    return [n for n in cluster.nodes if not n.control] or cluster.nodes


def servers(cloud: model.Cloud) -> dict[str, Server]:
    """Every server of state and every edge, by id.

    Databases and message buses of n members serve while a majority is there (Galera's primary component, quorum
    queues: https://www.rabbitmq.com/docs/quorum-queues), and so does etcd. A cache and the edges need one.
    """
    found: dict[str, Sequence[str]] = {}
    for name, database in cloud.spec.databases.items():
        if database.engine == "mysql":
            found[f"database:{name}"] = database.nodes or [database.host or ""]
    for name, bus in cloud.spec.messaging.items():
        found[f"messaging:{name}"] = [_host(a) for a in bus.hosts] or [bus.host or ""]
    for name, cache in cloud.spec.caches.items():
        found[f"cache:{name}"] = [_host(a) for a in cache.hosts]
    result = dict(_placed(cloud, found))
    for cluster in cloud.spec.clusters:
        control = tuple(f"node:{cluster.name}/{n.name}" for n in cluster.nodes if n.control)
        if control:
            result[f"etcd:{cluster.name}"] = Server(f"etcd:{cluster.name}", control, 0, len(control) // 2 + 1)
    for edge in topology.edges(cloud):
        host = topology.edge_host(cloud, edge)
        name = f"edge:{edge.name}"
        result[name] = Server(name, (f"host:{host}",) if host else (), 0 if host else 1, 1)
    return result


def _placed(cloud: model.Cloud, found: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Server]]:
    names = {h.name: f"host:{h.name}" for h in cloud.spec.hosts}
    local = next((f"host:{h.name}" for h in cloud.spec.hosts if h.via == "local"), "")
    addresses = {h.address: f"host:{h.name}" for h in cloud.spec.hosts if not h.address.startswith("127.")}
    for name, members in found.items():
        places = [
            names.get(m) or addresses.get(m) or (local if m.startswith("127.") or m == "localhost" else "")
            for m in members
        ]
        known = tuple(dict.fromkeys(p for p in places if p))
        least = 1 if name.startswith("cache:") else len(members) // 2 + 1
        yield name, Server(name, known, len(members) - len(known), least)


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def bus(cloud: model.Cloud, service: str) -> str:
    """The message bus that a service cannot do without; empty where it has none of its own."""
    consumes = any(c.command for c in topology.ours(cloud)[service].components)
    return cells.bus(cloud, service) if consumes or cloud.spec.services[service].messaging else ""
