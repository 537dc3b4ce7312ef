"""A unit's programs brought to what its files say: by whoever has a reason to."""

from __future__ import annotations

from collections.abc import Callable

from planeshift.engine.world import World
from planeshift.ports import Say
from planeshift.render.desired import DesiredUnit


def bring_up(world: World, unit_id: str, say: Say, how: Callable[[DesiredUnit], None]) -> None:
    """Let `how` do it, wait until it is ready, and note what its programs have read."""
    unit, host = world.unit(unit_id), world.host_of(unit_id)
    host.make_directories(unit.directories)
    how(unit)
    host.wait_ready(unit.health, unit_id, say)
    host.mark_loaded(unit_id, unit.digest(world.control.key()))
