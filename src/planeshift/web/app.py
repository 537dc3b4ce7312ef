"""The application: pages of shifts, server-sent events that keep them new, metrics. It only reads."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

from planeshift.app.watching import LOOK, Seen, Watch, read, report_of
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import Hold
from planeshift.serving.http import Receive, Reply, Request, Scope, Send, as_json, error, respond, stream
from planeshift.traffic.report import style_hash
from planeshift.web import pages
from planeshift.web.metrics import Metrics

log = logging.getLogger("planeshift.web")
_HTML = "text/html; charset=utf-8"
_SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    "cross-origin-resource-policy": "same-origin",
}
_POLICY = "default-src 'none'; {}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = {"content-security-policy": _POLICY.format("style-src 'self'; script-src 'self'; connect-src 'self'; ")}
_BEAT = 15.0  # seconds after which a silent stream says that it lives
_MOST = 64  # streams at once


class App:
    """An ASGI application over the shifts below `root`. `cloud`: the cloud's name."""

    def __init__(
        self, cloud: str, root: Path, holds: Callable[[], Mapping[str, Hold]], *, names: frozenset[str] | None
    ) -> None:
        """`names`: what the server may be called by, besides its addresses; None: anything.

        A server on a loopback address knows its names, and answers to no other, so that no page of somebody else's can
        have a browser read it under a name of their own.
        """
        self._cloud, self._holds, self._names = cloud, holds, names
        self._watch, self._metrics = Watch(root), Metrics()
        self._shifts: list[Seen] = []  # oldest first
        self._held: Mapping[str, Hold] = {}
        self._version = 0
        self._changed = asyncio.Condition()
        self._stopping = False
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(Request(scope, receive), send)

    def stop(self) -> None:
        """End the streams, which would have no end."""
        self._stopping = True

    async def _serve(self, request: Request, send: Send) -> None:
        try:
            if request.path == "/live" and request.method == "GET" and self._is_ours(request):
                return await self._stream(request, send)
            reply = await self._answer(request)
        except PlaneshiftError as problem:
            reply = error(500, str(problem))
        except Exception:
            log.exception("%s %s", request.method, request.path)
            reply = error(500, "internal server error")
        reply.headers = _SAFE | reply.headers
        await respond(request, reply, send)

    async def _answer(self, request: Request) -> Reply:
        if not self._is_ours(request):
            return error(421, "this server is not called so")
        if request.method not in ("GET", "HEAD"):
            return error(405, "this server only shows", allow="GET, HEAD")
        match request.path.split("/")[1:]:
            case [""]:
                main = await asyncio.to_thread(self._main, "/")
                return Reply(
                    body=pages.whole(f"{self._cloud}: shifts", main or "", live=True), type=_HTML, headers={**_PAGE}
                )
            case ["style.css"]:
                return Reply(body=pages.style_sheet(), type="text/css; charset=utf-8")
            case ["live.js"]:
                return Reply(body=pages.script(), type="text/javascript; charset=utf-8")
            case ["health"]:
                return as_json(200, {"healthy": True})
            case ["metrics"]:
                return await asyncio.to_thread(self._metrics.page, list(self._shifts), self._held)
            case ["shifts", name, *rest] if self._find(unquote(name)):
                return await asyncio.to_thread(self._shift, unquote(name), rest)
        return error(404, "not found")

    def _shift(self, name: str, rest: list[str]) -> Reply:
        seen = self._find(name)
        assert seen is not None  # noqa: S101 - it was found before
        match rest:
            case []:
                title = f"{seen.log.service}: {seen.course.title}"
                main = self._main(f"/shifts/{name}") or ""
                return Reply(body=pages.whole(title, main, live=seen.live), type=_HTML, headers={**_PAGE})
            case ["events.jsonl"]:
                kind = "application/jsonl; charset=utf-8"
                return Reply(body=seen.log.path.read_bytes(), type=kind)
            case ["report.html"] if not seen.live:
                policy = _POLICY.format(f"style-src '{style_hash()}'; ")
                content = report_of(seen).read_bytes()
                return Reply(body=content, type=_HTML, headers={"content-security-policy": policy})
        return error(404, "not found")

    def _main(self, path: str) -> str | None:
        """The main part of a page; None where there is none."""
        if path == "/":
            return pages.front(self._cloud, list(reversed(self._shifts)), self._held)
        seen = self._find(path.removeprefix("/shifts/"))
        if seen is None:
            return None
        if not seen.live:  # its samples were let go
            seen = read(seen.log)
        return pages.shift(seen)

    def _find(self, name: str) -> Seen | None:
        return next((s for s in self._shifts if s.log.name == name), None)

    def _is_ours(self, request: Request) -> bool:
        host = request.headers.get("host", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if self._names is None or name in self._names:
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    # --- what is new

    async def _stream(self, request: Request, send: Send) -> None:
        path = unquote(request.query.get("page", "/"))
        if self._streams >= _MOST:
            await respond(request, error(503, "too many are watching", **{"retry-after": "5"}), send)
        elif path != "/" and self._find(path.removeprefix("/shifts/")) is None:
            await respond(request, Reply(204), send)  # tells an EventSource not to come again
        else:
            self._streams += 1
            try:
                await stream(request, "text/event-stream", self._news(path), _SAFE, send)
            finally:
                self._streams -= 1

    async def _news(self, path: str) -> AsyncIterator[bytes]:
        """The main part of a page, at once and whenever it is another one."""
        said, version = "", -1
        yield b"retry: 2000\n\n"
        while not self._stopping:
            version = self._version
            seen = self._find(path.removeprefix("/shifts/")) if path != "/" else None
            over = path != "/" and (seen is None or not seen.live)
            main = await asyncio.to_thread(self._main, path)
            if main and main != said:
                said = main
                yield f"data: {json.dumps(main)}\n\n".encode()
            if over:
                yield b"event: over\ndata:\n\n"
                return
            if not await self._wait(version):
                yield b": here\n\n"

    async def _wait(self, version: int) -> bool:
        """Wait until something has changed; false where nothing has for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BEAT), self._changed:
                await self._changed.wait_for(lambda: self._version != version or self._stopping)
        return self._version != version

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.to_thread(self._look)
        looking = asyncio.create_task(self._look_on())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        looking.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _look_on(self) -> None:
        wrong = ""
        while True:
            try:
                changed, wrong = await asyncio.to_thread(self._look), ""
            except Exception as problem:
                changed = False
                if str(problem) != wrong:  # said once, not at each look
                    wrong = str(problem)
                    log.exception("looking for shifts")
            if changed or self._stopping:
                self._version += changed
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(LOOK)

    def _look(self) -> bool:
        """Take in what is new; whether there is anything."""
        news = self._watch.look()
        for seen, events in news:
            self._metrics.add(events)
            if not seen.live:
                del seen.course.samples[:-1]  # its log has them
        held = self._holds()
        shifts = list(self._watch.seen.values())
        changed = bool(news) or held != self._held or len(shifts) != len(self._shifts)
        self._shifts, self._held = shifts, held
        return changed
