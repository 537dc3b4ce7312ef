"""Services × backends × hosts: health, weight, release, configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planeshift.app.external import look
from planeshift.app.fleet import fleet
from planeshift.app.site import Site
from planeshift.engine.observe import observe
from planeshift.engine.world import World
from planeshift.plan.observed import Foreign, Observed, PodsState, ServerState, UnitState
from planeshift.plan.shifts import same
from planeshift.render import topology
from planeshift.render.build import edge_unit
from planeshift.render.files import foreign_digest, shared_digest

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One backend on one host. `config` is the digest of the operator's files there, never assumed."""

    service: str
    backend: str
    host: str
    health: str
    weight: str
    release: str
    config: str
    detail: str = ""

    @property
    def well(self) -> bool:
        return self.health == "up"


def status(site: Site, world: World) -> list[Row]:
    """What is there, by row. Changes nothing."""
    observed = observe(world, identity=False)  # which asks no service to work before it is said how it fares
    rows = [*_services(site, world, observed), *_pods(world, observed)]
    order = list(world.desired.specs)
    rows.sort(key=lambda row: order.index(row.service))
    found = [
        *_edges(world, observed),
        *_driven(world, observed),
        *_databases(world, observed),
        *_buses(world, observed),
    ]
    cells = [Row("cell", c.name, "", c.health, "", "", "", c.detail) for c in fleet(world, observed)]
    return [*found, *rows, *cells]


def _edges(world: World, observed: Observed) -> Iterator[Row]:
    for name, edge in world.desired.edges.items():
        unit, running = observed.units.get(edge_unit(name, edge.host)), observed.edges.get(name)
        health, detail = "up", ""
        if running is None:
            health, detail = "down", "HAProxy does not run"
        elif edge.host in observed.unreached:
            detail = _unreached(observed, edge.host)
        elif (unit and unit.orphans) or not (unit and unit.supervised):
            health, detail = "orphaned", "HAProxy runs without its supervisor"
        elif running.structure != edge.structure:
            health, detail = "stale", "HAProxy runs an older configuration"
        yield Row("edge", name, edge.host, health, "", "", "", detail)


def _driven(world: World, observed: Observed) -> Iterator[Row]:
    for name, edge in world.desired.driven.items():
        there = name in observed.edges
        yield Row(
            "edge", name, "", "up" if there else UNKNOWN, "", "", "", "" if there else f"no answer at {edge.socket}"
        )


def _databases(world: World, observed: Observed) -> Iterator[Row]:
    """Only those that cannot be used: what works needs no line."""
    for name, state in observed.databases.items():
        if state.problem:
            database = world.desired.databases[name]
            yield Row("database", name, database.engine, "down", "", "", "", state.problem)


def _buses(world: World, observed: Observed) -> Iterator[Row]:
    """Only those that cannot be used."""
    for name, state in observed.buses.items():
        if not state.works:
            yield Row("messaging", name, "", "down", "", "", "", state.problem)


def _services(site: Site, world: World, observed: Observed) -> Iterator[Row]:
    hosts, moving = topology.hosts(site.cloud), {service for service, _ in observed.foreign}
    others = {**observed.foreign, **look(site, world.desired.specs.keys() - moving)}
    for name, spec in world.desired.specs.items():
        for backend, settings in site.cloud.spec.services[name].backends.items():
            served = topology.serves(name, settings)
            for host in settings.hosts:
                yield from _parts(world, observed, name, backend, host)
                server = _server(observed, name, f"{backend}-{host}")
                unit_id, external = f"{host}/{name}/{backend}", hosts[host].via == "external"
                unit = observed.units.get(unit_id)
                health, detail = _external(server) if external else _ours(world, observed, unit_id, server, served)
                release = world.desired.releases[name][backend]
                config = UNKNOWN
                if external:
                    seen = others.get((name, host), Foreign())
                    config = foreign_digest(spec, seen.files) or UNKNOWN
                    detail = "; ".join(filter(None, [detail, seen.why]))
                elif unit and unit.files:
                    config = shared_digest(spec, unit.files) or "defaults"
                now = "" if server is None else f" ({server.weight}/256{', withheld' if server.withheld else ''})"
                weight = _weight(world, topology.mover(name, settings), backend, now)
                yield Row(name, backend, host, health, weight, release, config, detail)


