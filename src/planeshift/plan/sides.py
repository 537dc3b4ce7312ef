"""What tells the two sides of a shift apart, before it begins: options, releases, capacity. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from planeshift import catalog
from planeshift.catalog.inifile import parse
from planeshift.errors import Problem
from planeshift.plan.draft import Draft
from planeshift.render.desired import Desired, DesiredPods, DesiredUnit, File
from planeshift.render.weights import Shares

SHOWN = 8  # differences that a plan shows; the rest is counted
FULL = 0.8  # of its threads that the receiving side may have busy, by what is measured now
Place = DesiredUnit | DesiredPods
Options = dict[tuple[str, str], tuple[str, bool]]  # section, option → value, secret


def differences(gets: Place, gives: Place) -> list[str]:
    """Lines for people: what differs between the effective options of two places, the one that gets more first."""
    return shown(options(gets.files), options(gives.files))


def shown(one: Options, other: Options) -> list[str]:
    """Lines for the options in which two sides differ, as many as a plan shows."""
    found = [line for key in sorted(one.keys() | other.keys()) if (line := _option(key, one.get(key), other.get(key)))]
    rest = [f"! and {len(found) - SHOWN} options more"] if len(found) > SHOWN else []
    return [*found[:SHOWN], *rest]


def place(desired: Desired, service: str, backend: str) -> Place | None:
    """What a backend is where we run it: one of its units, or its pods."""
    units = (u for u in desired.units.values() if (u.unit.service, u.unit.backend) == (service, backend))
    pods = (p for p in desired.pods.values() if (p.pods.service, p.pods.backend) == (service, backend))
    return next(units, None) or next(pods, None)


def options(files: Mapping[str, File]) -> Options:
    """The effective options of a place's oslo.config files: the main file, then its fragments in the order of names."""
    found: Options = {}
    for path in sorted((p for p in files if p.endswith(".conf") and p.startswith("home/")), key=_order):
        text = files[path].content.decode("utf-8", "replace")
        for entry in parse(text, path).entries:
            found[entry.section, entry.key] = (entry.value, files[path].secret)
    return found


def _order(path: str) -> tuple[int, str]:
    return path.count(".conf.d/"), path


def _option(key: tuple[str, str], one: tuple[str, bool] | None, other: tuple[str, bool] | None) -> str:
    """A line where the two differ in more than the place in which a side keeps its files."""
    if one == other or (one and other and _is_place(one[0]) and _is_place(other[0])):
        return ""
    secret = any(side and side[1] for side in (one, other))
    here, there = ("unset" if side is None else "***" if secret else side[0] for side in (one, other))
    return f"! [{key[0]}] {key[1]}: {there} -> {here}"


def _is_place(value: str) -> bool:
    return PurePosixPath(value).is_absolute()


def releases(desired: Desired, service: str, moved: str, stayed: str) -> Iterator[str]:
    """A line where two backends are of different releases, the one that gets more first."""
    new, old = desired.releases[service][moved], desired.releases[service][stayed]
    if new == old:
        return
    before, after = _known(service, old), _known(service, new)
    gone, made = len(before - after), len(after - before)
    yield f"! release {old} -> {new}; {made} options are new, {gone} are gone"


def _known(service: str, release: str) -> frozenset[tuple[str, str]]:
    sections = json.loads(catalog.data(service, release, "options.json"))["sections"]
    return frozenset((section, name) for section, names in sections.items() for name in names)


def too_small(draft: Draft, service: str, target: Shares) -> list[Problem]:
    """Backends that are to carry more than they have threads for, by what the edges measure at the moment.

    One that has as many threads as those that carry it now is never refused: what waits in line is measured, too.
    """
    now = draft.desired.shares[service]
    present = sum(_threads(draft.desired, service, backend) * now.get(backend, 0.0) / 100 for backend in target)
    busy = sum(state.busy.get(service, 0.0) for state in draft.observed.edges.values())
    problems = []
    for backend, share in target.items():
        threads, wanted = _threads(draft.desired, service, backend), busy * share / 100
        enough = threads >= present * share / 100 or wanted <= FULL * threads
        if threads and not enough and share > now.get(backend, 0.0):
            problems.append(
                Problem(
                    "PS614",
                    f"{backend} of {service} is too small for {share:.3g} % of the traffic",
                    why=f"{busy:.1f} requests are served at any time by now; it has {threads} threads for them, and "
                    f"{FULL:.0%} of those may be busy.",
                    hint="Give it more hosts, replicas, workers or threads first.",
                )
            )
    return problems


def _threads(desired: Desired, service: str, backend: str) -> int:
    """How many requests a backend serves at a time; 0 where that is not known."""
    units = [u.unit.web for u in desired.units.values() if (u.unit.service, u.unit.backend) == (service, backend)]
    pods = [p.pods for p in desired.pods.values() if (p.pods.service, p.pods.backend) == (service, backend)]
    return sum(c.workers * c.threads for c in units if c) + sum(
        p.component.workers * p.component.threads * p.replicas for p in pods
    )
