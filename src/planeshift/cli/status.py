"""status, logs."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from planeshift.app import access, watching
from planeshift.app import status as app
from planeshift.app.compose import world as compose
from planeshift.app.site import open_site
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.errors import Exit


@click.command(short_help="Show health, weight, release and configuration.")
@file_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "name"]),
    default="table",
    help="How to print it.",
)
def status(file: str | None, output: str) -> int:
    """Show services x backends: health, weight, release, configuration.

    CONFIG is the digest of the operator's files as they lie on that host: equal digests are equal files,
    and what cannot be observed is "unknown". Exits 1 where something is not up.
    """
    site = open_site(file)
    rows = app.status(site, compose(site))
    if output in ("json", "yaml"):
        plain = [asdict(row) for row in rows]
        if output == "json":
            print(json.dumps(plain, indent=2))
        else:
            import yaml

            print(yaml.safe_dump(plain, sort_keys=False), end="")
    elif output == "name":
        for row in rows:
            print(f"{row.service}/{row.backend}/{row.host}")
    else:
        header = ["SERVICE", "BACKEND", "HOST", "HEALTH", "WEIGHT", "RELEASE", "CONFIG"]
        cells = [[r.service, r.backend, r.host, r.health, r.weight, r.release, r.config] for r in rows]
        if output == "wide" or not all(r.well for r in rows) or any(r.service == "cell" for r in rows):
            header.append("DETAIL")
            cells = [[*c, r.detail] for c, r in zip(cells, rows, strict=True)]
        view.table(header, cells)
        for service, hold in watching.holds(watching.place(file)).items():
            view.tell(f"\nThe traffic of {service} is held since {hold.since[:19]}Z: {hold.reason}")
            view.tell(f"To try again: planeshift shift {service} --resume")
    return Exit.DONE if all(row.well for row in rows) else Exit.FAILED


@click.command(short_help="Show the last log lines of a service.")
@click.argument("service", default="", metavar="[SERVICE]")
@file_option
@click.option("-n", "--lines", default=20, show_default=True, help="How many lines of each.")
def logs(service: str, file: str | None, lines: int) -> int:
    """Show the last log lines of a service, of `edge`, or of all."""
    site = open_site(file)
    known = [*site.cloud.spec.services, "edge"]
    if service and service not in known:
        raise click.UsageError(f"'{service}' is not a service of this cloud. There are {', '.join(known)}.")
    for unit, found in access.logs(compose(site), service, lines):
        print(view.paint(f"==> {unit} <==", "bold"))
        for line in found:
            print(line)
    return Exit.DONE
