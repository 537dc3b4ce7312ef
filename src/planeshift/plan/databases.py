"""Databases: made, backed up, migrated, bootstrapped. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift import catalog
from planeshift.catalog.spec import Migration, ServiceSpec
from planeshift.errors import Problem
from planeshift.plan.draft import Draft, programs_id
from planeshift.plan.observed import DatabaseState, PodsState, UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import DesiredDatabase

FOUND = "found"  # the step of a migration that is known only once the database can be seen
_MEND = "Mend that, or what `databases` and the secret file say of it; nothing was changed."


def databases(draft: Draft) -> Iterator[Operation]:
    """Bring every database to what its newest release wants."""
    for name, database in draft.desired.databases.items():
        state = draft.observed.databases.get(name, DatabaseState())
        if state.problem:
            draft.problems.append(Problem("PS501", f"the database of {name}: {state.problem}", hint=_MEND))
        elif database.server and not state.exists:
            yield from _unseen(draft, name, database)
        else:
            yield from due(draft, database, state)


def _unseen(draft: Draft, name: str, database: DesiredDatabase) -> Iterator[Operation]:
    """On a server of ours that does not answer yet, or not to this user: what is in there is seen only then."""
    base = _base(draft, database)
    schema = database.url.rpartition("/")[2].partition("?")[0]
    summary = f"database   {schema} on {database.server}, with a user who has rights to it alone"
    yield draft.operation(Kind.PREPARE_DATABASE, name, Mark.ADD, summary, base, database.service)
    base |= {f"{Kind.PREPARE_DATABASE}:{name}"}
    summary = f"schema     {schema}: what {database.release} wants, once it can be seen"
    yield draft.operation(Kind.MIGRATE, name, Mark.ADD, summary, base, database.service, FOUND)
    yield from _bootstrap(draft, database, base | {f"{Kind.MIGRATE}:{name}:{FOUND}"})


def _base(draft: Draft, database: DesiredDatabase) -> frozenset[str]:
    """What comes before anything that is done to a database."""
    base = {f"{Kind.LAY_OUT}:{database.unit}", f"{Kind.MAKE_SECRETS}:{database.service}"}
    base |= {programs_id(draft.desired.place(database.unit))}
    return frozenset(base | {f"{kind}:{database.server}" for kind in (Kind.START, Kind.RESTART) if database.server})


def due(draft: Draft, database: DesiredDatabase, state: DatabaseState) -> Iterator[Operation]:
    """What a database that can be seen needs."""
    name, service, base = database.name, database.service, _base(draft, database)
    if not state.exists and database.engine == "sqlite":
        yield draft.operation(Kind.PREPARE_DATABASE, name, Mark.ADD, f"database   {database.path}", base, service)
    ready = base | {f"{Kind.PREPARE_DATABASE}:{name}"}
    step = _step(draft, database, state)
    if state.interrupted:
        draft.notes.append(
            f"A migration of {name} ({state.interrupted}) was interrupted; it is done again. "
            "The backup of before it is kept."
        )
    if state.interrupted == "create":
        # Nothing but its own half-made tables can be in there. A backup is never put back by itself: what older code
        # has written since would be lost.
        summary = "database   remove what the interrupted creation left"
        yield draft.operation(Kind.CLEAR, name, Mark.CHANGE, summary, ready, service)
    if step == "create" and not database.cell and _has_run(draft, database.unit):
        # It has run before, so on another database.
        draft.notes.append(
            f"The database of {service} is empty and gets new tables: what {service} kept elsewhere is not copied."
        )
    if step:
        if not state.empty:
            summary = f"backup     of the database of {name}, restored once as a test"
            needs = ready | {f"{Kind.CLEAR}:{name}"}
            yield draft.operation(Kind.BACK_UP, name, Mark.ADD, summary, needs, service)
        yield draft.operation(
            Kind.MIGRATE,
            name,
            Mark.ADD if state.empty else Mark.CHANGE,
            f"schema     {f'{database.cell}: ' if database.cell else ''}{step} to {database.release}"
            + (f", beside {', '.join(database.older)}" if database.older else ""),
            ready | {f"{Kind.BACK_UP}:{name}", f"{Kind.CLEAR}:{name}"},
            service,
            argument=step,
        )
    if not state.bootstrapped:
        yield from _bootstrap(draft, database, ready | {f"{Kind.MIGRATE}:{name}:{step}"})


def _bootstrap(draft: Draft, database: DesiredDatabase, needs: frozenset[str]) -> Iterator[Operation]:
    service = database.service
    if draft.desired.specs[service].bootstrap and not database.cell:
        summary = f"bootstrap  {service}: administrator, first roles"
        yield draft.operation(Kind.BOOTSTRAP, service, Mark.ADD, summary, needs)


def _has_run(draft: Draft, place: str) -> bool:
    seen = draft.observed
    return bool(seen.units.get(place, UnitState()).loaded or seen.pods.get(place, PodsState()).status)


def migration_of(spec: ServiceSpec, database: DesiredDatabase) -> Migration:
    """How a database's schema follows its release."""
    return spec.cells.migration if spec.cells and database.cell else spec.migration


