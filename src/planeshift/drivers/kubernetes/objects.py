"""What a place's files are in a cluster: one immutable ConfigMap and one immutable Secret. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret

from planeshift.drivers.kubernetes.api import BACKEND, CLOUD, SERVICE
from planeshift.render.desired import DesiredPods, File, digest
from planeshift.render.pods import key as key_of


def labels(cloud: str, pods: DesiredPods) -> dict[str, str]:
    """What tells whose an object is."""
    return {CLOUD: cloud, SERVICE: pods.pods.service, BACKEND: pods.pods.backend}


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
    metadata = ObjectMeta(name=pods.object_name(digest_key, secret=False), labels=labels(cloud, pods))
    return ConfigMap(metadata=metadata, immutable=True, data=texts, binaryData=data)


def secret(cloud: str, pods: DesiredPods, digest_key: bytes) -> Secret:
    """The files that are."""
    data = {key_of(p): base64.b64encode(f.content).decode() for p, f in pods.files.items() if f.secret}
    metadata = ObjectMeta(name=pods.object_name(digest_key, secret=True), labels=labels(cloud, pods))
    return Secret(metadata=metadata, immutable=True, type="Opaque", data=data)


def digests(values: Mapping[str, Any], config: Any, secret_: Any, digest_key: bytes) -> dict[str, str]:
    """Digests of the files that a release's objects hold, by path; nothing where an object is gone."""
    found: dict[str, str] = {}
    for item in values.get("existingConfig", {}).get("items", []) if config else []:
        text = (config.data or {}).get(item["key"])
        content = (
            text.encode() if text is not None else base64.b64decode((config.binaryData or {}).get(item["key"], ""))
        )
        found[item["path"]] = digest(content, File.mode, b"")
    for item in values.get("existingSecret", {}).get("items", []) if secret_ else []:
        found[item["path"]] = digest(base64.b64decode((secret_.data or {}).get(item["key"], "")), 0o600, digest_key)
    return found
