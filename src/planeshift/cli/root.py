"""The commands' names and their modules; a command's module is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from planeshift import __version__

# name → module, in the order in which a newcomer meets them
_COMMANDS = {
    "init": "init",
    "check": "check",
    "plan": "change",
    "up": "change",
    "status": "status",
    "logs": "status",
    "env": "access",
    "verify": "access",
    "down": "change",
    "render": "check",
    "doctor": "doctor",
    "explain": "check",
    "lab": "lab",
    "tools": "tools",
    "image": "image",
    "chart": "chart",
    "secrets": "secrets",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        found = getattr(import_module(f"planeshift.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if near:
                raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx) from error
            raise


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="planeshift %(version)s")
def cli() -> None:
    """Describe an OpenStack control plane in one file, run it, and move it.

    \b
    First steps:
      planeshift init              write a cloud.yaml and its configuration tree here
      planeshift check             find every mistake in them
      planeshift plan              see what would be done; nothing is changed
      planeshift up                see it again, say yes, watch it being done
      planeshift verify            prove it by real round trips
      eval "$(planeshift env)"     then: openstack token issue

    The cloud file is `cloud.yaml` here or in a directory above; -f names another one.
    """


def file_option(function: click.decorators.FC) -> click.decorators.FC:
    """The option that every command on a cloud has."""
    return click.option("-f", "--file", metavar="FILE", help="The cloud file (default: cloud.yaml here or above).")(
        function
    )
