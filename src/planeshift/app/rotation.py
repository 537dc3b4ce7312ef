"""What changing a live credential works with, and the steps that every rotation has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from planeshift.app import change
from planeshift.catalog.spec import SecretValue
from planeshift.engine.run import Listener
from planeshift.engine.world import Keep, World, unleased
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.operations import Operation
from planeshift.ports import CredentialUsers, Say

_ROUNDS = 5  # of `up`: a rollout may leave weights to be set once old pods are gone


@dataclass(frozen=True)
class Rotation:
    """What a rotation works with. `world` makes the world anew, where secrets have changed."""

    world: Callable[[], World]
    # Of a database, by its name, and of the message bus at a host and port; None where nobody may make any.
    users: Callable[[World, str], CredentialUsers | None]
    bus_users: Callable[[World, str, int], CredentialUsers | None]
    tries: Callable[[World, str], CredentialUsers]  # the same, for looking
    bus_tries: Callable[[World, str, int], CredentialUsers]
    listen: Listener
    say: Say
    others: Callable[[str], bool]  # whether hosts of somebody else run a service, too
    followed: bool = False  # whether these have what was staged, as the operator says
    keep: Keep = unleased


def refused(what: str, hint: str = "", why: str = "") -> PlaneshiftError:
    """A rotation that cannot be, or cannot go on."""
    return PlaneshiftError(Problem("PS1022", what, hint=hint, why=why))


def file(world: World, service: str) -> tuple[str, Mapping[str, SecretValue]]:
    """The path of a service's secret file, and what it holds."""
    path = world.desired.secrets[service].path
    return path, world.secrets.read(path)


def mapping(value: SecretValue | None) -> dict[str, str]:
    """A secret that is a mapping, empty where it is none."""
    return dict(value) if isinstance(value, dict) else {}


def as_declared(world: World) -> None:
    """Nothing else may be due: it would be carried out under the same hands. Raises PlaneshiftError (PS1022)."""
    due = change.plan(world).operations
    if due:
        raise refused(_due("the cloud is not as declared", due), why=_listed(due), hint="`planeshift up` first.")


def roll(run: Rotation, service: str) -> World:
    """Bring every backend to what the secret file says now, until a look at all of them finds nothing to do."""
    run.say(f"bringing every backend of {service} to it")
    for _ in range(_ROUNDS):
        plan = change.bring(run.world(), run.keep, listen=run.listen, say=run.say)
        if plan is None or not plan.operations:
            return run.world()
    due = change.plan(run.world()).operations
    hint = "`planeshift plan` says what. Once it is mended, the same command goes on from here."
    raise refused(_due("the cloud does not come to rest", due), why=_listed(due), hint=hint)


def backends(world: World, service: str) -> list[str]:
    """The backends of a service that are ours: units, and pods, by id."""
    desired = world.desired
    units = [name for name, unit in desired.units.items() if unit.unit.service == service]
    return sorted(units + [name for name, pods in desired.pods.items() if pods.pods.service == service])


def _due(what: str, due: tuple[Operation, ...]) -> str:
    return f"{what}: {len(due)} operation{'s are' if len(due) > 1 else ' is'} due"


def _listed(due: tuple[Operation, ...]) -> str:
    return "\n".join(o.summary for o in due[:10])
