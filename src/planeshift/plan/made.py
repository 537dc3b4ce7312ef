"""What a plan makes of each thing, as digests: by them drift is told from change, and a hold from a void one. Pure."""

from __future__ import annotations

import hashlib
import json

from planeshift.render.build import edge_unit
from planeshift.render.desired import Desired, DesiredPods
from planeshift.render.pods import chart_digest, release_values

TRAFFIC = "traffic "  # what the record calls a service's shares


def cell_thing(name: str) -> str:
    """What the record calls a cell, by the name of its database."""
    return f"cell {name}"


def applied(desired: Desired, key: bytes) -> dict[str, str]:
    """What each thing will be: the digest by which drift is told from change."""
    result = running(desired, key)
    for name, edge in desired.edges.items():
        weights = [(f.service, s.name, s.weight) for f in edge.frontends for s in f.servers]
        result[f"edge {name}"] = result[edge_unit(name, edge.host)] = f"{edge.structure} {weights}"
    for name, shares in desired.shares.items():
        result[TRAFFIC + name] = json.dumps(shares)
    for name, cell in desired.cells.items():
        result[cell_thing(name)] = f"{cell.enabled}"
    for name, entries in desired.identity.items():
        result[f"catalogue {name}"] = f"{sorted(entries.endpoints.items())} {entries.user} {entries.roles}"
    return result


def running(desired: Desired, key: bytes, *, moving: bool = True) -> dict[str, str]:
    """The part of it that runs services: units and pods by id; but for what a shift changes of it where not `moving`."""
    result = {unit_id: unit.digest(key) for unit_id, unit in desired.units.items()}
    return result | {pods_id: _released(found, key, moving) for pods_id, found in desired.pods.items()}


def _released(found: DesiredPods, key: bytes, moving: bool) -> str:
    values = release_values(found, key)
    if not moving and "takers" in values:
        values = {**values, "takers": sorted(values["takers"])}
    text = json.dumps(values, sort_keys=True)  # files are in it, by the names of their objects
    if found.chart:
        text += chart_digest(found)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
