"""Moving traffic between the backends of a service: where it is, where it should be, and by which steps. Pure.

The edge itself tells where traffic is, by its weights. Only where none runs does the record of a shift in progress count,
and then what the last applied plan made. A new weight is never taken over at once: it is a shift, in steps. At once goes
only what nobody can watch: traffic of a service that is not served yet, or of a backend that the file names no longer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from planeshift.errors import Problem
from planeshift.plan.draft import EDGE_CHANGES, UNIT_CHANGES, Draft
from planeshift.plan.foreign import differences
from planeshift.plan.made import TRAFFIC, running
from planeshift.plan.observed import EdgeState, Hold, Standing, UnitState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.plan.sides import too_small
from planeshift.render.consumers import running as consuming
from planeshift.render.desired import Consumers, Desired
from planeshift.render.weights import TOLERATED, Shares, achieved, error

SAME = 0.5  # points of a percent by which whole-number weights may miss a share that is the wanted one


def present(
    desired: Desired,
    edges: Mapping[str, EdgeState],
    standing: Mapping[str, Standing],
    applied_before: Mapping[str, str],
    key: bytes,
    units: Mapping[str, UnitState] | None = None,
) -> dict[str, dict[str, float]]:
    """Where the traffic of each service is, in percent by backend, for those that are not where the file wants them.

    `desired` is rendered with the file's own weights; `edges` are those that run. A hold says where traffic is, even
    where the run that set it was killed before traffic was there. `key` is the digest key of secret files;
    `units` are those that take messages.
    """
    result = {}
    for service, target in desired.weights.items():
        record = standing.get(service)
        now = dict(record.shares) if record and held(desired, service, record, key) else None
        if now is None and service not in desired.specs:
            now = _consuming(desired.consumers[service], target, units or {})
        now = now if now is not None else _running(desired, service, edges)
        if now is None:
            now = dict(record.shares) if record else _applied(service, applied_before)
        known = {backend: now.get(backend, 0.0) for backend in target} if now else {}
        whole = sum(known.values())
        if not whole:
            continue
        shares = {backend: 100 * share / whole for backend, share in known.items()}
        if not same(shares, target):
            result[service] = shares
    return result


def _running(desired: Desired, service: str, edges: Mapping[str, EdgeState]) -> dict[str, float] | None:
    """The shares by the first running edge that serves the service; None where there is none."""
    for name, (_, frontends) in desired.fronts.items():
        servers = {(f.place, s.name): s for f in frontends if f.service == service for s in f.servers}
        state = edges.get(name)
        places = {place for place, _ in servers}
        there = {at: s for at, s in state.servers.items() if at[0] in places} if state else {}
        if not there:
            continue
        if all(at in there and there[at].weight == server.weight for at, server in servers.items()):
            return dict(desired.weights[service])
        found = dict.fromkeys(desired.weights[service], 0.0)
        for at, server in servers.items():
            found[server.backend] += there[at].weight if at in there else 0
        return found
    return None


def _consuming(
    consumers: Consumers, target: Mapping[str, int], units: Mapping[str, UnitState]
) -> dict[str, float] | None:
    """The shares by what runs: those that are wanted, where just that runs which they ask for; None where nothing runs."""
    known = {i: units[i] for those in consumers.units.values() for i in those if i in units}
    there = {i for i, state in known.items() if state.supervised or state.orphans}
    if there == consuming(consumers, target):
        return dict(map(_float, target.items()))
    found = {backend: len(there & set(those)) / len(those) for backend, those in consumers.units.items()}
    return {backend: 100 * part / sum(found.values()) for backend, part in found.items()} if there else None


def _float(item: tuple[str, int]) -> tuple[str, float]:
    return item[0], float(item[1])


def _applied(service: str, before: Mapping[str, str]) -> dict[str, float]:
    try:
        found = json.loads(before.get(TRAFFIC + service, "{}"))
    except ValueError:
        return {}
    return {str(k): float(v) for k, v in found.items()} if isinstance(found, dict) else {}


def same(one: Shares, other: Shares) -> bool:
    """Whether two shares are one, but for the rounding of weights. Nothing is never the same as something."""
    names = one.keys() | other.keys()
    pairs = [(one.get(n, 0.0), other.get(n, 0.0)) for n in names]
    return all(abs(a - b) < SAME and bool(a) == bool(b) for a, b in pairs)


def stages(origin: Shares, target: Shares, steps: Sequence[int], now: Shares) -> list[dict[str, float]]:
    """The shares after each step that is still to be made from `now` on the way from `origin` to `target`.

    `steps` are percent of the service's traffic that has moved; the last one is always the target itself.
    """
    way, gone = _between(origin, target), _between(origin, now)
    moved = [step for step in steps if gone + SAME < step < way - SAME]
    on_the_way = [
        {b: origin.get(b, 0.0) + (target[b] - origin.get(b, 0.0)) * step / way for b in target} for step in moved
    ]
    return [*on_the_way, dict(target)]


def way(desired: Desired, name: str, origin: Shares) -> list[dict[str, float]]:
    """The stages of a mover that is where it is, having come from `origin`; of consumers only those in which others run."""
    target, now = desired.weights[name], desired.shares[name]
    found = stages(origin, dict(map(_float, target.items())), desired.shifts[name].steps, now)
    if name in desired.specs:
        return found
    consumers, before = desired.consumers[name], consuming(desired.consumers[name], now)
    result = []
    for shares in found[:-1]:
        if consuming(consumers, shares) not in (before, consuming(consumers, target)):
            result.append(shares)
            before = consuming(consumers, shares)
    return [*result, found[-1]]


def _between(one: Shares, other: Shares) -> float:
    """How much of the traffic goes elsewhere by one than by the other, in percent."""
    return sum(abs(one.get(n, 0.0) - other.get(n, 0.0)) for n in one.keys() | other.keys()) / 2


def begins(desired: Desired, service: str, record: Standing | None) -> dict[str, float]:
    """Where a shift of a service began: here, or where one that was cut off on the same way did."""
    now = dict(desired.shares[service])
    if record and not record.hold and dict(record.target) == dict(desired.weights[service]):
        between = all(
            min(a, b) - SAME <= now.get(n, 0.0) <= max(a, b) + SAME
            for n, a, b in ((n, record.origin.get(n, 0.0), t) for n, t in desired.weights[service].items())
        )
        return {b: record.origin.get(b, 0.0) for b in now} if between else now
    return now


def held(desired: Desired, service: str, record: Standing, key: bytes) -> Hold | None:
    """The hold on a service's traffic, unless the file has changed since."""
    return record.hold if record.hold and record.hold.digest == digest(desired, service, key) else None


