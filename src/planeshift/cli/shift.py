"""shift, retire."""

from __future__ import annotations

import re
from collections.abc import Callable

import click

from planeshift.app import change, shifting, watching
from planeshift.app.compose import world as compose
from planeshift.app.site import Site, open_site, shown
from planeshift.cli import view
from planeshift.cli.change import agree, confirmed, listener
from planeshift.cli.root import file_option
from planeshift.engine.world import World
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.plan.operations import Kind, Plan
from planeshift.render import topology


def share(value: str) -> tuple[str, int]:
    found = re.fullmatch(r"([a-z0-9{}-]+)=([0-9]{1,3})%?", value, re.ASCII)
    if not found or int(found[2]) > 100:
        raise click.BadParameter(f"`{value}` is not BACKEND=PERCENT, as in pods=25")
    return found[1], int(found[2])


def _steps(value: str) -> tuple[int, ...]:
    parts = value.split(",")
    if not all(p.isascii() and p.isdigit() and 1 <= int(p) <= 100 for p in parts):
        raise click.BadParameter(f"`{value}` is not a list of percents, as in 1,5,25,50,100")
    return tuple(sorted(map(int, parts)))


def seconds_of(value: str) -> int:
    found = re.fullmatch(r"([0-9]{1,5})(s|m|h)?", value, re.ASCII)
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"] if found else 0
    if not 1 <= seconds <= 86_400:
        raise click.BadParameter(f"`{value}` is no time, as in 30s or 5m")
    return seconds


@click.command(short_help="Move a service's traffic between its backends, step by step.")
@click.argument("service")
@click.argument("shares", nargs=-1, metavar="[BACKEND=PERCENT]...", type=share)
@file_option
@click.option("--back", is_flag=True, help="To where the last shift began.")
@click.option("--pause", is_flag=True, help="Stay where it is, until --resume; one that goes on elsewhere ends there.")
@click.option("--resume", is_flag=True, help="Go on after a pause, or try again after a gate has failed.")
@click.option("--steps", type=_steps, metavar="1,5,…", help="Percents of the traffic that have moved after each step.")
@click.option("--time", "seconds", type=seconds_of, metavar="TIME", help="How long each step is watched: 30s, 5m.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one event a line.")
def shift(
    service: str,
    shares: tuple[tuple[str, int], ...],
    file: str | None,
    back: bool,
    pause: bool,
    resume: bool,
    steps: tuple[int, ...] | None,
    seconds: int | None,
    yes: bool,
    output: str,
) -> int:
    """Move a service's traffic between its backends: set weights in the cloud file, and carry them out.

    \b
      planeshift shift glance pods=100        all of it, in the steps of the cloud file
      planeshift shift glance pods=10         a tenth, to look at it
      planeshift shift glance --back          to where the last shift began
      planeshift shift glance --pause         stay at the step that it has come to
      planeshift shift glance --resume        on from there; or again, after a gate has sent traffic back
      planeshift shift "nova@cell{1..3}" "cell{}-b=100"     consumers of several cells, in the file's waves

    Each step is judged on what moved against what stayed: failures, latency, health, real round trips.
    A bad verdict sends all traffic back at once, and a hold keeps the next `up` from trying again.
    The file keeps its comments and layout; nothing is written, and nothing moved, without a yes.
    """
    if bool(shares) + back + pause + resume != 1:
        raise click.UsageError("Say where to: BACKEND=PERCENT …, or --back, --pause or --resume.")
    site = open_site(file)
    view.problems(site.warnings)
    movers = shifting.named(service, dict(shares))
    if pause:
        world = compose(site)
        shifting.pause(site, world.control, movers, world.clock.now(), world.clock.who())
        view.tell("\n".join(f"{mover} stays where it is. On: planeshift shift {mover} --resume" for mover in movers))
        return Exit.DONE
    text = was = site.path.read_text("utf-8")
    for mover, wanted in movers.items() if back or shares else ():
        site, text = shifting.with_weights(site, mover, shifting.back(site, mover) if back else wanted, text)
    site = shifting.paced(site, next(iter(movers)), steps or (), seconds)
    world = compose(site)
    return _carry_out(site, world, text, was, yes, output, shifting.lifted(world, movers, holds=resume))


@click.command(short_help="Remove a backend that has no traffic any more.")
@click.argument("service")
@click.argument("backend")
@file_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one event a line.")
def retire(service: str, backend: str, file: str | None, yes: bool, output: str) -> int:
    """Remove a backend that has no traffic any more: from the cloud file, and from where it runs.

    After a shift the drained side stays up, idle, so that `shift --back` needs no time. This ends that.
    """
    site = open_site(file)
    was = site.path.read_text("utf-8")
    site, text = shifting.retired(site, compose(site), service, backend)
    return _carry_out(site, compose(site), text, was, yes, output)


def _carry_out(
    site: Site,
    world: World,
    text: str,
    was: str,
    yes: bool,
    output: str,
    lift: Callable[[], None] = lambda: None,
) -> int:
    """As `up`; the file is written, and holds are lifted, once somebody agreed."""

    def agreed(plan: Plan) -> bool:
        if agree(plan, yes, output) and (plan.operations or yes or confirmed(f"write {shown(site.path)}")):
            shifting.write(site, text, was)
            lift()
            return True
        return False

    listen, watch = listener(output)
    done = change.up(world, agree=agreed, listen=listen, watch=watch, say=view.tell)
    if done is None:
        raise PlaneshiftError(Problem("PS805", "nothing was changed: not confirmed"))
    if output == "text":
        for operation in done.operations:
            if operation.kind is Kind.SHIFT:
                _tell_next(site, operation.subject)
    return Exit.DONE


def _tell_next(site: Site, service: str) -> None:
    seen, weights = watching.last(watching.place(str(site.path)), service), topology.weights(site.cloud, service)
    idle = [backend for backend, weight in weights.items() if not weight]
    if seen:
        view.tell(f"\nThe report: {shown(seen.log.report)}")
    view.tell(f"Back: planeshift shift {service} --back")
    for backend in idle:
        view.tell(f"{backend} is idle. Remove it: planeshift retire {service} {backend}")
