"""rehearse."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from planeshift.app import earlier, shifting
from planeshift.app.site import Site, open_site, shown
from planeshift.cli import view
from planeshift.cli.change import confirmed, listener
from planeshift.cli.root import file_option
from planeshift.cli.shift import seconds_of, share
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.rehearsal.account import Account
from planeshift.rehearsal.faults import KINDS, USUAL, Fault, faults
from planeshift.rehearsal.report import PARTS, milliseconds, seconds
from planeshift.rehearsal.scale import Networks, Rehearsal

if TYPE_CHECKING:
    from planeshift.app.rehearse import Told
    from planeshift.model import cloud as model

_FAULTS = "\n".join(f"  {name:<12}{text}" for name, text in KINDS.items())


def _names(value: str) -> tuple[str, ...]:
    return () if value == "none" else tuple(name.strip() for name in value.split(",") if name.strip())


def _network(value: str) -> Networks:
    try:
        hosts = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise click.BadParameter(f"`{value}` is not a network, as 172.29.0.0/24 is") from error
    return Networks(value, f"10.{190 + hosts.network_address.packed[2] % 60}.0.0/16")


@click.command(
    short_help="Try a change on a lab, under load, with faults.",
    epilog=f"\b\nFaults (--faults none for none; the usual ones: {', '.join(USUAL)}):\n{_FAULTS}",
)
@click.argument("service", required=False)
@click.argument("shares", nargs=-1, metavar="[BACKEND=PERCENT]...", type=share)
@file_option
@click.option("--from", "old", metavar="OLD", help="The cloud file as it was; default: as git has it last.")
@click.option("--faults", "names", type=_names, metavar="KIND,…", help="What to break, in this order.")
@click.option("--time", type=seconds_of, default="10s", metavar="TIME", help="Watch no step for longer; default: 10s.")
@click.option("--rate", type=click.FloatRange(1, 10_000), default=60, show_default=True, help="Requests a second.")
@click.option("--network", type=_network, metavar="NETWORK", help="Of the lab's hosts; default: one that is free.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: the account, at the end."
)
def rehearse(
    service: str | None,
    shares: tuple[tuple[str, int], ...],
    file: str | None,
    old: str | None,
    names: tuple[str, ...] | None,
    time: int,
    rate: float,
    network: Networks | None,
    yes: bool,
    output: str,
) -> int:
    """Try a change on this machine first: a lab shaped like the cloud, real services, load, and faults.

    \b
      planeshift rehearse glance pods=100       the shift of that name, of the cloud file as it is
      planeshift rehearse                       from the file as git has it last to the file as it is
      planeshift rehearse --from old.yaml       from another file
      planeshift rehearse --faults host,database

    The lab has the services that the change touches, and what they need, on fewer machines; what it cannot have has
    a stand-in, and is named. Nothing of the real cloud is asked or touched, and its secrets are not read. At the end
    the lab is gone, and a report stays: requests, failures, latency, steps, what was broken and how it came back.

    It takes root, Linux, and what `planeshift lab` takes. Exits 1 where the change did not come out, or a request was
    lost to nothing that was broken.
    """
    from planeshift.app import rehearse as app

    site = open_site(file)
    view.problems(site.warnings)
    site, before = _change(site, service, dict(shares), old)
    made = app.prepare(site, before, time, network)
    found = faults(names, made)
    _show(made, found, list(app.words(made)))
    if not yes and not confirmed("build the lab, and rehearse this"):
        raise PlaneshiftError(Problem("PS805", "nothing was done: not confirmed"))
    try:
        account, page = app.carry_out(site, made, found, rate, _told())
    except KeyboardInterrupt:
        view.tell("stopped; the lab is gone, and nothing else was touched")
        return Exit.INTERRUPTED
    if output == "json":
        print(json.dumps(account.plain(), indent=1))
    else:
        _print(account)
    view.tell(f"\nThe report: {shown(page)}")
    return Exit.DONE if account.good else Exit.FAILED


def _change(site: Site, service: str | None, shares: dict[str, int], old: str | None) -> tuple[Site, model.Cloud]:
    """The site after the change, and the cloud before it."""
    if service:
        if not shares or old:
            raise click.UsageError("Say where to: SERVICE BACKEND=PERCENT …, without --from.")
        after, _ = shifting.with_weights(site, service, shares)
        return after, site.cloud
    return site, earlier.read(Path(old)) if old else earlier.committed(site.path)


def _told() -> Told:
    from planeshift.app.rehearse import Told
    from planeshift.cli.lab import Progress as LabProgress

    operations, shifts = listener("text")
    return Told(LabProgress(), operations, shifts, view.tell)


def _show(made: Rehearsal, found: tuple[Fault, ...], changes: list[str]) -> None:
    """What will be done."""
    hosts = made.lab["spec"]["hosts"]
    view.tell(view.paint(f"Rehearsal of {made.after['metadata']['name']}", "bold"))
    for change in changes:
        view.tell(f"  change   {change}")
    view.tell(f"  lab      {len(hosts)} hosts: {', '.join(h['name'] for h in hosts)}")
    for note in made.notes:
        view.tell(f"  note     {note}")
    view.tell(f"  faults   {', '.join(f.what for f in found) or 'none'}")


def _print(account: Account) -> None:
    print(f"\n{account.sentence}\n")
    rows = [
        [PARTS[s.part], f"{s.requests:,}", f"{s.failed:,}", milliseconds(s.p50), milliseconds(s.p99)]
        for s in account.served
    ]
    view.table(["REQUESTS", "SENT", "FAILED", "P50", "P99"], rows)
    if account.added is not None:
        print(f"The p99 of the change is {account.added:+.1f} ms beside that of before.")
    if account.steps:
        print()
        steps = [
            [s.service, f"{s.step} of {s.steps}", f"{s.share:g} %", seconds(s.seconds), s.state] for s in account.steps
        ]
        view.table(["SHIFT", "STEP", "MOVED", "WATCHED", "VERDICT"], steps)
    if account.broken:
        print()
        broken = [[b.what, b.step, seconds(b.back), f"{b.failed:,}", b.how] for b in account.broken]
        view.table(["BROKEN", "AT", "BACK AFTER", "LOST", "HOW"], broken)
    for why in account.retried:
        print(f"sent back while something was broken, and tried again: {why}")
    for what in account.untried:
        print(f"not tried, since the change was over: {what}")
    for text in account.unexplained[:10]:
        print(f"lost to nothing that was broken: {text}")
    spent = ", ".join(f"{what} {seconds(time)}" for what, time in account.spent)
    print(f"\nTime: {spent}" + (f"; {account.runs} runs of `planeshift up`" if account.runs > 1 else ""))
