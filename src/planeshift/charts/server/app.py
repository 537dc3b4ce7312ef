"""The application: each request to what answers it, with authentication, logs and metrics around."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from planeshift.charts.metadata import Invalid
from planeshift.charts.repository import Conflict, LimitReached, Repository
from planeshift.charts.server import routes
from planeshift.charts.server.api import Api, answer
from planeshift.charts.server.auth import Authenticator, Basic, Nobody
from planeshift.charts.server.metrics import Metrics
from planeshift.charts.server.museum import Museum
from planeshift.charts.server.oci import Registry
from planeshift.charts.server.pages import Pages
from planeshift.charts.server.settings import Settings
from planeshift.charts.store import Missing, StoreError
from planeshift.serving.http import (
    Receive,
    Refused,
    Reply,
    Request,
    Room,
    Scope,
    Send,
    as_json,
    error,
    matches,
    respond,
)

log = logging.getLogger("planeshift.charts.access")
T = TypeVar("T")
_KNOWN = (Invalid, Conflict, LimitReached, Missing, StoreError)
_BODY_ROOM = 128 * 1024 * 1024  # bytes of uploads in flight
_INDEX_TYPE = "application/x-yaml"
_BREATH = 1.0  # seconds after a start in which who waited for it has the processor


class App:
    """An ASGI application over the repositories of a museum."""

    def __init__(self, museum: Museum, settings: Settings, authenticator: Authenticator | None = None) -> None:
        self.museum = museum
        self.settings = settings
        self._authenticator = authenticator or Nobody()
        self._api = Api(settings)
        self._threads = ThreadPoolExecutor(32, "charts")
        self._room = Room(_BODY_ROOM)
        self._metrics = Metrics(museum)
        self._pages = Pages(museum, settings)
        self._registry = Registry(museum, settings)
        self._watching: asyncio.Task[None] | None = None
        self._compress: Callable[[bytes], bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(Request(scope, receive), send)

    async def _serve(self, request: Request, send: Send) -> None:
        began = time.perf_counter()
        route: routes.Route | None = None
        try:
            if self.settings.oci and (request.path == "/v2" or request.path.startswith("/v2/")):
                reply = await self._oci(request)
            else:
                route = routes.match(request.method, request.path, self.settings.depth, self.settings.context_path)
                reply = await self._answer(request, route)
        except Refused as refusal:
            reply = refusal.reply
        except _KNOWN as problem:
            reply = answer(problem)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            reply = error(500, "internal server error")
        if self.settings.cors_origin and request.path.startswith(self.settings.context_path + "/api/"):
            reply.headers["access-control-allow-origin"] = self.settings.cors_origin
        status = await respond(request, reply, send)
        seconds = time.perf_counter() - began
        self._metrics.count(route.what if route else "oci", request.method, status, seconds)
        self._log(request, status, seconds)

    async def _answer(self, request: Request, route: routes.Route | None) -> Reply:
        if route is None or self._is_off(route):
            return error(404, "not found")
        if route.action:
            refusal = await self.refusal(request, route.action, route.tenant)
            if refusal is not None:
                return refusal
        what = route.what
        if what == "health":
            return as_json(200, {"healthy": True})
        if what == "info":
            return as_json(200, {"version": f"v{self.settings.version}"})
        if what == "metrics":
            return await self.run(self._metrics.page)
        if what in ("page", "page_chart", "style", "static"):
            return await self.run(self._pages.answer, request, route)
        if what in ("upload", "upload_provenance"):
            body = await request.body(self.settings.max_upload, self.settings.read_timeout, self._room)
            try:
                target = await self._repository(route.tenant, True)
                return await self.run(getattr(self._api, what), request, target, body)
            finally:
                self._room.give(len(body))
                self.museum.forget(route.tenant)
        repository = await self._repository(route.tenant)
        if what == "index":
            return await self._index(request, repository)
        return await self.run(getattr(self._api, what), request, repository, route.parameters)

    async def _repository(self, tenant: str, create: bool = False) -> Repository:
        known = self.museum.known(tenant)
        return known if known is not None else await self.run(self.museum.open, tenant, create)

    async def _index(self, request: Request, repository: Repository) -> Reply:
        """The index, encoded as the client likes it; made only if the client does not have it."""
        encoding = _encoding(request.headers.get("accept-encoding", ""), self._compress is not None)
        suffix = {"gzip": "-gz", "zstd": "-zst"}.get(encoding, "")
        headers = {"vary": "Accept-Encoding", "cache-control": "no-cache"}
        if encoding != "identity":
            headers["content-encoding"] = encoding
        reply = Reply(type=_INDEX_TYPE, headers=headers, etag=repository.index.etag() + suffix, ranges=True)
        if not matches(request.headers.get("if-none-match", ""), reply.etag):
            form = await self.run(repository.index.form, encoding, self._compress)
            reply.body, reply.etag = form.buffers, form.etag + suffix
        return reply

    async def _oci(self, request: Request) -> Reply:
        """The OCI front: which repository it is about, whether one may, and the answer."""
        asked = self._registry.parse(request)
        if isinstance(asked, Reply):
            return asked
        if asked.action or "authorization" not in request.headers or isinstance(self._authenticator, Basic):
            refusal = await self.refusal(request, asked.action or routes.PULL, asked.tenant)
            if refusal is not None:
                return self._registry.denied(refusal)
        if request.method not in ("POST", "PUT", "PATCH"):
            return await self.run(self._registry.answer, request, asked, b"")
        body = await request.body(self.settings.max_upload, self.settings.read_timeout, self._room)
        try:
            return await self.run(self._registry.answer, request, asked, body)
        finally:
            self._room.give(len(body))
            self.museum.forget(asked.tenant)

    async def refusal(self, request: Request, action: str, tenant: str) -> Reply | None:
        """The 401 that a request gets which may not do something."""
        if isinstance(self._authenticator, Nobody):
            return None
        challenge = await self.run(self._authenticator.challenge, request.headers, action, tenant)
        return None if challenge is None else error(401, "unauthorized", **{"www-authenticate": challenge})

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run something that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _is_off(self, route: routes.Route) -> bool:
        what, settings = route.what, self.settings
        api = ("list", "chart", "version", "templates", "values", "upload", "upload_provenance", "delete")
        return (
            (what in api and not settings.api)
            or (what == "delete" and not settings.deletion)
            or (what == "metrics" and not settings.metrics)
        )

    def _log(self, request: Request, status: int, seconds: float) -> None:
        if not log.isEnabledFor(logging.INFO) or (request.path.endswith("/health") and not self.settings.log_health):
            return
        path = request.path.encode("unicode_escape").decode()
        if self.settings.log_json:
            fields = {"path": path, "clientIP": request.client, "method": request.method, "statusCode": status}
            log.info(json.dumps({**fields, "latency": f"{seconds * 1000:.3f}ms", "reqID": request.id}))
        else:
            log.info(
                '%s "%s %s" %d %.1f ms %s', request.client, request.method, path, status, seconds * 1e3, request.id
            )

    # --- life

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            import zstandard

            self._compress = lambda data: zstandard.ZstdCompressor(level=3).compress(data)
        except ImportError:  # pragma: no cover - a platform without it
            self._compress = None
        try:
            if self.settings.depth == 0:
                await self.run(self.museum.open, "")
        except StoreError as problem:
            await send({"type": "lifespan.startup.failed", "message": str(problem)})
            return
        self._watching = asyncio.create_task(self._watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._watching.cancel()
        await self.run(self.museum.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        """Load every tenant, then look again and again for what others did to the store."""
        try:
            for tenant in await self.run(lambda: list(self.museum.discover(self.settings.depth))):
                await self.run(self.museum.open, tenant)
            await asyncio.sleep(_BREATH)
            await self.run(self.museum.look)
            for repository in self.museum.all():
                await self.run(repository.index.form, "gzip", self._compress)
        except StoreError as problem:
            log.warning("the store cannot be read: %s", problem)
        except Exception:
            log.exception("loading the tenants")
        looked = time.monotonic()
        while True:
            await asyncio.sleep(1)
            whole = time.monotonic() - looked >= self.settings.look_interval
            began = time.monotonic()
            try:
                await self.run(self.museum.look, whole)
            except Exception:
                log.exception("looking the store over")
            if whole:  # never more than a twentieth of the time
                looked = time.monotonic() + 20 * (time.monotonic() - began)


def _encoding(accepted: str, zstd: bool) -> str:
    """The best encoding that a client accepts. Format: RFC 9110, 12.5.3."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, q = part.partition(";")
        try:
            weights[name.strip()] = float(q.replace(" ", "").removeprefix("q=") or 1)
        except ValueError:
            weights[name.strip()] = 0
    for name in ("zstd", "gzip") if zstd else ("gzip",):
        if weights.get(name, 0) > 0:
            return name
    return "identity"
