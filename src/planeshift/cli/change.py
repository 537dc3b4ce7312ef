"""plan, up, down."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from planeshift.app import change
from planeshift.app.compose import ssh_hosts
from planeshift.app.compose import world as compose
from planeshift.app.labs import there
from planeshift.app.site import Site, open_site, shown
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.engine.run import Event
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.plan.operations import Plan, from_json, to_json
from planeshift.traffic import events

_CONTRACT = click.option(
    "--contract", multiple=True, metavar="SERVICE", help="Let go of what only the older release's schema needs."
)


@click.command(short_help="Show what `up` would do; change nothing.")
@file_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.option("--save", type=click.Path(dir_okay=False), help="Keep the plan in a file, for `up --plan`.")
@click.option("--from-nothing", is_flag=True, help="Plan against an empty world, and ask no host, edge or database.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where changes are pending.")
@_CONTRACT
def plan(
    file: str | None,
    output: str,
    save: str | None,
    from_nothing: bool,
    detailed_exitcode: bool,
    contract: tuple[str, ...],
) -> int:
    """Show what `up` would do. Changes nothing.

    \b
    + is made, ~ is changed, - is removed. What the cloud file did not ask for but the world has
    lost or altered stands in a section of its own, Drift.
    """
    site = open_site(file)
    view.problems(site.warnings)
    found = change.plan(compose(site), from_nothing=from_nothing, contract=contract)
    if save:
        Path(save).write_text(to_json(found), "utf-8")
    if output == "json":
        print(to_json(found), end="")
    else:
        view.plan(found, command=_next(site, save))
    return Exit.CHANGES_PENDING if detailed_exitcode and found.operations else Exit.DONE


@click.command(short_help="Bring the cloud to its declared state.")
@file_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one event a line.")
@click.option(
    "--plan", "saved", type=click.Path(exists=True, dir_okay=False), help="Carry out exactly this saved plan."
)
@_CONTRACT
def up(file: str | None, yes: bool, output: str, saved: str | None, contract: tuple[str, ...]) -> int:
    """Bring the cloud to its declared state: show the plan, ask, carry it out.

    Run again after any failure, kill or power cut: it goes on from what is there. A second run finds
    nothing to do.
    """
    site = open_site(file)
    view.problems(site.warnings)
    listen, watch = listener(output)
    done = change.up(
        compose(site),
        agree=lambda p: agree(p, yes, output),
        listen=listen,
        watch=watch,
        say=view.tell,
        contract=contract,
        saved=_saved(saved),
    )
    if done is None:
        raise PlaneshiftError(Problem("PS805", "nothing was changed: not confirmed"))
    if done.operations and output == "text":
        option = f" -f {shown(site.path)}" if file else ""
        view.tell(f"\n{done.cloud} is up. Prove it: planeshift verify{option}")
    return Exit.DONE


@click.command(short_help="Stop everything of this cloud.")
@file_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--purge", is_flag=True, help="Remove the data as well: databases, images, programs, logs.")
def down(file: str | None, yes: bool, purge: bool) -> int:
    """Stop everything of this cloud. Its data stays, unless --purge.

    Secret files and the configuration are the operator's: they stay in any case.
    """
    site = open_site(file)
    what = "stop all services and REMOVE ALL DATA" if purge else "stop all services"
    if not yes and not confirmed(f"{what} of {site.cloud.metadata.name}"):
        raise PlaneshiftError(Problem("PS805", "nothing was changed: not confirmed"))
    change.down(there(site, compose(site), view.tell), view.tell)
    if purge:
        change.purge(site, ssh_hosts(site))
        view.tell(f"removed {shown(site.state)}")
    return Exit.DONE


def _next(site: Site, save: str | None) -> str:
    option = "" if site.path.parent == Path.cwd() and site.path.name == "cloud.yaml" else f" -f {shown(site.path)}"
    return f"planeshift up{option}" + (f" --plan {save}" if save else "")


def _saved(path: str | None) -> Plan | None:
    if path is None:
        return None
    try:
        return from_json(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise PlaneshiftError(Problem("PS804", f"{path}: {error}")) from error


def listener(output: str) -> tuple[Callable[[Event], None], Callable[[events.Event], None]]:
    """Who is told of operations, and who of what a shift does."""
    if output == "json":
        return _json_event, lambda event: print(events.to_json(event), end="", flush=True)
    from planeshift.cli.shiftview import ShiftView

    return view.Progress(), ShiftView()


def agree(found: Plan, yes: bool, output: str) -> bool:
    """Show a plan, and ask for a yes where one is needed."""
    if output == "json":
        print(json.dumps({"event": "plan", **json.loads(to_json(found))}), flush=True)
    else:
        view.plan(found, command="")
    return yes or not found.operations or confirmed("carry this out")


def confirmed(what: str) -> bool:
    """Ask a person; raises PlaneshiftError (PS805) where there is none."""
    if not sys.stdin.isatty():
        hint = "Add --yes; no question is asked where there is no terminal."
        raise PlaneshiftError(Problem("PS805", f"to {what} needs a yes", hint=hint))
    return bool(click.prompt(f"\nType yes to {what}", default="", show_default=False, err=True).strip() == "yes")


def _json_event(event: Event) -> None:
    body = {
        "event": event.what,
        "operation": event.operation.id,
        "summary": event.operation.summary,
        "done": event.done,
        "total": event.total,
        "at": event.at,
    }
    if event.text:
        body["text"] = event.text
    if event.what in ("end", "fail"):
        body["seconds"] = round(event.seconds, 3)
    print(json.dumps(body, ensure_ascii=False), flush=True)
