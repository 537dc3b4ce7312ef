"""What a place's files are in a cluster: one immutable ConfigMap and one immutable Secret. Pure."""

from __future__ import annotations

import base64
import json
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret

from planeshift.drivers.kubernetes.api import BACKEND, CHART, CLOUD, CONFIG, ITEMS, SECRET, SERVICE
from planeshift.render.desired import DesiredPods, File, digest
from planeshift.render.pods import chart_digest, items
from planeshift.render.pods import key as key_of


def labels(cloud: str, pods: DesiredPods) -> dict[str, str]:
    """What tells whose an object is."""
    return {CLOUD: cloud, SERVICE: pods.pods.service, BACKEND: pods.pods.backend}


def release_labels(cloud: str, pods: DesiredPods, digest_key: bytes) -> dict[str, str]:
    """What a Helm release says of itself: whose it is, of which chart, with which files."""
    return {
        **labels(cloud, pods),
        CHART: chart_digest(pods),
        CONFIG: pods.object_digest(digest_key, secret=False),
        SECRET: pods.object_digest(digest_key, secret=True),
    }


def _metadata(cloud: str, pods: DesiredPods, digest_key: bytes, *, secret: bool) -> ObjectMeta:
    paths = {item["key"]: item["path"] for item in items(pods.files, secret=secret)}
    name = pods.object_name(digest_key, secret=secret)
    return ObjectMeta(name=name, labels=labels(cloud, pods), annotations={ITEMS: json.dumps(paths)})


def config_map(cloud: str, pods: DesiredPods, digest_key: bytes) -> ConfigMap:
    """The files that are no secret. What is not text goes as bytes."""
    texts: dict[str, str] = {}
    data: dict[str, str] = {}
    for path, file in pods.files.items():
        if file.secret:
            continue
        try:
            texts[key_of(path)] = file.content.decode("utf-8")
        except UnicodeDecodeError:
            data[key_of(path)] = base64.b64encode(file.content).decode()
    metadata = _metadata(cloud, pods, digest_key, secret=False)
    return ConfigMap(metadata=metadata, immutable=True, data=texts, binaryData=data)


def secret(cloud: str, pods: DesiredPods, digest_key: bytes) -> Secret:
    """The files that are."""
    data = {key_of(p): base64.b64encode(f.content).decode() for p, f in pods.files.items() if f.secret}
    metadata = _metadata(cloud, pods, digest_key, secret=True)
    return Secret(metadata=metadata, immutable=True, type="Opaque", data=data)


def digests(config: Any, secret_: Any, digest_key: bytes) -> dict[str, str]:
    """Digests of the files that a release's objects hold, by path; nothing where an object is gone."""
    found: dict[str, str] = {}
    for key, path in _paths(config).items():
        text = (config.data or {}).get(key)
        content = text.encode() if text is not None else base64.b64decode((config.binaryData or {}).get(key, ""))
        found[path] = digest(content, File.mode, b"")
    for key, path in _paths(secret_).items():
        found[path] = digest(base64.b64decode((secret_.data or {}).get(key, "")), 0o600, digest_key)
    return found


def _paths(there: Any) -> dict[str, str]:
    """The path of each key of an object; nothing where it is gone, or not one of ours."""
    try:
        return dict(json.loads((there.metadata.annotations or {})[ITEMS])) if there else {}
    except (KeyError, ValueError, TypeError):
        return {}
