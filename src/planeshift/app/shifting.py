"""Shifts as a person orders them: new weights into the cloud file, then as `up`; back; on after a hold; retired."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import cast

from planeshift.app.site import Site, open_site, shown
from planeshift.drivers import files
from planeshift.drivers.shiftlogs import SHIFTS, Tail, shift_logs
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.model import cloud as model
from planeshift.model import ranges
from planeshift.model.edit import remove, set_number
from planeshift.model.load import nearest
from planeshift.plan.observed import Hold, Pause, Standing
from planeshift.ports import Control
from planeshift.render import topology
from planeshift.traffic import events


def named(service: str, shares: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """What moves, and where to: ranges stand for several, as in the cloud file (`nova@cell{1..3}`, `cell{}-b=100`).

    Raises PlaneshiftError (PS109) for a range that cannot be.
    """
    try:
        movers = ranges.expand(service)
    except ranges.RangeError as error:
        raise PlaneshiftError(Problem("PS109", str(error))) from None
    members = [ranges.member(service, i) for i in range(len(movers))]
    return {
        mover: {ranges.fill(backend, member): share for backend, share in shares.items()}
        for mover, member in zip(movers, members, strict=True)
    }


def with_weights(site: Site, service: str, wanted: Mapping[str, int], text: str = "") -> tuple[Site, str]:
    """The site with new weights, and the cloud file's new text, which is not written yet; `text` is that of before.

    `wanted` are percents of some backends; the others share what is left as they share now. Raises PlaneshiftError
    where that cannot be (PS202, PS205), or the file cannot be edited (PS809).
    """
    now = topology.weights(site.cloud, _known(site, service))
    for backend in wanted:
        if backend not in now:
            hint = nearest(backend, list(now)) or f"It has {', '.join(now)}."
            raise PlaneshiftError(Problem("PS202", f"{service} has no backend `{backend}`", hint=hint))
    weights = _completed(service, now, wanted)
    text = text or site.path.read_text("utf-8")
    for backend, weight in weights.items():
        path = ("spec", "services", _service(service), "backends", backend, "weight")
        text = text if weight == now[backend] and len(now) > 1 else set_number(text, path, weight, site.path.name)
    return open_site(str(site.path), text), text


def _completed(service: str, now: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
    left = 100 - sum(wanted.values())
    others = {backend: weight for backend, weight in now.items() if backend not in wanted}
    if left < 0 or (left and not others):
        raise PlaneshiftError(Problem("PS202", f"the weights of {service} make {100 - left}, not 100"))
    whole = sum(others.values())
    if left and not whole:
        hint = f"Say as well what {' and '.join(others)} shall have."
        raise PlaneshiftError(Problem("PS202", f"the weights of {service} make {100 - left}, not 100", hint=hint))
    bounds, so_far = [0], 0
    for weight in others.values():
        so_far += weight
        bounds.append(round(left * so_far / whole) if whole else 0)
    shares = dict(zip(others, (b - a for a, b in pairwise(bounds)), strict=True))
    return {backend: wanted.get(backend, shares.get(backend, 0)) for backend in now}


def back(site: Site, service: str) -> dict[str, int]:
    """The weights from which the last shift of a service began. Raises PlaneshiftError (PS810) where none is known."""
    now = topology.weights(site.cloud, _known(site, service))
    for log in reversed(shift_logs(site.state / SHIFTS)):
        begun = (
            next((e for e in Tail(log).read() if isinstance(e, events.Shift)), None) if log.service == service else None
        )
        if begun and set(begun.before) == set(now):
            return _completed(service, {**now}, {b: round(share) for b, share in begun.before.items()})
    raise PlaneshiftError(
        Problem(
            "PS810", f"no shift of {service} is known to go back from", hint="Say the weights: `SERVICE BACKEND=100`."
        )
    )


def pause(site: Site, control: Control, services: Iterable[str], now: str, who: str) -> None:
    """Let shifts of these stay where they are: one that goes on, in whatever process, ends there."""
    for service in [_known(site, name) for name in services]:
        control.pause(service, Pause(now, who))


def lifted(world: World, services: Iterable[str], *, holds: bool) -> Callable[[], None]:
    """Let this world's plan have no pause of these shifts, and no hold of a failed gate where `holds`.

    Returns what notes that at control, for whoever has the lease once somebody has agreed to the plan. Raises
    PlaneshiftError (PS810) where `holds`, and one of them is neither paused nor held.
    """
    control, names = world.control, frozenset(services)
    paused = {n: pause for n, pause in control.paused().items() if n in names}
    standing = control.standing() if holds else {}
    held = {n: record.hold for n, record in standing.items() if n in names and record.hold}
    for name in sorted(names - {*paused, *held}) if holds else ():
        raise PlaneshiftError(Problem("PS810", f"the traffic of {name} is neither paused nor held"))
    world.control = cast(Control, _Lifted(control, paused, held))

    def lift() -> None:
        for name, pause in control.paused().items():
            if pause == paused.get(name):
                control.pause(name, None)
        for name, record in control.standing().items():
            if record.hold and record.hold == held.get(name):
                control.stand(name, replace(record, hold=None))
        world.control = control

    return lift


class _Lifted:
    """A control without these pauses and holds; with all that come later."""

    def __init__(self, control: Control, paused: Mapping[str, Pause], held: Mapping[str, Hold]) -> None:
        self._control, self._paused, self._held = control, paused, held

    def __getattr__(self, name: str) -> object:
        return getattr(self._control, name)

    def paused(self) -> Mapping[str, Pause]:
        return {name: p for name, p in self._control.paused().items() if p != self._paused.get(name)}

    def standing(self) -> Mapping[str, Standing]:
        found = self._control.standing()
        return {n: replace(r, hold=None) if r.hold and r.hold == self._held.get(n) else r for n, r in found.items()}


def retired(site: Site, world: World, service: str, backend: str) -> tuple[Site, str]:
    """The site without a backend that has no traffic any more, and the cloud file's new text, not written yet."""
    now = topology.weights(site.cloud, _known(site, service))
    if backend not in site.cloud.spec.services[_service(service)].backends:
        hint = nearest(backend, list(now)) or f"It has {', '.join(now)}."
        raise PlaneshiftError(Problem("PS202", f"{service} has no backend `{backend}`", hint=hint))
    name = topology.mover(_service(service), site.cloud.spec.services[_service(service)].backends[backend]) or service
    share, now = world.desired.shares.get(name, {}).get(backend, 0), topology.weights(site.cloud, name)
    if now.get(backend) or share:
        hint = f"planeshift shift {name} {' '.join(f'{n}=100' for n in now if n != backend) or '…'}"
        raise PlaneshiftError(
            Problem("PS810", f"{backend} still has {share or now[backend]:.3g} % of the traffic of {name}", hint=hint)
        )
    path = ("spec", "services", _service(service), "backends", backend)
    text = remove(site.path.read_text("utf-8"), path, site.path.name)
    return open_site(str(site.path), text), text


