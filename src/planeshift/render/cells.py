"""Rules of cells, and of the databases and message buses that services and cells use. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from planeshift import catalog
from planeshift.errors import Problem
from planeshift.model import cloud as model
from planeshift.model.load import nearest
from planeshift.model.source import Document, Path
from planeshift.render import topology


def check(cloud: model.Cloud, document: Document) -> list[Problem]:
    """Every problem of names; where those are right, of two that share what each must have alone."""
    problems = [*_servers(cloud, document), *_places(cloud, document)]
    problems += _cells(cloud, document)
    problems += _buses(cloud, document)
    problems += _lacking(cloud, document)
    return problems or [*_members(cloud, document), *_shared(cloud, document)]


# --- where state is kept


def database_key(cloud: model.Cloud, service: str, cell: str) -> str:
    """What the cloud file calls the database of a service, or of a cell of it, cell0 included."""
    declared = cloud.spec.services[service].database
    if cell and cell != topology.ZERO:
        return next(c.database for c in cloud.spec.cells if c.name == cell)
    return declared.get(topology.ZERO if cell else "api") or declared.get("main", "main")


def schema(database: model.Database, service: str, cell: str = "") -> str:
    """The schema of a service, or of a cell of it, in a database."""
    usual = f"{service}_{cell.replace('-', '_')}" if cell else catalog.service(service).schema or service
    return database.name or usual


def vhost(bus: model.Messaging, service: str, cell: str = "") -> str:
    """The vhost that a service, or a cell's part of it, uses on a message bus."""
    return bus.vhost or ("-".join(filter(None, (service, cell))) if bus.manage else "/")


def bus(cloud: model.Cloud, service: str) -> str:
    """Which of `messaging` a service uses: the one it names, else `main`, else the only one; empty without any."""
    known = cloud.spec.messaging
    return cloud.spec.services[service].messaging or (
        "main" if "main" in known else next(iter(known)) if len(known) == 1 else ""
    )


# --- rules


