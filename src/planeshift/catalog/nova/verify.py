"""Nova's round trip: a server in every cell that has compute nodes, listed, shown and deleted."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

PATIENCE = 180  # seconds for one server
RELEASED = 30  # seconds for what Placement holds of one that is gone
NAME = "planeshift-verify"
STALE = 3600  # seconds after which nobody comes back for what a round trip has made


def verify(connection: Any, only: Collection[str] = ()) -> Iterator[str]:
    """Prove Nova through the edge; as `catalog.keystone.verify.verify`.

    A server is asked for on each compute node that is up, by its name: which cell that is in, Nova alone knows, so that
    every cell is proved. `only` are the nodes that matter, where not all do.

    What was killed in the midst of it could not delete what it had made: one that comes through later does.
    """
    compute, name = connection.compute, f"{NAME}-{_now()}-{uuid.uuid4().hex[:8]}"
    nodes = sorted({s.host for s in compute.services() if s.binary == "nova-compute" and s.state == "up"})
    nodes = [n for n in nodes if not only or n in only]
    if not nodes:
        raise AssertionError("no compute node is up")
    yield f"{len(nodes)} compute nodes are up"
    flavor = compute.create_flavor(name=name, ram=64, vcpus=1, disk=0)
    image = connection.image.create_image(
        name=name, disk_format="raw", container_format="bare", data=b"\0" * 512, tags=[NAME]
    )
    wanted = {"flavor_id": flavor.id, "image_id": image.id, "networks": "none"}
    made = []
    try:
        for node in nodes:
            # Hosts can be named since microversion 2.74, by an administrator.
            made.append(compute.create_server(name=name, hypervisor_hostname=node, **wanted))
        for server in made:
            compute.wait_for_server(server, wait=PATIENCE)
        yield f"{len(made)} servers were booted, one on each"
        listed = {s.id for s in compute.servers(all_projects=True, name=name)}
        if not {s.id for s in made} <= listed:
            raise AssertionError("not every server is listed")
        if {compute.get_server(s.id).compute_host for s in made} != set(nodes):
            raise AssertionError("a server is not where it was asked for")
        yield "they are listed across cells, and shown"
    finally:
        for server in made:
            compute.delete_server(server, ignore_missing=True)
        for server in made:
            compute.wait_for_delete(server, wait=PATIENCE)
        compute.delete_flavor(flavor)
        connection.image.delete_image(image)
    for server in made:  # a compute node tells Placement a moment after the server is gone from Nova's lists
        connection.placement.wait_for_delete(_Allocations(server.id), interval=1, wait=RELEASED)
    yield "they were deleted, and Placement holds nothing of them"
    # A cell that is down is no reason to fail: the next one tries again.
    with contextlib.suppress(Exception):
        _sweep(connection, _now())


class _Allocations:
    """What Placement holds of a server, as the SDK waits for what goes: by fetching it until there is none."""

    status = "held"

    def __init__(self, server: str) -> None:
        self.id = server

    def fetch(self, session: Any, **_: Any) -> _Allocations | None:
        return self if session.get(f"/allocations/{self.id}").json()["allocations"] else None


def _sweep(connection: Any, now: int) -> None:
    """Delete what earlier round trips have left."""
    compute, image = connection.compute, connection.image
    for things, delete in (
        (compute.servers(all_projects=True, name=f"^{NAME}-"), compute.delete_server),
        (compute.flavors(), compute.delete_flavor),
        (image.images(tag=NAME), image.delete_image),
    ):
        for thing in [t for t in things if _is_left(t.name, now)]:
            delete(thing, ignore_missing=True)


def _now() -> int:
    """Seconds, by which names say when a round trip began."""
    return int(datetime.now(UTC).timestamp())


def _is_left(name: str, now: int) -> bool:
    """Whether a name is of a round trip, and of one that began long ago."""
    found = re.fullmatch(rf"{NAME}-(\d+)-[0-9a-f]+", name or "")
    return found is not None and now - int(found[1]) > STALE
