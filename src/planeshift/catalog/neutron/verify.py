"""Neutron's round trip: a network with a subnet and a port, and away with them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any


def verify(connection: Any) -> Iterator[str]:
    """Prove Neutron through the edge; as `catalog.keystone.verify.verify`."""
    api, name = connection.network, f"planeshift-verify-{uuid.uuid4().hex[:12]}"
    network = api.create_network(name=name)
    try:
        subnet = api.create_subnet(network_id=network.id, name=name, ip_version=4, cidr="192.0.2.0/28")
        port = api.create_port(network_id=network.id, name=name)
        if [a["subnet_id"] for a in port.fixed_ips] != [subnet.id]:
            raise AssertionError("the port has no address of its subnet")
        yield "a network, a subnet and a port were created"
        api.delete_port(port)
    finally:
        api.delete_network(network)
    yield "they were deleted"
