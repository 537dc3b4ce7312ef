"""Images of services, built on this machine. Implements `ports.Images`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from planeshift.ports import Say
from planeshift.render.desired import Environment


class LocalImages:
    """Images by the environment that they hold."""

    def built(self) -> frozenset[str]:
        return frozenset()

    def build(self, environment: Environment, image: str, say: Say) -> None:
        raise NotImplementedError

    @contextlib.contextmanager
    def archive(self, environment: str, image: str) -> Iterator[str]:
        raise NotImplementedError
        yield ""
