"""Runs an application under uvicorn, with a clock over every connection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI
_GRACE = 60  # seconds that uploads, say, have to end
_MAX_HEAD = 128 * 1024  # bytes of a request's line and headers
_IDLE = 75  # seconds that a connection may wait for its next request


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, which lets a client take for ever over the head of a request; here it has a while."""

    head_timeout = 30.0
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(self.head_timeout, self._too_slow)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:  # a head that is not whole yet
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD:
                self._too_slow()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._too_slow)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()


def serve(
    app: Application,
    *,
    host: str,
    port: int,
    tls: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
    head_timeout: float = 30.0,
    grace: int = _GRACE,
    ready: Callable[[str], None] = lambda _: None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; what has begun is finished first.

    `tls`: certificate chain and key; `client_ca`: clients must have a certificate of this authority; `head_timeout`:
    seconds that a request's head may take; `grace`: seconds that requests have to end at a stop. `ready` is called with
    the address once it listens, `stopping` when the server is told to stop, so that answers without an end can end.
    Raises OSError where the address cannot be had.
    """
    listener = socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
    )
    protocol = type("Protocol", (_Protocol,), {"head_timeout": head_timeout})
    options: dict[str, Any] = {}
    if tls is not None:
        options = {"ssl_certfile": str(tls[0]), "ssl_keyfile": str(tls[1])}
        if client_ca is not None:
            options |= {"ssl_ca_certs": str(client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    config = uvicorn.Config(
        app,
        http=protocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=grace,
        h11_max_incomplete_event_size=64 * 1024,
        **options,
    )
    place = f"[{host}]" if ":" in host else host
    url = f"{'https' if tls else 'http'}://{place}:{listener.getsockname()[1]}"
    server = _Server(config, lambda: ready(url), stopping)
    sys.setswitchinterval(0.0002)  # the loop must not wait long for a thread that unpacks
    gc.set_threshold(50_000, 20, 20)
    with listener:
        server.run(sockets=[listener])
    if not server.started:
        raise OSError("the server did not start")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._stopping()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a stop that was asked for is no failure: uvicorn ends by the signal that it got."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            gc.freeze()  # a hundred thousand entries need not be looked through again and again
            self._ready()
