"""What the steps of planning share: the two sides, and what was planned so far. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from planeshift.errors import Problem
from planeshift.plan.observed import Observed
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import Desired, DesiredPods, DesiredUnit, File
from planeshift.render.supervisor import supervision

EDGE = "edge"
EDGE_CHANGES = (f"{Kind.START_EDGE}:", f"{Kind.RESTART_EDGE}:", f"{Kind.RELOAD_EDGE}:")
UNIT_CHANGES = (f"{Kind.START}:", f"{Kind.RESTART}:", f"{Kind.RELOAD}:", f"{Kind.RELEASE}:")


@dataclass
class Draft:
    """A plan in the making. `ids` are those of the operations so far; `key` is the digest key of secret files."""

    desired: Desired
    observed: Observed
    key: bytes
    contract: frozenset[str]
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    by_kind: dict[str, set[str]] = field(default_factory=dict)
    turns: dict[str, frozenset[str]] = field(default_factory=dict)  # service → what its next unit's turn waits for

    def planned(self, *prefixes: str) -> frozenset[str]:
        """The ids so far that begin with one of these, each a kind with its colon and perhaps more."""
        kinds = {prefix.partition(":")[0] for prefix in prefixes}
        return frozenset(i for kind in kinds for i in self.by_kind.get(kind, ()) if i.startswith(prefixes))

    def add(self, operation: Operation) -> None:
        """Note what is planned."""
        self.ids.add(operation.id)
        self.by_kind.setdefault(operation.kind, set()).add(operation.id)

    def changes_files(self, unit_id: str) -> bool:
        """Whether a unit's files are to be laid out anew."""
        return f"{Kind.LAY_OUT}:{unit_id}" in self.ids

    def supervision_changes(self, unit_id: str, files: Mapping[str, File]) -> bool:
        """Whether the programs themselves change, which a reload of their files cannot bring about."""
        there = self.observed.units[unit_id]
        wanted = supervision({path: file.digest(self.key) for path, file in files.items()})
        return supervision(there.files) != wanted or there.supervision != wanted

    def is_foreign(self, address: str, port: int, what: str) -> bool:
        """Whether somebody else listens there, which is a problem then."""
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

    def operation(
        self,
        kind: Kind,
        subject: str,
        mark: Mark,
        summary: str,
        needs: frozenset[str],
        service: str = "",
        argument: str = "",
    ) -> Operation:
        """An operation, shown under `service`, or under its subject."""
        return Operation(kind, subject, service or subject, mark, summary, needs, argument=argument)


def programs_id(place: DesiredUnit | DesiredPods) -> str:
    """The id of the operation that brings a place its programs: installed on a host, or as an image on the nodes."""
    if isinstance(place, DesiredPods):
        return f"{Kind.BRING_IMAGE}:{place.pods.cluster}/{place.pods.environment}:{place.pods.environment}"
    return f"{Kind.INSTALL}:{place.unit.host}/{place.unit.environment}:{place.unit.environment}"
