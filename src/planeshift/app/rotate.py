"""Change a live credential while its service runs, with no failed request; gone on with where it was cut off."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from planeshift.app.rotation import Rotation, refused
from planeshift.app.staging import promote
from planeshift.app.turns import BUS, Of, account, bus, database, messaging, take_turns
from planeshift.engine import leases
from planeshift.errors import PlaneshiftError, Problem

_TURNS: dict[str, Of] = {"database_password": database, "service_password": account, BUS: bus}


def rotate(run: Rotation, service: str, name: str) -> None:
    """Rotate a service's credential: `database_password`, `messaging_password` (of a cell: `…_CELL`), `service_password`,
    `transport_url`, or keys by their name.

    The lease is held all the while. Raises PlaneshiftError: PS205 for an unknown service, PS1022 where the credential
    cannot be rotated, PS801 where somebody else changes the cloud, and whatever `up` raises.
    """
    world = run.world()
    spec = world.desired.specs.get(service)
    if spec is None:
        hint = f"It runs {', '.join(world.desired.specs)}."
        raise PlaneshiftError(Problem("PS205", f"this cloud runs no service {service}", hint=hint))
    keys = {s.name: s for s in spec.secrets if s.kind == "fernet-keys"}
    turns = {n: of for n, of in _TURNS.items() if n != "service_password" or spec.roles}
    databases = (d.secret for d in world.desired.databases.values() if d.service == service and d.server)
    turns |= {secret: partial(database, secret=secret) for secret in databases}
    buses = (b.secret for b in world.desired.buses.values() if b.service == service)
    turns |= {secret: partial(messaging, secret=secret) for secret in buses}
    if name not in (*turns, *keys):
        raise refused(
            f"{name} of {service} cannot be rotated", f"What can be, of {service}: {', '.join([*turns, *keys])}."
        )
    with leases.held(world, run.say) as keep:
        held = replace(run, keep=keep)
        if name in keys:
            promote(held, service, keys[name])
        else:
            take_turns(held, service, turns[name])
