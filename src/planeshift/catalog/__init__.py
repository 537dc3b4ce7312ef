"""The services that Planeshift knows. One folder a service, found by being there; nothing is listed twice.

Reading the folders of this package is the one file access of the pure core: they are the program's own data.
"""

from __future__ import annotations

import functools
import json
from importlib import import_module, resources
from typing import Any

from planeshift.catalog.spec import ServiceSpec

RELEASES = "releases"


@functools.cache
def names() -> tuple[str, ...]:
    """The names of all services, sorted."""
    root = resources.files(__name__)
    return tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and p.joinpath(RELEASES).is_dir()))


@functools.cache
def service(name: str) -> ServiceSpec:
    """The service of this name. Raises KeyError where there is none."""
    if name not in names():
        raise KeyError(name)
    found = import_module(f"{__name__}.{name}").SERVICE
    if not isinstance(found, ServiceSpec):
        raise TypeError(f"catalog/{name} has no SERVICE")
    return found


@functools.cache
def releases(name: str) -> tuple[str, ...]:
    """The OpenStack series that a service is locked for, oldest first."""
    folder = resources.files(__name__).joinpath(name, RELEASES)
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))


@functools.cache
def data(name: str, release: str, file: str) -> str:
    """The text of a file of a service's release: `lock.txt`, `options.json` or `release.json`."""
    return resources.files(__name__).joinpath(name, RELEASES, release, file).read_text("utf-8")


@functools.cache
def facts(name: str, release: str) -> dict[str, Any]:
    """What was recorded of a service's release: `version` and the schema's `heads`."""
    found: dict[str, Any] = json.loads(data(name, release, "release.json"))
    return found
