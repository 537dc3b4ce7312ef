"""Processes of units: started, reloaded, restarted, and stopped when they are no longer declared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from planeshift.plan.draft import EDGE, EDGE_CHANGES, Draft, install_id
from planeshift.plan.observed import UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.build import edge_unit
from planeshift.render.desired import DesiredUnit


def processes(draft: Draft) -> Iterator[Operation]:
    """Bring every unit's processes to what its files say."""
    for unit_id, unit in draft.desired.units.items():
        yield from _unit(draft, unit_id, unit)


def _unit(draft: Draft, unit_id: str, unit: DesiredUnit) -> Iterator[Operation]:
    state, service = draft.observed.units.get(unit_id, UnitState()), unit.unit.service
    ready = _before_start(draft, unit_id, service, install_id(unit))
    stopped = [p.name for p in unit.programs if p.name not in state.running]
    if state.orphans:
        if _served_elsewhere(draft, unit):
            yield draft.operation(
                Kind.WITHHOLD, unit_id, Mark.CHANGE, f"edge       take {unit_id} out", frozenset(), service
            )
        count = len(state.orphans)
        yield draft.operation(
            Kind.END_ORPHANS,
            unit_id,
            Mark.CHANGE,
            f"orphans    {unit_id}: {count} process{'es' * (count > 1)} without a supervisor, to be ended",
            frozenset({f"{Kind.WITHHOLD}:{unit_id}"}),
            service,
        )
    if not state.supervised or stopped:
        mark = Mark.ADD if not state.files else Mark.CHANGE
        what = ", ".join(stopped) or "its supervisor"
        needs = ready | {f"{Kind.END_ORPHANS}:{unit_id}"}
        summary = f"processes  {unit_id}: start {what} on {unit.unit.address}:{unit.unit.port}"
        if draft.is_foreign(unit.unit.address, unit.unit.port, unit_id):
            return
        yield draft.operation(Kind.START, unit_id, mark, summary, needs, service)
    elif draft.supervision_changes(unit_id, unit.files):
        if _served_elsewhere(draft, unit):
            yield draft.operation(Kind.WITHHOLD, unit_id, Mark.CHANGE, f"edge       take {unit_id} out", ready, service)
            summary = f"processes  {unit_id}: restart, while others serve"
        else:
            summary = f"processes  {unit_id}: restart; it serves alone, so requests wait or fail meanwhile"
        needs = ready | {f"{Kind.WITHHOLD}:{unit_id}"}
        yield draft.operation(Kind.RESTART, unit_id, Mark.CHANGE, summary, needs, service)
    elif draft.changes_files(unit_id) or state.loaded != unit.digest(draft.key):
        summary = f"processes  {unit_id}: reload, no request lost"
        yield draft.operation(Kind.RELOAD, unit_id, Mark.CHANGE, summary, ready, service)


def _before_start(draft: Draft, unit_id: str, service: str, install: str) -> frozenset[str]:
    before = {f"{Kind.LAY_OUT}:{unit_id}", install, f"{Kind.PREPARE_DATABASE}:{service}"}
    return frozenset(before | draft.planned(f"{Kind.MIGRATE}:{service}:", f"{Kind.STOP}:"))


def _served_elsewhere(draft: Draft, unit: DesiredUnit) -> bool:
    return any(
        draft.observed.edges[name].servers.get((unit.unit.service, s.name)) and len(f.servers) > 1
        for name, edge in draft.desired.edges.items()
        if name in draft.observed.edges
        for f in edge.frontends
        if f.service == unit.unit.service
        for s in f.servers
        if s.host == unit.unit.host and s.backend == unit.unit.backend
    )


def displaced(draft: Draft) -> Iterator[Operation]:
    """Stop what is no longer declared but listens where something new of its service must: before that, not after."""
    places = {i: (u.unit.service, [(u.unit.address, u.unit.port)]) for i, u in draft.desired.units.items()}
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
