"""The commands' names and their modules; a command's module is imported when it is called."""

from __future__ import annotations

import click

from planeshift import __version__
from planeshift.cli.lazy import LazyGroup

# name → module, in the order in which a newcomer meets them
_COMMANDS = {
    "init": "init",
    "check": "check",
    "whatif": "topology",
    "capacity": "topology",
    "plan": "change",
    "up": "change",
    "shift": "shift",
    "rehearse": "rehearse",
    "retire": "shift",
    "watch": "watch",
    "report": "watch",
    "web": "web",
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


class _Lazy(LazyGroup):
    modules = _COMMANDS


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
