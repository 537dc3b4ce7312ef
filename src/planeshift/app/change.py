"""Plan, up and down."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from planeshift.app.site import Site, runtime
from planeshift.drivers.files import failing
from planeshift.engine import leases
from planeshift.engine.observe import AT_ONCE, observe
from planeshift.engine.run import Listener, execute
from planeshift.engine.world import Keep, World
from planeshift.errors import PlaneshiftError, Problem, away
from planeshift.plan.build import build
from planeshift.plan.made import applied
from planeshift.plan.observed import NOTHING
from planeshift.plan.operations import Plan
from planeshift.plan.shifts import same
from planeshift.ports import Cluster, Host, Say
from planeshift.traffic.events import Event

if TYPE_CHECKING:
    from planeshift.drivers.ssh.host import SshHost

Agree = Callable[[Plan], bool]


def plan(world: World, *, from_nothing: bool = False, contract: Iterable[str] = ()) -> Plan:
    """What `up` would do now; `from_nothing` asks no driver, and plans against an empty world."""
    if from_nothing:
        desired = world.render({}, {}, {})
        # What only the operator can give is taken as given: no secret file is looked at.
        given = {n: frozenset(s.name for s in f.secrets if s.kind == "given") for n, f in desired.secrets.items()}
        return build(desired, replace(NOTHING, secrets=given), contract=contract)
    observed = observe(world)
    return build(world.desired, observed, world.control.key(), contract=contract)


def up(
    world: World,
    *,
    agree: Agree,
    listen: Listener,
    say: Say,
    watch: Callable[[Event], None] = lambda event: None,
    contract: Iterable[str] = (),
    saved: Plan | None = None,
    workers: int | None = None,
) -> Plan | None:
    """Bring the world to the declared state, under the lease.

    `agree` is shown the plan and says whether to go on; `saved` is a plan that must be what would be done now; `watch` is
    told what shifts do. Returns the plan that was carried out, or None where nobody agreed. Raises PlaneshiftError where
    an operation failed.
    """
    world.watch = watch
    with leases.held(world, say) as keep:
        return bring(world, keep, agree=agree, listen=listen, say=say, contract=contract, saved=saved, workers=workers)


def bring(
    world: World,
    keep: Keep,
    *,
    agree: Agree = lambda plan: True,
    listen: Listener,
    say: Say,
    contract: Iterable[str] = (),
    saved: Plan | None = None,
    workers: int | None = None,
) -> Plan | None:
    """What `up` does, for a caller that has the lease; `keep` checks that it still has it."""
    _settle(world, say)
    left = world.control.unfinished()
    if left:
        say(f"going on after a run of {left.get('who')} that did not end ({len(left['ended'])} operations were done)")
    now = plan(world, contract=contract)
    if saved is not None:
        _same(saved, now)
    if not agree(now):
        return None
    if now.operations or left:
        _carry_out(world, now, world.clock.who(), listen, keep, workers)
    _forget_shifts(world)
    return now


def _settle(world: World, say: Say) -> None:
    """Wait, everywhere at once, for commands that an interrupted run of ours had begun."""
    places: list[tuple[str, Host | Cluster]] = [*world.clusters.items(), *world.hosts.items()]
    unreached: dict[str, tuple[Problem, ...]] = {}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for name, settled in [(name, pool.submit(place.settle, say)) for name, place in places]:
            try:
                settled.result()
            except PlaneshiftError as error:
                unreached[name] = (*unreached.get(name, ()), *error.problems)
    if unreached:
        raise PlaneshiftError(away(unreached))


def _forget_shifts(world: World) -> None:
    """Forget shifts that lead nowhere any more: the file wants traffic where it is, so a hold is over, too."""
    for service in world.control.standing():
        weights, shares = world.desired.weights.get(service, {}), world.desired.shares.get(service, {})
        if same(weights, shares):
            world.control.stand(service, None)


def _carry_out(world: World, plan: Plan, who: str, listen: Listener, keep: Keep, workers: int | None) -> None:
    control, clock = world.control, world.clock
    record = {"who": who, "began": clock.now(), "plan": plan.digest, "operations": [o.id for o in plan.operations]}
    control.journal({"what": "begin plan", "who": who, "plan": plan.digest, "at": record["began"]})
    result, causes = "failed", list[str]()
    try:
        execute(plan, world, listen, keep, **({"workers": workers} if workers else {}))
        result = "done"
    except PlaneshiftError as error:
        causes = [str(p) for p in error.problems]
        raise
    finally:
        # Not the plan's own word: it was made before secrets were.
        made = {"applied": applied(world.desired, control.key())} if result == "done" else {}
        control.audit({**record, "ended": clock.now(), "result": result, "causes": causes, **made})
        control.journal({"what": "end plan", "result": result, "at": clock.now()})


def _same(saved: Plan, now: Plan) -> None:
    if saved.digest == now.digest:
        return
    before, after = {o.id for o in saved.operations}, {o.id for o in now.operations}
    words = [f"no longer needed: {i}" for i in sorted(before - after)]
    words += [f"needed now: {i}" for i in sorted(after - before)]
    raise PlaneshiftError(
        Problem(
            "PS804",
            "the saved plan is not what would be done now",
            why="\n".join(words[:20]) or "The operations are the same, but not what they would change.",
            hint="Plan again, and read it.",
        )
    )


def down(world: World, listen: Callable[[str], None]) -> None:
    """Stop everything of this cloud: the edge first, so that nobody is served by half of it.

    Raises PlaneshiftError, before anything is stopped, where somebody else changes it or a cluster does not answer.
    """
    with leases.held(world, listen) as keep:
        for host in world.hosts.values():
            host.settle(listen)
            units = host.units(world.control.key())
            for unit in sorted(units, key=lambda u: u.split("/")[1] != "edge"):
                listen(f"stopping {unit}")
                keep()
                host.stop(unit)
                host.remove(unit)
        for cluster in world.clusters.values():
            cluster.settle(listen)
            for unit in cluster.pods(world.control.key()):
                listen(f"uninstalling {unit}")
                keep()
                cluster.remove(unit, listen)
        world.control.audit({"who": world.clock.who(), "ended": world.clock.now(), "result": "down", "operations": []})


def purge(site: Site, elsewhere: Iterable[SshHost]) -> None:
    """Remove what we keep for a cloud, here and on hosts `elsewhere`: programs, data, logs, journal.

    Raises PlaneshiftError where that fails.
    A lab beside it is not the cloud's: it goes by `planeshift lab down`.
    """
    for host in elsewhere:
        host.purge()
    with failing(f"{site.state} cannot be removed"):
        labs = list(site.state.glob("lab-*"))
        for path in sorted(site.state.iterdir()) if site.state.exists() else ():
            if path.is_dir() and not path.is_symlink():
                if path not in labs:
                    shutil.rmtree(path)
            elif not (labs and path.name == ".gitignore"):
                path.unlink()
        if site.state.exists() and not labs:
            site.state.rmdir()
        if runtime(site.path).exists():
            shutil.rmtree(runtime(site.path))
