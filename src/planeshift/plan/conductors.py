"""Who takes another release, or other files, before whom, where a service is divided in cells. Pure.

A conductor understands what older programs send, and translates for them what newer ones do; an older conductor can do
neither. So conductors are first (https://docs.openstack.org/nova/latest/admin/upgrades.html), and those of cells before
those above, which send to compute nodes what these ask their own conductor to translate. Compute nodes are last: all that
they do goes through their conductor, so that one that stops with it waits for it in vain.
"""

from __future__ import annotations

from collections.abc import Iterator

from planeshift.catalog.spec import Component
from planeshift.plan.draft import Draft
from planeshift.plan.operations import Kind
from planeshift.render.desired import DesiredPods, DesiredUnit


def first(draft: Draft, place: DesiredUnit | DesiredPods) -> frozenset[str]:
    """The turns that come before a place's own, by id, planned or not; none where its service has no cells."""
    service, cell, components = _of(place)
    cells = draft.desired.specs[service].cells
    if cells is None:
        return frozenset()
    compute, takes = any(c.name == cells.compute for c in components), any(c.topic for c in components)
    found = set[str]()
    for other_cell, turns in _takers(draft, service, cells.compute):
        if other_cell == cell if compute else not cell and (other_cell or not takes):
            found |= turns
    return frozenset(found)


def _takers(draft: Draft, service: str, compute: str) -> Iterator[tuple[str, set[str]]]:
    """The cell of each place that takes messages, and is no compute node; and the ids that its turn may have."""
    for unit_id, unit in draft.desired.units.items():
        own, cell, components = _of(unit)
        if own == service and any(c.topic for c in components) and all(c.name != compute for c in components):
            yield cell, {f"{kind}:{unit_id}" for kind in (Kind.RESTART, Kind.RELOAD)}
    for pods_id, pods in draft.desired.pods.items():
        if pods.pods.service == service and pods.pods.takers:
            yield pods.pods.cell, {f"{Kind.RELEASE}:{pods_id}"}


def _of(place: DesiredUnit | DesiredPods) -> tuple[str, str, tuple[Component, ...]]:
    """A place's service, cell and components."""
    if isinstance(place, DesiredUnit):
        return place.unit.service, place.unit.cell, place.unit.components
    return place.pods.service, place.pods.cell, (place.pods.component, *place.pods.takers, *place.pods.others)