def digest(desired: Desired, service: str, key: bytes) -> str:
    """What a hold holds for: the weights, and all that runs the service. Another file, and the hold is void."""
    made = running(desired, key, moving=False)
    things = {name: digest for name, digest in made.items() if name.split("/")[1] == service.partition("@")[0]}
    text = json.dumps([dict(desired.weights[service]), things], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shifts(draft: Draft) -> Iterator[Operation]:
    """Move the traffic of every service that is not where the file wants it: one after the other, cells in waves."""
    before = draft.planned(*UNIT_CHANGES, *EDGE_CHANGES, f"{Kind.SET_WEIGHTS}:", f"{Kind.ADMIT}:", f"{Kind.WITHHOLD}:")
    if draft.desired.idle:  # which a shift starts
        before |= draft.planned(f"{Kind.INSTALL}:", f"{Kind.LAY_OUT}:", f"{Kind.MIGRATE}:", f"{Kind.MAP_CELL}:")
    waves = _Waves(draft.desired)
    for service in sorted(draft.desired.weights, key=waves.number):
        target = draft.desired.weights[service]
        now, record = draft.desired.shares[service], draft.observed.standing.get(service)
        draft.notes += _lost(draft, service)
        if same(now, target):
            continue
        if pause := draft.observed.paused.get(service):
            draft.notes.append(
                f"{service} is paused at {shown(now)} by {pause.who} since {pause.since}: "
                f"`planeshift shift {service} --resume` goes on from there, `--back` to where it began."
            )
            continue
        if record and (hold := held(draft.desired, service, record, draft.key)):
            draft.notes.append(
                f"The traffic of {service} is held at {shown(now)} since {hold.since}: {hold.reason} "
                f"`planeshift shift {service} --resume` tries again; so does a changed file."
            )
            continue
        shift = draft.desired.shifts[service]
        leads = way(draft.desired, service, begins(draft.desired, service, record))
        what = "traffic   " if service in draft.desired.specs else "consumers "
        summary = f"{what} {service}: {shown(now)} -> {shown(target)}"
        draft.problems += too_small(draft, service, target)
        moved = max(target, key=lambda backend: target[backend] - now.get(backend, 0.0))
        stayed = min(target, key=lambda backend: target[backend] - now.get(backend, 0.0))
        steps = (
            f"in {len(leads)} step{'s' * (len(leads) != 1)} of {shift.time} s, each judged; back at once if one fails"
        )
        operation = Operation(
            Kind.SHIFT,
            service,
            service.partition("@")[0],
            Mark.CHANGE,
            summary,
            before | waves.needs(service),
            (steps, *differences(draft, service, moved, stayed)),
        )
        yield operation
        waves.add(service, operation.id)


class _Waves:
    """Which shifts wait for which: each for all of the wave before its own. A service, and a cell in no wave, is one."""

    def __init__(self, desired: Desired) -> None:
        self._numbers: dict[str, tuple[int, ...]] = {}
        for place, name in enumerate(desired.weights):
            service, _, cell = name.partition("@")
            declared = [i for i, wave in enumerate(desired.shifts[name].waves) if cell in wave]
            first = list(desired.weights).index(service) if service in desired.weights else place
            # Requests first, then declared waves, then the other cells, each alone.
            self._numbers[name] = (first, *((1, *declared) if declared else (2, place) if cell else (0,)))
        self._made: dict[tuple[int, ...], set[str]] = {}

    def number(self, name: str) -> tuple[int, ...]:
        """What sorts shifts; alike in one wave."""
        return self._numbers[name]

    def add(self, name: str, operation: str) -> None:
        """Note the operation of a shift."""
        self._made.setdefault(self.number(name), set()).add(operation)

    def needs(self, name: str) -> frozenset[str]:
        """The operations that a shift waits for: all of the waves before."""
        return frozenset(o for wave, those in self._made.items() if wave < self.number(name) for o in those)


def _lost(draft: Draft, service: str) -> Iterator[str]:
    """Traffic that goes at once, since the file no longer names who has it."""
    for name, edge in draft.desired.edges.items():
        state = draft.observed.edges.get(name)
        known = {s.name for f in edge.frontends if f.service == service for s in f.servers}
        gone = {s: now.weight for (f, s), now in state.servers.items() if f == service} if state else {}
        whole, lost = sum(gone.values()), sum(weight for server, weight in gone.items() if server not in known)
        if known and whole and lost:
            yield (
                f"{100 * lost / whole:.0f} % of the traffic of {service} at {name} goes at once, unwatched: the file no "
                "longer names the servers that have it. To move it in steps, keep their backend with weight 0."
            )


def off(desired: Desired) -> list[Problem]:
    """Targets that whole-number weights miss by more than a tenth."""
    problems = []
    for service, target in desired.weights.items():
        for name, (_, frontends) in desired.fronts.items():
            servers: dict[str, dict[str, int]] = {backend: {} for backend in target}
            for frontend in frontends:
                for server in frontend.servers if frontend.service == service else ():
                    servers[server.backend][server.name] = server.weight
            shares = desired.shares[service]
            if any(map(any, (s.values() for s in servers.values()))) and error(shares, servers) > TOLERATED:
                got = shown(achieved(servers))
                problems.append(
                    Problem(
                        "PS613",
                        f"{name} cannot give {service} the shares {shown(shares)}; it would be {got}",
                        hint="Weights are whole numbers up to 256: take shares that are less far apart.",
                    )
                )
    return problems


def shown(shares: Shares) -> str:
    """Shares for people: `vms 75 %, pods 25 %`."""
    return ", ".join(f"{backend} {share:.3g} %" for backend, share in shares.items())
