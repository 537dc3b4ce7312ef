"""HTTP/1.1 as a load needs it: connections that are kept, and what was answered, with as little work as may be."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

IDLE = 20.0  # seconds after which a connection is not used again: the edge closes idle ones after a minute
HEAD = 65536  # bytes of an answer that are kept


@dataclass(slots=True)
class Answer:
    """An answer; `body` is its beginning, `size` and `crc` are of all of it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    size: int = 0
    crc: int = 0


class _Connection(asyncio.Protocol):
    """A connection, with one request at a time."""

    def __init__(self) -> None:
        self.used = 0
        self.idle_since = 0.0
        self.open = True
        self._answer = Answer()
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future has its answer, or raises OSError, EOFError, HttpParserError."""
        self.used += 1
        self._answer, self._parser = Answer(), httptools.HttpResponseParser(self)
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def close(self) -> None:
        self.open = False
        self._transport.abort()

    # --- what asyncio tells

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            return self.close()  # nobody asked
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fail(exc or EOFError("the connection was closed before the answer's end"))

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting and not waiting.done():
            waiting.set_exception(error)

    # --- what httptools tells

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        answer.size += len(body)
        answer.crc = zlib.crc32(body, answer.crc)
        if len(answer.body) < HEAD:
            answer.body += body[: HEAD - len(answer.body)]

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        waiting, self._waiting = self._waiting, None
        if waiting and not waiting.done():
            waiting.set_result(self._answer)


class Client:
    """Sends requests, each on a connection that is idle, or a new one."""

    def __init__(self, ca_file: str = "") -> None:
        """Raises OSError where the file cannot be read."""
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._idle: dict[tuple[str, str], deque[_Connection]] = defaultdict(deque)

    async def send(self, method: str, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """The answer to a request. Raises OSError, EOFError (a connection that was cut), HttpParserError."""
        parts = urlsplit(url)
        place = (parts.scheme, parts.netloc)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc, "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection = self._kept(place) or await self._open(parts.scheme, parts.hostname or "", parts.port)
        try:
            answer = await connection.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        except EOFError as error:
            raise EOFError(f"{error}, in its request {connection.used}") from error
        except BaseException:
            connection.close()
            raise
        if connection.open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle[place].append(connection)
        return answer

    def close(self) -> None:
        """Close what is idle."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _kept(self, place: tuple[str, str]) -> _Connection | None:
        """The connection that was used last, unless all have been idle for too long."""
        idle, now = self._idle[place], asyncio.get_running_loop().time()
        while idle:
            found = idle.pop()
            if found.open and now - found.idle_since < IDLE:
                return found
            if found.open:
                found.close()
        return None

    async def _open(self, scheme: str, host: str, port: int | None) -> _Connection:
        secure = scheme == "https"
        loop, tls = asyncio.get_running_loop(), self._tls if secure else None
        _, connection = await loop.create_connection(_Connection, host, port or (443 if secure else 80), ssl=tls)
        return connection
