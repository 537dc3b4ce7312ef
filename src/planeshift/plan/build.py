"""Desired and observed to a plan. Pure: the same two give the same plan, and it asks nobody.

The order within a service: secrets and programs, then files, then database (backed up, migrated, bootstrapped), then
processes, then the edge, then what Keystone must know of it. What goes away leaves the edge first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from planeshift.errors import PlaneshiftError, away
from planeshift.plan import buses, catalogue, cells, databases, edges, files, pods, shifts, units
from planeshift.plan.draft import Draft
from planeshift.plan.made import applied
from planeshift.plan.observed import Observed
from planeshift.plan.operations import Kind, Operation, Plan, in_order
from planeshift.render.desired import Desired

_STEPS = (
    files.secrets,
    files.installs,
    files.files,
    buses.buses,
    databases.databases,
    cells.cells,
    units.displaced,
    units.processes,
    pods.releases,
    edges.edges,
    edges.driven,
    catalogue.identity,
    cells.discovery,
    shifts.shifts,
    units.leavers,
    pods.leavers,
)
# Of which thing an operation's subject is the name, where it is not a unit's.
_THINGS = {
    Kind.START_EDGE: "edge ",
    Kind.RESTART_EDGE: "edge ",
    Kind.RELOAD_EDGE: "edge ",
    Kind.SET_WEIGHTS: "edge ",
    Kind.ENSURE_IDENTITY: "catalogue ",
    Kind.MAP_CELL: "cell ",
}


def build(desired: Desired, observed: Observed, key: bytes = b"", *, contract: Iterable[str] = ()) -> Plan:
    """The plan that leads from `observed` to `desired`.

    `key` is the digest key of secret files; `contract` names the services whose old schema may be let go of now.
    Raises PlaneshiftError where the world forbids it (PS5xx, PS601), or a host could not be looked at.
    """
    if observed.unreached:
        raise PlaneshiftError(away(observed.unreached))
    draft = Draft(desired, observed, key, frozenset(contract))
    draft.problems += [*pods.unseen(desired), *shifts.off(desired)]
    operations = in_order(_operations(draft))
    if draft.problems:
        raise PlaneshiftError(draft.problems)
    wanted = applied(desired, key)
    return Plan(
        cloud=desired.cloud,
        region=desired.region,
        operations=tuple(_with_drift(o, observed.applied, wanted) for o in operations),
        notes=(*draft.notes, *_overrides(desired)),
        later=tuple(draft.later),
        applied=wanted,
    )


def _operations(draft: Draft) -> list[Operation]:
    result: list[Operation] = []
    for step in _STEPS:
        for operation in step(draft):
            result.append(operation)
            draft.add(operation)
    # Only what is really planned is waited for.
    return [replace(operation, needs=operation.needs & draft.ids) for operation in result]


def _with_drift(operation: Operation, before: Mapping[str, str], wanted: Mapping[str, str]) -> Operation:
    """Mark what must be done although the cloud file has not changed since it was last carried out."""
    thing = _THINGS.get(operation.kind, "") + operation.subject
    return replace(operation, drift=thing in before and before[thing] == wanted.get(thing))


def _overrides(desired: Desired) -> list[str]:
    return [
        f"[{o.section}] {o.option} of {o.place} ({o.service}) is overridden by what the cloud file says."
        for o in desired.overrides
    ]
