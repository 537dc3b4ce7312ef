"""age keys that Barbican keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from planeshift.cli import view
from planeshift.cli.secrets import guard
from planeshift.errors import PlaneshiftError, Problem


@contextmanager
def _failing() -> Iterator[None]:
    from planeshift.secrets.barbican.key import Refused
    from planeshift.secrets.barbican.session import Failed

    try:
        yield
    except Failed as error:
        hint = "`openstack secret list` asks the same Barbican as the same user."
        raise PlaneshiftError(Problem("PS1017", str(error), hint=hint)) from error
    except Refused as error:
        raise PlaneshiftError(Problem("PS1010", str(error))) from error


@click.group("key")
def key_() -> None:
    """Make and rotate keys that Barbican keeps, each for one purpose.

    \b
      planeshift secrets key create cloud/glance    prints age1barbican1…, for .sops.yaml
      planeshift secrets key identity               prints what opens files; it holds no secret

    Sealing needs the recipient alone. Opening needs a user who may read the key in Barbican: OS_CLOUD, or the OS_*
    variables. Stock age and sops open the same files, by age-plugin-barbican.
    """


@key_.command("create")
@click.argument("purpose")
def create(purpose: str) -> None:
    """Make a key for a purpose, such as cloud/glance, and print its recipient."""
    from planeshift.secrets.barbican.session import Session
    from planeshift.secrets.barbican.store import Store

    guard()
    with _failing():
        click.echo(str(Store(Session()).create(purpose)))


@key_.command("rotate")
@click.argument("recipient")
def rotate(recipient: str) -> None:
    """Make the next version of a key, for the same purpose, and print its recipient."""
    from planeshift.secrets.barbican.key import Recipient
    from planeshift.secrets.barbican.session import Session
    from planeshift.secrets.barbican.store import Store

    guard()
    with _failing():
        click.echo(str(Store(Session()).rotate(Recipient.parse(recipient))))
    view.tell("Put it into .sops.yaml in place of the old one, then: planeshift secrets rewrap FILE..., and rotate-key")


@key_.command("identity")
@click.argument("purpose", default="")
def identity_(purpose: str) -> None:
    """Print the identity that uses keys of this purpose; of any, without one. Add it to sops/age/keys.txt."""
    from planeshift.secrets.barbican.key import identity

    click.echo(identity(purpose))


@key_.command("list")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def list_(output: str) -> None:
    """List the keys that Barbican keeps for this project."""
    import json

    from planeshift.secrets.barbican.session import Session
    from planeshift.secrets.barbican.store import Store

    with _failing():
        rows = Store(Session()).list()
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for row in [{"uuid": "KEY", "purpose": "PURPOSE", "version": "VERSION", "created": "CREATED"}, *rows]:
        click.echo(f"{row['uuid']:36}  {row['purpose']:30}  {row['version']:7}  {row['created']}")
