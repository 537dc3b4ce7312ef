"""What takes messages of a bus, and moves as replicas: which of its units run by the weights of its backends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from planeshift.catalog.spec import Component
from planeshift.model import cloud as model
from planeshift.render import topology
from planeshift.render.desired import Consumers, Desired, Pods, Unit
from planeshift.render.weights import Shares


@dataclass(frozen=True)
class Moving:
    """What of a cloud moves by weights, see `Desired`."""

    weights: Mapping[str, Mapping[str, int]]
    shares: Mapping[str, Mapping[str, float]]
    consumers: Mapping[str, Consumers]
    idle: frozenset[str]


def moving(cloud: model.Cloud, units: Sequence[Unit], shares: Mapping[str, Shares]) -> Moving:
    """What moves, and where it is by `shares`, or by the file for what they do not name."""
    weights = {name: topology.weights(cloud, name) for name in topology.movers(cloud)}
    # Where not every backend has consumers that can stop, they all run: messages would have nobody to take them.
    takers = {n: c for n, c in _consumers(cloud, units).items() if c.units.keys() == weights.get(n, {}).keys()}
    weights = {name: found for name, found in weights.items() if "@" not in name or name in takers}
    present = {name: dict(shares.get(name) or found) for name, found in weights.items()}
    every = {name: {unit for those in found.units.values() for unit in those} for name, found in takers.items()}
    idle = (every[name] - running(found, present[name]) for name, found in takers.items())
    return Moving(weights, present, takers, frozenset[str]().union(*idle))


def _consumers(cloud: model.Cloud, units: Sequence[Unit]) -> dict[str, Consumers]:
    """What takes messages together, by its mover's name."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    cells: dict[str, str] = {}
    takers = [u for u in units if u.components and all(c.topic for c in u.components)]
    there: list[tuple[str, str, str, tuple[str, ...]]] = [(u.service, u.backend, u.cell, (u.id,)) for u in takers]
    there += [(p.service, p.backend, p.cell, replicas(p)) for p in topology.pods(cloud) if p.takers]
    for service, backend, cell, names in there:
        name = topology.mover(service, cloud.spec.services[service].backends[backend])
        of_backend = found.setdefault(name, {})
        of_backend[backend] = (*of_backend.get(backend, ()), *names)
        cells[name] = cell or topology.ZERO
    return {name: Consumers(name.partition("@")[0], cells[name], those) for name, those in found.items()}


def replicas(pods: Pods) -> tuple[str, ...]:
    """Pods that take messages, one after the other, by names that stand beside the ids of units."""
    return tuple(f"{pods.id}#{n}" for n in range(pods.replicas))


def of_pods(unit: str) -> str:
    """The id of the pods that such a name is one of; empty for a unit on a host."""
    place, mark, _ = unit.partition("#")
    return place if mark else ""


def programs(desired: Desired, unit: str) -> tuple[str, tuple[Component, ...]]:
    """What runs in a unit, or in such a pod: the host that it is known by, and its programs."""
    if place := of_pods(unit):
        pods = desired.pods[place].pods
        return pods.host, pods.takers
    found = desired.units[unit].unit
    return found.host, found.components


def running(found: Consumers, shares: Shares) -> frozenset[str]:
    """The units that run by these shares: all of the backend with the most, of each other one as many as its share asks.

    A backend with any share runs one at least; the first ones of the file run.
    """
    most = max((shares.get(backend, 0.0) for backend in found.units), default=0.0)
    result: list[str] = []
    for backend, units in found.units.items():
        share = shares.get(backend, 0.0)
        if share > 0:
            result += units[: -int(-len(units) * share // most)]
    return frozenset(result)
