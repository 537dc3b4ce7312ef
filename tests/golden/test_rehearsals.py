"""What a rehearsal makes of an example and a change of it: lab, cloud before and after, stand-ins, notes, faults."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from planeshift.app.shifting import with_weights
from planeshift.app.site import open_site
from planeshift.rehearsal.faults import faults, schedule, steps
from planeshift.rehearsal.scale import Networks, rehearsal

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = Path(__file__).parent / "expected/rehearsals"
CHANGES = {
    "hosts-and-pods": ("glance", {"vms": 100}),  # from pods to a host
    "external-hosts": ("glance", {"ours": 50}),  # machines that somebody else runs, three of them; TLS
    "blue-green": ("keystone", {"new": 100}),  # two releases on this machine, SQLite
}


@pytest.mark.parametrize("example", CHANGES)
def test_the_rehearsal_of_a_change_is_as_reviewed(example: str) -> None:
    site = open_site(str(ROOT / "examples" / example / "cloud.yaml"))
    service, weights = CHANGES[example]
    after, _ = with_weights(site, service, weights)
    made = rehearsal(site.cloud, after.cloud, after.tree, Networks())
    broken = schedule(faults(None, made), steps(made))
    stand_ins = {path: text.decode() for path, text in made.files.items() if path not in site.tree}
    assert {p: t for p, t in made.files.items() if p in site.tree}.items() <= site.tree.items()
    parts = {
        "lab": made.lab,
        "before": made.before,
        "after": made.after,
        "stand-ins": stand_ins,
        "notes": list(made.notes),
        "faults by step": {step: [f.what for f in found] for step, found in broken.items()},
    }
    found = "".join(f"# {part}\n{yaml.safe_dump(text, sort_keys=False, width=120)}\n" for part, text in parts.items())
    expected = EXPECTED / f"{example}.txt"
    if os.environ.get("PLANESHIFT_GOLDEN") == "write":
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("example", CHANGES)
def test_what_is_made_is_a_right_lab_and_two_right_clouds(example: str, tmp_path: Path) -> None:
    from planeshift.lab import open_lab

    site = open_site(str(ROOT / "examples" / example / "cloud.yaml"))
    after, _ = with_weights(site, *CHANGES[example])
    made = rehearsal(site.cloud, after.cloud, after.tree, Networks())
    for path, content in made.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(dict(made.lab)))
    addresses = {h.name: h.address for h in open_lab(str(tmp_path / "lab.yaml")).lab.hosts}
    for which in (made.before, made.after):
        (tmp_path / "cloud.yaml").write_text(yaml.safe_dump(dict(which)))
        opened = open_site(str(tmp_path / "cloud.yaml"))
        hosts = {h.name: h.address for h in opened.cloud.spec.hosts if h.via == "lab"}
        assert hosts.items() <= addresses.items()
        assert not opened.warnings
