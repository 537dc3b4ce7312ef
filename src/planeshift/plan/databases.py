"""Databases: made, backed up, migrated, bootstrapped. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift import catalog
from planeshift.errors import Problem
from planeshift.plan.draft import Draft, programs_id
from planeshift.plan.observed import DatabaseState, PodsState, UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import DesiredDatabase

_MEND = "Mend that, or what `databases` and the secret file say of it; nothing was changed."


def databases(draft: Draft) -> Iterator[Operation]:
    """Bring every database to what its newest release wants."""
    for service, database in draft.desired.databases.items():
        state = draft.observed.databases.get(service, DatabaseState())
        if state.problem:
            draft.problems.append(Problem("PS501", f"the database of {service}: {state.problem}", hint=_MEND))
            continue
        yield from _database(draft, service, database, state)


def _database(draft: Draft, service: str, database: DesiredDatabase, state: DatabaseState) -> Iterator[Operation]:
    spec = draft.desired.specs[service]
    base = frozenset({f"{Kind.LAY_OUT}:{database.unit}", f"{Kind.MAKE_SECRETS}:{service}"})
    base |= {programs_id(draft.desired.place(database.unit))}
    if not state.exists and database.engine == "sqlite":
        yield draft.operation(Kind.PREPARE_DATABASE, service, Mark.ADD, f"database   {database.path}", base)
    ready = base | {f"{Kind.PREPARE_DATABASE}:{service}"}
    step = _step(draft, service, database, state)
    if state.interrupted:
        draft.notes.append(
            f"A migration of {service} ({state.interrupted}) was interrupted; it is done again. "
            "The backup of before it is kept."
        )
    if state.interrupted == "create":
        # Nothing but its own half-made tables can be in there. A backup is never put back by itself: what older code
        # has written since would be lost.
        summary = "database   remove what the interrupted creation left"
        yield draft.operation(Kind.CLEAR, service, Mark.CHANGE, summary, ready)
    if step == "create" and _has_run(draft, database.unit):
        # It has run before, so on another database.
        draft.notes.append(
            f"The database of {service} is empty and gets new tables: what {service} kept elsewhere is not copied."
        )
    if step:
        if not state.empty:
            summary = f"backup     of the database of {service}, restored once as a test"
            needs = ready | {f"{Kind.CLEAR}:{service}"}
            yield draft.operation(Kind.BACK_UP, service, Mark.ADD, summary, needs)
        yield draft.operation(
            Kind.MIGRATE,
            service,
            Mark.ADD if state.empty else Mark.CHANGE,
            f"schema     {step} to {database.release}"
            + (f", beside {', '.join(database.older)}" if database.older else ""),
            ready | {f"{Kind.BACK_UP}:{service}", f"{Kind.CLEAR}:{service}"},
            argument=step,
        )
    if spec.bootstrap and not state.bootstrapped:
        needs = ready | draft.planned(f"{Kind.MIGRATE}:{service}:")
        needs |= {f"{Kind.MIGRATE}:{service}:{step}"}
        yield draft.operation(
            Kind.BOOTSTRAP, service, Mark.ADD, f"bootstrap  {service}: administrator, first roles", needs
        )


def _has_run(draft: Draft, place: str) -> bool:
    seen = draft.observed
    return bool(seen.units.get(place, UnitState()).loaded or seen.pods.get(place, PodsState()).status)


def _step(draft: Draft, service: str, database: DesiredDatabase, state: DatabaseState) -> str:
    """The migration's step that is due: create, upgrade, expand, contract, or none."""
    if state.empty:
        return "create"
    if state.interrupted:
        return state.interrupted  # its commands go on from what they did
    own = _revisions(service, database.release)
    for newer in (r for r in catalog.releases(service) if r > database.release):
        if state.heads >= frozenset(catalog.facts(service, newer)["heads"]) - own != frozenset():
            return _too_new(draft, service, database, newer)
        if state.heads & (_revisions(service, newer) - own):
            return ""  # expanded for a newer release, which this one lives with
    if state.heads >= database.heads:
        return ""
    migration = draft.desired.specs[service].migration
    if migration.kind == "single":
        return "upgrade"
    expanded = frozenset(catalog.facts(service, database.release).get("expand", database.heads)) <= state.heads
    if not expanded:
        return "expand"
    if database.older:
        draft.later.append(f"contract the schema of {service}: waits for the last backend of {database.older[0]}")
        return ""
    if service in draft.contract:
        return "contract"
    draft.later.append(f"contract the schema of {service}: planeshift up --contract {service}")
    return ""


def _revisions(service: str, release: str) -> frozenset[str]:
    """The schema revisions that a release's migrations end with, those of its expansion included."""
    facts = catalog.facts(service, release)
    return frozenset(facts["heads"]) | frozenset(facts.get("expand", ()))


def _too_new(draft: Draft, service: str, database: DesiredDatabase, newer: str) -> str:
    draft.problems.append(
        Problem(
            "PS505",
            f"the database of {service} has the schema of {newer}, newer than {database.release}",
            why="Schemas only go forward: older code would read what it does not know.",
            hint=f'Run {service} from "{newer}", or restore the backup that was made before its migration.',
        )
    )
    return ""
