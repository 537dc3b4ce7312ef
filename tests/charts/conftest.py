"""Servers that are gone when a test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chartrig import Server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers; each over a directory of its own unless told otherwise."""
    servers: list[Server] = []

    def start(*options: str, storage: str | Path | None = None, env: dict[str, str] | None = None) -> Server:
        servers.append(Server(storage or tmp_path / "store", *options, env=env))
        return servers[-1]

    yield start
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A server as it comes."""
    return serve()
