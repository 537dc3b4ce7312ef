"""Operations: small, idempotent steps, inert until the engine carries them out. Pure."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


class Kind(enum.StrEnum):
    """What an operation does. The engine has one function for each (`planeshift.engine.actions`)."""

    MAKE_SECRETS = "make-secrets"
    INSTALL = "install"
    BUILD_IMAGE = "build-image"
    BRING_IMAGE = "bring-image"
    LAY_OUT = "lay-out"
    PREPARE_DATABASE = "prepare-database"
    PREPARE_BUS = "prepare-bus"
    BACK_UP = "back-up"
    CLEAR = "clear"
    MIGRATE = "migrate"
    BOOTSTRAP = "bootstrap"
    MAP_CELL = "map-cell"
    REMOVE_CELL = "remove-cell"
    DISCOVER = "discover"
    WITHHOLD = "withhold"
    ADMIT = "admit"
    END_ORPHANS = "end-orphans"
    START = "start"
    RELOAD = "reload"
    RESTART = "restart"
    STOP = "stop"
    REMOVE = "remove"
    RELEASE = "release"
    START_EDGE = "start-edge"
    RESTART_EDGE = "restart-edge"
    RELOAD_EDGE = "reload-edge"
    SET_WEIGHTS = "set-weights"
    SHIFT = "shift"
    ENSURE_IDENTITY = "ensure-identity"


class Mark(enum.StrEnum):
    """How a plan shows an operation."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"


@dataclass(frozen=True)
class Operation:
    """One step. `subject` is what it acts on: a service, a unit's id, an edge. `detail` are lines for the reader."""

    kind: Kind
    subject: str
    service: str  # under which the plan shows it
    mark: Mark
    summary: str
    needs: frozenset[str] = frozenset()  # ids of operations that come first
    detail: tuple[str, ...] = ()
    argument: str = ""  # what the kind needs to know besides: an environment's id, a migration's step
    drift: bool = False  # the world moved, not the cloud file

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.subject}" + (f":{self.argument}" if self.argument else "")


@dataclass(frozen=True)
class Plan:
    """What would be done. `notes` are what a reader should know and nothing waits for; `later` waits for a word."""

    cloud: str
    region: str
    operations: tuple[Operation, ...]
    notes: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    applied: Mapping[str, str] | None = None  # what the things will be when it is done, for the audit record

    @property
    def digest(self) -> str:
        """What tells this plan from another one: its operations, whatever their order of listing."""
        ids = sorted(json.dumps(_plain(o), sort_keys=True) for o in self.operations)
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def to_json(plan: Plan) -> str:
    """A plan as text that `from_json` reads back. Holds no secret."""
    body = {
        "format": "planeshift/plan/1",
        "cloud": plan.cloud,
        "region": plan.region,
        "digest": plan.digest,
        "operations": [_plain(o) for o in plan.operations],
        "notes": list(plan.notes),
        "later": list(plan.later),
        "applied": dict(plan.applied or {}),
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Plan:
    """Read a saved plan. Raises ValueError where it is none, or was changed after it was saved."""
    try:
        body = json.loads(text)
        if body["format"] != "planeshift/plan/1":
            raise ValueError("not a plan that this version can read")
        plan = Plan(
            cloud=body["cloud"],
            region=body["region"],
            operations=tuple(_operation(o) for o in body["operations"]),
            notes=tuple(body["notes"]),
            later=tuple(body["later"]),
            applied=body["applied"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not a saved plan") from error
    if plan.digest != body["digest"]:
        raise ValueError("its operations do not match its digest: it was changed after it was saved")
    return plan


def in_order(operations: Iterable[Operation]) -> list[Operation]:
    """The operations so that each comes after what it needs; otherwise in the given order.

    Raises ValueError where they wait for one another in a ring.
    """
    waiting, done, result = list(operations), set[str](), list[Operation]()
    there = {o.id for o in waiting}
    while waiting:
        ready = [o for o in waiting if not ((o.needs & there) - done)]
        if not ready:
            raise ValueError(f"operations wait for one another: {', '.join(o.id for o in waiting)}")
        result += ready
        done |= {o.id for o in ready}
        waiting = [o for o in waiting if o.id not in done]
    return result


def _plain(operation: Operation) -> dict[str, Any]:
    return asdict(operation) | {"needs": sorted(operation.needs), "detail": list(operation.detail)}


def _operation(plain: Mapping[str, Any]) -> Operation:
    values = dict(plain)
    return Operation(
        kind=Kind(values.pop("kind")),
        mark=Mark(values.pop("mark")),
        needs=frozenset(values.pop("needs")),
        detail=tuple(values.pop("detail")),
        **values,
    )