def paced(site: Site, service: str, steps: tuple[int, ...], seconds: int | None) -> Site:
    """The site with other steps, or another time a step, for this run alone."""
    spec = site.cloud.spec
    declared = spec.services[_service(_known(site, service))]
    changes = ({"steps": list(steps)} if steps else {}) | ({"time": seconds} if seconds else {})
    if not changes:
        return site
    shift = declared.shift.model_copy(update=changes)
    services = {**spec.services, _service(service): declared.model_copy(update={"shift": shift})}
    cloud: model.Cloud = site.cloud.model_copy(update={"spec": spec.model_copy(update={"services": services})})
    return replace(site, loaded=replace(site.loaded, cloud=cloud))


def write(site: Site, text: str, was: str) -> None:
    """Replace the cloud file's text, as a whole, with its mode; not (PS809) where it is no longer as it `was`."""
    if site.path.read_text("utf-8") != was:
        hint = "Look at what was changed, and order it again."
        raise PlaneshiftError(
            Problem("PS809", f"{shown(site.path)} was changed meanwhile: it is left alone", hint=hint)
        )
    if text != was:
        files.write(site.path, text.encode(), site.path.stat().st_mode & 0o777)


def _known(site: Site, name: str) -> str:
    """A service, or the consumers of one of its cells, as `nova@cell1`."""
    known = topology.movers(site.cloud)
    if name not in known:
        hint = nearest(name, known) or f"It runs {', '.join(known)}."
        what = "this cloud runs no service" if name == _service(name) else "no backends have weights of the consumers"
        raise PlaneshiftError(Problem("PS205", f"{what} `{name}`", hint=hint))
    return name


def _service(name: str) -> str:
    return name.partition("@")[0]
