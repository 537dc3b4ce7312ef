"""What each kind of operation does, one function a kind. All are idempotent: the engine may be killed in any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from planeshift.catalog.spec import Migration, SecretValue, Site
from planeshift.engine.fleet import known_cells, members
from planeshift.engine.shift import Shift
from planeshift.engine.starting import bring_up
from planeshift.engine.weights import set_weights
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.cells import state_of
from planeshift.plan.databases import FOUND, due, migration_of
from planeshift.plan.draft import Draft
from planeshift.plan.observed import Observed
from planeshift.plan.operations import Kind, Operation
from planeshift.ports import Clock, Host, Say
from planeshift.render.build import edge_unit, environment_path
from planeshift.render.desired import DesiredCell, DesiredDatabase, DesiredEdge, DesiredPods, DesiredUnit, File
from planeshift.render.server import wsgi_application
from planeshift.render.stores import ZERO

# Data move while the service runs and changes them, too: what such a command could not do, the next one can.
ONLINE_TRIES, AGAIN = 5, 5  # the latter in seconds

Action = Callable[[World, Operation, Say], None]


def perform(world: World, operation: Operation, say: Say) -> None:
    """Carry out one operation. Raises PlaneshiftError where it cannot be done."""
    _ACTIONS[operation.kind](world, operation, say)


def _make_secrets(world: World, operation: Operation, say: Say) -> None:
    file, there = world.desired.secrets[operation.subject], world.secret_names(operation.subject)
    made: dict[str, SecretValue] = {
        s.name: world.maker.make(s, file.names) for s in file.secrets if s.name not in there and s.kind != "given"
    }
    if made:
        world.add_secrets(operation.subject, made)


def _install(world: World, operation: Operation, say: Say) -> None:
    host = operation.subject.split("/", 1)[0]
    world.hosts[host].install(world.desired.environments[operation.argument], say)


def _build_image(world: World, operation: Operation, say: Say) -> None:
    environment = world.desired.environments[operation.subject]
    image = next(p.pods.image for p in world.desired.pods.values() if p.pods.environment == environment.id)
    world.images.build(environment, image, say)


def _bring_image(world: World, operation: Operation, say: Say) -> None:
    cluster, pods = operation.subject.split("/", 1)[0], world.desired.pods.values()
    image = next(p.pods.image for p in pods if (p.pods.cluster, p.pods.environment) == (cluster, operation.argument))
    world.clusters[cluster].bring(image, lambda: world.images.archive(operation.argument, image), say)


def _lay_out(world: World, operation: Operation, say: Say) -> None:
    desired, unit = world.desired, operation.subject
    if unit in desired.pods:
        world.cluster_of(unit).lay_out(desired.pods[unit], world.control.key(), say)
        return
    host = world.host_of(unit)
    if desired.ca:
        host.lay_out_authority(desired.ca)
    host.lay_out(unit, _files(world, unit))


def _files(world: World, unit: str) -> dict[str, File]:
    desired = world.desired
    if unit in desired.units:
        return dict(desired.units[unit].files)
    return dict(next(e for e in desired.edges.values() if edge_unit(e.name, e.host) == unit).files)


# --- databases


def _prepare_database(world: World, operation: Operation, say: Say) -> None:
    database = world.desired.databases[operation.subject]
    if database.server:
        world.databases.prepare(database, _password(world, database), world.administrator(database.server))
        return
    world.hosts[database.host].make_directories(world.unit(database.unit).directories)
    world.databases.prepare(database, "", "")


def _password(world: World, database: DesiredDatabase) -> str:
    return world.secret(database.service, database.secret)


def _prepare_bus(world: World, operation: Operation, say: Say) -> None:
    bus = world.desired.buses[operation.subject]
    world.buses.prepare(bus, world.secret(bus.service, bus.secret), world.administrator(bus.server))


def _back_up(world: World, operation: Operation, say: Say) -> None:
    database = world.desired.databases[operation.subject]
    say(f"backup: {world.databases.back_up(database, _password(world, database), say)}")


def _clear(world: World, operation: Operation, say: Say) -> None:
    database = world.desired.databases[operation.subject]
    world.databases.clear(database, _password(world, database), say)


def _migrate(world: World, operation: Operation, say: Say) -> None:
    database, step = world.desired.databases[operation.subject], operation.argument
    if step == FOUND:
        _bring_up_to_date(world, database, say)
        return
    place = world.desired.place(database.unit)
    if isinstance(place, DesiredUnit):
        world.hosts[place.unit.host].make_directories(place.directories)
    cell = world.desired.cells[database.name] if database.cell else None
    extra = _cell_environment(world, cell, cell.connection) if cell else {}  # which may be silent for long
    world.databases.migrating(database.name, step)
    migration = migration_of(world.desired.specs[database.service], database)
    for command in commands(migration, step):
        often = ONLINE_TRIES if command == migration.online else 1
        _persistently(partial(run, world, place, command, extra, say), often, world.clock, say)
    world.databases.migrating(database.name, "")


def _persistently(work: Callable[[], None], often: int, clock: Clock, say: Say) -> None:
    """Do what may fail for a moment, so often at the most."""
    for left in range(often - 1, -1, -1):
        try:
            return work()
        except PlaneshiftError as error:
            if not left:
                raise
            say(f"once more in {AGAIN} s: {error.problems[0].message}")
            clock.sleep(AGAIN)


def _bring_up_to_date(world: World, database: DesiredDatabase, say: Say) -> None:
    """Look, now that it can be seen, and do what that calls for. Raises what a plan would refuse."""
    state = world.databases.state(database, _password(world, database), "")
    if state.problem or not state.exists:
        raise PlaneshiftError(Problem("PS501", f"the database of {database.name}: {state.problem or 'not there'}"))
    draft = Draft(world.desired, Observed(), world.control.key(), frozenset())
    steps = [o for o in due(draft, database, state) if o.kind != Kind.BOOTSTRAP]
    if draft.problems:
        raise PlaneshiftError(draft.problems)
    for step in steps:
        say(step.summary)
        perform(world, step, say)


def commands(migration: Migration, step: str) -> list[tuple[str, ...]]:
    """The command lines of a migration's step."""
    return {
        "create": [migration.create],
        "upgrade": [migration.upgrade or migration.create, *([migration.online] if migration.online else [])],
        "expand": list(migration.expand),
        "contract": [migration.contract],
    }[step]


