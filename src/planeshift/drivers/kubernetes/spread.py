"""Pods that lie together although a node that could have some of them is back: to be made anew, and so spread again.

The cluster's control plane moves no pod that runs (a zone that was lost and returns stays empty), and what is lost next may
have all of them. What a Deployment asks for is in its topologySpreadConstraints. Pods that were made after the node was
there lie where the scheduler wanted them: to make those anew would mend nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from lightkube.resources.core_v1 import Node

from planeshift.drivers.kubernetes import pods

_HOSTNAME = "kubernetes.io/hostname"


class Seat(NamedTuple):
    """A node that takes pods: its labels, and since when it is ready."""

    labels: Mapping[str, str]
    since: datetime


def seats(client: Any) -> dict[str, Seat]:
    """The nodes that take pods, by name."""
    return {str(n.metadata.name): seat for n in client.list(Node) if (seat := _seat(n))}


def _seat(node: Any) -> Seat | None:
    if pods.closed(node):
        return None
    conditions = (node.status and node.status.conditions) or []
    ready = (c.lastTransitionTime for c in conditions if c.type == "Ready" and c.status == "True")
    since = next(ready, None)
    return Seat(node.metadata.labels or {}, since) if since else None


def uneven(workload: Any, there: Sequence[Any], nodes: Mapping[str, Seat]) -> str:
    """How a workload's pods lie, where making them anew would spread them better; else empty.

    `there` are the pods of its release, `nodes` those that take pods.
    """
    selected = (workload.spec.selector.matchLabels or {}).items()
    alive = (p for p in there if not p.metadata.deletionTimestamp and p.spec.nodeName in nodes)
    own = [p for p in alive if selected <= (p.metadata.labels or {}).items()]
    for asked in workload.spec.template.spec.topologySpreadConstraints or []:
        made: dict[str, list[datetime]] = {}  # of the pods of each zone, or node: when they were made
        since: dict[str, datetime] = {}  # when the last node of it was ready
        for seat in nodes.values():
            if place := seat.labels.get(asked.topologyKey):
                made.setdefault(place, [])
                since[place] = max(since.get(place, seat.since), seat.since)
        for pod in own:
            if place := nodes[pod.spec.nodeName].labels.get(asked.topologyKey):
                made[place].append(pod.metadata.creationTimestamp)
        few, many = (choose(sorted(made), key=lambda p: len(made[p]), default="") for choose in (min, max))
        if few and len(made[many]) - len(made[few]) > asked.maxSkew and max(made[many]) < since[few]:
            where = "on" if asked.topologyKey == _HOSTNAME else "in"
            count = len(made[many])
            return f"{count} pods {where} {many}, {len(made[few]) or 'none'} {where} {few}, which is back"
    return ""
