"""Every file that a cloud becomes, as text for people: secrets are masked."""

from __future__ import annotations

import re
from typing import Any

from planeshift.app.site import Site, host_paths
from planeshift.render import topology
from planeshift.render.build import build, config_path, edge_unit, secret_path
from planeshift.render.desired import DesiredPods, File
from planeshift.render.pods import release_values


def with_defaults(site: Site) -> dict[str, Any]:
    """The cloud as its file would say it with every default written out."""
    cloud = site.cloud
    plain: dict[str, Any] = cloud.model_dump(mode="json", by_alias=True, exclude_none=True)
    plain["spec"]["edges"] = [
        e.model_dump(mode="json", by_alias=True, exclude_none=True) for e in topology.edges(cloud)
    ]
    for name in topology.ours(cloud):
        service = plain["spec"]["services"][name]
        service |= {"config": config_path(cloud, name), "secrets": secret_path(cloud, name)}
        service["port"] = topology.frontend_port(cloud, name)
        for backend, settings in cloud.spec.services[name].backends.items():
            weight = topology.weights(cloud, topology.mover(name, settings) or name).get(backend)
            service["backends"][backend] |= {"weight": weight} if weight is not None else {}
            service["backends"][backend] |= {
                "release": topology.release(cloud, name, settings),
                "components": {
                    found.name: {"workers": found.workers, "threads": found.threads} if found.wsgi else {}
                    for found in topology.components(cloud, name, settings)
                },
            }
        if cloud.spec.databases.get("main"):
            service["database"].setdefault("main", "main")
    return plain


def rendered(site: Site) -> dict[str, str]:
    """What each file would say, by unit and path. Asks nobody; no secret is read."""
    desired = build(site.cloud, site.tree, {}, host_paths(site))
    units = {name: unit.files for name, unit in desired.units.items()}
    units |= {edge_unit(e.name, e.host): e.files for e in desired.edges.values()}
    units |= {name: pods.files for name, pods in desired.pods.items()}
    found = {f"{unit}/{path}": _text(file) for unit, files in units.items() for path, file in files.items()}
    return found | {f"{name}/values.yaml": values(pods) for name, pods in desired.pods.items()}


def values(pods: DesiredPods) -> str:
    """The values of a backend's Helm release, without the names of objects, which follow from secrets too."""
    import yaml

    shown = dict(pods.values) if pods.chart is None else _named(release_values(pods, b""), pods.pods.name)
    return str(yaml.safe_dump(shown, sort_keys=False))


def _named(value: Any, release: str) -> Any:
    """Values in which the names of objects, which follow from secrets too, have no digest."""
    if isinstance(value, dict):
        return {key: _named(inner, release) for key, inner in value.items()}
    if isinstance(value, list):
        return [_named(inner, release) for inner in value]
    return (
        re.sub(rf"^({re.escape(release)}-(config|secret))-[0-9a-f]+$", r"\1", value)
        if isinstance(value, str)
        else value
    )


def _text(file: File) -> str:
    text = file.content.decode("utf-8", "replace")
    return "\n".join(map(_masked, text.split("\n"))) if file.secret else text


def _masked(line: str) -> str:
    return line if line.startswith(("#", "[")) or "=" not in line else f"{line.split('=')[0]}= ***"
