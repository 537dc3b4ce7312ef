"""Cells of a service: mapped, changed, disabled, removed; their compute nodes discovered. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planeshift.errors import Problem, few
from planeshift.plan.draft import UNIT_CHANGES, Draft, programs_id
from planeshift.plan.made import cell_thing
from planeshift.plan.observed import CellState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import DesiredCell


def cells(draft: Draft) -> Iterator[Operation]:
    """Let the service's own records say of its cells what the file says."""
    for service in dict.fromkeys(c.service for c in draft.desired.cells.values()):
        known = draft.observed.cells.get(service)
        wanted = [c for c in draft.desired.cells.values() if c.service == service]
        for cell in wanted:
            yield from _cell(draft, cell, known)
        names = {c.name for c in wanted}
        for state in known or ():
            if state.name not in names and not any(state_of(c, known or ()) == state for c in wanted):
                yield from _gone(draft, service, state)


def _cell(draft: Draft, cell: DesiredCell, known: tuple[CellState, ...] | None) -> Iterator[Operation]:
    if known is not None and not _distinct(draft, cell, known):
        return
    state = state_of(cell, known or ())
    mark, changes = Mark.ADD, []
    if state is not None:
        mark, changes = Mark.CHANGE, list(_changes(cell, state))
        if not changes:
            return
    what = ", ".join(changes) or "map it"
    summary = f"cell       {cell.name}: {what}"
    yield draft.operation(Kind.MAP_CELL, cell.database, mark, summary, _ready(draft, cell), cell.service)


def _ready(draft: Draft, cell: DesiredCell) -> frozenset[str]:
    """What comes before a command that speaks of a cell: the schemas above the cells and its own."""
    main = draft.desired.databases[cell.service]
    first = {f"{Kind.LAY_OUT}:{main.unit}", programs_id(draft.desired.place(main.unit))}
    schemas = draft.planned(f"{Kind.MIGRATE}:{cell.service}:", f"{Kind.MIGRATE}:{cell.database}:")
    return frozenset(first) | schemas


def _changes(cell: DesiredCell, state: CellState) -> Iterator[str]:
    if cell.name != state.name:
        yield f"it was called {state.name}"
    if cell.mapped != state.connection:
        yield _other_database(cell.mapped, state.connection)
    if cell.transport != state.transport:
        yield f"another {'password of its bus' if _place(cell.transport) == _place(state.transport) else 'message bus'}"
    if cell.enabled is state.disabled:
        yield "new servers are sent to it" if cell.enabled else "no new servers are sent to it"


def _other_database(wanted: str, recorded: str) -> str:
    if _place(wanted) != _place(recorded):
        return "another database"
    return (
        "another password" if wanted.partition("?")[0] != recorded.partition("?")[0] else "other words to its database"
    )


def _distinct(draft: Draft, cell: DesiredCell, known: tuple[CellState, ...]) -> bool:
    """Whether no other record speaks of the same cell."""
    state = state_of(cell, known)
    shared = [
        (f"another one, {other.name or other.uuid}, has its {what}")
        for other in known
        if other != state
        for what, same in (
            ("name", other.name == cell.name),
            ("database", _place(other.connection) == _place(cell.connection)),
            ("message bus", _place(other.transport) == _place(cell.transport) and not _no_bus(cell.transport)),
        )
        if same
    ]
    if shared:
        hint = "`nova-manage cell_v2 list_cells` shows them; remove or correct the wrong one by hand."
        draft.problems.append(Problem("PS509", f"the cell {cell.name} is mapped twice: {shared[0]}", hint=hint))
    return not shared


def state_of(cell: DesiredCell, known: tuple[CellState, ...]) -> CellState | None:
    """What is recorded of a cell: under its name, else of its database."""
    named = [s for s in known if s.name == cell.name]
    return next(iter(named or [s for s in known if _place(s.connection) == _place(cell.connection)]), None)


def _place(url: str) -> str:
    """A URL without users and passwords."""
    return re.sub(r"[^/,@]*@", "", url).partition("?")[0]


def _no_bus(url: str) -> bool:
    return url.startswith("none:")


def _gone(draft: Draft, service: str, state: CellState) -> Iterator[Operation]:
    """A cell that is no longer declared goes, once it is empty; one that was never ours to map stays."""
    name = state.name or state.uuid
    subject = f"{service}@{name}"
    if cell_thing(subject) not in draft.observed.applied:
        draft.notes.append(f"{service} knows a cell {name} that the cloud file does not declare: it stays as it is.")
        return
    if state.servers and state.disabled:
        draft.later.append(f"remove the cell {name}: waits for the last of its {state.servers} servers")
        return
    what = f"no new servers; {state.servers} are in it still" if state.servers else "unmap it; its database stays"
    summary = f"cell       {name}: {what}"
    needs = draft.planned(f"{Kind.MIGRATE}:{service}:")
    yield draft.operation(Kind.REMOVE_CELL, subject, Mark.REMOVE, summary, needs, service, argument=state.uuid)


# --- compute nodes


def discovery(draft: Draft) -> Iterator[Operation]:
    """Map the compute nodes of each cell that are there and not mapped, ours and others'."""
    for name, cell in draft.desired.cells.items():
        known = draft.observed.cells.get(cell.service, ())
        state = state_of(cell, known)
        wanted = set(cell.computes) | set(draft.observed.members.get(name, ()))
        missing = sorted(wanted - (state.hosts if state else frozenset()))
        elsewhere = {host: other.name for other in known if other != state for host in other.hosts}
        for host in [h for h in missing if h in elsewhere]:
            what = f"the compute node {host} of {cell.name} is mapped to {elsewhere[host]}"
            hint = f"Nova maps a node once: `nova-manage cell_v2 delete_host --cell_uuid … --host {host}` frees it."
            draft.problems.append(Problem("PS509", what, hint=hint))
        if missing:
            shown = few(missing, 4)
            yield draft.operation(
                Kind.DISCOVER,
                name,
                Mark.ADD,
                f"computes   {cell.name}: map {shown}",
                _running(draft, cell) | {f"{Kind.MAP_CELL}:{name}"},
                cell.service,
            )


def _running(draft: Draft, cell: DesiredCell) -> frozenset[str]:
    """What must run so that a compute node of a cell gets into its database."""
    mine = [i for i, u in draft.desired.units.items() if u.unit.service == cell.service and u.unit.cell == cell.name]
    units = {f"{kind.removesuffix(':')}:{i}" for i in mine for kind in UNIT_CHANGES}
    return frozenset(units) | draft.planned(f"{Kind.ENSURE_IDENTITY}:", f"{Kind.START_EDGE}:")
