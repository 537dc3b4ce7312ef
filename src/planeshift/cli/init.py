"""init."""

from __future__ import annotations

from pathlib import Path

import click

from planeshift.app import starter
from planeshift.cli import view
from planeshift.errors import Exit


@click.command(short_help="Write a commented cloud.yaml with its configuration tree.")
@click.argument("directory", default=".", type=click.Path(file_okay=False))
@click.option("--name", help="The cloud's name (default: the directory's).")
@click.option("--services", default="keystone,glance,placement,barbican", show_default=True, help="Which services.")
def init(directory: str, name: str | None, services: str) -> int:
    """Write a commented cloud.yaml with its configuration tree. Nothing that exists is replaced."""
    written = starter.write(Path(directory), name, [s.strip() for s in services.split(",") if s.strip()])
    for path in written:
        print(f"wrote {path}")
    option = "" if Path(directory).resolve() == Path.cwd() else f" -f {Path(directory) / 'cloud.yaml'}"
    view.tell(f"\nNext: planeshift check{option}, then planeshift up{option}")
    return Exit.DONE
