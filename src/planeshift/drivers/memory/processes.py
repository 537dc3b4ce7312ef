"""Supervisors and what they run: who listens where, what it has read, and whether it answers."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from planeshift import catalog
from planeshift.catalog import inifile
from planeshift.drivers.memory import haproxycfg
from planeshift.drivers.memory.data import (
    Data,
    EdgeData,
    KeystoneData,
    Place,
    ProcessData,
    SupervisorData,
    UnitData,
)
from planeshift.render.desired import File
from planeshift.render.files import config_directory, fragments_directory
from planeshift.render.server import SERVER

SUPERVISION = "supervisord.conf"
_BIND = re.compile(r"^bind = '(?P<bind>.*)'$", re.MULTILINE)
_LISTEN = re.compile(r"^Listen (?P<bind>\S+)$", re.MULTILINE)
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class ProgramData:
    """A program as a supervisor's configuration has it."""

    name: str
    argv: tuple[str, ...]
    directory: str
    log: str


def programs(config: str) -> dict[str, ProgramData]:
    """The programs of a supervisor's configuration."""
    parser = configparser.RawConfigParser()
    parser.read_string(config)
    result = {}
    for section in parser.sections():
        kind, _, name = section.partition(":")
        if kind == "program":
            options = {key: value.replace("%%", "%") for key, value in parser.items(section)}
            argv = tuple(shlex.split(options["command"]))
            result[name] = ProgramData(name, argv, options["directory"], options["stdout_logfile"])
    return result


def of(data: Data, unit: str) -> list[ProcessData]:
    """The processes of a unit, orphans among them."""
    return [p for p in data.processes.values() if p.unit == unit]


def supervised(data: Data, unit: str) -> dict[str, ProcessData]:
    """Those that its living supervisor has, by program."""
    found = data.units.get(unit)
    supervisor = found.supervisor if found else None
    return {p.program: p for p in of(data, unit) if supervisor and p.parent == supervisor.pid}


def orphans(data: Data, unit: str) -> list[ProcessData]:
    """Those that lost their supervisor."""
    kept = supervised(data, unit).values()
    return [p for p in of(data, unit) if p not in kept]


# --- starting and ending


def launch(data: Data, unit: str) -> None:
    """Begin a supervisor, which has read what lies there."""
    pid = data.pid()
    config = data.units[unit].files[SUPERVISION].content.decode()
    data.units[unit].supervisor = SupervisorData(pid, pid * 10, config)
    let_run(data)


def let_run(data: Data) -> None:
    """What supervisors do all the time: start what ended, as soon as it can."""
    for name, unit in data.units.items():
        if unit.supervisor:
            for program in programs(unit.supervisor.config).values():
                if program.name not in unit.supervisor.down and program.name not in supervised(data, name):
                    _spawn(data, name, unit, unit.supervisor, program)


def kill(data: Data, *processes: ProcessData) -> None:
    """End processes."""
    for process in processes:
        data.processes.pop(process.pid, None)


def read_again(data: Data, process: ProcessData) -> None:
    """A reload: the same process reads its files anew, and listens where they say. It ends where it cannot."""
    unit = data.units[process.unit]
    try:
        edge = haproxycfg.read(unit.files, _directory(unit, process)) if process.edge is not None else None
    except ValueError:
        return  # HAProxy goes on as it was
    listens = _listens(unit, process.program, edge)
    if any(listener(data, p) not in (None, process) for p in listens):
        kill(data, process)
        return
    process.read, process.listens, process.edge = dict(unit.files), listens, edge


def _directory(unit: UnitData, process: ProcessData) -> str:
    supervisor = unit.supervisor
    return programs(supervisor.config)[process.program].directory if supervisor else ""