def _bootstrap(world: World, operation: Operation, say: Say) -> None:
    spec, database = world.desired.specs[operation.subject], world.desired.databases[operation.subject]
    place = world.desired.place(database.unit)
    if spec.bootstrap:
        if world.databases.state(database, _password(world, database), spec.bootstrap.exists).bootstrapped:
            return  # it could not be seen when this was planned
        entries = world.desired.identity[operation.subject]
        site = _site(world, operation.subject, entries.endpoints)
        run(world, place, spec.bootstrap.command, dict(spec.bootstrap.environment(site)), say)


def _site(world: World, service: str, endpoints: Mapping[str, str]) -> Site:
    spec, desired = world.desired.specs[service], world.desired
    return Site(
        region=desired.region,
        release=desired.databases[service].release,
        identity=desired.identity_url,
        public_url=endpoints["public"].removesuffix(spec.path),
        internal_url=endpoints["internal"].removesuffix(spec.path),
        config="",
        data="",
        database="",
        cache=(),
        secrets={s.name: world.secret(service, s.name) for s in spec.secrets if s.kind == "password"},
    )


def run(
    world: World, unit: DesiredUnit | DesiredPods, command: tuple[str, ...], extra: dict[str, str], say: Say
) -> None:
    """Run a command of a place's programs, with its own configuration; `extra` is added to its environment."""
    if isinstance(unit, DesiredPods):
        world.clusters[unit.pods.cluster].run(unit, world.control.key(), command, extra, say)
        return
    host = world.hosts[unit.unit.host]
    installed = environment_path(host.paths, unit.unit.environment)
    argv = [f"{installed}/bin/{command[0]}", *command[1:]]
    environment = dict(unit.programs[0].environment) | extra
    environment.pop("PLANESHIFT_UNIT", None)  # it ends by itself; it is no process of the unit's supervisor
    host.run(argv, environment, f"{host.paths.runtime}/{unit.unit.id}", say)


# --- cells


def _cell_environment(world: World, cell: DesiredCell, connection: str) -> dict[str, str]:
    """Of a command that is told a cell's bus, and its database by this URL."""
    spec = world.desired.specs[cell.service].cells
    return dict(spec.environment(connection, cell.transport)) if spec else {}


def _map_cell(world: World, operation: Operation, say: Say) -> None:
    cell = world.desired.cells[operation.subject]
    spec = world.desired.specs[cell.service].cells
    assert spec is not None  # noqa: S101 - it has cells
    state = state_of(cell, known_cells(world, cell.service))
    if state is None and cell.name == ZERO:
        _manage(world, cell, spec.map_zero, "", say)
        state = state_of(cell, known_cells(world, cell.service))
    if state is None:
        _manage(world, cell, spec.create, "", say)
        state = state_of(cell, known_cells(world, cell.service))
        if cell.enabled:
            return
    uuid = state.uuid if state else ""
    other: tuple[str, ...] = spec.zero_bus
    if cell.name != ZERO:
        other = spec.enable if cell.enabled else spec.disable
        if state and state.disabled is not cell.enabled:
            other = ()
    _manage(world, cell, (*spec.update, *other), uuid, say)


