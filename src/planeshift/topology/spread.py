"""Where a cluster's scheduler puts the pods of a Deployment, of which one zone can have fewer nodes than another. Pure.

The charts ask for a skew of one over zones and over nodes, where it can be had. Of nodes that have room the scheduler takes
the one with the lowest sum of both counts, each weighed by the logarithm of how many zones or nodes there are, plus two, and
rounded (kubernetes v1.35, pkg/scheduler/framework/plugins/podtopologyspread/scoring.go). So one node of a zone of its own
does not get half of the pods, where another zone has three: kube-scheduler 1.35.4 put three of four pods there, and five of
eight (kwok's nodes, 2026-11-30; one to nine pods, three times each: no zone had more than `most` says). What else the
scheduler weighs can even that out: whoever asks for the worst must think of zones that have the same, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_Cost = Callable[[int, int], float]  # of one more pod: pods in the zone, pods on its emptiest node → lower is taken


class Zone(NamedTuple):
    """How many nodes a zone has, and how many of them are gone."""

    nodes: int
    gone: int


def most(replicas: int, zones: Sequence[Zone]) -> int:
    """The most of so many pods that can be on nodes that are gone, however ties are broken."""
    return max(sum(map(_lost, zones, pods)) for cost in _costs(zones) for pods in _spreads(replicas, zones, cost))


def _costs(zones: Sequence[Zone]) -> Iterator[_Cost]:
    by_zone, by_node = math.log(len(zones) + 2), math.log(sum(z.nodes for z in zones) + 2)
    yield lambda in_zone, on_node: round(in_zone * by_zone + on_node * by_node)
    yield lambda in_zone, on_node: in_zone


def _spreads(replicas: int, zones: Sequence[Zone], cost: _Cost) -> set[tuple[int, ...]]:
    """The pods of each zone, one tuple for each way in which ties can be broken that makes a difference."""
    found = {(0,) * len(zones)}
    for _ in range(replicas):
        found = {_alike(zones, more) for pods in found for more in _one_more(zones, pods, cost)}
    return found


def _one_more(zones: Sequence[Zone], pods: tuple[int, ...], cost: _Cost) -> Iterator[tuple[int, ...]]:
    costs = [cost(there, there // zone.nodes) for zone, there in zip(zones, pods, strict=True)]
    for n, own in enumerate(costs):
        if own == min(costs):
            yield (*pods[:n], pods[n] + 1, *pods[n + 1 :])


def _alike(zones: Sequence[Zone], pods: tuple[int, ...]) -> tuple[int, ...]:
    """The same pods, sorted among zones that are alike: which of those has more of them makes no difference."""
    sorted_ones = {zone: iter(sorted(p for z, p in zip(zones, pods, strict=True) if z == zone)) for zone in {*zones}}
    return tuple(next(sorted_ones[zone]) for zone in zones)


def _lost(zone: Zone, pods: int) -> int:
    """Of a zone's pods, evenly spread over its nodes, the most that are on those that are gone."""
    each, odd = divmod(pods, zone.nodes)
    return zone.gone * each + min(zone.gone, odd)
