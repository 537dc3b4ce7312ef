"""Processes of units: started, reloaded, restarted, and stopped when they are no longer declared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from planeshift.plan import conductors
from planeshift.plan.draft import EDGE, EDGE_CHANGES, Draft, programs_id
from planeshift.plan.observed import EdgeState, UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.build import edge_unit
from planeshift.render.desired import DesiredUnit, Server

SERVES = "serves"  # no operation has this id: nothing to wait for


def processes(draft: Draft) -> Iterator[Operation]:
    """Bring every unit's processes to what its files say."""
    for unit_id, unit in draft.desired.units.items():
        yield from _unit(draft, unit_id, unit)


def _unit(draft: Draft, unit_id: str, unit: DesiredUnit) -> Iterator[Operation]:
    state, service = draft.observed.units.get(unit_id, UnitState()), unit.unit.service
    if unit_id in draft.desired.idle:
        yield from _idle(draft, unit_id, service, state)
        return
    ready = _before_start(draft, unit_id, unit)
    stopped = _stopped(unit, state)
    if stopped or state.orphans:
        if unit.unit.port and not state.orphans and draft.is_foreign(unit.unit.address, unit.unit.port, unit_id):
            return
        yield from _aside(draft, unit_id, unit, _mended(draft, unit_id, unit, state, ready, stopped))
    elif draft.supervision_changes(unit_id, unit.files):
        ready |= conductors.first(draft, unit)
        alone = not _others(draft, unit)
        how = "it serves alone, so requests wait or fail meanwhile" if alone else "others serve meanwhile"
        summary = f"processes  {unit_id}: restart; {how}"
        restart = draft.operation(Kind.RESTART, unit_id, Mark.CHANGE, summary, ready, service)
        yield from _aside(draft, unit_id, unit, [restart])
    elif draft.changes_files(unit_id) or state.loaded != unit.digest(draft.key):
        again = [p.name for p in unit.programs if not p.reload_signal]
        how = f"; {', '.join(again)} started anew" if again else ""
        summary = f"processes  {unit_id}: reload, no request lost{how}"
        needs = ready | conductors.first(draft, unit)
        yield draft.operation(Kind.RELOAD, unit_id, Mark.CHANGE, summary, needs, service)


def _idle(draft: Draft, unit_id: str, service: str, state: UnitState) -> Iterator[Operation]:
    """What has no share of the messages does not run, once others do; a shift starts it."""
    if state.supervised or state.orphans:
        others = next(c for c in draft.desired.consumers.values() if any(unit_id in u for u in c.units.values()))
        first = {f"{Kind.START}:{other}" for units in others.units.values() for other in units}
        summary = f"processes  {unit_id}: stop; it has no share of the messages"
        yield draft.operation(Kind.STOP, unit_id, Mark.CHANGE, summary, frozenset(first), service)


def _stopped(unit: DesiredUnit, state: UnitState) -> list[str]:
    """What of a unit does not run."""
    stopped = [p.name for p in unit.programs if p.name not in state.running]
    return stopped if state.supervised else stopped or ["its supervisor"]


def _mended(
    draft: Draft, unit_id: str, unit: DesiredUnit, state: UnitState, ready: frozenset[str], stopped: list[str]
) -> Iterator[Operation]:
    service = unit.unit.service
    if state.orphans:
        count = len(state.orphans)
        summary = f"orphans    {unit_id}: {count} process{'es' * (count > 1)} without a supervisor, to be ended"
        yield draft.operation(Kind.END_ORPHANS, unit_id, Mark.CHANGE, summary, frozenset(), service)
    if stopped:
        mark = Mark.CHANGE if state.files else Mark.ADD
        where = f" on {unit.unit.address}:{unit.unit.port}" if unit.unit.port else ""
        summary = f"processes  {unit_id}: start {', '.join(stopped)}{where}"
        yield draft.operation(Kind.START, unit_id, mark, summary, ready | {f"{Kind.END_ORPHANS}:{unit_id}"}, service)


def _aside(draft: Draft, unit_id: str, unit: DesiredUnit, work: Iterable[Operation]) -> Iterator[Operation]:
    """Do `work` while the edge sends a unit nothing, where others serve; one unit of a service after the other."""
    others, service, steps = _others(draft, unit), unit.unit.service, list(work)
    if not others:
        yield from steps
        return
    # An edge that is to be reloaded forgets what it was told to withhold, so that comes first; and what the work waits for,
    # it waits for while the unit serves.
    edges = {f"{Kind.RELOAD_EDGE}:{n}" for n in draft.desired.edges}
    before = others | draft.turns.get(service, frozenset()) | edges | (steps[0].needs if steps else frozenset())
    summary = f"edge       take {unit_id} out, and wait until it serves nothing"
    out = draft.operation(Kind.WITHHOLD, unit_id, Mark.CHANGE, summary, before, service)
    yield out
    yield from (replace(step, needs=step.needs | {out.id}) for step in steps)
    done = frozenset(step.id for step in steps)
    back = draft.operation(Kind.ADMIT, unit_id, Mark.CHANGE, f"edge       let {unit_id} serve again", done, service)
    draft.turns[service] = frozenset({back.id})
    yield back