def _spawn(data: Data, name: str, unit: UnitData, supervisor: SupervisorData, program: ProgramData) -> None:
    environment = environment_of(program.argv[0])
    host = name.split("/")[0]
    is_edge = program.name == "haproxy"
    if environment and environment not in data.environments.get(host, {}):
        return  # there is no such program
    try:
        edge = haproxycfg.read(unit.files, program.directory) if is_edge else None
    except ValueError:
        return
    if _is_server(program) and SERVER not in unit.files:
        return
    listens = _listens(unit, program.name, edge)
    if any(listener(data, p) is not None for p in listens):
        return  # tried again when the place is free
    pid = data.pid()
    data.processes[pid] = ProcessData(
        pid, pid * 10, name, program.name, supervisor.pid, listens, environment, dict(unit.files), edge
    )


def environment_of(executable: str) -> str:
    """The id of the environment that an executable's path lies in; empty for a program of the system's."""
    _, found, rest = executable.partition("/environments/")
    return rest.split("/")[0] if found else ""


def _listens(unit: UnitData, program: str, edge: EdgeData | None) -> tuple[Place, ...]:
    if edge is not None:
        return tuple(edge.binds)
    known = programs(unit.supervisor.config).get(program) if unit.supervisor else None
    if program != "httpd" and known and not _is_server(known):
        return ()
    pattern, file = (_LISTEN, "httpd.conf") if program == "httpd" else (_BIND, SERVER)
    found = pattern.search(unit.files[file].content.decode()) if file in unit.files else None
    bind = found["bind"] if found else ""
    return () if not bind or bind.startswith("unix:") else (haproxycfg.place(bind),)


def _is_server(program: ProgramData) -> bool:
    return program.argv[0].endswith("/gunicorn")


# --- listening and answering


def listener(data: Data, place: Place) -> ProcessData | str | None:
    """Who listens there: a process of ours, the name of another's, or nobody."""
    for process in data.processes.values():
        if any(_meet(place, own) for own in process.listens):
            return process
    return next((who for there, who in data.foreign.items() if _meet(place, there)), None)


def _meet(one: Place, other: Place) -> bool:
    same = one[0] == other[0] or one[0] in _WILDCARDS or other[0] in _WILDCARDS
    return same and one[1] == other[1]


def answers(data: Data, url: str, unit: str = "") -> bool:
    """Whether a URL answers 200, and, where `unit` is given, by that unit or an edge and not by a stranger.

    One of `tcp://` only takes a connection.
    """
    if url.startswith("tcp:"):
        return bool(supervised(data, unit))  # a server of another kind: it listens where it runs
    parts = urlsplit(url)
    first = listener(data, (parts.hostname or "", parts.port or 80))
    if unit and first is not None and not (isinstance(first, ProcessData) and (first.unit == unit or first.edge)):
        return False
    return any(_healthy(data, p) if isinstance(p, ProcessData) else True for p in behind(data, url))


def keystone(data: Data, url: str, ca: str) -> KeystoneData | None:
    """The content of the Keystone that answers at a URL, to a client that trusts `ca`; None where none does."""
    for found in behind(data, url, ca):
        if isinstance(found, KeystoneData):
            return found
        if isinstance(found, ProcessData) and _healthy(data, found) and _service(data, found) == "keystone":
            database = data.databases.get(connection("keystone", found))
            return database.keystone if database else None
    return None


def behind(data: Data, url: str, ca: str | None = None) -> Iterator[ProcessData | KeystoneData | str]:
    """What would answer a request to a URL: a process itself, or one of those behind a HAProxy."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    place = (parts.hostname or "", port)
    if place in data.elsewhere:
        yield data.elsewhere[place] or "somebody else's"
        return
    for process in list(data.processes.values()):
        # A name, rather than an address, leads to whichever edge has the port.
        named = process.edge is not None and not re.fullmatch(r"[0-9.]+|.*:.*", place[0])
        bound = next((p for p in process.listens if _meet(place, p) or (named and p[1] == port)), None)
        if bound is None:
            continue
        if process.edge is None:
            yield process
            continue
        frontend, certificate = process.edge.binds[bound]
        if bool(certificate) != (parts.scheme == "https") or (ca is not None and not _trusts(ca, certificate)):
            continue
        if frontend == haproxycfg.STATISTICS:
            yield "statistics"
        for (backend, _), server in process.edge.servers.items():
            there = (server.address, server.port)
            if backend == frontend and server.weight and not server.withheld and up(data, there):
                yield from _server(data, there)


def _server(data: Data, place: Place) -> Iterator[ProcessData | KeystoneData | str]:
    found = listener(data, place)
    if isinstance(found, ProcessData):
        yield found
    elif place in data.elsewhere:
        yield data.elsewhere[place] or "somebody else's"


def _trusts(ca: str, certificate: str) -> bool:
    """A trial authority, the first, is trusted by its own text alone; an operator's certificate always."""
    return not certificate.startswith("trial ") or (bool(ca) and ca.split()[1] == certificate.split()[1])


