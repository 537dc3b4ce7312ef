"""Values for a chart that is not ours: the operator's, with what only Planeshift knows put into them. Pure.

An adapter is a tree of values with placeholders in braces, as the catalog's texts have them. A text that is nothing but a
placeholder becomes what it stands for, which may be a number or a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\{([a-z]+(?:\.[a-z]+)?)\}")

# As `helm create` makes charts, and most stock ones have it. Source: helm.sh/helm/v3/pkg/chartutil/create.go.
_STANDARD: Mapping[str, Any] = {
    "replicaCount": "{replicas}",
    "image": {"repository": "{image.repository}", "tag": "{image.tag}"},
    "volumes": [{"name": "planeshift", "projected": {"defaultMode": 0o440, "sources": "{sources}"}}],
    "volumeMounts": [{"name": "planeshift", "mountPath": "{root}", "readOnly": True}],
}
_EXPOSED: Mapping[str, Mapping[str, Any]] = {
    "nodeport": {"service": {"type": "{service.type}", "nodePort": "{service.port}"}},
    "loadbalancer": {"service": {"type": "{service.type}", "port": "{service.port}"}},
    "ingress": {
        "service": {"type": "{service.type}"},
        "ingress": {
            "enabled": True,
            "className": "{ingress.class}",
            "annotations": "{ingress.annotations}",
            "hosts": [{"host": "{ingress.host}", "paths": [{"path": "/", "pathType": "Prefix"}]}],
        },
    },
}
# What each placeholder is, for people.
FACTS: Mapping[str, str] = {
    "cloud": "the cloud's name",
    "release": "OpenStack series",
    "image": "the image, whole",
    "image.repository": "the image without its tag",
    "image.tag": "the image's tag, or digest",
    "replicas": "pods",
    "workers": "processes a pod",
    "threads": "threads a process",
    "pull.secrets": "names of the Secrets that images are pulled with, as a pod has them",
    "service.type": "NodePort, LoadBalancer or ClusterIP, as the cluster's `expose` is",
    "service.port": "port of the nodes, or of the load balancer",
    "ingress.host": "the name by which the ingress controller is asked for the pods",
    "ingress.class": "its class; empty: the cluster's own",
    "ingress.annotations": "what it is told besides",
    "root": "where the service looks for its files",
    "config": "name of the ConfigMap with the service's files",
    "config.items": "its keys, and where below `root` each belongs",
    "secret": "name of the Secret with the service's secret files",
    "secret.items": "its keys, and where below `root` each belongs",
    "sources": "both, as the sources of a projected volume",
}


def standard(expose: str, *, pull: bool) -> Mapping[str, Any]:
    """The adapter for charts as `helm create` makes them; `pull`: the cluster has pull secrets."""
    return {**_STANDARD, **_EXPOSED[expose], **({"imagePullSecrets": "{pull.secrets}"} if pull else {})}


def unknown(adapter: Any) -> Iterator[str]:
    """The placeholders that stand for nothing."""
    for inner in adapter.values() if isinstance(adapter, Mapping) else adapter if isinstance(adapter, list) else ():
        yield from unknown(inner)
    if isinstance(adapter, str):
        yield from (name for name in _PLACEHOLDER.findall(adapter) if name not in FACTS)


def filled(adapter: Any, facts: Mapping[str, Any]) -> Any:
    """A tree with its placeholders filled in."""
    if isinstance(adapter, Mapping):
        return {key: filled(inner, facts) for key, inner in adapter.items()}
    if isinstance(adapter, list):
        return [filled(inner, facts) for inner in adapter]
    if not isinstance(adapter, str):
        return adapter
    whole = _PLACEHOLDER.fullmatch(adapter)
    return facts[whole[1]] if whole else _PLACEHOLDER.sub(lambda found: str(facts[found[1]]), adapter)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Helm merges files of them: mappings are merged, all else replaced."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return result


def overridden(below: Mapping[str, Any], above: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths of what `above` replaces with something else."""
    for key, value in above.items():
        if key in below and isinstance(below[key], Mapping) and isinstance(value, Mapping):
            yield from overridden(below[key], value, f"{path}{key}.")
        elif key in below and below[key] not in (value, None, "", [], {}):
            yield f"{path}{key}"


def split(image: str) -> tuple[str, str]:
    """An image's name without its tag, and the tag; with a digest, what `NAME:TAG` puts together again."""
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
