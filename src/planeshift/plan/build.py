"""Desired and observed to a plan. Pure: the same two give the same plan, and it asks nobody.

The order within a service: secrets and programs, then files, then database (backed up, migrated, bootstrapped), then
processes, then the edge, then what Keystone must know of it. What goes away leaves the edge first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from planeshift import catalog
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import DatabaseState, Observed, UnitState
from planeshift.plan.operations import Kind, Mark, Operation, Plan, in_order
from planeshift.render.build import edge_unit
from planeshift.render.desired import (
    EDGE_SECRETS,
    Desired,
    DesiredDatabase,
    DesiredEdge,
    DesiredUnit,
    File,
    IdentityEntries,
    SecretFile,
)

EDGE = "edge"
SUPERVISION = "supervisord.conf"
_EDGE_CHANGES = (f"{Kind.START_EDGE}:", f"{Kind.RESTART_EDGE}:", f"{Kind.RELOAD_EDGE}:")
_BRINGS_UP = (f"{Kind.START}:", f"{Kind.RESTART}:", f"{Kind.RELOAD}:", *_EDGE_CHANGES)
# Of which thing an operation's subject is the name, where it is not a unit's.
_THINGS = {
    Kind.START_EDGE: "edge ",
    Kind.RESTART_EDGE: "edge ",
    Kind.RELOAD_EDGE: "edge ",
    Kind.SET_WEIGHTS: "edge ",
    Kind.ENSURE_IDENTITY: "catalogue ",
}


def build(desired: Desired, observed: Observed, key: bytes = b"", *, contract: Iterable[str] = ()) -> Plan:
    """The plan that leads from `observed` to `desired`.

    `key` is the digest key of secret files; `contract` names the services whose old schema may be let go of now.
    Raises PlaneshiftError where the world forbids it (PS5xx, PS601, PS801).
    """
    builder = _Builder(desired, observed, key, frozenset(contract))
    operations = in_order(builder.operations())
    if builder.problems:
        raise PlaneshiftError(builder.problems)
    wanted = builder.applied()
    return Plan(
        cloud=desired.cloud,
        region=desired.region,
        operations=tuple(builder.with_drift(o, wanted) for o in operations),
        notes=tuple(builder.notes),
        later=tuple(builder.later),
        applied=wanted,
    )


class _Builder:
    def __init__(self, desired: Desired, observed: Observed, key: bytes, contract: frozenset[str]) -> None:
        self.desired, self.observed, self.key, self.contract = desired, observed, key, contract
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.later: list[str] = []
        self.ids: set[str] = set()

    # --- the whole

    def operations(self) -> list[Operation]:
        result: list[Operation] = []
        for step in (
            self._secrets,
            self._installs,
            self._files,
            self._databases,
            self._processes,
            self._edges,
            self._identity,
            self._leavers,
        ):
            for operation in step():
                # Only what is really planned is waited for.
                operation = replace(operation, needs=operation.needs & self.ids)
                self.ids.add(operation.id)
                result.append(operation)
        self._notes()
        return result

    def with_drift(self, operation: Operation, wanted: dict[str, str]) -> Operation:
        """Mark what must be done although the cloud file has not changed since it was last carried out."""
        thing = _THINGS.get(operation.kind, "") + operation.subject
        before = self.observed.applied.get(thing)
        return replace(operation, drift=before is not None and before == wanted.get(thing))

    def applied(self) -> dict[str, str]:
        """What each thing will be: the digest by which drift is told from change."""
        result = {unit_id: unit.digest(self.key) for unit_id, unit in self.desired.units.items()}
        for name, edge in self.desired.edges.items():
            result[f"edge {name}"] = self._edge_digest(edge)
        for name, entries in self.desired.identity.items():
            result[f"catalogue {name}"] = f"{sorted(entries.endpoints.items())} {entries.user} {entries.roles}"
        return result

    def _edge_digest(self, edge: DesiredEdge) -> str:
        weights = [(f.service, s.name, s.weight) for f in edge.frontends for s in f.servers]
        return f"{edge.structure} {weights}"

    def _units_of(self, service: str) -> list[DesiredUnit]:
        return [u for u in self.desired.units.values() if u.unit.service == service]

    # --- secrets

    def _secrets(self) -> Iterator[Operation]:
        for name, file in self.desired.secrets.items():
            there = self.observed.secrets.get(name, frozenset())
            missing = [s for s in file.secrets if s.name not in there]
            given = [s for s in missing if s.kind == "given"]
            for secret in given:
                self.problems.append(_given(file, secret.name, secret.purpose))
            made = [s for s in missing if s.kind != "given"]
            if made:
                yield Operation(
                    Kind.MAKE_SECRETS,
                    name,
                    name,
                    Mark.ADD,
                    f"secrets    {file.path}: {', '.join(s.name for s in made)} (made once, never shown)",
                )
            for secret in made:
                if secret.backup:
                    self.notes.append(
                        f"Back up {file.path}: it holds {secret.name} of {name}, {secret.purpose}; "
                        "without it what the database holds encrypted is lost."
                    )

    # --- programs

    def _installs(self) -> Iterator[Operation]:
        wanted = dict.fromkeys((u.unit.host, u.unit.environment) for u in self.desired.units.values())
        for host, environment_id in wanted:
            if environment_id in self.observed.environments.get(host, frozenset()):
                continue
            environment = self.desired.environments[environment_id]
            lines = environment.requirements.splitlines()
            packages = sum("==" in line and not line.startswith((" ", "#")) for line in lines)
            spec = catalog.service(environment.service)
            extras = [*environment.pip, *environment.dist]
            yield Operation(
                Kind.INSTALL,
                f"{host}/{environment_id}",
                environment.service,
                Mark.ADD,
                f"programs   {host}: {spec.package} {environment.version} ({environment.release}), {packages} packages",
                detail=tuple(f"extra: {e}" for e in extras),
                argument=environment_id,
            )

    # --- files

    def _files(self) -> Iterator[Operation]:
        for unit_id, unit in self.desired.units.items():
            yield from self._lay_out(unit_id, unit.unit.service, unit.files, _install_id(unit))

    def _lay_out(self, unit_id: str, service: str, files: Mapping[str, File], install: str) -> Iterator[Operation]:
        there = self.observed.units.get(unit_id, UnitState()).files
        wanted = {path: file.digest(self.key) for path, file in files.items()}
        new = sorted(wanted.keys() - there.keys())
        changed = sorted(p for p in wanted.keys() & there.keys() if wanted[p] != there[p])
        gone = sorted(there.keys() - wanted.keys())
        if not (new or changed or gone):
            return
        detail = [f"~ {p}" for p in changed] + [f"- {p}" for p in gone]
        if there:
            detail = [f"+ {p}" for p in new] + detail
        yield Operation(
            Kind.LAY_OUT,
            unit_id,
            service,
            Mark.CHANGE if there else Mark.ADD,
            f"files      {unit_id}: {_numbers(new, changed, gone)}",
            needs=frozenset({f"{Kind.MAKE_SECRETS}:{service}", f"{Kind.MAKE_SECRETS}:{EDGE_SECRETS}", install}),
            detail=tuple(detail),
        )

    def _changes_files(self, unit_id: str) -> bool:
        return f"{Kind.LAY_OUT}:{unit_id}" in self.ids

    # --- databases

    def _databases(self) -> Iterator[Operation]:
        for service, database in self.desired.databases.items():
            state = self.observed.databases.get(service, DatabaseState())
            if database.engine != "sqlite" and state.problem:
                self.problems.append(Problem("PS501", f"the database of {service}: {state.problem}"))
                continue
            yield from self._database(service, database, state)

    def _database(self, service: str, database: DesiredDatabase, state: DatabaseState) -> Iterator[Operation]:
        spec = self.desired.specs[service]
        base = frozenset({f"{Kind.LAY_OUT}:{database.unit}", f"{Kind.MAKE_SECRETS}:{service}"})
        base |= {_install_id(self.desired.units[database.unit])}
        if not state.exists and database.engine == "sqlite":
            yield self._op(Kind.PREPARE_DATABASE, service, Mark.ADD, f"database   {database.path}", base)
        ready = base | {f"{Kind.PREPARE_DATABASE}:{service}"}
        step = self._step(service, database, state)
        if state.interrupted:
            self.notes.append(f"A migration of {service} ({state.interrupted}) was interrupted; it is done again.")
            yield self._op(Kind.RESTORE, service, Mark.CHANGE, "database   restore the backup made before it", ready)
        if step:
            if not state.empty:
                summary = f"backup     of the database of {service}, restored once as a test"
                needs = ready | {f"{Kind.RESTORE}:{service}"}
                yield self._op(Kind.BACK_UP, service, Mark.ADD, summary, needs)
            yield self._op(
                Kind.MIGRATE,
                service,
                Mark.ADD if state.empty else Mark.CHANGE,
                f"schema     {step} to {database.release}"
                + (f", beside {', '.join(database.older)}" if database.older else ""),
                ready | {f"{Kind.BACK_UP}:{service}", f"{Kind.RESTORE}:{service}"},
                argument=step,
            )
        if spec.bootstrap and not state.bootstrapped:
            needs = ready | {i for i in self.ids if i.startswith(f"{Kind.MIGRATE}:{service}:")}
            needs |= {f"{Kind.MIGRATE}:{service}:{step}"}
            yield self._op(
                Kind.BOOTSTRAP, service, Mark.ADD, f"bootstrap  {service}: administrator, first roles", needs
            )

    def _step(self, service: str, database: DesiredDatabase, state: DatabaseState) -> str:
        """The migration's step that is due: create, upgrade, expand, contract, or none."""
        if state.empty:
            return "create"
        if state.heads >= database.heads and not state.interrupted:
            return ""
        newer = next(
            (r for r in catalog.releases(service) if r > database.release and self._holds(service, r, state)), ""
        )
        if newer:
            self.problems.append(
                Problem(
                    "PS505",
                    f"the database of {service} has the schema of {newer}, newer than {database.release}",
                    why="Schemas only go forward: older code would read what it does not know.",
                    hint=f'Run {service} from "{newer}", or restore the backup that was made before its migration.',
                )
            )
            return ""
        migration = self.desired.specs[service].migration
        if migration.kind == "single":
            return "upgrade"
        expanded = frozenset(catalog.facts(service, database.release).get("expand", database.heads)) <= state.heads
        if not expanded:
            return "expand"
        if database.older:
            self.later.append(f"contract the schema of {service}: waits for the last backend of {database.older[0]}")
            return ""
        if service in self.contract:
            return "contract"
        self.later.append(f"contract the schema of {service}: planeshift up --contract {service}")
        return ""

    def _holds(self, service: str, release: str, state: DatabaseState) -> bool:
        heads = frozenset(catalog.facts(service, release)["heads"])
        return bool(state.heads) and state.heads <= heads

    # --- processes

    def _processes(self) -> Iterator[Operation]:
        for unit_id, unit in self.desired.units.items():
            yield from self._unit(unit_id, unit)

    def _unit(self, unit_id: str, unit: DesiredUnit) -> Iterator[Operation]:
        state, service = self.observed.units.get(unit_id, UnitState()), unit.unit.service
        ready = self._before_start(unit_id, service, _install_id(unit))
        stopped = [p.name for p in unit.programs if p.name not in state.running]
        if state.orphans:
            if self._served_elsewhere(unit):
                yield self._op(
                    Kind.WITHHOLD, unit_id, Mark.CHANGE, f"edge       take {unit_id} out", frozenset(), service
                )
            count = len(state.orphans)
            yield self._op(
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
            if self._foreign(unit.unit.address, unit.unit.port, unit_id):
                return
            yield self._op(Kind.START, unit_id, mark, summary, needs, service)
        elif self._supervision_changes(unit_id, unit.files):
            if self._served_elsewhere(unit):
                yield self._op(Kind.WITHHOLD, unit_id, Mark.CHANGE, f"edge       take {unit_id} out", ready, service)
                summary = f"processes  {unit_id}: restart, while others serve"
            else:
                summary = f"processes  {unit_id}: restart; it serves alone, so requests wait or fail meanwhile"
            needs = ready | {f"{Kind.WITHHOLD}:{unit_id}"}
            yield self._op(Kind.RESTART, unit_id, Mark.CHANGE, summary, needs, service)
        elif self._changes_files(unit_id) or state.loaded != unit.digest(self.key):
            summary = f"processes  {unit_id}: reload, no request lost"
            yield self._op(Kind.RELOAD, unit_id, Mark.CHANGE, summary, ready, service)

    def _supervision_changes(self, unit_id: str, files: Mapping[str, File]) -> bool:
        """Whether the programs themselves change, which a reload of their files cannot bring about."""
        there = self.observed.units[unit_id]
        wanted = files[SUPERVISION].digest(self.key)
        return there.files.get(SUPERVISION) != wanted or there.supervision != wanted

    def _before_start(self, unit_id: str, service: str, install: str) -> frozenset[str]:
        before = {
            f"{Kind.LAY_OUT}:{unit_id}",
            install,
            f"{Kind.PREPARE_DATABASE}:{service}",
            f"{Kind.BOOTSTRAP}:{service}",
        }
        return frozenset(before | {i for i in self.ids if i.startswith(f"{Kind.MIGRATE}:{service}:")})

    def _served_elsewhere(self, unit: DesiredUnit) -> bool:
        return any(
            self.observed.edges[name].servers.get((unit.unit.service, s.name)) and len(f.servers) > 1
            for name, edge in self.desired.edges.items()
            if name in self.observed.edges
            for f in edge.frontends
            if f.service == unit.unit.service
            for s in f.servers
            if s.host == unit.unit.host and s.backend == unit.unit.backend
        )

    def _foreign(self, address: str, port: int, what: str) -> bool:
        holder = self.observed.listeners.get((address, port))
        if holder:
            self.problems.append(
                Problem(
                    "PS601",
                    f"{what} cannot listen on {address}:{port}: {holder} is there",
                    hint="End that program, or give one of them another `port` or `address`.",
                )
            )
        return bool(holder)

    # --- the edge

    def _edges(self) -> Iterator[Operation]:
        for name, edge in self.desired.edges.items():
            yield from self._edge(name, edge)

    def _edge(self, name: str, edge: DesiredEdge) -> Iterator[Operation]:
        unit_id = edge_unit(name, edge.host)
        unit, running = self.observed.units.get(unit_id, UnitState()), self.observed.edges.get(name)
        yield from self._lay_out(unit_id, EDGE, edge.files, "")
        if unit.orphans:
            summary = f"orphans    {unit_id}: HAProxy without a supervisor, to be ended"
            yield self._op(Kind.END_ORPHANS, unit_id, Mark.CHANGE, summary, frozenset(), EDGE)
        laid = frozenset({f"{Kind.LAY_OUT}:{unit_id}", f"{Kind.END_ORPHANS}:{unit_id}"})
        if running is None or not unit.supervised or "haproxy" not in unit.running:
            mark = Mark.CHANGE if unit.files else Mark.ADD
            taken = [self._foreign(b.address, b.port, f"the edge {name}") for b in edge.binds] if not running else []
            if not any(taken):
                summary = f"processes  {unit_id}: start HAProxy on {_addresses(edge)}"
                yield self._op(Kind.START_EDGE, name, mark, summary, laid, EDGE)
        elif self._supervision_changes(unit_id, edge.files):
            summary = f"processes  {unit_id}: restart HAProxy; requests wait or fail meanwhile"
            yield self._op(Kind.RESTART_EDGE, name, Mark.CHANGE, summary, laid, EDGE)
        else:
            yield from self._running_edge(name, edge, laid)

    def _running_edge(self, name: str, edge: DesiredEdge, laid: frozenset[str]) -> Iterator[Operation]:
        running = self.observed.edges[name]
        # A server gets traffic only when its processes are there.
        starts = {i for i in self.ids if i.startswith((f"{Kind.START}:", f"{Kind.RELOAD}:", f"{Kind.RESTART}:"))}
        certificates = self._changes_files(edge_unit(name, edge.host)) and any(f.secret for f in edge.files.values())
        if running.structure != edge.structure or certificates:
            detail = tuple(_servers_changed(edge, running.servers.keys()))
            summary = f"edge       {name}: reload HAProxy, no connection lost"
            yield Operation(Kind.RELOAD_EDGE, name, EDGE, Mark.CHANGE, summary, laid | starts, detail)
        detail = tuple(self._weights_changed(edge, name))
        if detail:
            needs = laid | starts | {f"{Kind.RELOAD_EDGE}:{name}"}
            summary = f"traffic    {name}: set weights"
            yield Operation(Kind.SET_WEIGHTS, name, EDGE, Mark.CHANGE, summary, frozenset(needs), detail)

    def _weights_changed(self, edge: DesiredEdge, name: str) -> Iterator[str]:
        running = self.observed.edges[name]
        for frontend in edge.frontends:
            for server in frontend.servers:
                now = running.servers.get((frontend.service, server.name))
                withheld = f"{Kind.WITHHOLD}:{server.host}/{frontend.service}/{server.backend}" in self.ids
                if now and now.weight != server.weight:
                    yield f"{frontend.service} {server.name}: {now.weight} -> {server.weight} of 256"
                if (now and now.withheld) or withheld:
                    yield f"{frontend.service} {server.name}: take traffic again"

    # --- Keystone's content

    def _identity(self) -> Iterator[Operation]:
        if not self.desired.identity_url:
            return
        starts = {i for i in self.ids if i.startswith(_BRINGS_UP)}
        keystone = {i for i in starts if "/keystone/" in i or i.startswith(_EDGE_CHANGES)}
        for name, entries in self.desired.identity.items():
            missing = list(self._missing(entries))
            if not missing:
                continue
            unknown = self.observed.identity is None
            first = "create or check once Keystone answers" if unknown else "create"
            earlier = {
                i for i in self.ids if i.startswith(f"{Kind.ENSURE_IDENTITY}:")
            }  # they share a project and roles
            yield Operation(
                Kind.ENSURE_IDENTITY,
                name,
                name,
                Mark.ADD,
                f"catalogue  {entries.type}: {first}",
                frozenset({f"{Kind.MAKE_SECRETS}:{name}", f"{Kind.BOOTSTRAP}:keystone", *keystone, *earlier}),
                tuple(missing),
            )

    def _missing(self, entries: IdentityEntries) -> Iterator[str]:
        state = self.observed.identity
        if state is None or entries.type not in state.services:
            yield f"service {entries.type}"
        for interface, url in entries.endpoints.items():
            there = state.endpoints.get((entries.type, interface)) if state else None
            if there is None:
                yield f"endpoint {interface} {url}"
            elif there != url:
                self.notes.append(
                    f"The {interface} endpoint of {entries.service} in the catalogue is {there}, not {url}: "
                    "it is not ours to change, so it stays."
                )
        if entries.user:
            roles = state.users.get(entries.user) if state else None
            if roles is None or not frozenset(entries.roles) <= roles:
                yield f"user {entries.user} with {', '.join(entries.roles)} on the service project"

    # --- what goes away

    def _leavers(self) -> Iterator[Operation]:
        kept = set(self.desired.units) | {edge_unit(n, e.host) for n, e in self.desired.edges.items()}
        for unit_id, state in self.observed.units.items():
            if unit_id in kept:
                continue
            service = unit_id.split("/")[1]
            edges = frozenset(i for i in self.ids if i.startswith(_EDGE_CHANGES))
            if state.supervised or state.running or state.orphans:
                yield self._op(Kind.STOP, unit_id, Mark.REMOVE, f"processes  {unit_id}: stop", edges, service)
            needs = edges | {f"{Kind.STOP}:{unit_id}"}
            yield self._op(Kind.REMOVE, unit_id, Mark.REMOVE, f"files      {unit_id}: remove", needs, service)

    # --- words

    def _notes(self) -> None:
        for override in self.desired.overrides:
            self.notes.append(
                f"[{override.section}] {override.option} of {override.place} ({override.service}) is overridden by what "
                "the cloud file says."
            )

    def _op(
        self,
        kind: Kind,
        subject: str,
        mark: Mark,
        summary: str,
        needs: frozenset[str],
        service: str = "",
        argument: str = "",
    ) -> Operation:
        return Operation(kind, subject, service or subject, mark, summary, needs, argument=argument)


def _install_id(unit: DesiredUnit) -> str:
    return f"{Kind.INSTALL}:{unit.unit.host}/{unit.unit.environment}:{unit.unit.environment}"


def _given(file: SecretFile, name: str, purpose: str) -> Problem:
    return Problem(
        "PS502",
        f"{file.path} does not hold `{name}`",
        why=f"It is the secret {purpose}, and cannot be made up.",
        hint=f"Add `{name}: …` to {file.path} (mode 0600).",
    )


def _numbers(new: list[str], changed: list[str], gone: list[str]) -> str:
    counted = ((len(new), "new"), (len(changed), "changed"), (len(gone), "removed"))
    return ", ".join(f"{number} {word}" for number, word in counted if number)


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
