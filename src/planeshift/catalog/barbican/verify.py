"""Barbican's round trip: store a secret, read it back, delete it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any


def verify(connection: Any) -> Iterator[str]:
    """Prove Barbican through the edge; as `catalog.keystone.verify.verify`."""
    payload = uuid.uuid4().hex
    created = connection.key_manager.create_secret(
        name="planeshift-verify", payload=payload, payload_content_type="text/plain"
    )
    reference = created.secret_ref.rsplit("/", 1)[-1]
    try:
        yield "a secret was stored"
        # By path and not by the reference's host, which is the public endpoint: this connection may be internal.
        answer = connection.key_manager.get(f"/secrets/{reference}/payload", headers={"Accept": "text/plain"})
        if answer.text != payload:
            raise AssertionError("what was read is not what was stored")
        yield "it was read back"
    finally:
        connection.key_manager.delete(f"/secrets/{reference}")
    yield "it was deleted"
