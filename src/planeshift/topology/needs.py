"""What each thing must have before it can start. Pure.

A thing is named KIND:NAME: machines (`host:`, `node:`), servers (`database:`, `messaging:`, `etcd:`, `edge:`), `cluster:`,
`cell:` (a cell whose servers can be started), `service:`, and `run:` (the processes of a component in one backend).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from planeshift.model import cloud as model
from planeshift.render import topology
from planeshift.topology.machines import Group, bus, groups, machines, servers, workers


@dataclass(frozen=True)
class Need:
    """At least `count` of `things`."""

    count: int
    things: tuple[str, ...]


Needs = Mapping[str, tuple[Need, ...]]


def needs(cloud: model.Cloud) -> Needs:
    """What every thing of a cloud needs; all of its needs must be met."""
    result: dict[str, list[Need]] = {}
    running = groups(cloud)
    for machine in machines(cloud).values():
        result[machine.id] = [_one(f"cell:{machine.cell}")] if machine.cell else []
    for server in servers(cloud).values():
        least = server.least - server.outside  # what lies elsewhere is taken to be there
        result[server.id] = [Need(least, server.members)] if least > 0 and server.members else []
    for cluster in cloud.spec.clusters:
        found = [_one(f"etcd:{cluster.name}")] if f"etcd:{cluster.name}" in result else []
        nodes = tuple(f"node:{cluster.name}/{n.name}" for n in workers(cluster))
        result[f"cluster:{cluster.name}"] = [*found, *([Need(1, nodes)] if nodes else [])]
    for group in running:
        result[f"run:{group.id}"] = [_one(f"cluster:{group.cluster}")] if group.cluster else [Need(1, group.machines)]
    for service in topology.ours(cloud):
        result[f"service:{service}"] = list(_service(cloud, service, running))
    for cell in cloud.spec.cells:
        result[f"cell:{cell.name}"] = list(_cell(cloud, cell, running))
    return {name: tuple(n for n in found if n.things) for name, found in result.items()}


def _one(thing: str) -> Need:
    return Need(1, (thing,))


def _service(cloud: model.Cloud, service: str, running: list[Group]) -> Iterator[Need]:
    declared = topology.ours(cloud)[service]
    yield from _runs([g for g in running if g.service == service and not g.cell])
    for needed in declared.needs:
        if needed in topology.ours(cloud):
            yield _one(f"service:{needed}")
    names = set(cloud.spec.services[service].database.values()) or {topology.database_name(cloud, service)}
    for name in sorted(names):
        if name in cloud.spec.databases and cloud.spec.databases[name].engine == "mysql":
            yield _one(f"database:{name}")
    if bus(cloud, service):
        yield _one(f"messaging:{bus(cloud, service)}")
    yield Need(1, tuple(f"edge:{e.name}" for e in topology.edges(cloud)))


def _cell(cloud: model.Cloud, cell: model.Cell, running: list[Group]) -> Iterator[Need]:
    """A cell starts servers by its controller, which Nova's API, and so Keystone, must be there to order."""
    yield from _runs([g for g in running if g.cell == cell.name])
    if cell.database in cloud.spec.databases and cloud.spec.databases[cell.database].engine == "mysql":
        yield _one(f"database:{cell.database}")
    if cell.messaging in cloud.spec.messaging:
        yield _one(f"messaging:{cell.messaging}")
    if "nova" in topology.ours(cloud):
        yield _one("service:nova")
    elif "keystone" in topology.ours(cloud):
        yield _one("service:keystone")


def _runs(running: list[Group]) -> Iterator[Need]:
    """Each component runs somewhere where it is of use."""
    for component in dict.fromkeys(g.component for g in running):
        same = [g for g in running if g.component == component]
        yield Need(1, tuple(f"run:{g.id}" for g in same if g.serving) or tuple(f"run:{g.id}" for g in same))
