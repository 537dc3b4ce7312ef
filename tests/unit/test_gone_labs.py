"""A cloud whose lab is gone: what ran there went with it, so that `down` has the rest to stop and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from planeshift.app import change
from planeshift.app.compose import world as compose
from planeshift.app.labs import there
from planeshift.app.site import Site, open_site
from planeshift.errors import PlaneshiftError

LAB = """
apiVersion: planeshift/v1
kind: Lab
metadata: {name: gone}
spec: {hosts: [{name: node1, cluster: k1}, {name: vm1}]}
"""
CLOUD = """
apiVersion: planeshift/v1
kind: Cloud
metadata: {name: left}
spec:
  databases: {main: {engine: mysql, host: 172.30.0.1}}
  edges: [{name: lb, address: 172.30.0.1}]
  caches: {shared: {hosts: ["172.30.0.1:11211"]}}
  hosts: [{name: here, via: local}, {name: vm1, via: lab, lab: lab.yaml, address: 172.30.0.3}]
  clusters: [{name: k1, lab: lab.yaml}]
  services:
    keystone: {backends: {vms: {hosts: [vm1], weight: 50}, pods: {cluster: k1, weight: 50}}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "lab.yaml").write_text(LAB)
    (tmp_path / "cloud.yaml").write_text(CLOUD)
    return open_site(str(tmp_path / "cloud.yaml"))


def test_down_stops_what_is_left_and_says_what_is_gone(site: Site) -> None:
    said: list[str] = []
    change.down(there(site, compose(site), said.append), said.append)
    assert [line.split()[0] for line in said] == ["vm1", "k1"]


def test_a_cluster_of_a_lab_that_was_up_is_asked(site: Site) -> None:
    kubeconfig = site.state / "lab-gone" / "kubeconfig"
    kubeconfig.parent.mkdir(parents=True, mode=0o700)
    kubeconfig.write_text("{}")
    assert set(there(site, compose(site), lambda line: None).clusters) == {"k1"}


def test_an_up_says_how_the_lab_comes_back(site: Site) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        compose(site).clusters["k1"].settle(lambda line: None)
    (found,) = caught.value.problems
    assert found.code == "PS712" and "planeshift lab up -f lab.yaml" in found.hint