def _others(draft: Draft, unit: DesiredUnit) -> frozenset[str]:
    """What must be done so that others serve while a unit does not; empty where there are none, or no need of them."""
    service, found = unit.unit.service, set[str]()
    if unit.unit.web is None:
        return frozenset()  # no edge sends it anything
    for name, edge in draft.desired.edges.items():
        running = draft.observed.edges.get(name)
        servers = [s for f in edge.frontends if f.service == service for s in f.servers]
        mine = [s for s in servers if (s.host, s.backend) == (unit.unit.host, unit.unit.backend)]
        if running is None or not any((service, s.name) in running.servers for s in mine):
            return frozenset()  # nobody sends it anything
        ready = {i for s in servers if s not in mine and s.weight and (i := _ready(draft, running, service, s))}
        if not ready:
            return frozenset()
        found |= ready
    return frozenset(found)


def _ready(draft: Draft, running: EdgeState, service: str, server: Server) -> str:
    """What makes a server serve: the edge's own state if it does so now, the start of its unit, or nothing (empty)."""
    now = running.servers.get((service, server.name))
    if now and now.up and not now.withheld and now.weight:
        return SERVES
    unit_id = f"{server.host}/{service}/{server.backend}"
    state, unit = draft.observed.units.get(unit_id, UnitState()), draft.desired.units.get(unit_id)
    starts = unit is not None and not now and not state.orphans and _stopped(unit, state)
    return f"{Kind.START}:{unit_id}" if starts else ""


def _before_start(draft: Draft, unit_id: str, unit: DesiredUnit) -> frozenset[str]:
    before = {f"{Kind.LAY_OUT}:{unit_id}", programs_id(unit)} | stores_ready(draft, unit.unit.service, unit.unit.cell)
    idle = {f"{Kind.STOP}:{i}" for i in draft.desired.idle}  # which wait for those that start
    return frozenset(before | draft.planned(f"{Kind.STOP}:") - idle)


def stores_ready(draft: Draft, service: str, cell: str) -> frozenset[str]:
    """What comes before a start, of all that a service, or its part in a cell, keeps its state in."""
    before = frozenset[str]()
    for name in (f"{service}@{cell}",) if cell else (service, f"{service}@"):
        before |= draft.planned(f"{Kind.PREPARE_DATABASE}:{name}", f"{Kind.PREPARE_BUS}:{name}")
        before |= draft.planned(f"{Kind.MIGRATE}:{name}")
    if not cell:
        before |= draft.planned(f"{Kind.MAP_CELL}:{service}@", f"{Kind.REMOVE_CELL}:{service}@")
    return before


def displaced(draft: Draft) -> Iterator[Operation]:
    """Stop what is no longer declared but listens where something new of its service must: before that, not after."""
    places = {
        i: (u.unit.service, [(u.unit.address, u.unit.port)] if u.unit.port else [])
        for i, u in draft.desired.units.items()
    }
    for name, edge in draft.desired.edges.items():
        places[edge_unit(name, edge.host)] = (EDGE, [(b.address, b.port) for b in edge.binds])
    wanted = {service for unit_id, (service, binds) in places.items() if _held_by_other(draft, unit_id, binds)}
    for unit_id, state in _leaving(draft):
        service = unit_id.split("/")[1]
        if service in wanted and (state.running or state.orphans):
            summary = f"processes  {unit_id}: stop; another takes its address and port"
            yield draft.operation(Kind.STOP, unit_id, Mark.REMOVE, summary, frozenset(), service)


def _held_by_other(draft: Draft, unit_id: str, places: Iterable[tuple[str, int]]) -> bool:
    """Whether another unit of ours listens where this one, which does not run, should."""
    state = draft.observed.units.get(unit_id, UnitState())
    return not (state.running or state.orphans) and any(draft.observed.listeners.get(p) == "" for p in places)


def _leaving(draft: Draft) -> Iterator[tuple[str, UnitState]]:
    kept = set(draft.desired.units) | {edge_unit(n, e.host) for n, e in draft.desired.edges.items()}
    return ((unit_id, state) for unit_id, state in draft.observed.units.items() if unit_id not in kept)


def leavers(draft: Draft) -> Iterator[Operation]:
    """Stop and remove units that are no longer declared, after the edge has let go of them."""
    for unit_id, state in _leaving(draft):
        service = unit_id.split("/")[1]
        edges = draft.planned(*EDGE_CHANGES)
        stops = f"{Kind.STOP}:{unit_id}" in draft.ids
        if not stops and (state.supervised or state.running or state.orphans):
            yield draft.operation(Kind.STOP, unit_id, Mark.REMOVE, f"processes  {unit_id}: stop", edges, service)
        needs = edges | {f"{Kind.STOP}:{unit_id}"}
        yield draft.operation(Kind.REMOVE, unit_id, Mark.REMOVE, f"files      {unit_id}: remove", needs, service)
