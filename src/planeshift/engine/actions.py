"""What each kind of operation does, one function a kind. All are idempotent: the engine may be killed in any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from planeshift.catalog.spec import Migration, SecretValue, Site
from planeshift.engine.world import World
from planeshift.plan.operations import Kind, Operation
from planeshift.ports import Host, Say
from planeshift.render.build import edge_unit, environment_path
from planeshift.render.desired import DesiredEdge, DesiredPods, DesiredUnit, File
from planeshift.render.server import wsgi_application

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
        world.cluster_of(unit).lay_out(desired.pods[unit], world.control.key())
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
    world.hosts[database.host].make_directories(world.unit(database.unit).directories)
    world.databases.prepare(database)


def _back_up(world: World, operation: Operation, say: Say) -> None:
    password = world.secret(operation.subject, "database_password")
    say(f"backup: {world.databases.back_up(world.desired.databases[operation.subject], password, say)}")


def _clear(world: World, operation: Operation, say: Say) -> None:
    password = world.secret(operation.subject, "database_password")
    world.databases.clear(world.desired.databases[operation.subject], password, say)


def _migrate(world: World, operation: Operation, say: Say) -> None:
    service, step = operation.subject, operation.argument
    place = world.desired.place(world.desired.databases[service].unit)
    if isinstance(place, DesiredUnit):
        world.hosts[place.unit.host].make_directories(place.directories)
    world.databases.migrating(service, step)
    for command in commands(world.desired.specs[service].migration, step):
        _run(world, place, command, {}, say)
    world.databases.migrating(service, "")


def commands(migration: Migration, step: str) -> list[tuple[str, ...]]:
    """The command lines of a migration's step."""
    return {
        "create": [migration.create],
        "upgrade": [migration.upgrade or migration.create],
        "expand": list(migration.expand),
        "contract": [migration.contract],
    }[step]


def _bootstrap(world: World, operation: Operation, say: Say) -> None:
    spec = world.desired.specs[operation.subject]
    place = world.desired.place(world.desired.databases[operation.subject].unit)
    if spec.bootstrap:
        entries = world.desired.identity[operation.subject]
        site = _site(world, operation.subject, entries.endpoints)
        _run(world, place, spec.bootstrap.command, dict(spec.bootstrap.environment(site)), say)


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


def _run(
    world: World, unit: DesiredUnit | DesiredPods, command: tuple[str, ...], extra: dict[str, str], say: Say
) -> None:
    """Run a command of a place's programs, with its own configuration."""
    if isinstance(unit, DesiredPods):
        world.clusters[unit.pods.cluster].run(unit, world.control.key(), command, extra, say)
        return
    host = world.hosts[unit.unit.host]
    installed = environment_path(host.paths, unit.unit.environment)
    argv = [f"{installed}/bin/{command[0]}", *command[1:]]
    environment = dict(unit.programs[0].environment) | extra
    environment.pop("PLANESHIFT_UNIT", None)  # it ends by itself; it is no process of the unit's supervisor
    host.run(argv, environment, f"{host.paths.runtime}/{unit.unit.id}", say)


# --- processes


_TRY = ("python", "-c", "import sys; from gunicorn.util import import_app; import_app(sys.argv.pop())")


def _start(world: World, operation: Operation, say: Say) -> None:
    _bring_up(world, operation, say, lambda unit: world.host_of(unit.unit.id).start(unit.unit.id, unit.programs))


def _reload(world: World, operation: Operation, say: Say) -> None:
    # gunicorn ends for good when its new workers cannot load the application: try that beside the running ones first.
    unit = world.unit(operation.subject)
    _run(world, unit, (*_TRY, wsgi_application(unit.unit.component)), {}, say)
    _bring_up(world, operation, say, lambda unit: world.host_of(unit.unit.id).reload(unit.unit.id, unit.programs))


def _restart(world: World, operation: Operation, say: Say) -> None:
    _bring_up(world, operation, say, lambda unit: world.host_of(unit.unit.id).restart(unit.unit.id, unit.programs))


def _bring_up(world: World, operation: Operation, say: Say, how: Callable[[DesiredUnit], None]) -> None:
    unit = world.unit(operation.subject)
    host = world.host_of(operation.subject)
    host.make_directories(unit.directories)
    how(unit)
    host.wait_ready(unit.health, operation.subject, say)
    host.mark_loaded(operation.subject, unit.digest(world.control.key()))


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
        world.cluster_of(operation.subject).remove(operation.subject)
    else:
        world.host_of(operation.subject).remove(operation.subject)


def _release(world: World, operation: Operation, say: Say) -> None:
    pods = world.desired.pods[operation.subject]
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
        world.look_again()
    edge, unit, host = _edge(world, operation)
    # The file first: an HAProxy that starts again has the same weights.
    host.lay_out(unit, dict(edge.files))
    state = world.edge.state(unit)
    for frontend in edge.frontends:
        for server in frontend.servers:
            now = state.servers.get((frontend.service, server.name)) if state else None
            if now and now.weight != server.weight:
                world.edge.set_weight(unit, frontend.service, server.name, server.weight)
            if now and now.withheld:
                world.edge.admit(unit, frontend.service, server.name)


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
    if desired.identity_local:
        # The edge may need a moment to see that Keystone is there.
        edge = next(iter(desired.edges.values()))
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
    Kind.ENSURE_IDENTITY: _ensure_identity,
}
