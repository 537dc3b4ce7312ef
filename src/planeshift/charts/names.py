"""Names of charts, tenants and files, and the one mapping between them. Pure.

ChartMuseum keeps chart `foo` of version `1.0.0-1.0.0` and chart `foo-1.0.0` of version `1.0.0` in one file. Here every
(name, version) has a file of its own: `NAME-VERSION.tgz`, as ChartMuseum names it, where that can be read in one way
only, else `NAME@VERSION.tgz`; neither names nor versions contain an `@`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from planeshift.charts import versions

CHART, PROVENANCE = ".tgz", ".tgz.prov"
MAX_NAME = 100
RESERVED = ".planeshift"  # our own place in a store
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9_])?", re.ASCII)


def is_name(text: str) -> bool:
    """Whether a chart may be called so: letters, digits, `-`, `_`, `.` (Helm's rule), at most 100, never `..`."""
    return len(text) <= MAX_NAME and bool(_NAME.fullmatch(text)) and ".." not in text


def is_version(text: str) -> bool:
    """Whether Helm takes it for a version."""
    return versions.parse(text) is not None


def is_tenant(text: str) -> bool:
    """Whether a tenant's path may be this: segments that no file system or URL gives another meaning; empty: none."""
    return not text or all(_SEGMENT.fullmatch(s) and ".." not in s for s in text.split("/"))


def splits(stem: str) -> Iterator[tuple[str, str]]:
    """Every (name, version) that `NAME-VERSION` can be read as, the longest version first."""
    at = stem.find("-")
    while at > 0:
        name, version = stem[:at], stem[at + 1 :]
        if is_version(version) and is_name(name):
            yield name, version
        at = stem.find("-", at + 1)


def unambiguous(name: str, version: str) -> bool:
    """Whether `NAME-VERSION` can be read in one way only."""
    return len(list(splits(f"{name}-{version}"))) == 1


def filename(name: str, version: str) -> str:
    """The chart's file in a store: injective over valid names and versions."""
    return f"{name}{'-' if unambiguous(name, version) else '@'}{version}{CHART}"


def download(name: str, version: str) -> str:
    """The chart's URL below its repository. Its last part is what provenance files call it: `NAME-VERSION.tgz`."""
    plain = f"{name}-{version}{CHART}"
    return f"charts/{plain}" if unambiguous(name, version) else f"charts/{name}@{version}/{plain}"


def from_filename(file: str) -> tuple[str, str] | None:
    """The (name, version) whose file in a store this is; None for any other file."""
    if not file.endswith(CHART):
        return None
    stem = file[: -len(CHART)]
    if "@" in stem:
        name, _, version = stem.partition("@")
        valid = is_name(name) and is_version(version) and not unambiguous(name, version)
        return (name, version) if valid else None
    found = list(splits(stem))
    return found[0] if len(found) == 1 else None


def candidates(file: str) -> list[tuple[str, str]]:
    """Which (name, version)s a client may mean by the last part of a chart's URL."""
    return list(splits(file[: -len(CHART)])) if file.endswith(CHART) else []
