"""Glance's round trip: create an image, upload, download, compare, delete."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import Any


def verify(connection: Any) -> Iterator[str]:
    """Prove Glance through the edge; as `catalog.keystone.verify.verify`."""
    content = hashlib.sha512(b"planeshift verify").digest() * 16384  # 1 MiB
    image = connection.image.create_image(
        name=f"planeshift-verify-{uuid.uuid4().hex[:8]}",
        disk_format="raw",
        container_format="bare",
        data=content,
        validate_checksum=False,
    )
    try:
        yield "an image was created and 1 MiB uploaded"
        stored = connection.image.get_image(image.id)
        if stored.status != "active" or stored.size != len(content):
            raise AssertionError(
                f"the image is {stored.status} with {stored.size} bytes, not active with {len(content)}"
            )
        back = connection.image.download_image(image.id).content
        if hashlib.sha512(back).hexdigest() != stored.hash_value or back != content:
            raise AssertionError("what was downloaded is not what was uploaded")
        yield "the download equals the upload, by checksum"
    finally:
        connection.image.delete_image(image.id)
    yield "the image was deleted"
