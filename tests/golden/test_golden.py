"""Each example's rendered files and first plan, byte for byte. `make golden` rewrites them; review with git diff."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from planeshift.app.rendering import values
from planeshift.app.site import open_site
from planeshift.cli import view
from planeshift.plan.build import build as plan_build
from planeshift.plan.observed import Observed
from planeshift.render.build import build, edge_unit
from planeshift.render.desired import Desired, HostPaths

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = Path(__file__).parent / "expected"
# One of them has a file for each of three hundred machines, alike but for names: tests/unit/test_fleet.py counts them.
EXAMPLES = sorted(p.parent.name for p in (ROOT / "examples").glob("*/cloud.yaml") if p.parent.name != "cern-scale")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_rendered_file_is_as_reviewed(example: str) -> None:
    desired = _desired(example)
    units = {name: unit.files for name, unit in desired.units.items()}
    units |= {edge_unit(e.name, e.host): e.files for e in desired.edges.values()}
    units |= {name: pods.files for name, pods in desired.pods.items()}
    found = {
        f"{unit}/{path}": _stable(file.content.decode())
        for unit, files in units.items()
        for path, file in files.items()
    }
    found |= {f"{name}/values.yaml": _stable(values(pods)) for name, pods in desired.pods.items()}
    _compare(EXPECTED / example / "files", found)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_first_plan_is_as_reviewed(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    desired = _desired(example)
    given = {n: frozenset(s.name for s in f.secrets if s.kind == "given") for n, f in desired.secrets.items()}
    view.plan(plan_build(desired, Observed(secrets=given)))
    _compare(EXPECTED / example, {"plan.txt": _stable(capsys.readouterr().out)}, only="plan.txt")


def test_what_a_cell_s_programs_that_no_edge_sends_anything_are_as_pods_is_as_reviewed(tmp_path: Path) -> None:
    text = (ROOT / "examples/cells/cloud.yaml").read_text()
    cluster = "clusters: [{name: k1, registry: registry.example.org/openstack}]"
    text = text.replace("  services:\n", f"  {cluster}\n  services:\n")
    text += "        side: {cluster: k1, cell: cell1, components: {nova-metadata: {}, nova-novncproxy: {}}}\n"
    (tmp_path / "cloud.yaml").write_text(text)
    pods = _desired(str(tmp_path)).pods["k1/nova/side"]
    found = {path: _stable(file.content.decode()) for path, file in pods.files.items()}
    _compare(EXPECTED / "cells-pods", found | {"values.yaml": _stable(values(pods))})


def _desired(example: str) -> Desired:
    site = open_site(str(ROOT / "examples" / example / "cloud.yaml"))
    paths = HostPaths(runtime="/run/planeshift/example", state="/srv/example/.planeshift")
    hosts = {h.name: paths for h in site.cloud.spec.hosts if h.via in ("local", "lab")}
    return build(site.cloud, site.tree, {}, hosts)


def _stable(text: str) -> str:
    """Digests of locks and versions change with every refresh of the locks; that is reviewed there."""
    text = re.sub(r"(20\d\d\.\d)-[0-9a-f]{10}", r"\1-LOCK", text)
    text = re.sub(r"(build \S+) \d+\.\d+\.\d+ ", r"\1 VERSION ", text)
    return re.sub(r": (\S+) \d+\.\d+\.\d+ \((20\d\d\.\d)\), \d+ packages", r": \1 VERSION (\2), N packages", text)


def _compare(directory: Path, found: dict[str, str], only: str = "") -> None:
    if os.environ.get("PLANESHIFT_GOLDEN") == "write":
        for old in directory.rglob(only or "*"):
            if old.is_file():
                old.unlink()
        for name, text in found.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
    expected = {str(p.relative_to(directory)): p.read_text() for p in directory.rglob(only or "*") if p.is_file()}
    assert found == expected
