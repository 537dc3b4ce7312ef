"""Services × backends × hosts: health, weight, release, configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planeshift.app.site import Site
from planeshift.engine.observe import observe
from planeshift.engine.world import World
from planeshift.plan.observed import Observed, PodsState, ServerState, UnitState
from planeshift.render import topology
from planeshift.render.build import edge_unit
from planeshift.render.desired import File
from planeshift.render.files import operator_paths, shared_digest

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
    observed = observe(world)
    rows = [*_services(site, world, observed), *_pods(world, observed)]
    order = list(world.desired.specs)
    rows.sort(key=lambda row: order.index(row.service))
    return [*_edges(world, observed), *_databases(world, observed), *rows]


def _edges(world: World, observed: Observed) -> Iterator[Row]:
    for name, edge in world.desired.edges.items():
        unit, running = observed.units.get(edge_unit(name, edge.host)), observed.edges.get(name)
        health, detail = "up", ""
        if running is None:
            health, detail = "down", "HAProxy does not run"
        elif (unit and unit.orphans) or not (unit and unit.supervised):
            health, detail = "orphaned", "HAProxy runs without its supervisor"
        elif running.structure != edge.structure:
            health, detail = "stale", "HAProxy runs an older configuration"
        yield Row("edge", name, edge.host, health, "", "", "", detail)


def _databases(world: World, observed: Observed) -> Iterator[Row]:
    """Only those that cannot be used: what works needs no line."""
    for name, state in observed.databases.items():
        if state.problem:
            database = world.desired.databases[name]
            yield Row("database", name, database.engine, "down", "", "", "", state.problem)


def _services(site: Site, world: World, observed: Observed) -> Iterator[Row]:
    hosts = topology.hosts(site.cloud)
    for name, spec in world.desired.specs.items():
        for backend, settings in site.cloud.spec.services[name].backends.items():
            for host in settings.hosts:
                server = _server(observed, name, f"{backend}-{host}")
                unit = observed.units.get(f"{host}/{name}/{backend}")
                external = hosts[host].via == "external"
                health, detail = _external(server) if external else _ours(unit, server)
                release = world.desired.releases[name][backend]
                config = _observed_config(site, name, host) if external else UNKNOWN
                if not external and unit and unit.files:
                    config = shared_digest(spec, unit.files) or "defaults"
                weight = world.desired.weights[name][backend]
                now = "" if server is None else f" ({server.weight}/256{', withheld' if server.withheld else ''})"
                yield Row(name, backend, host, health, f"{weight} %{now}", release, config, detail)


def _pods(world: World, observed: Observed) -> Iterator[Row]:
    for pods_id, desired in world.desired.pods.items():
        pods, state = desired.pods, observed.pods.get(pods_id, PodsState())
        health, detail = "up", f"{state.ready} of {state.wanted} pods"
        if world.desired.views[pods.cluster].problem:
            health, detail = UNKNOWN, world.desired.views[pods.cluster].problem
        elif not state.status:
            health, detail = "down", "no release"
        elif state.status != "deployed":
            health, detail = "failing", f"its release is {state.status}"
        elif state.ready < state.wanted or not state.wanted:
            health, detail = "failing" if state.ready else "down", f"{detail}; {state.problem}".rstrip("; ")
        spec = world.desired.specs[pods.service]
        config = (shared_digest(spec, state.files) or "defaults") if state.files else UNKNOWN
        weight = world.desired.weights[pods.service][pods.backend]
        yield Row(pods.service, pods.backend, pods.cluster, health, f"{weight} %", pods.release, config, detail)


def _server(observed: Observed, service: str, server: str) -> ServerState | None:
    return next((e.servers[service, server] for e in observed.edges.values() if (service, server) in e.servers), None)


def _ours(unit: UnitState | None, server: ServerState | None) -> tuple[str, str]:
    if unit is None or not (unit.supervised or unit.orphans):
        return "down", "not running"
    if not unit.supervised:
        return "orphaned", f"{len(unit.orphans)} processes without a supervisor"
    if not unit.running:
        return "down", unit.problem or "its programs do not run"
    if server is None:
        return UNKNOWN, "no edge says"
    return ("up", "") if server.up else ("failing", server.check)


def _external(server: ServerState | None) -> tuple[str, str]:
    if server is None:
        return UNKNOWN, "no edge says"
    return ("up", "") if server.up else ("failing", server.check)


def _observed_config(site: Site, service: str, host: str) -> str:
    """`observe: path`: the digest of a copy of an external host's files, as if they were laid out by us."""
    declared = topology.hosts(site.cloud)[host]
    if declared.observe != "path" or declared.path is None:
        return UNKNOWN
    spec = topology.ours(site.cloud)[service]
    root = site.root / declared.path / service
    if not root.is_dir():
        return UNKNOWN
    tree = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    laid = {path: File(content).digest(b"") for path, content in operator_paths(spec, tree).items()}
    return shared_digest(spec, laid) or "defaults"
