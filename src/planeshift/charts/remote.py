"""Somebody's chart repository, as a client sees it: an index over HTTP here, an OCI registry in `registry`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import urllib3
import yaml

from planeshift.charts import names

MAX_INDEX = 512 * 1024 * 1024
MAX_CHART = 64 * 1024 * 1024
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RemoteError(Exception):
    """A repository that cannot be reached, refuses, or is none. `conflict`: the version is there; `missing`: it is not."""

    def __init__(self, message: str, *, conflict: bool = False, missing: bool = False) -> None:
        super().__init__(message)
        self.conflict = conflict
        self.missing = missing


@dataclass(frozen=True)
class Credentials:
    """Who we are there: a user with a password, or a token."""

    username: str = ""
    password: str = ""
    token: str = ""
    ca: str | None = None  # PEM file of the authority of its certificate

    def headers(self) -> dict[str, str]:
        """For a request."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.username:
            basic = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {basic}"}
        return {}


@dataclass(frozen=True)
class Offer:
    """A version that a repository has. `digest` is empty where the repository's listing does not say it."""

    name: str
    version: str
    digest: str = ""
    created: str = ""
    description: str = ""
    app_version: str = ""
    urls: Sequence[str] = field(default=(), compare=False)


class Remote(Protocol):
    """A repository of somebody's. Every method may raise RemoteError."""

    url: str

    def charts(self) -> Sequence[str]:
        """The charts that it has, by name."""

    def versions(self, name: str) -> Sequence[Offer]:
        """A chart's versions, newest first; none where there is no such chart."""

    def digest(self, offer: Offer) -> str:
        """SHA-256 of a chart's archive, hexadecimal; empty where the repository does not say it."""

    def fetch(self, offer: Offer) -> bytes:
        """A chart's archive."""

    def fetch_provenance(self, offer: Offer) -> bytes | None:
        """Its provenance file, if it has one."""

    def push(self, name: str, version: str, chart: bytes, prov: bytes | None) -> None:
        """Upload a chart, and its provenance."""

    def delete(self, name: str, version: str) -> None:
        """Delete a version."""


def connect(url: str, credentials: Credentials) -> Remote:
    """A client of `https://…`, `http://…`, `oci://…`, or `oci+http://…`, a registry without TLS. Raises RemoteError."""
    if url.startswith(("oci://", "oci+http://")):
        from planeshift.charts.registry import OciRemote

        return OciRemote(url, credentials)
    if url.startswith(("http://", "https://")):
        return HttpRemote(url, credentials)
    raise RemoteError(f"{url} is no chart repository: https://…, http://… or oci://…")


