"""watch, report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from planeshift.app import watching
from planeshift.app.site import shown
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.cli.shiftview import ShiftView
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.traffic.events import to_json


@click.command(short_help="Watch a shift that another process carries out.")
@click.argument("service", default="", metavar="[SERVICE]")
@file_option
@click.option("--wait", is_flag=True, help="Where no shift is in progress, wait for the next.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one event a line.")
def watch(service: str, file: str | None, wait: bool, output: str) -> int:
    """Watch the shifts in progress, of one service or of all, until they are over.

    \b
      planeshift watch                 what is moving now
      planeshift watch glance --wait   the next shift of glance, from its first moment

    Whoever began the shift, and however it ends: what is shown is what its log tells. Any number may
    watch; none of them is noticed. Exits 1 where traffic went back, or where the process was ended.
    """
    root = watching.place(file)
    shower = ShiftView()
    show = shower if output == "text" else lambda event: print(to_json(event), end="", flush=True)
    followed: dict[str, watching.Seen] = {}
    try:
        for seen, event in watching.follow(root, service, wait=wait):
            followed[seen.log.name] = seen
            if event is not None:
                show(event)
            else:
                view.tell(f"{seen.log.service}: the process that moved its traffic has ended. {seen.course.sentence()}")
    except KeyboardInterrupt:
        return Exit.INTERRUPTED  # the shift does not notice
    finally:
        shower.end()
    if not followed:
        view.tell(_nothing(root, service))
    for seen in followed.values() if output == "text" else ():
        view.tell(f"its report: {shown(watching.report_of(seen))}")
    return Exit.DONE if all(seen.course.state() == "done" for seen in followed.values()) else Exit.FAILED


def _nothing(root: Path, service: str) -> str:
    found = watching.last(root, service)
    of = f" of {service}" if service else ""
    if found is None:
        return f"no shift{of} is in progress, and none is remembered"
    course = found.course
    began = course.shift.at[:19] + "Z" if course.shift else found.log.name
    return (
        f"no shift{of} is in progress; the last: {course.service}, {course.title}, {began}: "
        f"{course.state()}. {course.sentence()}\nits report: {shown(watching.report_of(found))}"
    )


@click.command(short_help="Say where the report of a shift lies; list past shifts.")
@click.argument("service", default="", metavar="[SERVICE]")
@file_option
@click.option("--all", "every", is_flag=True, help="Every shift that is remembered, newest first.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def report(service: str, file: str | None, every: bool, output: str) -> int:
    """Say where the report of the last shift lies, of one service or of any.

    The report is one HTML file with plots of traffic, errors and latency, the verdict and the evidence;
    it needs no network and no script.

    \b
      xdg-open "$(planeshift report glance)"
      planeshift report --all
    """
    root = watching.place(file)
    found = watching.past(root, service) if every else [s for s in (watching.last(root, service),) if s]
    if not found and not every:
        of = f" of {service}" if service else ""
        raise PlaneshiftError(Problem("PS812", f"no shift{of} is remembered"))
    rows = [_row(seen) for seen in found]
    if output == "json":
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif every:
        header = ["BEGAN", "SERVICE", "SHIFT", "RESULT", "REQUESTS", "FAILED", "REPORT"]
        view.table(header, [[str(cell) for cell in row.values()] for row in rows])
    else:
        view.tell(f"{found[0].course.service}: {found[0].course.title}. {found[0].course.sentence(found[0].live)}")
        print(rows[0]["report"])
    return Exit.DONE


def _row(seen: watching.Seen) -> dict[str, str | int]:
    course = seen.course
    requests, failed = course.counted
    return {
        "began": course.shift.at[:19] + "Z" if course.shift else "",
        "service": seen.log.service,
        "shift": course.title,
        "result": course.state(seen.live),
        "requests": requests,
        "failed": failed,
        "report": "" if seen.live else shown(watching.report_of(seen)),
    }
