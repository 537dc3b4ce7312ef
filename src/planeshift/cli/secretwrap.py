"""helm and kubectl with sealed files."""

from __future__ import annotations

import sys

import click

from planeshift.cli import view

_PASS = {"ignore_unknown_options": True, "help_option_names": [], "allow_interspersed_args": False}


def _helm(name: str, does: str) -> click.Command:
    @click.command(name, context_settings=_PASS, short_help=f"helm {name}, with sealed value files.")
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        from planeshift.cli.secrets import guard
        from planeshift.secrets import wrap

        guard()
        wrap.helm(name, arguments)

    command.help = f"""helm {name}, with sealed value files: {does}

    Every -f, --values and --set-file may name sealed files beside plain ones; they are opened into memory, and nothing
    is written. All else goes to helm as it is, and helm's exit code and output are its own.
    """
    return command


install_ = _helm("install", "install a chart.")
upgrade_ = _helm("upgrade", "upgrade a release.")
lint_ = _helm("lint", "examine a chart.")
template_ = _helm("template", "print what a chart makes, secrets in the clear.")


@click.command("kubectl", context_settings=_PASS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl_(arguments: tuple[str, ...]) -> None:
    """kubectl apply, create, replace, diff, delete or patch, with sealed manifests. Also: kubectl secrets apply -f …"""
    from planeshift.cli.secrets import guard
    from planeshift.secrets import wrap

    if not arguments or arguments[0] not in wrap.KUBECTL_COMMANDS:
        raise click.UsageError(f"one of {', '.join(wrap.KUBECTL_COMMANDS)} must follow")
    guard()
    wrap.kubectl(arguments[0], arguments[1:])


@click.command("helm-plugin")
@click.option("--name", default="secrets", show_default=True, help="What it is called as: helm NAME.")
def helm_plugin_(name: str) -> None:
    """Make `helm secrets` be this program: for Helm 3 and Helm 4 alike.

    It is written where Helm keeps plugins, since `helm plugin install` of Helm 4 takes signed archives alone.
    """
    from planeshift import __version__
    from planeshift.secrets import plugin

    view.tell(f"{plugin.install(name, __version__)} is made; try: helm {name} --help")


def kubectl_plugin() -> None:
    """The program `kubectl-secrets`, which kubectl runs as `kubectl secrets`."""
    from planeshift.cli import run
    from planeshift.secrets.wrap import KUBECTL_COMMANDS

    given = sys.argv[1:]
    wrapped = ["kubectl", *given] if given[:1] and given[0] in KUBECTL_COMMANDS else given
    sys.exit(run(["secrets", *wrapped]))
