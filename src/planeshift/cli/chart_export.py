"""chart export."""

from __future__ import annotations

from pathlib import Path

import click

from planeshift.app import charts as app
from planeshift.cli import view
from planeshift.errors import Exit


@click.command("export", short_help="Write the charts of services that Planeshift ships.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option(
    "-d",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("charts"),
    show_default=True,
    help="Where to write a directory for each.",
)
def export(services: tuple[str, ...], directory: Path) -> int:
    """Write the charts of services (all of them, if none is named), to be used by helm alone.

    \b
      planeshift chart export glance
      planeshift chart package charts/glance
      helm install glance glance-0.1.0.tgz --namespace openstack --values my-values.yaml
    """
    for path in app.export(services, directory):
        view.tell(f"wrote {path}")
        print(path)
    return Exit.DONE