class Http:
    """Requests with limits, retries, and credentials that go to one host only."""

    def __init__(self, origin: str, credentials: Credentials) -> None:
        self._origin = urlsplit(origin)[:2]
        self._credentials = credentials
        retries = urllib3.Retry(
            3, backoff_factor=0.2, status_forcelist=(502, 503, 504), raise_on_status=False, redirect=5
        )
        timeout = urllib3.Timeout(connect=10, read=60)
        self._pool = urllib3.PoolManager(maxsize=8, ca_certs=credentials.ca, retries=retries, timeout=timeout)

    def ask(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = MAX_CHART,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers by lower-case name, and body. Raises RemoteError where there is no answer."""
        own = self._credentials.headers() if urlsplit(url)[:2] == self._origin else {}
        try:
            answer = self._pool.request(
                method, url, body=body, headers={**own, **(headers or {})}, preload_content=False
            )
            content = answer.read(limit + 1, decode_content=True)
            while content and len(content) <= limit and (more := answer.read(limit + 1, decode_content=True)):
                content += more
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise RemoteError(f"{_shown(url)} does not answer: {_reason(error)}") from None
        if len(content) > limit:
            raise RemoteError(f"{_shown(url)} answers with more than {limit:,} bytes")
        return answer.status, {k.lower(): v for k, v in answer.headers.items()}, content


class HttpRemote:
    """A repository with an index.yaml; ChartMuseum's API to write."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url.rstrip("/")
        self._http = Http(url, credentials)
        self._index: dict[str, Any] | None = None

    def charts(self) -> Sequence[str]:
        return sorted(n for n in self._entries() if isinstance(n, str) and names.is_name(n))

    def versions(self, name: str) -> Sequence[Offer]:
        from planeshift.charts import versions

        found = [_offer(name, e) for e in self._entries().get(name) or [] if isinstance(e, dict)]
        return sorted((o for o in found if o is not None), key=lambda o: versions.newest_first(o.version))

    def digest(self, offer: Offer) -> str:
        return offer.digest

    def fetch(self, offer: Offer) -> bytes:
        if not offer.urls:
            raise RemoteError(f"{offer.name} {offer.version} has no URL in the index")
        return self._get(self._absolute(offer.urls[0]))

    def fetch_provenance(self, offer: Offer) -> bytes | None:
        if not offer.urls:
            return None
        status, _, body = self._http.ask("GET", self._absolute(offer.urls[0]) + ".prov")
        return body if status == 200 else None

    def push(self, name: str, version: str, chart: bytes, prov: bytes | None) -> None:
        fields = {"chart": (f"{name}-{version}.tgz", chart)}
        if prov is not None:
            fields["prov"] = (f"{name}-{version}.tgz.prov", prov)
        body, kind = urllib3.encode_multipart_formdata(fields)
        url = self._api("charts")
        status, _, answer = self._http.ask("POST", url, body=body, headers={"Content-Type": kind})
        if status != 201:
            raise RemoteError(
                f"{_shown(url)} refuses {name} {version}: {_said(status, answer)}", conflict=status == 409
            )

    def delete(self, name: str, version: str) -> None:
        url = self._api(f"charts/{quote(name, safe='')}/{quote(version, safe='+')}")
        status, _, answer = self._http.ask("DELETE", url)
        if status != 200:
            raise RemoteError(f"{_shown(url)}: {_said(status, answer)}", missing=status == 404)

    def _api(self, path: str) -> str:
        """The API is at /api before the tenant, below the server's context path, which its index states."""
        scheme, host, base, _, _ = urlsplit(self.url)
        info = self._load().get("serverInfo")
        context = str(info.get("contextPath") or "") if isinstance(info, dict) else ""
        tenant = base.removeprefix(context)
        return urlunsplit((scheme, host, f"{context}/api{tenant}/{path}", "", ""))

    def _absolute(self, url: str) -> str:
        found = urljoin(self.url + "/", url)
        if not found.startswith(("http://", "https://")):
            raise RemoteError(f"{url[:100]!r} is no URL of a chart")
        return found

    def _get(self, url: str, limit: int = MAX_CHART) -> bytes:
        status, _, body = self._http.ask("GET", url, headers={"Accept-Encoding": "gzip"}, limit=limit)
        if status != 200:
            raise RemoteError(f"{_shown(url)}: {_said(status, body)}", missing=status == 404)
        return body

    def _entries(self) -> dict[str, Any]:
        found = self._load().get("entries") or {}
        return found if isinstance(found, dict) else {}

    def _load(self) -> dict[str, Any]:
        if self._index is None:
            url = f"{self.url}/index.yaml"
            body = self._get(url, MAX_INDEX)
            try:
                found = json.loads(body) if body[:1] == b"{" else yaml.load(body, Loader=_LOADER)  # noqa: S506 - safe
            except (yaml.YAMLError, ValueError, RecursionError):
                found = None
            if not isinstance(found, dict) or "entries" not in found:
                raise RemoteError(f"{_shown(url)} is no index of charts")
            self._index = found
        return self._index


def _offer(name: str, entry: Mapping[str, Any]) -> Offer | None:
    version = str(entry.get("version") or "")
    if not names.is_version(version) or not names.is_name(name):
        return None
    urls = entry.get("urls")
    digest = str(entry.get("digest") or "").removeprefix("sha256:")
    return Offer(
        name,
        version,
        digest if re.fullmatch(r"[0-9a-f]{64}", digest) else "",
        str(entry.get("created") or ""),
        str(entry.get("description") or ""),
        str(entry.get("appVersion") or ""),
        tuple(str(u) for u in urls) if isinstance(urls, list) else (),
    )


def _said(status: int, body: bytes) -> str:
    """What a server says of a refusal: its own words, cut short."""
    try:
        found = json.loads(body)
        words = found.get("error") or found["errors"][0].get("message")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        words = ""
    return f"{str(words)[:200]} ({status})" if words else f"status {status}"


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None) or error
    return re.sub(r"^<[^>]*>: ", "", re.sub(r"\(.*object at 0x[0-9a-f]+>, ", "(", str(inner)))[:200]


def _shown(url: str) -> str:
    """A URL without a password."""
    scheme, host, path, query, _ = urlsplit(url)
    return urlunsplit((scheme, host.rpartition("@")[2], path, "…" if query else "", ""))


Say = Callable[[str], None]
