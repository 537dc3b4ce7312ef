"""Secrets, programs and files of what is desired. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from planeshift import catalog
from planeshift.errors import Problem
from planeshift.plan.draft import Draft, programs_id
from planeshift.plan.observed import PodsState, UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import EDGE_SECRETS, File, SecretFile


def secrets(draft: Draft) -> Iterator[Operation]:
    """Make what is missing of the secret files; what only the operator can give is a problem."""
    for name, file in draft.desired.secrets.items():
        there = draft.observed.secrets.get(name, frozenset())
        missing = [s for s in file.secrets if s.name not in there]
        given = [s for s in missing if s.kind == "given"]
        for secret in given:
            draft.problems.append(_given(file, secret.name, secret.purpose))
        made = [s for s in missing if s.kind != "given"]
        if made:
            yield Operation(
                Kind.MAKE_SECRETS,
                name,
                name,
                Mark.ADD,
                f"secrets    {file.path}: {', '.join(s.name for s in made)} (made once, never shown)",
            )
        for secret in made:
            if secret.backup:
                draft.notes.append(
                    f"Back up {file.path}: {secret.name} in it is {secret.purpose}, and cannot be replaced."
                )


def installs(draft: Draft) -> Iterator[Operation]:
    """Install the programs that units run from; build and bring the images that pods run from."""
    units = [u.unit for u in draft.desired.units.values() if u.unit.environment]
    beside: dict[tuple[str, str], frozenset[str]] = {}  # hosts on one machine install in one place, one by one
    for host, environment_id in dict.fromkeys((u.host, u.environment) for u in units):
        if environment_id in draft.observed.environments.get(host, frozenset()):
            continue
        environment = draft.desired.environments[environment_id]
        packages = _packages(environment.requirements)
        spec = catalog.service(environment.service)
        extras = [*environment.pip, *environment.dist]
        yield Operation(
            Kind.INSTALL,
            f"{host}/{environment_id}",
            environment.service,
            Mark.ADD,
            f"programs   {host}: {spec.package} {environment.version} ({environment.release}), {packages} packages",
            needs=beside.get((draft.desired.hosts[host].state, environment_id), frozenset()),
            detail=tuple(f"extra: {e}" for e in extras),
            argument=environment_id,
        )
        last = f"{Kind.INSTALL}:{host}/{environment_id}:{environment_id}"
        beside[draft.desired.hosts[host].state, environment_id] = frozenset({last})
    yield from _images(draft)


@functools.cache  # of few environments, on many hosts
def _packages(requirements: str) -> int:
    return sum("==" in line and not line.startswith((" ", "#")) for line in requirements.splitlines())


def _images(draft: Draft) -> Iterator[Operation]:
    places = {(p.pods.cluster, p.pods.image): p.pods for p in draft.desired.pods.values() if p.pods.built}
    missing = {place: pods for place, pods in places.items() if place not in draft.observed.brought}
    for place in [p for p in missing if p in draft.observed.unasked and p in _running(draft)]:
        # A registry that is down stops no pod, and nothing that needs no new image.
        why = draft.observed.unasked[place]
        draft.notes.append(f"Whether {place[0]} can start {missing.pop(place).image} anew is not known: {why}.")
    for name in dict.fromkeys(pods.environment for pods in missing.values()):
        environment = draft.desired.environments[name]
        if name not in draft.observed.built:
            what = f"{environment.service} {environment.version} ({environment.release})"
            yield Operation(Kind.BUILD_IMAGE, name, environment.service, Mark.ADD, f"image      build {what}")
    for (cluster, image), pods in missing.items():
        yield Operation(
            Kind.BRING_IMAGE,
            f"{cluster}/{pods.environment}",
            pods.service,
            Mark.ADD,
            f"image      {cluster}: bring {image}",
            needs=frozenset({f"{Kind.BUILD_IMAGE}:{pods.environment}"}),
            argument=pods.environment,
        )


def _running(draft: Draft) -> set[tuple[str, str]]:
    """Clusters with the images that all their backends of pods which are to have them were released with."""
    wanted, there = draft.desired.pods, draft.observed.pods
    waiting = {
        (p.pods.cluster, p.pods.image)
        for name, p in wanted.items()
        if there.get(name, PodsState()).values.get("image") != p.pods.image
    }
    return {(p.pods.cluster, p.pods.image) for p in wanted.values()} - waiting


def files(draft: Draft) -> Iterator[Operation]:
    """Lay out the units' files."""
    for unit_id, unit in draft.desired.units.items():
        there = draft.observed.units.get(unit_id, UnitState()).files
        yield from lay_out(draft, unit_id, unit.unit.service, unit.files, there, programs_id(unit))
    for pods_id, pods in draft.desired.pods.items():
        there = draft.observed.pods.get(pods_id, PodsState()).files
        yield from lay_out(draft, pods_id, pods.pods.service, pods.files, there)


def lay_out(
    draft: Draft, unit_id: str, service: str, files: Mapping[str, File], there: Mapping[str, str], install: str = ""
) -> Iterator[Operation]:
    """Make a place's files be what they should be, where they are not."""
    wanted = {path: file.digest(draft.key) for path, file in files.items()}
    new = sorted(wanted.keys() - there.keys())
    changed = sorted(p for p in wanted.keys() & there.keys() if wanted[p] != there[p])
    gone = sorted(there.keys() - wanted.keys())
    if not (new or changed or gone):
        return
    detail = [f"~ {p}" for p in changed] + [f"- {p}" for p in gone]
    if there:
        detail = [f"+ {p}" for p in new] + detail
    yield Operation(
        Kind.LAY_OUT,
        unit_id,
        service,
        Mark.CHANGE if there else Mark.ADD,
        f"files      {unit_id}: {_numbers(new, changed, gone)}",
        needs=frozenset({f"{Kind.MAKE_SECRETS}:{service}", f"{Kind.MAKE_SECRETS}:{EDGE_SECRETS}", install}),
        detail=tuple(detail),
    )


def _given(file: SecretFile, name: str, purpose: str) -> Problem:
    return Problem(
        "PS502",
        f"{file.path} does not hold `{name}`",
        why=f"It is the secret {purpose}, and cannot be made up.",
        hint=f"Add `{name}: …` to {file.path} (mode 0600).",
    )


def _numbers(new: list[str], changed: list[str], gone: list[str]) -> str:
    counted = ((len(new), "new"), (len(changed), "changed"), (len(gone), "removed"))
    return ", ".join(f"{number} {word}" for number, word in counted if number)
