"""The same charts as an OCI registry has them: what `helm push`, `helm pull oci://…` and other registries' clients speak.

A chart is the repository TENANT/NAME, a version is its tag (`+` written as `_`). A manifest that was pushed is kept and
given back byte for byte; that of a chart which came another way is made from the chart, the same each time.
Source: OCI distribution and image specifications 1.1; Helm's media types.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planeshift.charts import emit, names
from planeshift.charts.index import Entry
from planeshift.charts.metadata import Invalid
from planeshift.charts.repository import Conflict, LimitReached, Repository
from planeshift.charts.server.museum import Museum
from planeshift.charts.server.routes import PULL, PUSH
from planeshift.charts.server.settings import Settings
from planeshift.charts.store import Missing, StoreError
from planeshift.serving.http import Reply, Request, as_json

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
BLOBS, RECORDS = f"{names.RESERVED}/blobs", f"{names.RESERVED}/oci"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_ASKED = re.compile(r"/v2/(?P<path>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.+)", re.ASCII)
_MAX_MANIFEST = 4 * 1024 * 1024
_MAX_SESSIONS, _MAX_HELD = 64, 128 * 1024 * 1024
_STALE = 24 * 3600.0  # seconds after which a blob without a manifest is swept away


@dataclass(frozen=True)
class Asked:
    """What a request is about. `action` is empty where it only asks whether this is a registry."""

    tenant: str = ""
    name: str = ""
    kind: str = ""
    rest: str = ""
    action: str = ""


@dataclass
class _Session:
    """A blob that comes in pieces."""

    path: str
    began: float = field(default_factory=time.monotonic)
    data: bytearray = field(default_factory=bytearray)


class _Problem(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.reply = _error(status, code, message)


class Registry:
    """Answers requests below /v2/."""

    def __init__(self, museum: Museum, settings: Settings) -> None:
        self._museum = museum
        self._settings = settings
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._made: OrderedDict[str, tuple[bytes, bytes]] = (
            OrderedDict()
        )  # entry's JSON and provenance → manifest, config

    def parse(self, request: Request) -> Asked | Reply:
        """What a request is about, or the refusal of one that is about nothing."""
        if request.path in ("/v2", "/v2/"):
            return Asked()
        if request.path == "/v2/_catalog":
            return Asked(kind="catalog", action=PULL)
        found = _ASKED.fullmatch(request.path)
        if found is None:
            return _error(404, "NAME_UNKNOWN", "not found")
        tenant, _, name = found["path"].rpartition("/")
        deep = tenant.count("/") + 1 if tenant else 0
        if not names.is_name(name) or not names.is_tenant(tenant):
            return _error(400, "NAME_INVALID", "no chart has such a name")
        if self._settings.depth is not None and deep != self._settings.depth:
            return _error(404, "NAME_UNKNOWN", f"a chart is at {'TENANT/' * self._settings.depth}NAME here")
        action = PULL if request.method in ("GET", "HEAD") and not found["rest"].startswith("uploads") else PUSH
        return Asked(tenant, name, found["kind"], found["rest"], action)

    def denied(self, refusal: Reply) -> Reply:
        """A refusal as OCI clients read it."""
        reply = _error(401, "UNAUTHORIZED", "authentication required")
        reply.headers.update(refusal.headers)
        return reply

    def answer(self, request: Request, asked: Asked, body: bytes) -> Reply:
        """The answer to a request that is allowed."""
        try:
            reply = self._answer(request, asked, body)
        except _Problem as problem:
            reply = problem.reply
        except Invalid as problem:
            reply = _error(400, "MANIFEST_INVALID", str(problem))
        except Conflict:
            reply = _error(409, "DENIED", "the version is there already, with another content")
        except LimitReached as problem:
            reply = _error(507, "DENIED", str(problem))
        reply.headers.setdefault("docker-distribution-api-version", "registry/2.0")
        return reply

    def _answer(self, request: Request, asked: Asked, body: bytes) -> Reply:
        if not asked.kind:
            return as_json(200, {})
        if asked.kind == "catalog":
            return self._catalog()
        handlers: Mapping[tuple[str, str], Callable[[Request, Asked, bytes], Reply]] = {
            ("tags", "GET"): self._tags,
            ("manifests", "GET"): self._get_manifest,
            ("manifests", "HEAD"): self._get_manifest,
            ("manifests", "PUT"): self._put_manifest,
            ("manifests", "DELETE"): self._delete_manifest,
            ("blobs", "GET"): self._get_blob,
            ("blobs", "HEAD"): self._get_blob,
            ("uploads", "POST"): self._begin,
            ("uploads", "PATCH"): self._go_on,
            ("uploads", "PUT"): self._end,
            ("uploads", "DELETE"): self._give_up,
            ("uploads", "GET"): self._progress,
        }
        kind = "uploads" if asked.kind == "blobs" and asked.rest.startswith("uploads") else asked.kind
        handler = handlers.get((kind, request.method))
        if handler is None or (kind == "tags" and asked.rest != "list"):
            raise _Problem(405, "UNSUPPORTED", "not supported")
        return handler(request, asked, body)

    # --- pulling

    def _catalog(self) -> Reply:
        if self._settings.depth != 0:  # tenants are not told of each other
            raise _Problem(405, "UNSUPPORTED", "no catalogue over tenants")
        return as_json(200, {"repositories": self._museum.open("").index.names()})

    def _tags(self, request: Request, asked: Asked, _: bytes) -> Reply:
        entries = self._repository(asked).index.chart(asked.name)
        if not entries:
            raise _Problem(404, "NAME_UNKNOWN", "no such chart")
        tags = sorted(e.version.replace("+", "_") for e in entries)
        tags = [t for t in tags if t > request.query.get("last", "")]
        n = request.query.get("n", "")
        return as_json(200, {"name": _path(asked), "tags": tags[: int(n[:9])] if n.isdecimal() else tags})

    def _get_manifest(self, _: Request, asked: Asked, __: bytes) -> Reply:
        repository = self._repository(asked)
        manifest = self._manifest(repository, self._entry(repository, asked))[0]
        return Reply(body=manifest, type=MANIFEST, headers={"docker-content-digest": _digest(manifest)})

    def _get_blob(self, _: Request, asked: Asked, __: bytes) -> Reply:
        repository = self._repository(asked)
        if not _DIGEST.fullmatch(asked.rest):
            raise _Problem(400, "DIGEST_INVALID", "a digest is sha256 and 64 hexadecimal digits")
        body = self._blob(repository, asked)
        if body is None:
            raise _Problem(404, "BLOB_UNKNOWN", "no such blob")
        headers = {"docker-content-digest": asked.rest}
        return Reply(body=body, type="application/octet-stream", headers=headers, etag=asked.rest[7:], ranges=True)

    def _blob(self, repository: Repository, asked: Asked) -> bytes | None:
        """A blob of this chart: an archive, a configuration, a provenance file, or one that was just pushed."""
        entries = repository.index.chart(asked.name)
        for e in entries:
            if e.digest == asked.rest[7:]:
                return repository.read(e)[0]
        try:
            return self._museum.store.read(BLOBS, _blob_file(asked, asked.rest))[0]
        except Missing:
            pass
        for e in entries:
            config = self._manifest(repository, e)[1]
            if _digest(config) == asked.rest:
                return config
            if e.prov and _digest(prov := repository.read_provenance(e)) == asked.rest:
                return prov
        return None

    def _entry(self, repository: Repository, asked: Asked) -> Entry:
        if not _DIGEST.fullmatch(asked.rest):
            found = repository.find(asked.name, asked.rest.replace("_", "+"))
            if found is not None:
                return found
        else:
            for e in repository.index.chart(asked.name):
                if _digest(self._manifest(repository, e)[0]) == asked.rest:
                    return e
        raise _Problem(404, "MANIFEST_UNKNOWN", "no such version")

    def _manifest(self, repository: Repository, e: Entry) -> tuple[bytes, bytes]:
        """A version's manifest and configuration: what was pushed with these bytes, or made from them."""
        key = f"{repository.tenant}\0{e.digest}\0{e.prov}\0{e.name}\0{e.version}"
        with self._lock:
            kept = self._made.get(key)
        if kept is not None:
            return kept
        try:
            record = json.loads(self._museum.store.read(RECORDS, _record_file(repository.tenant, e.name, e.version))[0])
            made = (record["manifest"].encode(), record["config"].encode()) if record["chart"] == e.digest else None
        except (Missing, ValueError, KeyError, TypeError):
            made = None
        made = made or _make(repository, e)
        with self._lock:
            self._made[key] = made
            while len(self._made) > 1000:
                self._made.popitem(last=False)
        return made

    # --- pushing

    def _begin(self, request: Request, asked: Asked, body: bytes) -> Reply:
        if request.query.get("digest"):
            return self._keep(asked, request.query["digest"], body)
        with self._lock:
            now = time.monotonic()
            for key in [k for k, s in self._sessions.items() if now - s.began > 600]:
                del self._sessions[key]
            if len(self._sessions) >= _MAX_SESSIONS:
                raise _Problem(429, "TOOMANYREQUESTS", "too many uploads at once")
            session = secrets.token_hex(16)
            self._sessions[session] = _Session(_path(asked))
        return self._under_way(asked, session, 0)

    def _under_way(self, asked: Asked, session: str, size: int) -> Reply:
        headers = {
            "location": f"/v2/{_path(asked)}/blobs/uploads/{session}",
            "range": f"0-{max(size - 1, 0)}",
            "docker-upload-uuid": session,
        }
        return Reply(202, headers=headers)

    def _session(self, asked: Asked) -> tuple[str, _Session]:
        key = asked.rest.removeprefix("uploads/")
        found = self._sessions.get(key)
        if found is None or found.path != _path(asked):
            raise _Problem(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        return key, found

    def _go_on(self, _: Request, asked: Asked, body: bytes) -> Reply:
        key, session = self._session(asked)
        with self._lock:
            held = sum(len(s.data) for s in self._sessions.values())
            if len(session.data) + len(body) > self._settings.max_upload or held + len(body) > _MAX_HELD:
                raise _Problem(413, "SIZE_INVALID", "request too large")
            session.data += body
        return self._under_way(asked, key, len(session.data))

    def _progress(self, _: Request, asked: Asked, __: bytes) -> Reply:
        key, session = self._session(asked)
        reply = self._under_way(asked, key, len(session.data))
        reply.status = 204
        return reply

    def _give_up(self, _: Request, asked: Asked, __: bytes) -> Reply:
        self._sessions.pop(self._session(asked)[0], None)
        return Reply(204)

    def _end(self, request: Request, asked: Asked, body: bytes) -> Reply:
        key, session = self._session(asked)
        reply = self._keep(asked, request.query.get("digest", ""), bytes(session.data) + body)
        self._sessions.pop(key, None)
        return reply

    def _keep(self, asked: Asked, digest: str, data: bytes) -> Reply:
        if not _DIGEST.fullmatch(digest) or _digest(data) != digest:
            raise _Problem(400, "DIGEST_INVALID", "the content does not have this digest")
        self._museum.store.save(BLOBS, [(_blob_file(asked, digest), data)], replace=True)
        location = f"/v2/{_path(asked)}/blobs/{digest}"
        return Reply(201, headers={"location": location, "docker-content-digest": digest})

    def _put_manifest(self, _: Request, asked: Asked, body: bytes) -> Reply:
        """Here a pushed chart becomes one: judged and kept as any other, or refused whole."""
        if len(body) > _MAX_MANIFEST:
            raise _Problem(413, "MANIFEST_INVALID", "the manifest is too large")
        repository = self._museum.open(asked.tenant, True)
        config, chart, prov = self._parts(repository, asked, body)
        from planeshift.charts import archive

        found = archive.load(chart).metadata
        version = asked.rest.replace("_", "+")
        if found["name"] != asked.name:
            raise _Problem(400, "NAME_INVALID", f"the chart is called {found['name']}")
        if found["version"] != version and not _DIGEST.fullmatch(asked.rest):
            raise _Problem(400, "TAG_INVALID", f"the chart's version is {found['version']}")
        known = repository.find(asked.name, found["version"])
        if known is None or known.digest != hashlib.sha256(chart).hexdigest():
            repository.add(chart, prov, force=self._settings.allow_overwrite)
        elif prov is not None and not known.prov:
            repository.add_provenance(prov, force=True)
        digest = hashlib.sha256(chart).hexdigest()
        record = json.dumps({"chart": digest, "manifest": body.decode(), "config": config.decode()}).encode()
        file = _record_file(asked.tenant, asked.name, found["version"])
        self._museum.store.save(RECORDS, [(file, record)], replace=True)
        with self._lock:
            self._made.clear()
        self._sweep(asked, body)
        location = f"/v2/{_path(asked)}/manifests/{_digest(body)}"
        return Reply(201, headers={"location": location, "docker-content-digest": _digest(body)})

    def _parts(self, repository: Repository, asked: Asked, manifest: bytes) -> tuple[bytes, bytes, bytes | None]:
        """The configuration, chart and provenance that a manifest names."""
        try:
            said = json.loads(manifest)
            descriptors = {layer["mediaType"]: layer["digest"] for layer in said["layers"]}
            config_type, config_digest = said["config"]["mediaType"], said["config"]["digest"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _Problem(400, "MANIFEST_INVALID", "it is no manifest") from None
        if config_type != CONFIG or CHART not in descriptors:
            raise _Problem(400, "MANIFEST_INVALID", "it is not the manifest of a chart, and nothing else is kept here")

        def blob(digest: object) -> bytes:
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise _Problem(400, "DIGEST_INVALID", "a digest is sha256 and 64 hexadecimal digits")
            found = self._blob(repository, Asked(asked.tenant, asked.name, "blobs", digest))
            if found is None:
                raise _Problem(404, "MANIFEST_BLOB_UNKNOWN", f"{digest} was not pushed")
            return found

        config = blob(config_digest)
        try:
            config.decode()
        except UnicodeDecodeError:
            raise _Problem(400, "MANIFEST_INVALID", "the configuration is not text") from None
        prov = blob(descriptors[PROVENANCE]) if PROVENANCE in descriptors else None
        return config, blob(descriptors[CHART]), prov

    def _delete_manifest(self, _: Request, asked: Asked, __: bytes) -> Reply:
        if not self._settings.deletion:
            raise _Problem(405, "UNSUPPORTED", "not supported")
        repository = self._repository(asked)
        e = self._entry(repository, asked)
        repository.remove(e.name, e.version)
        self._museum.store.delete(RECORDS, [_record_file(asked.tenant, e.name, e.version)])
        return Reply(202)

    def _sweep(self, asked: Asked, manifest: bytes) -> None:
        """Remove the blobs that a manifest has put to use, and those that nobody came back for."""
        store = self._museum.store
        used = [_blob_file(asked, d) for d in set(re.findall(r"sha256:[0-9a-f]{64}", manifest.decode("latin-1")))]
        limit = (time.time() - _STALE) * 1e9
        try:
            stale = [s.file for s in store.list(BLOBS) if s.modified < limit] if secrets.randbelow(50) == 0 else []
            store.delete(BLOBS, used + stale)
        except StoreError:
            pass  # the next one will

    def _repository(self, asked: Asked) -> Repository:
        return self._museum.open(asked.tenant)


def _make(repository: Repository, e: Entry) -> tuple[bytes, bytes]:
    described = json.loads(e.json)
    created = described.pop("created")
    described.pop("digest")
    described.pop("urls")
    config = emit.as_json(described)
    layers = [{"mediaType": CHART, "digest": f"sha256:{e.digest}", "size": e.size}]
    if e.prov:
        prov = repository.read_provenance(e)
        layers.append({"mediaType": PROVENANCE, "digest": _digest(prov), "size": len(prov)})
    annotations = {
        "org.opencontainers.image.title": e.name,
        "org.opencontainers.image.version": e.version,
        "org.opencontainers.image.created": created,
    }
    if described.get("description"):
        annotations["org.opencontainers.image.description"] = described["description"]
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": _digest(config), "size": len(config)},
        "layers": layers,
        "annotations": annotations,
    }
    return emit.as_json(manifest), config


def _path(asked: Asked) -> str:
    return f"{asked.tenant}/{asked.name}".lstrip("/")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob_file(asked: Asked, digest: str) -> str:
    """Blobs are kept apart by repository, so that none can be read through another."""
    return f"{hashlib.sha256(_path(asked).encode()).hexdigest()[:32]}-{digest[7:]}.blob"


def _record_file(tenant: str, name: str, version: str) -> str:
    return f"{hashlib.sha256(f'{tenant}/{name}@{version}'.encode()).hexdigest()}.json"


def _error(status: int, code: str, message: str) -> Reply:
    return as_json(status, {"errors": [{"code": code, "message": message}]})
