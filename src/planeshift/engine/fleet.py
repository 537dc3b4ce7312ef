"""What a service that is divided in cells says of them itself: cells, their compute nodes, signs of life."""

from __future__ import annotations

from typing import Any

from planeshift.catalog.spec import Cells
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import CellState, Report
from planeshift.render.desired import DesiredDatabase


def known_cells(world: World, service: str) -> tuple[CellState, ...]:
    """The cells by the service's own records. Raises PlaneshiftError (PS501) where they cannot be read."""
    spec, database = _cells(world, service), world.desired.databases[service]
    password = world.secret(service, database.secret)
    mapped: dict[str, set[str]] = {}
    for uuid, host in world.databases.rows(database, password, spec.mapped):
        mapped.setdefault(uuid, set()).add(host)
    return tuple(
        CellState(uuid, name or "", transport or "", connection or "", bool(disabled), servers, _frozen(mapped, uuid))
        for uuid, name, transport, connection, disabled, servers in world.databases.rows(database, password, spec.known)
    )


def _frozen(mapped: dict[str, set[str]], uuid: str) -> frozenset[str]:
    return frozenset(mapped.get(uuid, ()))


def members(world: World, database: DesiredDatabase) -> frozenset[str]:
    """The compute nodes that a cell's database knows. Raises PlaneshiftError (PS501) where it cannot be read."""
    query = _cells(world, database.service).members
    return frozenset(host for (host,) in _rows(world, database, query))


def reports(world: World, database: DesiredDatabase) -> tuple[Report, ...]:
    """The signs of life in a cell's database. Raises PlaneshiftError (PS501) where it cannot be read."""
    query = _cells(world, database.service).reports
    return tuple(
        Report(host, program, bool(off), age or 0) for host, program, off, age in _rows(world, database, query)
    )


ALIVE = 60  # seconds, Nova's own `service_down_time`: https://docs.openstack.org/nova/latest/configuration/config.html
SAMPLES = 2  # compute nodes of a cell that stand for all of it


def samples(world: World, service: str, cell: str = "") -> list[str]:
    """Some compute nodes of every cell, or of one, that are up: what is proved on them is proved of their cells."""
    result = []
    for name, found in world.desired.cells.items():
        if found.service == service and cell in ("", found.name):
            result += _some(world, world.desired.databases[name], _cells(world, service).compute)
    return result


def _some(world: World, database: DesiredDatabase, compute: str) -> list[str]:
    try:
        found = reports(world, database)
    except PlaneshiftError:
        return []
    return sorted(r.host for r in found if r.program == compute and not r.disabled and r.seconds < ALIVE)[:SAMPLES]


def _rows(world: World, database: DesiredDatabase, query: str) -> list[tuple[Any, ...]]:
    return world.databases.rows(database, world.secret(database.service, database.secret), query)


def _cells(world: World, service: str) -> Cells:
    found = world.desired.specs[service].cells
    if found is None:
        raise ValueError(f"{service} has no cells")
    return found


def known_or_none(world: World, service: str) -> tuple[CellState, ...] | None:
    """`known_cells`, None where they cannot be read."""
    try:
        return known_cells(world, service)
    except PlaneshiftError:
        return None


def members_if_known(world: World, database: DesiredDatabase) -> frozenset[str]:
    """`members`, none where they cannot be read."""
    try:
        return members(world, database)
    except PlaneshiftError:
        return frozenset()
