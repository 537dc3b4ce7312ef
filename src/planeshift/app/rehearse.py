"""A rehearsal: a lab and a cloud below `.planeshift`, a load, the change, faults; then all of it goes but the report."""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3
import yaml

from planeshift import catalog, lab, openloop
from planeshift.app import access, change, watching
from planeshift.app.changing import Changing
from planeshift.app.compose import world as compose
from planeshift.app.labs import there
from planeshift.app.site import Site, open_site, shown
from planeshift.drivers import files
from planeshift.engine.run import Listener
from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import network
from planeshift.lab import run as lab_run
from planeshift.lab.model import load as load_lab
from planeshift.lab.topology import topology as lab_topology
from planeshift.model import cloud as model
from planeshift.openloop.openstack import dear
from planeshift.openloop.tally import Tally, milliseconds
from planeshift.plan.shifts import shown as shares
from planeshift.ports import Say, quiet
from planeshift.rehearsal import account, report
from planeshift.rehearsal.faults import Fault, schedule, steps
from planeshift.rehearsal.scale import CLOUD, LAB, Networks, Rehearsal, rehearsal
from planeshift.render import topology
from planeshift.traffic.events import Event
from planeshift.traffic.figures import Figures

DIRECTORY = "rehearsal"
KEPT = "rehearsals"  # reports of those that are over
QUIET = 15.0  # seconds of load before the change, and after it


@dataclass(frozen=True)
class Told:
    """Who is told what: of the lab's steps, of the cloud's operations, of shifts, and the rest in words."""

    lab: lab_run.Tell
    operations: Listener
    shifts: Callable[[Event], None]
    say: Say


def prepare(site: Site, earlier: model.Cloud, seconds: int, networks: Networks | None = None) -> Rehearsal:
    """What the change from an earlier cloud to the site's is, in a lab. Raises PlaneshiftError (PS820, PS821, PS443)."""
    made = rehearsal(earlier, site.cloud, site.tree, Networks(), seconds)
    return rehearsal(earlier, site.cloud, site.tree, networks or _free(made), seconds)


def _free(made: Rehearsal) -> Networks:
    """Networks that nobody uses on this machine."""
    for number in range(60):
        found = Networks(f"172.29.{number}.0/24", f"10.{190 + number}.0.0/16")
        spec = {**made.lab["spec"], "network": found.hosts, "pods": found.pods}
        text = yaml.safe_dump({**made.lab, "spec": spec})
        with contextlib.suppress(PlaneshiftError):
            network.refuse_overlap(lab_topology(load_lab(text, LAB), ""))
            return found
    raise PlaneshiftError(Problem("PS443", "no network is free for a lab", hint="--network 172.29.0.0/24, say"))


def carry_out(
    site: Site, made: Rehearsal, found: Sequence[Fault], rate: float, told: Told
) -> tuple[account.Account, Path]:
    """Carry a rehearsal out: its account, and where that lies as a page.

    Raises PlaneshiftError where the lab or the cloud before the change does not come up.
    """
    root = site.state / DIRECTORY
    clear(site, quiet)
    spent: dict[str, float] = {}
    try:
        _lay_out(site, root, made)
        with _timed(spent, "lab"):
            opened = lab.open_lab(str(root / LAB))
            with lab_run.lease(opened):
                lab_run.up(opened, lab_run.look(opened), told.lab)
        with _timed(spent, "cloud before"):
            _write(root, made.before)
            change.up(compose(_inside(root)), agree=lambda plan: True, listen=told.operations, say=told.say)
            _verify(root)
        over = _under_load(root, made, found, rate, told, spent)
        made_account = _account(made, over, spent)
        return made_account, _keep(site, root, made_account)
    finally:
        told.say("taking the lab down")
        clear(site, quiet)


def clear(site: Site, say: Say) -> None:
    """Remove what a rehearsal left: its lab, what runs on this machine, its files."""
    root = site.state / DIRECTORY
    if (root / LAB).exists():
        opened = lab.open_lab(str(root / LAB))
        if opened.state.exists() or lab_run.left(opened):
            with lab_run.lease(opened):
                lab_run.down(opened)
    if (root / CLOUD).exists():
        inner = _inside(root)
        change.down(there(inner, compose(inner), quiet), say)
        change.purge(inner, [])
    if root.exists():
        with files.failing(f"{shown(root)} cannot be removed"):
            shutil.rmtree(root)


def _inside(root: Path) -> Site:
    return open_site(str(root / CLOUD))


def _lay_out(site: Site, root: Path, made: Rehearsal) -> None:
    for directory in (site.state, root):
        files.private(directory)
    ignore = site.state / ".gitignore"
    if not ignore.exists():
        files.write(ignore, b"*\n")
    for path, content in made.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        files.write(root / path, content)
    files.write(root / LAB, yaml.safe_dump(dict(made.lab), sort_keys=False).encode())


def _write(root: Path, cloud: object) -> None:
    files.write(root / CLOUD, yaml.safe_dump(cloud, sort_keys=False).encode())


def _verify(root: Path) -> None:
    inner = _inside(root)
    access.verify(inner, compose(inner), lambda proof: None)


