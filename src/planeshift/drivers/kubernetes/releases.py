"""Helm's releases as Helm keeps them in the cluster.

Format: helm.sh/helm/v3/pkg/storage/driver, secrets.go and util.go: a Secret `sh.helm.release.v1.NAME.vREVISION` of type
helm.sh/release.v1, in which `release` is base64 of gzip of JSON.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from planeshift.drivers.kubernetes.api import BACKEND, CHART, CONFIG, SECRET, SERVICE
from planeshift.render.chart import DIGEST
from planeshift.render.desired import object_name

MAX_BYTES = 16 * 1024 * 1024  # of a release, unpacked


@dataclass(frozen=True)
class Release:
    """One revision of a release."""

    name: str
    revision: int
    status: str
    values: dict[str, Any]
    chart_name: str
    chart_digest: str
    secret: str  # the object that holds it
    service: str
    backend: str
    manifest: str
    config_map: str  # that holds its files; empty where its labels do not say
    secrets: str  # the Secret that holds its secret files

    @property
    def objects(self) -> set[str]:
        """The names of the ConfigMap and the Secret that hold its files."""
        return {self.config_map, self.secrets} - {""}


def decode(secret: Any) -> Release | None:
    """The revision that a Secret holds; None where it is not one that we can read."""
    labels = secret.metadata.labels or {}
    try:
        packed = base64.b64decode(base64.b64decode((secret.data or {})["release"]))
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            body = json.loads(file.read(MAX_BYTES))
        metadata = body["chart"]["metadata"]
        return Release(
            name=str(body["name"]),
            revision=int(body["version"]),
            status=str(body["info"]["status"]),
            values=dict(body.get("config") or {}),
            chart_name=str(metadata["name"]),
            chart_digest=str(labels.get(CHART) or (metadata.get("annotations") or {}).get(DIGEST, "")),
            secret=str(secret.metadata.name),
            service=str(labels.get(SERVICE, "")),
            backend=str(labels.get(BACKEND, "")),
            manifest=str(body.get("manifest") or ""),
            config_map=object_name(body["name"], labels[CONFIG], secret=False) if labels.get(CONFIG) else "",
            secrets=object_name(body["name"], labels[SECRET], secret=True) if labels.get(SECRET) else "",
        )
    except (KeyError, TypeError, ValueError, OSError, EOFError):
        return None


def newest(revisions: Iterable[Release]) -> dict[str, Release]:
    """The last revision of each release, by its name."""
    found: dict[str, Release] = {}
    for release in revisions:
        if release.name not in found or found[release.name].revision < release.revision:
            found[release.name] = release
    return found
