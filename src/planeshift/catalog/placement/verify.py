"""Placement's round trip: a resource class, a provider with an inventory, and away with both."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any


def verify(connection: Any) -> Iterator[str]:
    """Prove Placement through the edge; as `catalog.keystone.verify.verify`."""
    placement = connection.placement
    classes = [c.name for c in placement.resource_classes()]
    if "VCPU" not in classes:
        raise AssertionError("the standard resource classes are not there")
    yield f"{len(classes)} resource classes were listed"
    name = f"planeshift-verify-{uuid.uuid4().hex[:12]}"
    provider = placement.create_resource_provider(name=name)
    try:
        placement.create_resource_provider_inventory(provider, "VCPU", total=7)
        found = [i.total for i in placement.resource_provider_inventories(provider)]
        if found != [7]:
            raise AssertionError(f"the inventory reads {found}, not [7]")
        yield "an inventory was written and read back"
    finally:
        placement.delete_resource_provider(provider)
    yield "the resource provider was deleted"
