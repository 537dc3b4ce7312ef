"""The edges: their files, HAProxy itself, and the weights. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from planeshift.errors import Problem
from planeshift.plan.draft import EDGE, UNIT_CHANGES, Draft
from planeshift.plan.files import lay_out
from planeshift.plan.observed import UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.build import edge_unit
from planeshift.render.desired import DesiredEdge, Frontend, Server


def edges(draft: Draft) -> Iterator[Operation]:
    """Bring every edge to its files and weights."""
    for name, edge in draft.desired.edges.items():
        yield from _edge(draft, name, edge)


def driven(draft: Draft) -> Iterator[Operation]:
    """Set the weights of servers at edges of somebody else's. What does not stand there is refused."""
    for name, edge in draft.desired.driven.items():
        state = draft.observed.edges.get(name)
        if state is None:
            draft.notes.append(f"The edge {name} does not answer at {edge.socket}: its weights stay as they are.")
            continue
        missing = [
            f"{f.place}/{s.name}" for f in edge.frontends for s in f.servers if (f.place, s.name) not in state.servers
        ]
        if missing:
            hint = (
                f"`services: {{…}}` of the edge says what our backends are called there; {edge.socket} is its socket."
            )
            what = f"the edge {name} has no server {', '.join(missing)}"
            draft.problems.append(Problem("PS615", what, hint=hint))
            continue
        changed = [
            f"{f.place} {s.name}: {state.servers[f.place, s.name].weight} -> {s.weight} of 256"
            for f in edge.frontends
            for s in f.servers
            if state.servers[f.place, s.name].weight != s.weight
        ]
        if changed:
            needs = draft.planned(*UNIT_CHANGES, f"{Kind.ADMIT}:")
            summary = f"traffic    {name}: set weights"
            yield Operation(Kind.SET_WEIGHTS, name, EDGE, Mark.CHANGE, summary, needs, tuple(changed))


def _edge(draft: Draft, name: str, edge: DesiredEdge) -> Iterator[Operation]:
    unit_id = edge_unit(name, edge.host)
    unit, running = draft.observed.units.get(unit_id, UnitState()), draft.observed.edges.get(name)
    yield from lay_out(draft, unit_id, EDGE, edge.files, unit.files)
    if unit.orphans:
        summary = f"orphans    {unit_id}: HAProxy without a supervisor, to be ended"
        yield draft.operation(Kind.END_ORPHANS, unit_id, Mark.CHANGE, summary, frozenset(), EDGE)
    laid = frozenset({f"{Kind.LAY_OUT}:{unit_id}", f"{Kind.END_ORPHANS}:{unit_id}"}) | draft.planned(f"{Kind.STOP}:")
    if running is None or not unit.supervised or "haproxy" not in unit.running:
        mark = Mark.CHANGE if unit.files else Mark.ADD
        taken = [draft.is_foreign(b.address, b.port, f"the edge {name}") for b in edge.binds] if not running else []
        if not any(taken):
            summary = f"processes  {unit_id}: start HAProxy on {_addresses(edge)}"
            yield draft.operation(Kind.START_EDGE, name, mark, summary, laid, EDGE)
            yield from _weights(draft, name, [], laid | {f"{Kind.START_EDGE}:{name}"})
    elif draft.supervision_changes(unit_id, edge.files):
        summary = f"processes  {unit_id}: restart HAProxy; requests wait or fail meanwhile"
        yield draft.operation(Kind.RESTART_EDGE, name, Mark.CHANGE, summary, laid, EDGE)
        yield from _weights(draft, name, [], laid | {f"{Kind.RESTART_EDGE}:{name}"})
    else:
        yield from _running_edge(draft, name, edge, laid)


def _running_edge(draft: Draft, name: str, edge: DesiredEdge, laid: frozenset[str]) -> Iterator[Operation]:
    running = draft.observed.edges[name]
    # A new server gets traffic only when its processes are there.
    places = {f"{s.host}/{f.service}/{s.backend}" for f, s in _new(edge, running.servers.keys())}
    joining = {f"{kind}:{place}" for place in places for kind in (Kind.START, Kind.RELEASE)}
    certificates = edge.certificates(draft.key)
    stale = certificates and draft.observed.units[edge_unit(name, edge.host)].loaded != certificates
    if running.structure != edge.structure or stale:
        detail = tuple(_servers_changed(edge, running.servers.keys()))
        summary = f"edge       {name}: reload HAProxy, no connection lost"
        yield Operation(Kind.RELOAD_EDGE, name, EDGE, Mark.CHANGE, summary, laid | joining, detail)
    yield from _weights(draft, name, list(_weights_changed(draft, edge, name)), laid | {f"{Kind.RELOAD_EDGE}:{name}"})


def _weights(draft: Draft, name: str, detail: list[str], after: frozenset[str]) -> Iterator[Operation]:
    """Set weights that differ, and those of nodes whose pods change, which are known only then."""
    releases = [i.split(":")[1] for i in sorted(draft.planned(f"{Kind.RELEASE}:"))]
    detail += [f"nodes of {i}: by their ready pods" for i in releases if draft.desired.pods[i].pods.port]
    if detail:
        needs = after | draft.planned(*UNIT_CHANGES, f"{Kind.ADMIT}:")
        summary = f"traffic    {name}: set weights"
        yield Operation(Kind.SET_WEIGHTS, name, EDGE, Mark.CHANGE, summary, needs, tuple(detail))


def _new(edge: DesiredEdge, there: Collection[tuple[str, str]]) -> list[tuple[Frontend, Server]]:
    return [(f, s) for f in edge.frontends for s in f.servers if (f.service, s.name) not in there]


def _weights_changed(draft: Draft, edge: DesiredEdge, name: str) -> Iterator[str]:
    running = draft.observed.edges[name]
    for frontend in edge.frontends:
        for server in frontend.servers:
            now = running.servers.get((frontend.service, server.name))
            admitted = f"{Kind.ADMIT}:{server.host}/{frontend.service}/{server.backend}" in draft.ids
            if now and now.weight != server.weight:
                yield f"{frontend.service} {server.name}: {now.weight} -> {server.weight} of 256"
            if now and now.withheld and not admitted:
                yield f"{frontend.service} {server.name}: take traffic again"


def _addresses(edge: DesiredEdge) -> str:
    addresses = dict.fromkeys(b.address for b in edge.binds)
    ports = sorted({b.port for b in edge.binds})
    return f"{', '.join(addresses)}, ports {', '.join(map(str, ports))}"


def _servers_changed(edge: DesiredEdge, there: Iterable[tuple[str, str]]) -> Iterator[str]:
    wanted, now = {(f.service, s.name) for f in edge.frontends for s in f.servers}, set(there)
    for service, server in sorted(wanted - now):
        yield f"+ {service} {server}"
    for service, server in sorted(now - wanted):
        yield f"- {service} {server}"
