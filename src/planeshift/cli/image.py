"""image: build, list, inspect."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from planeshift.app import images as app
from planeshift.app.unchanged import remember
from planeshift.cli import view
from planeshift.errors import Exit


@click.group(short_help="OCI images of services, made without a daemon.")
def image() -> None:
    """OCI images of services, made without a daemon, the same bytes from the same inputs.

    \b
      planeshift image build keystone glance
      planeshift image build glance --patches patches/glance --push registry.example.org/glance:2026.2
      planeshift image list

    Laid out as LOCI's images are: the service in /var/lib/openstack, run as uid 42424.
    """


@image.command("build", short_help="Build images of services.")
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@click.option("--release", default="", metavar="SERIES", help="OpenStack series (default: the newest in the catalog).")
@click.option("--dist-packages", "dist", default="", metavar="A,B", help="Distribution packages to add.")
@click.option("--lock", default="", metavar="FILE", help="Distribution packages as `image lock` locked them.")
@click.option("--source", default="", metavar="DIR|URL", help="The service's code: a directory or git repository.")
@click.option("--ref", default="", help="A tag, branch or commit of --source; without it, a version on PyPI.")
@click.option("--wheels", default="", metavar="DIR", help="Install from this wheelhouse alone.")
@click.option("--patches", default="", metavar="DIR", help="The site's patches, *.patch in order of name.")
@click.option("--name", default="", metavar="NAME:TAG", help="Name of the image (default: by service and series).")
@click.option("-f", "--file", "cloud", default="", metavar="FILE", help="A cloud file, for the service's extras.")
@click.option("--output", metavar="FILE.tar", help="Write the images to an archive: OCI's, which Docker loads, too.")
@click.option("--no-cache", is_flag=True, help="Build every layer anew.")
def build_(services: tuple[str, ...], dist: str, output: str | None, no_cache: bool, **given: str) -> int:
    """Build an image of each service; nothing is done where no input changed."""
    packages = tuple(part for part in dist.split(",") if part)
    requests = [app.Request(service=service, dist=packages, pip=(), **given) for service in services]
    if given["name"] and len(services) > 1:
        raise click.UsageError("--name is for one service.")
    built = [app.build(request, view.tell, fresh=no_cache) for request in requests]
    if output:
        app.store().export([image.name for image in built], Path(output))
    printed = "".join(f"{image.name}@{image.digest}\n" for image in built)
    if not no_cache and not any(request.moves for request in requests):
        depended = [path for request in requests for path in app.inputs(request, os.environ)]
        remember(sys.argv[1:], os.environ, [*depended, *filter(None, [output])], printed)
    print(printed, end="")
    return Exit.DONE