def _parts(world: World, observed: Observed, service: str, backend: str, host: str) -> Iterator[Row]:
    """What a backend runs apart from what the edge sends requests to."""
    for unit_id, desired in world.desired.units.items():
        unit = desired.unit
        if unit.part and (unit.host, unit.service, unit.backend) == (host, service, backend):
            state = observed.units.get(unit_id)
            health, detail = _ours(world, observed, unit_id, None, served=False)
            name = next((n for n, c in world.desired.consumers.items() if unit_id in c.units.get(backend, ())), "")
            release = world.desired.releases[service][backend]
            config = (shared_digest(world.desired.specs[service], state.files) or "defaults") if state else UNKNOWN
            yield Row(service, backend, host, health, _weight(world, name, backend), release, config, detail)


def _unreached(observed: Observed, host: str) -> str:
    return "; ".join(problem.message for problem in observed.unreached[host])


def _idle(unit: UnitState | None) -> tuple[str, str]:
    """What has no share of the messages: it is as it should be where it does not run."""
    runs = unit is not None and (unit.supervised or unit.orphans)
    return ("failing", "it runs, and has no share of the messages") if runs else ("up", "idle")


def _pods(world: World, observed: Observed) -> Iterator[Row]:
    for pods_id, desired in world.desired.pods.items():
        pods, state = desired.pods, observed.pods.get(pods_id, PodsState())
        chart = f" of {desired.chart.source}" if desired.chart else ""
        health, detail = "up", f"{state.ready} of {state.wanted} pods{chart}"
        if world.desired.views[pods.cluster].problem:
            health, detail = UNKNOWN, world.desired.views[pods.cluster].problem
        elif not state.status:
            health, detail = "down", "no release"
        elif state.status != "deployed":
            health, detail = "failing", f"its release is {state.status}"
        elif pods.takers and not pods.port and f"{pods_id}#0" in world.desired.idle and not state.wanted:
            detail = "idle"
        elif state.ready < state.wanted or not state.wanted:
            health, detail = "failing" if state.ready else "down", f"{detail}; {state.problem}".rstrip("; ")
        elif state.uneven:
            detail = f"{detail}; {state.uneven}"
        spec = world.desired.specs[pods.service]
        config = (shared_digest(spec, state.files) or "defaults") if state.files else UNKNOWN
        weight = _weight(world, _mover(world, pods_id) or pods.service, pods.backend)
        yield Row(pods.service, pods.backend, pods.cluster, health, weight, pods.release, config, detail)


def _mover(world: World, pods_id: str) -> str:
    """What moves pods that take messages; empty for others."""
    first = f"{pods_id}#0"
    return next(
        (n for n, c in world.desired.consumers.items() if any(first in those for those in c.units.values())), ""
    )


def _weight(world: World, service: str, backend: str, now: str = "") -> str:
    """The share that a backend has, and what is wanted where that is another; empty for one that serves no traffic."""
    wanted = world.desired.weights.get(service, {}).get(backend)
    if wanted is None:
        return ""
    share = world.desired.shares[service][backend]
    return f"{share:.3g} %{now}" + ("" if same({backend: share}, {backend: wanted}) else f", wanted {wanted} %")


def _server(observed: Observed, service: str, server: str) -> ServerState | None:
    return next((e.servers[service, server] for e in observed.edges.values() if (service, server) in e.servers), None)


def _ours(world: World, observed: Observed, unit_id: str, server: ServerState | None, served: bool) -> tuple[str, str]:
    host, unit = unit_id.partition("/")[0], observed.units.get(unit_id)
    if host in observed.unreached:  # an edge may reach it all the same
        return _external(server)[0], _unreached(observed, host)
    if unit_id in world.desired.idle:
        return _idle(unit)
    if unit is None or not (unit.supervised or unit.orphans):
        return "down", "not running"
    if not unit.supervised:
        return "orphaned", f"{len(unit.orphans)} processes without a supervisor"
    if not unit.running:
        return "down", unit.problem or "its programs do not run"
    if not served:  # by its supervisor's word: no edge sends it anything
        return ("failing", unit.problem) if unit.problem else ("up", ", ".join(sorted(unit.running)))
    if server is None:
        return UNKNOWN, "no edge says"
    return ("up", "") if server.up else ("failing", server.check)


def _external(server: ServerState | None) -> tuple[str, str]:
    if server is None:
        return UNKNOWN, "no edge says"
    return ("up", "") if server.up else ("failing", server.check)