def _lacking(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """What a service must have to speak to its own programs, and which of them run where."""
    for name, service in cloud.spec.services.items():
        if name not in catalog.names() or service.endpoint:
            continue
        spec, where = catalog.service(name), document.where(("spec", "services", name), key=True)
        if spec.messaging and not bus(cloud, name):
            hint = "Declare `messaging: {main: {manage: true, host: …}}`, or `{hosts: [address:port]}` of another's."
            yield Problem("PS230", f"{name} needs a message bus, and none is declared for it", where, hint=hint)
        key = service.database.get("api") or service.database.get("main", "main")
        found = cloud.spec.databases.get(key)
        if spec.cells and (found is None or found.engine == "sqlite"):
            hint = "Declare `databases: {main: {engine: mysql, manage: true, host: …}}`, or the address of another's."
            yield Problem("PS231", f"{name} needs a database server, and none is declared for it", where, hint=hint)
        for backend, settings in service.backends.items():
            place: Path = ("spec", "services", name, "backends", backend)
            wanted = "cell" if settings.cell else "top"
            first = spec.components[0]
            pods = topology.components(cloud, name, settings) if settings.cluster and spec.cells else ()
            for component in pods:
                if component.name != first.name and not (component.topic or component.port):
                    at = document.where((*place, "cluster"), key=True)
                    what = f"{component.name} as pods is not yet supported"
                    yield Problem("PS110", what, at, hint="Run it on hosts, in a backend of its own.")
            beside = [c.name for c in pods if c.port and c.name != first.name]
            if beside and any(c.topic for c in pods):
                what = f"{beside[0]} in pods of the release of what takes messages is not yet supported"
                at = document.where((*place, "components", beside[0]), key=True)
                yield Problem("PS110", what, at, hint="Run it in a backend of its own.")
            for component in (c for c in spec.components if c.name in settings.components and wanted not in c.where):
                at, hint = document.where((*place, "components", component.name), key=True), "`cell` names the cell."
                if settings.cell:
                    hint = f"Run {component.name} in a backend without `cell`."
                words = f"{component.name} does not run {'in a cell' if settings.cell else 'above the cells'}"
                yield Problem("PS232", words, at, hint=hint)


def _servers(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """A server is somebody else's, at an address, or ours, on a host of ours."""
    known = {h.name: h for h in cloud.spec.hosts}
    servers: list[tuple[Path, bool, str | None]] = []
    servers += [(("spec", "databases", n), d.manage, d.host) for n, d in cloud.spec.databases.items()]
    servers += [(("spec", "messaging", n), m.manage, m.host) for n, m in cloud.spec.messaging.items()]
    for path, manage, host in servers:
        what = f"`{path[-1]}` in `{path[1]}`"
        if manage and host is None:
            hint = "`host` names the host of ours that runs it."
            yield Problem("PS221", f"nobody runs {what}", document.where(path, key=True), hint=hint)
        elif manage and (host not in known or known[host].via == "external"):
            hint = nearest(host or "", [n for n, h in known.items() if h.via != "external"])
            yield Problem("PS201", f"no host of ours is called `{host}`", document.where((*path, "host")), hint=hint)
    for name, bus_ in cloud.spec.messaging.items():
        path, where = ("spec", "messaging", name), document.where(("spec", "messaging", name), key=True)
        if not bus_.manage and not bus_.hosts:
            hint = "`hosts: [address:port]` says where it is; `manage: true` and `host` let us run it."
            yield Problem("PS221", f"nobody runs `{name}` in `messaging`", where, hint=hint)
        elif bus_.manage and bus_.hosts:
            where = document.where((*path, "hosts"), key=True)
            yield Problem("PS221", f"`{name}` in `messaging` is ours, and has `hosts` of somebody else's", where)
        elif not bus_.manage and bus_.host:
            where = document.where((*path, "host"), key=True)
            yield Problem("PS221", f"`host` of `{name}` goes with `manage: true`", where, hint="Name it in `hosts`.")


def _places(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """Zones and cells that something lies in."""
    zones, cells = cloud.spec.zones, [c.name for c in cloud.spec.cells]
    nodes = [
        (("spec", "clusters", i, "nodes", j), n)
        for i, c in enumerate(cloud.spec.clusters)
        for j, n in enumerate(c.nodes)
    ]
    machines: list[tuple[Path, model.Host | model.Node]] = [
        *((("spec", "hosts", i), h) for i, h in enumerate(cloud.spec.hosts)),
        *nodes,
    ]
    lying: list[tuple[Path, str | None]] = [((*path, "cell"), m.cell) for path, m in machines]
    for name, service in cloud.spec.services.items():
        for backend, settings in service.backends.items():
            path: Path = ("spec", "services", name, "backends", backend, "cell")
            lying.append((path, settings.cell))
    for name, service in cloud.spec.services.items():
        waves = [(i, j, c) for i, wave in enumerate(service.shift.waves) for j, c in enumerate(wave)]
        lying += [(("spec", "services", name, "shift", "waves", i, j), c) for i, j, c in waves]
        for n, (i, j, again) in enumerate(waves):
            if again in [c for _, _, c in waves[:n]]:
                where = document.where(("spec", "services", name, "shift", "waves", i, j))
                yield Problem("PS208", f"`{again}` stands twice in the waves of {name}", where)
    for path, cell in lying:
        if cell is not None and cell not in cells:
            hint = nearest(cell, cells) or "Declare it in `cells`."
            yield Problem("PS222", f"no cell is called `{cell}`", document.where(path), hint=hint)
    zoned: list[tuple[Path, str | None]] = [((*path, "zone"), n.zone) for path, n in nodes]
    zoned += [(("spec", "cells", i, "zone"), c.zone) for i, c in enumerate(cloud.spec.cells)]
    for path, zone in zoned:
        if zone is not None and zone not in zones:
            where = document.where(path)
            yield Problem("PS207", f"the zone `{zone}` is not declared", where, hint=nearest(zone, zones))
    for i, cluster in enumerate(cloud.spec.clusters):
        names = [n.name for n in cluster.nodes]
        for j, name in enumerate(names):
            if name in names[:j]:
                where = document.where(("spec", "clusters", i, "nodes", j, "name"))
                yield Problem("PS208", f"`{name}` stands twice in the nodes of {cluster.name}", where)


def _cells(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, cell in enumerate(cloud.spec.cells):
        path: Path = ("spec", "cells", i)
        if cell.name in seen:
            where, hint = (
                document.where((*path, "name")),
                "An entry that refines one of a range stands after the range.",
            )
            yield Problem("PS208", f"`{cell.name}` stands twice in `cells`", where, hint=hint)
        seen.add(cell.name)
        if cell.name == topology.ZERO:
            where, hint = document.where((*path, "name")), "It is made by itself; call this one otherwise."
            yield Problem("PS208", f"`{cell.name}` is the cell of what was never scheduled", where, hint=hint)
        for key, known, what in (
            ("database", list(cloud.spec.databases), "database"),
            ("messaging", list(cloud.spec.messaging), "message bus"),
        ):
            name = getattr(cell, key)
            if name not in known:
                hint = nearest(name, known) or f"Declare it in `{'databases' if key == 'database' else key}`."
                yield Problem("PS209", f"no {what} is called `{name}`", document.where((*path, key)), hint=hint)


def _buses(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    known = list(cloud.spec.messaging)
    for name, service in cloud.spec.services.items():
        if service.messaging is not None and service.messaging not in known:
            where, hint = document.where(("spec", "services", name, "messaging")), nearest(service.messaging, known)
            yield Problem("PS209", f"no message bus is called `{service.messaging}`", where, hint=hint)


def _members(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """A compute node is in one cell: Nova maps a host once."""
    taken: dict[str, str] = {}
    for i, cell in enumerate(cloud.spec.cells):
        for j, host in enumerate(cell.computes.hosts):
            other = taken.get(host)
            if other is not None:
                where = document.where(("spec", "cells", i, "computes", "hosts", j))
                again = "twice" if other == cell.name else f"and {other}"
                yield Problem("PS223", f"the compute node `{host}` is in {cell.name} {again}", where)
            taken[host] = cell.name


@dataclass(frozen=True)
class _Use:
    """A place that somebody keeps state in."""

    user: str
    key: tuple[str, ...]
    shown: str
    path: Path


def _shared(cloud: model.Cloud, document: Document) -> Iterator[Problem]:
    """Two cells (or a cell and Nova itself) on one schema or one vhost would take each other's records and calls."""
    for code, uses, what, hint in (
        ("PS224", _schemas(cloud), "schema", "Give each cell a database of its own, or let their `name` differ."),
        ("PS225", _vhosts(cloud), "vhost", "Give each cell a message bus of its own, or let their `vhost` differ."),
    ):
        taken: dict[tuple[str, ...], _Use] = {}
        told: set[tuple[str, str]] = set()
        for use in uses:
            other = taken.setdefault(use.key, use)
            if other.user != use.user and (other.user, use.user) not in told:
                told.add((other.user, use.user))
                message = f"{other.user} and {use.user} are on one {what}, {use.shown}"
                yield Problem(code, message, document.where(use.path), hint=hint)


def _schemas(cloud: model.Cloud) -> Iterator[_Use]:
    databases = cloud.spec.databases
    for name in topology.ours(cloud):
        if name not in catalog.names():
            continue
        for cell in ("", topology.ZERO) if catalog.service(name).cells else ("",):
            found = databases.get(key := database_key(cloud, name, cell))
            declared = [use for use, database in cloud.spec.services[name].database.items() if database == key]
            path: Path = ("spec", "services", name, *(("database", declared[-1]) if declared else ()))
            yield from _schema(
                f"cell0 of {name}" if cell else name, found, schema(found, name, cell) if found else "", path
            )
    for i, cell_ in enumerate(cloud.spec.cells):
        found, path = databases[cell_.database], ("spec", "cells", i, "database")
        yield from _schema(f"the cell {cell_.name}", found, schema(found, "nova", cell_.name), path)


def _schema(user: str, found: model.Database | None, named: str, path: Path) -> Iterator[_Use]:
    if found is not None and found.engine != topology.SQLITE:
        yield _Use(user, (found.host or "", str(found.port), named), f"{named} at {found.host}", path)


def _vhosts(cloud: model.Cloud) -> Iterator[_Use]:
    buses = cloud.spec.messaging
    if "nova" in cloud.spec.services and bus(cloud, "nova"):
        for address in _addresses(buses[bus(cloud, "nova")]):
            named = vhost(buses[bus(cloud, "nova")], "nova")
            path: Path = ("spec", "services", "nova", "messaging")
            yield _Use("nova, above its cells,", (address, named), f"{named} at {address}", path)
    for i, cell in enumerate(cloud.spec.cells):
        named = vhost(buses[cell.messaging], "nova", cell.name)
        for address in _addresses(buses[cell.messaging]):
            path = ("spec", "cells", i, "messaging")
            yield _Use(f"the cell {cell.name}", (address, named), f"{named} at {address}", path)


def _addresses(bus_: model.Messaging) -> list[str]:
    return sorted(bus_.hosts) or [f"{bus_.host}:{bus_.port}"]
