"""Secrets, programs and files of what is desired. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planeshift import catalog
from planeshift.errors import Problem
from planeshift.plan.draft import Draft, install_id
from planeshift.plan.observed import UnitState
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
    """Install the programs that units run from."""
    wanted = dict.fromkeys((u.unit.host, u.unit.environment) for u in draft.desired.units.values())
    for host, environment_id in wanted:
        if environment_id in draft.observed.environments.get(host, frozenset()):
            continue
        environment = draft.desired.environments[environment_id]
        lines = environment.requirements.splitlines()
        packages = sum("==" in line and not line.startswith((" ", "#")) for line in lines)
        spec = catalog.service(environment.service)
        extras = [*environment.pip, *environment.dist]
        yield Operation(
            Kind.INSTALL,
            f"{host}/{environment_id}",
            environment.service,
            Mark.ADD,
            f"programs   {host}: {spec.package} {environment.version} ({environment.release}), {packages} packages",
            detail=tuple(f"extra: {e}" for e in extras),
            argument=environment_id,
        )


def files(draft: Draft) -> Iterator[Operation]:
    """Lay out the units' files."""
    for unit_id, unit in draft.desired.units.items():
        yield from lay_out(draft, unit_id, unit.unit.service, unit.files, install_id(unit))


def lay_out(draft: Draft, unit_id: str, service: str, files: Mapping[str, File], install: str) -> Iterator[Operation]:
    """Make a unit's files be what they should be, where they are not."""
    there = draft.observed.units.get(unit_id, UnitState()).files
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
