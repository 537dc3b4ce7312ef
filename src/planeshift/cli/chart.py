"""chart: its commands' names and modules; a command's module is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planeshift.app import charts as app
from planeshift.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from planeshift.charts.remote import Remote

# name → module, in the order of a chart's life
_COMMANDS = {
    "export": "chart_export",
    "package": "chart_life",
    "sign": "chart_life",
    "verify": "chart_life",
    "push": "chart_life",
    "pull": "chart_life",
    "list": "chart_keep",
    "diff": "chart_keep",
    "mirror": "chart_keep",
    "gc": "chart_keep",
    "serve": "chart_serve",
}


class _Lazy(LazyGroup):
    modules = _COMMANDS


@click.group(cls=_Lazy, short_help="Helm charts: package, sign, push, pull, mirror, compare; serve them.")
def chart() -> None:
    """Helm charts through their life, and a repository that serves them.

    \b
      planeshift chart serve --storage /srv/charts          ChartMuseum's API, OCI and a page to look at
      planeshift chart package ./glance                     the same tree gives the same bytes
      planeshift chart push glance-1.0.0.tgz --repo http://127.0.0.1:8080
      planeshift chart mirror https://charts.example.org --chart glance --repo http://127.0.0.1:8080

    --repo is https://…, http://… or oci://…; without it, the cloud file's `charts: {repository: …}` is meant.
    """


def repository_options(function: click.decorators.FC) -> click.decorators.FC:
    """What every command on a repository of somebody's has."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in (
        click.option("--ca-file", type=path, help="PEM file of the authority of its certificate."),
        click.option("--token", is_flag=True, help="The secret is a bearer token, not a password."),
        click.option("--password-file", type=path, help="Holds the secret; or set PLANESHIFT_CHART_PASSWORD."),
        click.option("--username", envvar="PLANESHIFT_CHART_USERNAME", help="Who we are there."),
        click.option("-f", "--file", metavar="FILE", help="The cloud file (default: cloud.yaml here or above)."),
        click.option("--repo", metavar="URL", help="The repository; default: the cloud file's."),
    ):
        function = option(function)
    return function


def connected(options: Mapping[str, Any], url: str | None = None) -> Remote:
    """A client of the repository that the options name, or of another one."""
    found = url or app.repository(options["repo"], options["file"])
    ca = str(options["ca_file"]) if options["ca_file"] else None
    return app.connect(found, options["username"], options["password_file"], token=options["token"], ca=ca)
