"""How a fleet of cells fares: by the signs of life in each cell's database, and by the queues of its message bus."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from planeshift.engine.fleet import ALIVE, reports
from planeshift.engine.observe import AT_ONCE
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.plan.cells import state_of
from planeshift.plan.observed import Observed, Report
from planeshift.render.desired import DesiredCell, Pods, Unit
from planeshift.render.stores import ZERO

FORGOTTEN = 600  # seconds after which what takes messages and is declared nowhere is history: Nova keeps its record


@dataclass(frozen=True)
class CellLine:
    """A cell in a word, and in some more."""

    name: str
    health: str
    detail: str


def fleet(world: World, observed: Observed) -> Iterator[CellLine]:
    """A line a cell; of cell0 what runs above the cells."""
    cells = [c for c in world.desired.cells.values() if c.database in world.desired.databases]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        yield from pool.map(lambda cell: _line(world, observed, cell), cells)


def _line(world: World, observed: Observed, cell: DesiredCell) -> CellLine:
    try:
        signs = reports(world, world.desired.databases[cell.database])
    except PlaneshiftError:
        return CellLine(cell.name, "down", "its database cannot be read: servers in it are listed in part")
    up: dict[str, list[bool]] = {}
    for sign in signs:
        if not _gone(world, cell, sign):
            up.setdefault(sign.program, []).append(sign.seconds < ALIVE)
    words = [f"{name.removeprefix(f'{cell.service}-')} {sum(up[name])}/{len(up[name])} up" for name in sorted(up)]
    state, queued = state_of(cell, observed.cells.get(cell.service, ())), _queued(world, cell)
    words.append("its queues cannot be looked at" if queued is None else f"{queued} queued")
    words += [f"{state.servers} servers" if state else "not mapped"] + ([] if cell.enabled else ["closed to new ones"])
    well = state and up and queued is not None and all(all(found) for found in up.values())
    return CellLine(cell.name, "up" if well else "failing", ", ".join(words))


def _gone(world: World, cell: DesiredCell, sign: Report) -> bool:
    """Whether a sign of life says nothing: of a consumer that moved away or is no longer declared; of an API, which gives
    none after its start.
    """
    desired, here = world.desired, "" if cell.name == ZERO else cell.name
    components = desired.specs[cell.service].components
    if sign.program not in {c.name for c in components if c.topic}:
        return not here or sign.program in {c.name for c in components if c.wsgi}
    units: list[Unit | Pods] = [u.unit for u in desired.units.values()]
    units += [p.pods for p in desired.pods.values()]
    takers = {
        (u.host, c.name): u.id
        for u in units
        if (u.service, u.cell) == (cell.service, here)
        for c in (u.components if isinstance(u, Unit) else u.takers)
    }
    mine = takers.get((sign.host, sign.program))
    return bool({mine, f"{mine}#0"} & desired.idle) if mine else sign.seconds > FORGOTTEN


def _queued(world: World, cell: DesiredCell) -> int | None:
    """How many messages wait for the cell's consumers; None where its bus does not say."""
    bus = world.desired.buses.get(cell.service if cell.name == ZERO else cell.database)
    where = "top" if cell.name == ZERO else "cell"
    topics = {c.topic for c in world.desired.specs[cell.service].components if c.topic and where in c.where}
    try:
        found = world.buses.queues(bus, world.secret(bus.service, bus.secret), sorted(topics)) if bus else {}
    except PlaneshiftError:
        return None
    return sum(queue.messages for queue in found.values())
