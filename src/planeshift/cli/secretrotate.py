"""Changes of live credentials."""

from __future__ import annotations

import sys

import click

from planeshift.app import compose
from planeshift.app import rotate as app_rotate
from planeshift.app.site import open_site
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.cli.secrets import guard
from planeshift.errors import PlaneshiftError, Problem


@click.command("rotate")
@click.argument("service")
@click.argument("name")
@file_option
@click.option("--followed", is_flag=True, help="Hosts that are not ours have the staged key, too.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rotate_(service: str, name: str, file: str | None, followed: bool, yes: bool) -> None:
    """Change a credential of a running service, without a failed request.

    \b
      planeshift secrets rotate glance database_password    its database user
      planeshift secrets rotate glance service_password     its user in Keystone
      planeshift secrets rotate glance transport_url        its message bus user (RabbitMQ)
      planeshift secrets rotate nova messaging_password_cell1    that of a cell's vhost; also database_password_cell1
      planeshift secrets rotate keystone fernet_keys        keys that sign tokens; also receipt_keys, credential_keys

    Two users take turns: the next one is made and tried, every backend is brought to it, and the old one is removed when
    nothing is connected as it. A new key is staged, and promoted once every backend has it. A run that was cut off is gone
    on with by the next.

    A database's users are made with `secrets/databases.yaml`, `NAME: {user: …, password: …}`, where NAME is what the
    cloud file calls the database. Without it, make a second user yourself and name it as `database_next` in the service's
    secret file. For a message bus: `secrets/messaging.yaml`, `HOST: {management: URL, user: …, password: …}`, or
    `transport_next`.
    """
    guard()
    site = open_site(file)
    if not yes and not _confirmed(f"rotate {name} of {service} in {site.cloud.metadata.name}"):
        raise PlaneshiftError(Problem("PS805", "nothing was changed: not confirmed"))
    app_rotate.rotate(compose.rotation(site, view.Progress(), view.tell, followed=followed), service, name)
    view.tell(f"{name} of {service} is rotated")


def _confirmed(what: str) -> bool:
    return sys.stdin.isatty() and click.prompt(f"{what}: type yes", err=True) == "yes"
