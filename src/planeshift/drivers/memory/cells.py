"""A service's cells in memory: what its commands make of them, and what its databases say of what runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from planeshift import catalog
from planeshift.catalog.spec import NO_BUS, Cells
from planeshift.drivers.memory import processes
from planeshift.drivers.memory.data import Data, DatabaseData, ProcessData
from planeshift.drivers.memory.processes import without_credentials

Row = tuple[Any, ...]
LONG_AGO = 3600  # seconds since an API gave its only sign of life, when it started


def perform(
    data: Data, service: str, release: str, above: DatabaseData, words: tuple[str, ...], environment: Mapping[str, str]
) -> bool:
    """Do what a command does to cells, or to a cell's database; False where it is none of those."""
    spec = catalog.service(service).cells
    if spec is None:
        return False
    connection = environment.get("OS_DATABASE__CONNECTION", "")
    transport = environment.get("OS_DEFAULT__TRANSPORT_URL", NO_BUS)
    known: list[Row] = above.rows.setdefault(spec.known, [])
    if words in (spec.migration.create, spec.migration.upgrade):
        own = data.databases[without_credentials(connection)]
        own.heads, own.tables = frozenset(catalog.facts(service, release)["cell_heads"]), True
    elif words == spec.migration.online:
        pass
    elif words == spec.map_zero:
        if not known:
            known.append(("zero", "cell0", NO_BUS, connection, 0, 0))
    elif _same(words, spec.create):
        known.append((f"uuid {len(known)}", words[-1], transport, connection, 0, 0))
    elif _same(words, spec.update):
        _update(known, spec, words, connection, transport)
    elif _same(words, spec.remove):
        known[:] = [row for row in known if row[0] != words[-1]]
    elif _same(words, spec.discover):
        mapped = above.rows.setdefault(spec.mapped, [])
        row = next(r for r in known if r[0] == words[-1])
        hosts = {host for (host,) in _members(data, service, spec, without_credentials(row[3]))}
        mapped += [(row[0], host) for host in sorted(hosts - {h for _, h in mapped})]
    else:
        return False
    return True


def _update(known: list[Row], spec: Cells, words: tuple[str, ...], connection: str, transport: str) -> None:
    uuid, name = words[len(spec.update) - 3], words[len(spec.update) - 1]
    disabled = {spec.disable: 1, spec.enable: 0}.get(words[len(spec.update) :])
    for number, row in enumerate(known):
        if row[0] == uuid:
            known[number] = (uuid, name, transport, connection, row[4] if disabled is None else disabled, row[5])


def _same(words: tuple[str, ...], command: tuple[str, ...]) -> bool:
    """Whether a command line is this one, with its names filled in, and perhaps more after it."""
    pairs = zip(words, command, strict=False)
    return len(words) >= len(command) and all(w == c or c.startswith("{") for w, c in pairs)


def rows(data: Data, service: str, place: str, query: str) -> list[Row] | None:
    """What the database at a place says of what runs in its cell; None for other queries."""
    spec = catalog.service(service).cells
    if spec and query == spec.members:
        return list(_members(data, service, spec, place))
    if spec and query == spec.reports:
        there = [p for p in _there(data, service, spec, place) if p.unit not in data.deaf]
        once = {c.name for c in catalog.service(service).components if c.wsgi}
        return sorted((_host(data, p), p.program, 0, LONG_AGO if p.program in once else 0) for p in there)
    return None


def _members(data: Data, service: str, spec: Cells, place: str) -> Iterator[Row]:
    found = {_host(data, p) for p in _there(data, service, spec, place) if p.program == spec.compute}
    return ((host,) for host in sorted(found))


def _host(data: Data, process: ProcessData) -> str:
    """What a program is known by: its host, or one name for all pods of a backend."""
    place, _, backend = process.unit.split("/")
    return f"{place}-{backend}" if place in data.clusters else place


def _there(data: Data, service: str, spec: Cells, place: str) -> Iterator[ProcessData]:
    """The programs of a cell, by its database, or by its message bus where they know no database."""
    names = {c.name for c in catalog.service(service).components if c.wsgi or not c.port}
    mapped = [r for d in data.databases.values() for r in d.rows.get(spec.known, ())]
    buses = {without_credentials(r[2]) for r in mapped if without_credentials(r[3]) == place}
    for process in data.processes.values():
        if process.program in names and process.unit.split("/")[1] == service:
            own = processes.option(process.read, service, "database", "connection")
            bus = processes.option(process.read, service, "DEFAULT", "transport_url")
            if without_credentials(own) == place or (not own and without_credentials(bus) in buses):
                yield process
