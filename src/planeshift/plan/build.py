"""Desired and observed to a plan. Pure: the same two give the same plan, and it asks nobody.

The order within a service: secrets and programs, then files, then database (backed up, migrated, bootstrapped), then
processes, then the edge, then what Keystone must know of it. What goes away leaves the edge first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from planeshift.errors import PlaneshiftError
from planeshift.plan import catalogue, databases, edges, files, pods, units
from planeshift.plan.draft import Draft
from planeshift.plan.observed import Observed
from planeshift.plan.operations import Kind, Operation, Plan, in_order
from planeshift.render.build import edge_unit
from planeshift.render.desired import Desired, DesiredPods
from planeshift.render.pods import release_values

_STEPS = (
    files.secrets,
    files.installs,
    files.files,
    databases.databases,
    units.displaced,
    units.processes,
    pods.releases,
    edges.edges,
    catalogue.identity,
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
}


def build(desired: Desired, observed: Observed, key: bytes = b"", *, contract: Iterable[str] = ()) -> Plan:
    """The plan that leads from `observed` to `desired`.

    `key` is the digest key of secret files; `contract` names the services whose old schema may be let go of now.
    Raises PlaneshiftError where the world forbids it (PS5xx, PS601).
    """
    draft = Draft(desired, observed, key, frozenset(contract))
    draft.problems += pods.unseen(desired)
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


def applied(desired: Desired, key: bytes) -> dict[str, str]:
    """What each thing will be: the digest by which drift is told from change."""
    result = {unit_id: unit.digest(key) for unit_id, unit in desired.units.items()}
    result |= {pods_id: _released(found, key) for pods_id, found in desired.pods.items()}
    for name, edge in desired.edges.items():
        weights = [(f.service, s.name, s.weight) for f in edge.frontends for s in f.servers]
        result[f"edge {name}"] = result[edge_unit(name, edge.host)] = f"{edge.structure} {weights}"
    for name, entries in desired.identity.items():
        result[f"catalogue {name}"] = f"{sorted(entries.endpoints.items())} {entries.user} {entries.roles}"
    return result


def _released(found: DesiredPods, key: bytes) -> str:
    text = json.dumps(release_values(found, key), sort_keys=True)  # files are in it, by the names of their objects
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _overrides(desired: Desired) -> list[str]:
    return [
        f"[{o.section}] {o.option} of {o.place} ({o.service}) is overridden by what the cloud file says."
        for o in desired.overrides
    ]
