"""A rehearsal on a real lab: Keystone from a host to pods, under load, with the usual faults; and nothing left after it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from labrig import ONE_NODE, Rig, free, lab_file

from planeshift.lab import processes

pytestmark = pytest.mark.xdist_group("tutorial")

CLOUD = """
apiVersion: planeshift/v1
kind: Cloud
metadata: {name: rehearsed}
spec:
  edges: [{name: lb1, address: 192.0.2.1}]
  databases: {main: {engine: mysql, host: 192.0.2.9}}
  caches: {tokens: {hosts: ["192.0.2.9:11211"]}}
  hosts:
    - {name: lb, via: local, address: 192.0.2.1}
    - {name: "vm-{1..3}", via: external, address: "192.0.2.{11..13}"}
  clusters: [{name: k1, context: k1, registry: registry.example.org/openstack}]
  services:
    keystone:
      shift: {steps: [10, 50, 100], time: 60}
      backends:
        vms: {hosts: ["vm-1"], weight: 100}
        pods: {cluster: k1, replicas: 1, weight: 0}
"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    (tmp_path / "cloud.yaml").write_text(CLOUD)
    made = Rig(tmp_path)
    yield made
    lab = tmp_path / ".planeshift/rehearsal/lab.yaml"
    if lab.exists():  # it should be gone
        made.planeshift("lab", "down", "--yes", "-f", str(lab))


def test_a_change_is_rehearsed_under_load_and_faults_and_nothing_is_left(rig: Rig) -> None:
    number = next(n for n in itertools.count(80) if free(ONE_NODE, n))
    network = f"172.28.{number}.0/24"
    assert network in lab_file(ONE_NODE, number)
    cloud = rig.directory / "cloud.yaml"
    done = rig.planeshift(
        "rehearse", "keystone", "pods=100", "--time", "3s", "--rate", "40", "--network", network, "--yes",
        "-o", "json", "-f", str(cloud), check=False,
    )  # fmt: skip
    account = json.loads(done.stdout)
    assert account["result"] == "done", done.stderr
    assert done.returncode == 0 and account["good"], (account["unexplained"], account["broken"])
    assert {b["kind"] for b in account["broken"]} >= {"worker", "pod"}
    assert len(account["broken"]) + len(account["untried"]) == 4
    assert account["runs"] >= 2 and account["steps"][-1]["state"] == "passed" and account["steps"][-1]["share"] == 100
    assert [s["part"] for s in account["served"]] == ["before", "change", "broken", "after"]
    before, change, _, after = account["served"]
    assert before["requests"] > 300 and after["requests"] > 300
    assert not before["failed"] and not change["failed"] and not after["failed"]
    [kept] = (rig.directory / ".planeshift/rehearsals").iterdir()
    page = (kept / "report.html").read_text()
    assert "The change came out" in page and all((kept / name).is_file() for name in account["reports"])
    assert cloud.read_text() == CLOUD and not (rig.directory / "secrets").exists()
    assert not (rig.directory / ".planeshift/rehearsal").exists()
    assert not processes.stray(rig.directory / ".planeshift/rehearsal/.planeshift/lab-rehearsal")
