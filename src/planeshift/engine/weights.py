"""Weights of edges: the file first, then the runtime socket, so that an HAProxy that starts again has the same ones."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.weights import achieved


def set_weights(world: World, name: str) -> None:
    """Bring an edge's weights to what is rendered, and admit servers that were withheld."""
    unit, frontends = world.desired.fronts[name]
    ours = world.desired.edges.get(name)
    if ours:
        world.hosts[ours.host].lay_out(unit, dict(ours.files))
    state = world.edge.state(unit)
    wanted = {(frontend.place, s.name): s.weight for frontend in frontends for s in frontend.servers}
    there = state.servers if state else {}
    others = {place: w for place, w in wanted.items() if place in there and there[place].weight != w}
    if others:
        world.edge.set_weights(unit, others)
    for place in wanted if ours else ():  # at an edge of somebody else's, withholding is somebody else's word
        if place in there and there[place].withheld:
            world.edge.admit(unit, *place)


def move(world: World, service: str, shares: dict[str, float], before: dict[str, float]) -> float:
    """Give a service's traffic other shares on every edge. Where one edge fails, the others go back before it raises.

    Clusters are looked at first, so that each node carries as much as it has ready pods. Returns the milliseconds from
    the order, all being prepared, until the last edge had carried it out.
    """
    moved = list[str]()
    world.move(service, shares)
    unreachable = [n for n, (unit, _) in world.desired.fronts.items() if world.edge.state(unit) is None]
    if unreachable:
        world.move(service, before, look=False)
        raise PlaneshiftError(Problem("PS607", f"the edge {', '.join(unreachable)} cannot be reached"))
    began = world.clock.monotonic()
    try:
        for name in world.desired.fronts:
            moved.append(name)
            set_weights(world, name)
    except PlaneshiftError:
        world.move(service, before, look=False)
        _back(world, moved)
        raise
    return round((world.clock.monotonic() - began) * 1000, 2)


def send_back(world: World, service: str, shares: dict[str, float]) -> None:
    """Give a service's traffic these shares on every edge that can be given them, whatever becomes of the others.

    Of an edge that does not answer, the file at least: with that it starts again. Raises PlaneshiftError (PS607) at the
    end, where there was one.
    """
    problems: list[Problem] = []
    world.move(service, shares, look=False)
    for name, (unit, _) in world.desired.fronts.items():
        try:
            set_weights(world, name)
            if world.edge.state(unit) is None:
                problems.append(Problem("PS607", f"the edge {name} cannot be reached"))
        except PlaneshiftError as error:
            problems += error.problems
    if problems:
        raise PlaneshiftError(problems)


def _back(world: World, names: list[str]) -> None:
    for name in names:
        try:
            set_weights(world, name)
        except PlaneshiftError:
            continue  # it is the one that failed; the next run finds it as it is


def achieved_by(world: World, service: str) -> dict[str, float]:
    """The shares in percent that the rendered weights really give the backends of a service, at the first edge."""
    weights: dict[str, dict[str, int]] = {backend: {} for backend in world.desired.weights[service]}
    for backend, server, weight in _servers(world, service):
        weights[backend][server] = weight
    return achieved(weights)


def _servers(world: World, service: str) -> Iterator[tuple[str, str, int]]:
    _, frontends = next(iter(world.desired.fronts.values()), ("", ()))
    for frontend in frontends:
        if frontend.service == service:
            yield from ((s.backend, s.name, s.weight) for s in frontend.servers)