def _manage(world: World, cell: DesiredCell, command: tuple[str, ...], uuid: str, say: Say) -> None:
    """A command that records a cell, or asks it."""
    place = world.desired.place(world.desired.databases[cell.service].unit)
    filled = tuple(word.replace("{name}", cell.name).replace("{uuid}", uuid) for word in command)
    run(world, place, filled, _cell_environment(world, cell, cell.mapped), say)


def _remove_cell(world: World, operation: Operation, say: Say) -> None:
    service, _, name = operation.subject.partition("@")
    spec, known = world.desired.specs[service].cells, known_cells(world, service)
    state = next((s for s in known if s.uuid == operation.argument), None)
    if spec is None or state is None:
        return
    cell = DesiredCell(name, service, state.connection, state.transport)
    place = world.desired.place(world.desired.databases[service].unit)
    command = (*spec.update, *spec.disable) if state.servers else spec.remove
    filled = tuple(word.replace("{name}", cell.name).replace("{uuid}", state.uuid) for word in command)
    run(world, place, filled, dict(spec.environment(cell.connection, cell.transport)), say)


_DISCOVERY_SECONDS = 180


def _discover(world: World, operation: Operation, say: Say) -> None:
    cell, clock = world.desired.cells[operation.subject], world.clock
    spec, database = world.desired.specs[cell.service].cells, world.desired.databases[cell.database]
    assert spec is not None  # noqa: S101 - it has cells
    state = state_of(cell, known_cells(world, cell.service))
    began, told = clock.monotonic(), 0.0
    while waiting := sorted(set(cell.computes) - members(world, database)):
        waited = clock.monotonic() - began
        if waited > _DISCOVERY_SECONDS:
            unit = cell.computes[waiting[0]]
            words = "\n".join(world.host_of(unit).tail(unit, 15))
            what = f"{', '.join(waiting)} did not join the cell {cell.name} in {_DISCOVERY_SECONDS} s"
            raise PlaneshiftError(Problem("PS619", what, why=words))
        if waited - told > 2:
            told = waited
            say(f"waiting for {', '.join(waiting)} to join {cell.name}, since {waited:.0f} s")
        clock.sleep(0.2)
    _manage(world, cell, spec.discover, state.uuid if state else "", say)


# --- processes


_TRY = ("python", "-c", "import sys; from gunicorn.util import import_app; import_app(sys.argv.pop())")


def _start(world: World, operation: Operation, say: Say) -> None:
    bring_up(world, operation.subject, say, lambda unit: world.host_of(unit.unit.id).start(unit.unit.id, unit.programs))


def _reload(world: World, operation: Operation, say: Say) -> None:
    # gunicorn ends for good when its new workers cannot load the application: try that beside the running ones first.
    unit = world.unit(operation.subject)
    if unit.unit.web:
        run(world, unit, (*_TRY, wsgi_application(unit.unit.web)), {}, say)
    bring_up(
        world, operation.subject, say, lambda unit: world.host_of(unit.unit.id).reload(unit.unit.id, unit.programs)
    )


def _restart(world: World, operation: Operation, say: Say) -> None:
    bring_up(
        world, operation.subject, say, lambda unit: world.host_of(unit.unit.id).restart(unit.unit.id, unit.programs)
    )


def _end_orphans(world: World, operation: Operation, say: Say) -> None:
    host = world.host_of(operation.subject)
    state = host.units(world.control.key()).get(operation.subject)
    if state:
        host.end(operation.subject, state.orphans)


def _stop(world: World, operation: Operation, say: Say) -> None:
    # A server that is told to stop while the edge may still send it something would lose that.
    for edge in world.desired.edges.values():
        world.edge.settle(edge_unit(edge.name, edge.host), say)
    world.host_of(operation.subject).stop(operation.subject)


def _remove(world: World, operation: Operation, say: Say) -> None:
    if operation.subject.split("/", 1)[0] in world.clusters:
        for edge in world.desired.edges.values():
            world.edge.settle(edge_unit(edge.name, edge.host), say)
        world.cluster_of(operation.subject).remove(operation.subject, say)
    else:
        world.host_of(operation.subject).remove(operation.subject)


def _release(world: World, operation: Operation, say: Say) -> None:
    pods = world.desired.pods[operation.subject]
    if pods.chart:
        world.charts.record(pods.chart.source)
    world.cluster_of(operation.subject).release(pods, world.control.key(), say)


# --- the edge


