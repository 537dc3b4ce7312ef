"""web."""

from __future__ import annotations

import logging
import sys

import click

from planeshift.app import watching
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.errors import Exit, PlaneshiftError, Problem


def _address(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise click.BadParameter(f"`{value}` is not HOST:PORT, as in 127.0.0.1:8405")
    return host.removeprefix("[").removesuffix("]"), int(port)


@click.command(short_help="Serve a page with live plots of shifts, and /metrics for Prometheus.")
@file_option
@click.option(
    "--listen",
    type=_address,
    metavar="HOST:PORT",
    default="127.0.0.1:8405",
    show_default=True,
    help="Where to listen; port 0: any free one.",
)
def web(file: str | None, listen: tuple[str, int]) -> int:
    """Serve a page of this cloud's shifts: live plots of traffic, errors and latency, gates, past shifts.

    The page reads the logs of shifts and changes nothing. It asks nobody who they are: on another address than a
    loopback one, everybody who reaches it reads it, the evidence of failed shifts included. Ctrl-C ends it; shifts
    do not notice.
    """
    from planeshift.serving.run import is_loopback, serve
    from planeshift.web.app import App

    root, (host, port) = watching.place(file), listen
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    if not is_loopback(host):
        view.tell(f"everybody who reaches {host} can read this page")
    names = frozenset({"localhost", host}) if is_loopback(host) else None
    app = App(watching.name(file), root, lambda: watching.holds(root), names=names)
    try:
        serve(
            app,
            host=host,
            port=port,
            grace=5,
            ready=lambda url: view.tell(f"the shifts of {watching.name(file)}: {url}/  (metrics: {url}/metrics)"),
            stopping=app.stop,
        )
    except OSError as error:
        hint = "--listen HOST:PORT names another address."
        why = error.strerror or str(error)
        raise PlaneshiftError(Problem("PS601", f"cannot listen on {host}:{port}: {why}", hint=hint)) from error
    return Exit.DONE
