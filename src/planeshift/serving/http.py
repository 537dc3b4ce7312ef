"""Requests and replies on ASGI, no more than our servers need: bodies with limits, ranges, entity tags, streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_ORDINARY = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)


class Refused(Exception):
    """A request that is answered with an error; `reply` is the answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass
class Reply:
    """An answer. `etag` makes it conditional, `ranges` lets parts of it be asked for."""

    status: int = 200
    body: bytes | Sequence[bytes] = b""
    type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    ranges: bool = False

    @property
    def buffers(self) -> Sequence[bytes]:
        """The body, in pieces."""
        return [self.body] if isinstance(self.body, bytes) else self.body


def as_json(status: int, value: Any, **headers: str) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), headers=headers)


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as JSON, in ChartMuseum's form."""
    return as_json(status, {"error": message}, **headers)


class Request:
    """One request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.scope = scope
        self._receive = receive

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name."""
        return {k.decode("latin-1"): v.decode("latin-1") for k, v in self.scope["headers"]}

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The last value of each query parameter."""
        text = self.scope["query_string"].decode("latin-1")
        return {k: v[-1] for k, v in parse_qs(text, keep_blank_values=True, max_num_fields=100).items()}

    @cached_property
    def id(self) -> str:
        """The request's id: the client's own, if it is an ordinary one."""
        given = self.headers.get("x-request-id", "")
        if _ORDINARY.fullmatch(given):
            return given
        import secrets

        return secrets.token_hex(16)

    @property
    def client(self) -> str:
        """The client's address."""
        return str((self.scope.get("client") or ("",))[0])

    @property
    def origin(self) -> str:
        """Scheme and host that the client used."""
        return f"{self.scope['scheme']}://{self.headers.get('host', '')}"

    async def left(self) -> None:
        """Return when the client has left. For requests without a body."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def body(self, limit: int, seconds: float, room: Room) -> bytes:
        """The whole body, whose room is to be given back by the caller.

        Raises Refused (413, 408, 503, 400) where it is too large, too slow, there is no room for it, or the client left.
        """
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and len(declared) < 19 and int(declared) > limit:
            raise Refused(error(413, "request too large", connection="close"))
        pieces: list[bytes] = []
        size = 0
        whole = False
        try:
            async with asyncio.timeout(seconds or None):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(error(400, "the client left"))
                    piece = message.get("body", b"")
                    size += len(piece)
                    if size > limit:
                        raise Refused(error(413, "request too large", connection="close"))
                    room.take(len(piece))
                    pieces.append(piece)
                    if not message.get("more_body"):
                        whole = True
                        return b"".join(pieces)
        except TimeoutError:
            raise Refused(error(408, "the request took too long", connection="close")) from None
        finally:
            if not whole:
                room.give(sum(map(len, pieces)))


class Room:
    """How many bytes of requests' bodies are held in memory, by all clients together."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> None:
        """Hold some. Raises Refused (503) where there is no room."""
        if size > self._left:
            raise Refused(error(503, "too many uploads at once", **{"retry-after": "1", "connection": "close"}))
        self._left -= size

    def give(self, size: int) -> None:
        """Let some go."""
        self._left += size


def matches(condition: str, etag: str) -> bool:
    """Whether an If-None-Match header names the entity tag (weak comparison). Format: RFC 9110, 13.1.2."""
    return condition.strip() == "*" or any(
        t.strip().removeprefix("W/").strip('"') == etag for t in condition.split(",")
    )


async def respond(request: Request, reply: Reply, send: Send) -> int:
    """Send an answer, as a condition or a range asks for it; the status that was sent."""
    headers = [(b"content-type", reply.type.encode("latin-1")), (b"x-request-id", request.id.encode("latin-1"))]
    headers += [(k.encode("latin-1"), v.encode("latin-1", "replace")) for k, v in reply.headers.items()]
    status, buffers = reply.status, reply.buffers
    asking = request.method in ("GET", "HEAD") and status == 200
    if reply.etag:
        headers.append((b"etag", f'"{reply.etag}"'.encode()))
        if asking and matches(request.headers.get("if-none-match", ""), reply.etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers[1:]})
            await send({"type": "http.response.body"})
            return 304
    length = sum(map(len, buffers))
    if reply.ranges:
        headers.append((b"accept-ranges", b"bytes"))
        span = _span(request, reply.etag, length) if asking else None
        if span is not None:
            first, last = span
            if first > last:
                status, buffers = 416, []
                headers.append((b"content-range", f"bytes */{length}".encode()))
            else:
                status, buffers = 206, _cut(buffers, first, last + 1)
                headers.append((b"content-range", f"bytes {first}-{last}/{length}".encode()))
            length = sum(map(len, buffers))
    headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if request.method != "HEAD":
        for buffer in buffers[:-1]:
            await send({"type": "http.response.body", "body": buffer, "more_body": True})
        await send({"type": "http.response.body", "body": buffers[-1] if buffers else b""})
    else:
        await send({"type": "http.response.body"})
    return status


async def stream(
    request: Request, kind: str, pieces: AsyncIterator[bytes], headers: Mapping[str, str], send: Send
) -> None:
    """Send pieces of an answer of media type `kind` as they come, until there are no more or the client leaves."""
    given = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in {"content-type": kind, **headers}.items()]
    await send({"type": "http.response.start", "status": 200, "headers": given})

    async def all_pieces() -> None:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    working, leaving = asyncio.create_task(all_pieces()), asyncio.create_task(request.left())
    await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, leaving):
        task.cancel()
    await asyncio.gather(working, leaving, return_exceptions=True)
    await send({"type": "http.response.body"})


def _span(request: Request, etag: str, length: int) -> tuple[int, int] | None:
    """The one range that is asked for, first and last byte; an empty one (1, 0) where it cannot be had."""
    found = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", f'"{etag}"') != f'"{etag}"':
        return None
    first, last = found.groups()
    if not first:
        return (max(length - int(last), 0), length - 1) if last and int(last) else None
    end = min(int(last), length - 1) if last else length - 1
    if last and int(last) < int(first):
        return None
    return (int(first), end) if int(first) < length else (1, 0)


def _cut(buffers: Sequence[bytes], start: int, end: int) -> list[bytes]:
    found, at = [], 0
    for buffer in buffers:
        low, high = max(start - at, 0), min(end - at, len(buffer))
        if low < high:
            found.append(buffer[low:high])
        at += len(buffer)
        if at >= end:
            break
    return found
