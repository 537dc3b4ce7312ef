"""Every file that a cloud becomes, as text for people: secrets are masked."""

from __future__ import annotations

from planeshift.app.site import Site, host_paths
from planeshift.render.build import build, edge_unit
from planeshift.render.desired import File


def rendered(site: Site) -> dict[str, str]:
    """What each file would say, by unit and path. Asks nobody; no secret is read."""
    desired = build(site.cloud, site.tree, {}, host_paths(site))
    units = {name: unit.files for name, unit in desired.units.items()}
    units |= {edge_unit(e.name, e.host): e.files for e in desired.edges.values()}
    return {f"{unit}/{path}": _text(file) for unit, files in units.items() for path, file in files.items()}


def _text(file: File) -> str:
    if file.link:
        return f"-> {file.link}\n"
    text = file.content.decode("utf-8", "replace")
    return "\n".join(map(_masked, text.split("\n"))) if file.secret else text


def _masked(line: str) -> str:
    return line if line.startswith(("#", "[")) or "=" not in line else f"{line.split('=')[0]}= ***"