def _start_edge(world: World, operation: Operation, say: Say) -> None:
    edge, unit, host = _edge(world, operation)
    world.edge.check(unit)
    host.make_directories([f"{host.paths.state}/logs/{unit}"])
    host.start(unit, edge.programs)
    _wait_statistics(world, edge, unit, say)
    world.edge.settle(unit, say)  # until its master listens too: a signal for a reload would be lost on it before
    host.mark_loaded(unit, edge.certificates(world.control.key()))


def _restart_edge(world: World, operation: Operation, say: Say) -> None:
    edge, unit, host = _edge(world, operation)
    world.edge.check(unit)
    host.restart(unit, edge.programs)
    world.edge.wait(unit, edge.structure, say)
    world.edge.settle(unit, say)
    host.mark_loaded(unit, edge.certificates(world.control.key()))


def _reload_edge(world: World, operation: Operation, say: Say) -> None:
    edge, unit, host = _edge(world, operation)
    world.edge.check(unit)
    host.reload(unit, edge.programs)
    world.edge.wait(unit, edge.structure, say)
    host.mark_loaded(unit, edge.certificates(world.control.key()))


def _wait_statistics(world: World, edge: DesiredEdge, unit: str, say: Say) -> None:
    world.hosts[edge.host].wait_ready(edge.statistics, unit, say)


def _set_weights(world: World, operation: Operation, say: Say) -> None:
    if world.clusters:
        world.look_again(say)
    set_weights(world, operation.subject)


def _shift(world: World, operation: Operation, say: Say) -> None:
    Shift(world, operation.subject, say).go()


def _withhold(world: World, operation: Operation, say: Say) -> None:
    for edge, frontend, server in _servers(world, operation.subject):
        world.edge.withhold(edge, frontend, server, say)


def _admit(world: World, operation: Operation, say: Say) -> None:
    for edge, frontend, server in _servers(world, operation.subject):
        world.edge.admit(edge, frontend, server)
        world.edge.wait_up(edge, frontend, server, say)


def _servers(world: World, unit_id: str) -> Iterator[tuple[str, str, str]]:
    """The server lines of a unit: the edge's unit, the frontend, the server."""
    unit = world.unit(unit_id).unit
    for edge in world.desired.edges.values():
        for frontend in edge.frontends:
            for server in frontend.servers:
                if (frontend.service, server.host, server.backend) == (unit.service, unit.host, unit.backend):
                    yield edge_unit(edge.name, edge.host), frontend.service, server.name


def _edge(world: World, operation: Operation) -> tuple[DesiredEdge, str, Host]:
    edge = world.desired.edges[operation.subject]
    return edge, edge_unit(edge.name, edge.host), world.hosts[edge.host]


# --- Keystone's content


def _ensure_identity(world: World, operation: Operation, say: Say) -> None:
    desired = world.desired
    edge = next(iter(desired.edges.values()), None)
    if desired.identity_local and edge:
        # The edge may need a moment to see that Keystone is there.
        world.hosts[edge.host].wait_ready(desired.identity_url, edge_unit(edge.name, edge.host), say)
    for line in world.identity.ensure(
        desired.identity_url,
        world.secret("keystone", "admin_password"),
        desired.ca,
        desired.identity[operation.subject],
        world.secret(operation.subject, "service_password"),
    ):
        say(line)


_ACTIONS: dict[Kind, Action] = {
    Kind.MAKE_SECRETS: _make_secrets,
    Kind.INSTALL: _install,
    Kind.BUILD_IMAGE: _build_image,
    Kind.BRING_IMAGE: _bring_image,
    Kind.LAY_OUT: _lay_out,
    Kind.PREPARE_DATABASE: _prepare_database,
    Kind.PREPARE_BUS: _prepare_bus,
    Kind.MAP_CELL: _map_cell,
    Kind.REMOVE_CELL: _remove_cell,
    Kind.DISCOVER: _discover,
    Kind.BACK_UP: _back_up,
    Kind.CLEAR: _clear,
    Kind.MIGRATE: _migrate,
    Kind.BOOTSTRAP: _bootstrap,
    Kind.WITHHOLD: _withhold,
    Kind.ADMIT: _admit,
    Kind.END_ORPHANS: _end_orphans,
    Kind.START: _start,
    Kind.RELOAD: _reload,
    Kind.RESTART: _restart,
    Kind.STOP: _stop,
    Kind.REMOVE: _remove,
    Kind.RELEASE: _release,
    Kind.START_EDGE: _start_edge,
    Kind.RESTART_EDGE: _restart_edge,
    Kind.RELOAD_EDGE: _reload_edge,
    Kind.SET_WEIGHTS: _set_weights,
    Kind.SHIFT: _shift,
    Kind.ENSURE_IDENTITY: _ensure_identity,
}