def up(data: Data, place: Place) -> bool:
    """Whether HAProxy's check of a server succeeds."""
    found = listener(data, place)
    return place in data.elsewhere if not isinstance(found, ProcessData) else _healthy(data, found)


def _service(data: Data, process: ProcessData) -> str:
    return process.unit.split("/")[1]


def _healthy(data: Data, process: ProcessData) -> bool:
    """Whether a service's process can serve: its code knows the schema of its database."""
    if process.edge is not None:
        return True
    host, service = process.unit.split("/")[:2]
    if service not in catalog.names():
        return True
    if not process.environment:  # a web server of the system's, before the service's own
        return any(_healthy(data, p) for p in of(data, process.unit) if p.environment)
    release = data.environments.get(host, {}).get(process.environment, ("", ""))[1]
    place = connection(service, process)
    if not place:  # an API of a cell knows the database of that alone
        cell = data.databases.get(without_credentials(option(process.read, service, "database", "connection")))
        return bool(release and cell and cell.heads == frozenset(catalog.facts(service, release)["cell_heads"]))
    database = data.databases.get(place)
    return bool(release and database) and lives(service, release, database.heads if database else frozenset())


def connection(service: str, process: ProcessData) -> str:
    """The database URL that a process has read, without its credentials."""
    return without_credentials(option(process.read, service, catalog.service(service).database_section, "connection"))


def option(files: Mapping[str, File], service: str, section: str, name: str) -> str:
    """An option of a service as it reads it from its files, the last one winning."""
    spec, value = catalog.service(service), ""
    main, fragments = f"{config_directory(spec)}/{spec.layout.main}", f"{fragments_directory(spec)}/"
    for path in sorted(files):
        if path == main or path.startswith(fragments):
            for entry in inifile.parse(files[path].content.decode("utf-8", "replace"), path).entries:
                if (entry.section, entry.key) == (section, name):
                    value = entry.value.replace("$$", "$")
    return value


def keys(files: Mapping[str, File], service: str, secret: str) -> dict[int, str]:
    """The keys that a service finds in the directory of a secret, by number; the highest is the one that it uses."""
    spec = catalog.service(service)
    directory = f"{config_directory(spec)}/{spec.key_directories[secret]}/"
    return {int(p.removeprefix(directory)): f.content.decode() for p, f in files.items() if p.startswith(directory)}


def without_credentials(url: str) -> str:
    """A database URL that can stand for the database."""
    return re.sub(r"//[^/@]*@", "//", url).split("?")[0]


def lives(service: str, release: str, heads: frozenset[str]) -> bool:
    """Whether code of a release can live with a schema."""
    facts = catalog.facts(service, release)
    own = frozenset(facts["heads"])
    if heads in (own, expanded(service, release)):
        return True
    spec, known = catalog.service(service), catalog.releases(service)
    for newer in known[known.index(release) + 1 :]:
        adjacent = known.index(newer) - known.index(release) == 1
        if spec.migration.kind == "expand-contract" and adjacent and heads == expanded(service, newer):
            return True
        if (release, newer) in spec.migration.lives_with and heads == frozenset(catalog.facts(service, newer)["heads"]):
            return True
    return False


def expanded(service: str, release: str) -> frozenset[str]:
    """The heads that a schema has once it is expanded for a release."""
    facts = catalog.facts(service, release)
    return frozenset(facts.get("expand", facts["heads"]))