def _step(draft: Draft, database: DesiredDatabase, state: DatabaseState) -> str:
    """The migration's step that is due: create, upgrade, expand, contract, or none."""
    if state.empty:
        return "create"
    if state.interrupted:
        return state.interrupted  # its commands go on from what they did
    name, service, own = database.name, database.service, _revisions(database, database.release)
    for newer in (r for r in catalog.releases(service) if r > database.release):
        if state.heads >= _heads(database, newer) - own != frozenset():
            return _too_new(draft, database, newer)
        if state.heads & (_revisions(database, newer) - own):
            return ""  # expanded for a newer release, which this one lives with
    if strange := _strange(database, state):
        return _unknown(draft, database, strange)
    if state.heads >= database.heads:
        return ""
    migration = migration_of(draft.desired.specs[service], database)
    if migration.kind == "single":
        return "upgrade"
    expanded = frozenset(catalog.facts(service, database.release).get("expand", database.heads)) <= state.heads
    if not expanded:
        return "expand"
    if database.older:
        draft.later.append(f"contract the schema of {name}: waits for the last backend of {database.older[0]}")
        return ""
    if service in draft.contract:
        return "contract"
    draft.later.append(f"contract the schema of {name}: planeshift up --contract {service}")
    return ""


def _strange(database: DesiredDatabase, state: DatabaseState) -> frozenset[str]:
    """The revisions of a schema that the migrations of no release know which is known here."""
    name, releases = "cell_revisions" if database.cell else "revisions", catalog.releases(database.service)
    known = [frozenset(catalog.facts(database.service, release).get(name, ())) for release in releases]
    return state.heads.difference(*known) if all(known) else frozenset()


def _unknown(draft: Draft, database: DesiredDatabase, strange: frozenset[str]) -> str:
    draft.problems.append(
        Problem(
            "PS505",
            f"the database of {database.name} has a schema that no release here knows: {', '.join(sorted(strange))}",
            why="It is of a later release, of a patched one, or of another service: migrations would end in their midst.",
            hint="Mend what `databases` says of it, or run that release; nothing was changed.",
        )
    )
    return ""


def _heads(database: DesiredDatabase, release: str) -> frozenset[str]:
    """The schema revisions that a release's migrations end with."""
    return frozenset(catalog.facts(database.service, release)["cell_heads" if database.cell else "heads"])


def _revisions(database: DesiredDatabase, release: str) -> frozenset[str]:
    """The same, with those of its expansion."""
    expand = () if database.cell else catalog.facts(database.service, release).get("expand", ())
    return _heads(database, release) | frozenset(expand)


def _too_new(draft: Draft, database: DesiredDatabase, newer: str) -> str:
    draft.problems.append(
        Problem(
            "PS505",
            f"the database of {database.name} has the schema of {newer}, newer than {database.release}",
            why="Schemas only go forward: older code would read what it does not know.",
            hint=f'Run {database.service} from "{newer}", or restore the backup that was made before its migration.',
        )
    )
    return ""