@contextlib.contextmanager
def _timed(spent: dict[str, float], what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    spent[what] = round(time.monotonic() - began, 1)


# --- the change under load


@dataclass(frozen=True)
class _Over:
    """The change as it went, the load, and the moments (seconds since 1970) at which parts of it began and ended."""

    changing: Changing
    tally: Tally
    moments: tuple[float, ...]
    result: account.Result
    reason: str


def _under_load(
    root: Path, made: Rehearsal, found: Sequence[Fault], rate: float, told: Told, spent: dict[str, float]
) -> _Over:
    inner = _inside(root)
    world = compose(inner)
    plan = _load(inner, made, world.secret("keystone", "admin_password"), rate)
    changing = Changing(root, schedule(found, max(steps(made), 1)), told.shifts, told.say)
    with openloop.load(plan) as tally:
        told.say(f"clients ask, {rate:g} requests a second; for {QUIET:.0f} s nothing changes")
        moments = [time.time()]
        time.sleep(QUIET)
        moments.append(time.time())
        _write(root, made.after)
        with _timed(spent, "change"):
            result, reason = changing.go()
        moments.append(time.time())
        told.say(f"the change is over; clients go on for {QUIET:.0f} s")
        time.sleep(QUIET)
        moments.append(time.time())
    if result == "done":
        try:
            _verify(root)
        except PlaneshiftError as error:
            result, reason = "failed", f"After it: {error.problems[0].message}."
    return _Over(changing, tally, tuple(moments), result, reason)


def _load(inner: Site, made: Rehearsal, password: str, rate: float) -> openloop.Load:
    """`rate` requests a second: each service's own health, and, of Keystone and Glance, a twentieth of what costs much."""
    urls = {s: topology.urls(inner.cloud, s)[1] for s in made.services if s in inner.cloud.spec.services}
    health = {s: url + catalog.service(s).components[0].health for s, url in urls.items()}
    flows = [
        openloop.Flow(steps=(openloop.Step(name=f"{s}-health", url=url),), rate=0.95 * rate / len(health))
        for s, url in health.items()
    ]
    user = {"name": "admin", "domain": {"name": "Default"}, "password": password}
    scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
    body = json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}})
    some = dear(urls["keystone"], urls.get("glance", ""), body, rate * 0.05)
    flows += [flow for flow in some if "glance" in urls or flow.steps[0].url.startswith(urls["keystone"])]
    return openloop.Load(flows=tuple(flows), kept={"token": _token(urls["keystone"], body)})


def _token(keystone: str, body: str) -> str:
    headers = {"Content-Type": "application/json"}
    answer = urllib3.request(
        "POST", f"{keystone}/v3/auth/tokens", body=body, headers=headers, timeout=60, retries=False
    )
    return str(answer.headers["X-Subject-Token"])


def _account(made: Rehearsal, over: _Over, spent: dict[str, float]) -> account.Account:
    start, begin, end, stop = map(int, over.moments)
    calm, troubled = account.seconds(begin, end, over.changing.broken)
    parts = {"before": range(start, begin), "change": calm, "broken": troubled, "after": range(end, stop)}
    served = [_served(part, over.tally, seconds) for part, seconds in parts.items()]
    lost = [account.Lost(f.at, f.at + f.wait_ms / 1000, f.step, f.why) for f in over.tally.failures]
    broken, unexplained = account.attributed(over.changing.broken, lost)
    return account.Account(
        cloud=made.after["metadata"]["name"],
        change=tuple(words(made)),
        result=over.result,
        reason=over.reason,
        spent=tuple(spent.items()),
        runs=over.changing.runs,
        served=tuple(served),
        steps=tuple(over.changing.steps),
        broken=broken,
        untried=tuple(f.what for f in over.changing.untried),
        unexplained=unexplained,
        notes=made.notes,
        retried=tuple(over.changing.retried),
    )


def _served(part: str, tally: Tally, seconds: Iterable[int]) -> account.Served:
    seen = Figures()
    for second in seconds:
        seen.merge(tally.figures(begin=second, end=second + 1))
    p50, p99 = (round(milliseconds(seen, q), 1) if seen.requests else None for q in (0.5, 0.99))
    return account.Served(part, seen.requests, seen.failed, p50, p99)


def words(made: Rehearsal) -> Iterator[str]:
    """The change, a line for each service."""
    for service in made.moved:
        before, after = (_weights(cloud, service) for cloud in (made.before, made.after))
        if not before:
            yield f"{service}: new"
        elif {n: w for n, w in before.items() if w} == {n: w for n, w in after.items() if w}:
            yield f"{service}: changed, its traffic stays where it is"
        else:
            yield f"{service}: {shares(before)} -> {shares(after)}"


def _weights(cloud: object, service: str) -> dict[str, float]:
    found = model.Cloud.model_validate(cloud)
    return dict(topology.weights(found, service)) if service in found.spec.services else {}


def _keep(site: Site, root: Path, made: account.Account) -> Path:
    """Keep the account, as a page and as JSON, with the reports of its shifts."""
    name = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    directory = site.state / KEPT / name
    for path in (site.state / KEPT, directory):
        files.private(path)
    kept = []
    for seen in reversed(watching.past(watching.place(str(root / CLOUD)))):
        kept.append(f"{seen.log.name}.html")
        files.write(directory / kept[-1], watching.report_of(seen).read_bytes(), 0o600)
    whole = account.Account(**{**made.__dict__, "reports": tuple(kept)})
    files.write(directory / "account.json", (json.dumps(whole.plain(), indent=1) + "\n").encode(), 0o600)
    page = directory / "report.html"
    files.write(page, report.report(whole).encode(), 0o600)
    return page
