"""chart: its commands' names and modules; a command's module is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

# name → module, in the order of a chart's life
_COMMANDS = {
    "serve": "chart_serve",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"planeshift.cli.{_COMMANDS[cmd_name]}")
        found = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        return found if isinstance(found, click.Command) else None


@click.group(cls=_Lazy, short_help="Helm charts: package, sign, push, pull, mirror, compare; serve them.")
def chart() -> None:
    """Helm charts through their life, and a repository that serves them.

    \b
      planeshift chart serve --storage /srv/charts            ChartMuseum's API, OCI and a page to look at
      planeshift chart package ./glance                       the same tree gives the same bytes
      planeshift chart push glance-1.0.0.tgz http://127.0.0.1:8080
      planeshift chart mirror https://charts.example.org http://127.0.0.1:8080 --chart glance
    """
