"""A cloud that boots servers, as pods: Nova and what it needs on a node, its compute node on a host, its state on another.

It takes several minutes, so it runs where PLANESHIFT_SOAK is set. The tests build on one another.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from bootloop import Api, BootLoop
from cloudfile import GLANCE
from labrig import Rig

pytestmark = [
    pytest.mark.xdist_group("nova-pods"),
    pytest.mark.skipif(not os.environ.get("PLANESHIFT_SOAK"), reason="it takes several minutes: set PLANESHIFT_SOAK"),
]

LAB = """
  hosts:
    - {name: node1, cluster: k1}
    - {name: db1, runs: {s3: {}, memcached: {}}}
    - {name: vm1}
"""
PACE = ("--steps", "100", "--time", "2s", "--yes")


class Cloud:
    """The cloud beside a lab."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.file = rig, rig.directory / "cloud.yaml"
        lab = rig.site.lab
        self.machine, addresses = lab.gateway, {h.name: h.address for h in lab.hosts}
        self.node = addresses["node1"]
        (rig.directory / "config/glance").mkdir(parents=True)
        (rig.directory / "config/glance/glance-api.conf").write_text(GLANCE.format(db=addresses["db1"]))
        pods = {"pods": {"cluster": "k1", "replicas": 1}}
        side = {"cluster": "k1", "cell": "c1", "replicas": 1, "components": {"nova-metadata": {}}}
        spec: dict[str, Any] = {
            "edges": [{"name": "lb", "address": self.machine}],
            "hosts": [
                {"name": "here", "via": "local", "address": self.machine},
                *({"name": n, "via": "lab", "lab": "lab.yaml", "address": addresses[n]} for n in ("db1", "vm1")),
            ],
            "clusters": [{"name": "k1", "lab": "lab.yaml"}],
            "caches": {"tokens": {"hosts": [f"{addresses['db1']}:11211"]}},
            "databases": {"main": {"engine": "mysql", "manage": True, "host": "db1"}},
            "messaging": {"main": {"manage": True, "host": "db1"}},
            "cells": [{"name": "c1", "database": "main", "messaging": "main"}],
            "services": {
                "keystone": {"backends": pods},
                "glance": {"config": "config/glance", "backends": pods},
                "placement": {"backends": pods},
                "neutron": {"backends": pods},
                "nova": {
                    "backends": {
                        **pods,  # API, scheduler and super-conductor
                        "c1-vms": {"hosts": ["vm1"], "cell": "c1", "weight": 100},
                        "c1-pods": {"cluster": "k1", "cell": "c1", "replicas": 1, "weight": 0},
                        "c1-side": side,
                        "nodes": {"hosts": ["vm1"], "cell": "c1", "components": {"nova-compute": {}}},
                    }
                },
            },
        }
        whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": spec}
        self.file.write_text(yaml.safe_dump(whole, sort_keys=False))

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.rig.planeshift(*arguments, "-f", str(self.file), check=check)

    def operations(self) -> list[str]:
        plan = json.loads(self.run("plan", "-o", "json").stdout)
        return [f"{o['kind']}:{o['subject']}" for o in plan["operations"]]

    def conductors(self) -> dict[str, int]:
        """Who takes the cell's messages: processes on the host, pods that the cluster has ready."""
        on_host = self.rig.inside("vm1", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '", check=False)
        found = json.loads(self.rig.kubectl("-n", "openstack", "get", "deployments", "-o", "json"))["items"]
        pods = {d["metadata"]["name"]: d["status"].get("readyReplicas", 0) for d in found}
        return {"host": int("nova-conductor" in on_host), "pods": pods["nova-c1-pods-nova-conductor"]}


@pytest.fixture(scope="module")
def cloud(rig: Callable[..., Rig]) -> Iterator[Cloud]:
    made = rig(LAB, name="nova")
    made.build_tools()
    made.up()
    found = Cloud(made)
    found.run("up", "--yes")
    yield found
    with contextlib.suppress(AssertionError):
        found.run("down", "--purge", "--yes")


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Api:
    secrets = yaml.safe_load((cloud.rig.directory / "secrets/keystone.yaml").read_text())
    found = Api(cloud.machine, secrets["admin_password"])
    found.log_in()
    return found


def test_a_server_boots_in_the_cell_and_there_is_nothing_left_to_do(cloud: Cloud) -> None:
    assert cloud.operations() == []
    said = cloud.run("verify").stdout
    assert "1 servers were booted" in said, said


def test_the_cells_metadata_is_asked_at_a_port_of_the_nodes(cloud: Cloud) -> None:
    with urllib.request.urlopen(f"http://{cloud.node}:30471/", timeout=30) as answer:
        assert answer.status == 200 and b"latest" in answer.read()


def test_the_cells_conductor_moves_to_pods_and_back_under_a_boot_loop_and_nothing_is_lost(
    cloud: Cloud, api: Api
) -> None:
    assert cloud.conductors() == {"host": 1, "pods": 0}
    with BootLoop(api, ["vm1"]) as loop:
        loop.flow()
        cloud.run("shift", "nova@c1", "c1-pods=100", *PACE)
        assert cloud.conductors() == {"host": 0, "pods": 1}
        loop.flow()
        cloud.run("shift", "nova@c1", "--back", *PACE)
        assert cloud.conductors() == {"host": 1, "pods": 0}
        loop.flow()
    loop.assert_nothing_lost()
    assert cloud.operations() == []
