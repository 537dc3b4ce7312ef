"""env, verify."""

from __future__ import annotations

import json
import shlex

import click

from planeshift.app import access
from planeshift.app.compose import world as compose
from planeshift.app.site import open_site
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.errors import Exit


@click.command(short_help="Print what points stock clients at this cloud.")
@file_option
def env(file: str | None) -> int:
    """Print what points stock clients at this cloud.

    \b
      eval "$(planeshift env)"
      openstack token issue

    The password is in a clouds.yaml of mode 0600, not in the environment.
    """
    site = open_site(file)
    for name, value in access.client_environment(site, compose(site)).items():
        print(f"export {name}={shlex.quote(value)}")
    return Exit.DONE


@click.command(short_help="Prove the cloud by real round trips.")
@file_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one service a line.")
def verify(file: str | None, output: str) -> int:
    """Prove the cloud by real round trips through the edge.

    Tokens are issued, validated and revoked; an image is uploaded, downloaded and compared; an inventory
    is written and read; a secret is stored and read back. Nothing is left behind.
    """
    site = open_site(file)

    def show(proof: access.Proof) -> None:
        if output == "json":
            body = {"service": proof.service, "proved": list(proof.steps), "seconds": round(proof.seconds, 3)}
            print(json.dumps(body | ({"problem": proof.problem} if proof.problem else {})), flush=True)
            return
        word = view.paint("FAILED", "red") if proof.problem else view.paint("proved", "green")
        print(f"{word} {proof.service} ({proof.seconds:.1f} s)", flush=True)
        for step in proof.steps:
            print(f"       {step}")

    access.verify(site, compose(site), show)
    return Exit.DONE
