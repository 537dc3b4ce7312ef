"""An OCI registry of somebody's, as Helm uses one. Source: OCI distribution specification 1.1; Docker's token protocol."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urljoin

from planeshift.charts import archive, emit, names, versions
from planeshift.charts.remote import Credentials, Http, Offer, RemoteError, _said, _shown

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_MAX_TAGS = 100_000


@dataclass(frozen=True)
class _Parts:
    """What a chart's manifest names."""

    chart: str
    provenance: str | None


class OciRemote:
    """Charts below a path of a registry: `oci://HOST/PATH`, of which each chart is a repository."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url.rstrip("/")
        scheme, _, rest = self.url.partition("://")
        host, _, self._path = rest.partition("/")
        self._base = f"{'http' if scheme == 'oci+http' else 'https'}://{host}"
        self._http = Http(self._base, credentials)
        self._credentials = credentials
        self._tokens: dict[str, str] = {}

    def charts(self) -> Sequence[str]:
        """Of a registry that has a catalogue; others must be asked for charts by name."""
        body = self._expect(200, "GET", f"{self._base}/v2/_catalog", scope="registry:catalog:*")
        prefix = f"{self._path}/" if self._path else ""
        found = [
            str(r).removeprefix(prefix) for r in json.loads(body).get("repositories", []) if str(r).startswith(prefix)
        ]
        return sorted(n for n in found if names.is_name(n))

    def versions(self, name: str) -> Sequence[Offer]:
        tags: list[str] = []
        url = f"{self._repository(name)}/tags/list"
        while url and len(tags) < _MAX_TAGS:
            status, headers, body = self._ask("GET", url, name)
            if status == 404:
                return []
            if status != 200:
                raise RemoteError(f"{_shown(url)}: {_said(status, body)}")
            tags += [t for t in json.loads(body).get("tags") or [] if isinstance(t, str)]
            more = re.match(r'<([^>]+)>;\s*rel="?next', headers.get("link", ""))
            url = urljoin(url, more[1]) if more else ""
        found = [Offer(name, v) for v in (t.replace("_", "+") for t in tags) if names.is_version(v)]
        return sorted(found, key=lambda o: versions.newest_first(o.version))

    def digest(self, offer: Offer) -> str:
        return self._manifest(offer).chart.removeprefix("sha256:")

    def fetch(self, offer: Offer) -> bytes:
        return self._blob(offer.name, self._manifest(offer).chart)

    def fetch_provenance(self, offer: Offer) -> bytes | None:
        digest = self._manifest(offer).provenance
        return self._blob(offer.name, digest) if digest else None

    def push(self, name: str, version: str, chart: bytes, prov: bytes | None) -> None:
        known = self._manifest_of(Offer(name, version))
        digest = f"sha256:{hashlib.sha256(chart).hexdigest()}"
        if known is not None and known.chart != digest:
            raise RemoteError(f"{self.url}/{name}:{version} is there already, with another content", conflict=True)
        config = emit.as_json(archive.load(chart).metadata)
        layers = [self._put_blob(name, CHART, chart)]
        if prov is not None:
            layers.append(self._put_blob(name, PROVENANCE, prov))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._put_blob(name, CONFIG, config),
            "layers": layers,
            "annotations": {"org.opencontainers.image.title": name, "org.opencontainers.image.version": version},
        }
        url = f"{self._repository(name)}/manifests/{quote(version.replace('+', '_'))}"
        self._expect(201, "PUT", url, name, body=emit.as_json(manifest), headers={"Content-Type": MANIFEST})

    def delete(self, name: str, version: str) -> None:
        status, headers, body = self._ask("GET", self._tag(Offer(name, version)), name, headers={"Accept": MANIFEST})
        if status != 200:
            raise RemoteError(f"{self.url}/{name}:{version}: {_said(status, body)}", missing=status == 404)
        digest = headers.get("docker-content-digest") or f"sha256:{hashlib.sha256(body).hexdigest()}"
        self._expect(202, "DELETE", f"{self._repository(name)}/manifests/{digest}", name)

    # --- inside

    def _manifest(self, offer: Offer) -> _Parts:
        found = self._manifest_of(offer)
        if found is None:
            raise RemoteError(f"{self.url}/{offer.name}:{offer.version} is not there", missing=True)
        return found

    def _manifest_of(self, offer: Offer) -> _Parts | None:
        status, _, body = self._ask("GET", self._tag(offer), offer.name, headers={"Accept": MANIFEST})
        if status == 404:
            return None
        if status != 200:
            raise RemoteError(f"{self.url}/{offer.name}:{offer.version}: {_said(status, body)}")
        try:
            layers = {layer["mediaType"]: layer["digest"] for layer in json.loads(body)["layers"]}
            return _Parts(layers[CHART], layers.get(PROVENANCE))
        except (ValueError, KeyError, TypeError):
            raise RemoteError(f"{self.url}/{offer.name}:{offer.version} is no chart") from None

    def _blob(self, name: str, digest: str) -> bytes:
        body = self._expect(200, "GET", f"{self._repository(name)}/blobs/{digest}", name)
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise RemoteError(f"{self.url}/{name}: the content does not have the digest {digest}")
        return body

    def _put_blob(self, name: str, kind: str, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self._ask("HEAD", f"{self._repository(name)}/blobs/{digest}", name)[0] != 200:
            url = f"{self._repository(name)}/blobs/uploads/"
            status, headers, body = self._ask("POST", url, name, body=b"")
            if status != 202 or "location" not in headers:
                raise RemoteError(f"{_shown(url)}: {_said(status, body)}")
            place = urljoin(url, headers["location"])
            place += ("&" if "?" in place else "?") + urlencode({"digest": digest})
            kept = {"Content-Type": "application/octet-stream"}
            self._expect(201, "PUT", place, name, body=data, headers=kept)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def _expect(self, wanted: int, method: str, url: str, name: str = "", scope: str = "", **more: Any) -> bytes:
        status, _, body = self._ask(method, url, name, scope=scope, **more)
        if status != wanted:
            raise RemoteError(f"{_shown(url)}: {_said(status, body)}", conflict=status == 409, missing=status == 404)
        return body

    def _ask(
        self,
        method: str,
        url: str,
        name: str = "",
        *,
        scope: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A request; with a token of the registry's authorization server, where it sends us to one.

        A token that has expired, or that allows less than is asked for now, is followed by another one.
        """
        scope = scope or f"repository:{self._path}/{name}".replace(":/", ":") + ":pull,push"

        def ask() -> tuple[int, Mapping[str, str], bytes]:
            token = self._tokens.get(scope)
            given = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
            return self._http.ask(method, url, body=body, headers=given)

        answer = ask()
        challenge = answer[1].get("www-authenticate", "")
        if answer[0] == 401 and challenge.lower().startswith("bearer "):
            said = dict(_CHALLENGE.findall(challenge))
            self._tokens[scope] = self._token(said.get("realm", ""), said.get("service", ""), said.get("scope", scope))
            answer = ask()
        return answer

    def _token(self, realm: str, service: str, scope: str) -> str:
        if not realm.startswith("https://") and not (realm.startswith("http://") and self._base.startswith("http://")):
            raise RemoteError(f"{self._base} sends us to {realm[:100]!r} for a token, which is not safe")
        own = Http(realm, self._credentials)
        status, _, body = own.ask("GET", f"{realm}?{urlencode({'service': service, 'scope': scope})}")
        try:
            found = json.loads(body)
            return str(found.get("token") or found["access_token"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RemoteError(f"{_shown(realm)} gives no token ({status})") from None

    def _repository(self, name: str) -> str:
        return f"{self._base}/v2/{self._path}/{name}".replace("/v2//", "/v2/")

    def _tag(self, offer: Offer) -> str:
        return f"{self._repository(offer.name)}/manifests/{quote(offer.version.replace('+', '_'))}"
