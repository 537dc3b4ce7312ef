"""A cloud that boots servers, as pods: three cells of two compute nodes; those, and all state, are on hosts.

It takes several minutes, so it runs where PLANESHIFT_SOAK is set. The tests build on one another.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
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

COMPUTES = [f"c{cell}{node}" for cell in "123" for node in "xy"]
LAB = """
  zones: [a, b]
  hosts:
    - {name: node1, zone: b, cluster: k1}
    - {name: db1, zone: b, runs: {s3: {}, memcached: {}}}
    - {name: vm1, zone: a}
    - {name: vm2, zone: b}
    - {name: "c{1..3}x", zone: b}
    - {name: "c{1..3}y", zone: b}
"""
PACE = ("--steps", "100", "--time", "2s", "--yes")
CLIENTS = COMPUTES[::2]  # a cell each; a project may have ten servers, and round trips have one on each node
FLOW = 6  # servers that are booted and deleted between two moves


class Cloud:
    """The cloud beside a lab."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.file = rig, rig.directory / "cloud.yaml"
        lab = rig.site.lab
        self.machine, addresses = lab.gateway, {h.name: h.address for h in lab.hosts}
        self.node = addresses["node1"]
        (rig.directory / "config/glance").mkdir(parents=True)
        (rig.directory / "config/glance/glance-api.conf").write_text(GLANCE.format(db=addresses["db1"]))
        cluster: dict[str, Any] = {"cluster": "k1", "replicas": 1}
        pods, cells = {"pods": cluster}, "c{1..3}"
        hosts = {n: a for n, a in addresses.items() if n != "node1"}
        side = {**cluster, "cell": "c1", "components": {"nova-metadata": {}}}
        nodes = {"hosts": ["c{}x", "c{}y"], "cell": "c{}", "components": {"nova-compute": {}}}
        spec: dict[str, Any] = {
            "edges": [{"name": "lb", "address": self.machine}],
            "hosts": [
                {"name": "here", "via": "local", "address": self.machine},
                *({"name": n, "via": "lab", "lab": "lab.yaml", "address": a} for n, a in hosts.items()),
            ],
            "clusters": [{"name": "k1", "lab": "lab.yaml"}],
            "caches": {"tokens": {"hosts": [f"{addresses['db1']}:11211"]}},
            "databases": {"main": {"engine": "mysql", "manage": True, "host": "db1"}},
            "messaging": {"main": {"manage": True, "host": "db1"}},
            "cells": [{"name": cells, "database": "main", "messaging": "main"}],
            "services": {
                "keystone": {"backends": pods},
                "glance": {"config": "config/glance", "backends": pods},
                "placement": {"backends": pods},
                "neutron": {"backends": pods},
                "nova": {
                    "backends": {  # API, scheduler and super-conductor; conductors of the cells; metadata; compute nodes
                        "pods": {**cluster, "weight": 100},
                        "vms": {"hosts": ["vm2"], "weight": 0},
                        f"{cells}-pods": {**cluster, "cell": "c{}", "weight": 100},
                        f"{cells}-vms": {"hosts": ["vm1"], "cell": "c{}", "weight": 0},
                        "c1-side": side,
                        f"nodes{cells.removeprefix('c')}": nodes,
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

    def shift(self, what: str, target: str, *more: str) -> None:
        self.run("shift", what, f"{target}=100", *PACE, *more)

    def on_hosts(self, program: str) -> int:
        """How many of a program the hosts run, by the mark in its processes' environment."""
        marks = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep '#%s$' | sort -u"
        return sum(
            len(self.rig.inside(host, "sh", "-c", marks % program, check=False).splitlines()) for host in ("vm1", "vm2")
        )

    def in_pods(self, program: str) -> int:
        """How many ready pods of a program the cluster has."""
        found = json.loads(self.rig.kubectl("-n", "openstack", "get", "deployments", "-o", "json"))["items"]
        ready: Mapping[str, int] = {d["metadata"]["name"]: d["status"].get("readyReplicas", 0) for d in found}
        return sum(count for name, count in ready.items() if name.endswith(program))


@pytest.fixture(scope="module")
def cloud(rig: Callable[..., Rig]) -> Iterator[Cloud]:
    made = rig(LAB, name="nova")
    made.build_tools()
    began = time.monotonic()
    made.up()
    found, lab = Cloud(made), time.monotonic()
    found.run("up", "--yes")
    up = time.monotonic()
    found.run("verify")
    print(f"\nlab {lab - began:.0f} s, up {up - lab:.0f} s, verify {time.monotonic() - up:.0f} s")
    yield found
    with contextlib.suppress(AssertionError):
        found.run("down", "--purge", "--yes")


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Api:
    secrets = yaml.safe_load((cloud.rig.directory / "secrets/keystone.yaml").read_text())
    found = Api(cloud.machine, secrets["admin_password"])
    found.log_in()
    return found


def test_a_server_boots_on_each_node_of_each_cell_and_there_is_nothing_left_to_do(cloud: Cloud) -> None:
    assert cloud.operations() == []
    said = cloud.run("verify").stdout
    assert "6 servers were booted" in said, said


def test_the_cells_metadata_is_asked_at_a_port_of_the_nodes(cloud: Cloud) -> None:
    with urllib.request.urlopen(f"http://{cloud.node}:30471/", timeout=30) as answer:
        assert answer.status == 200 and b"latest" in answer.read()


def test_what_takes_messages_moves_to_hosts_and_back_under_a_boot_loop_and_nothing_is_lost(
    cloud: Cloud, api: Api
) -> None:
    """Above the cells with the API, and each cell's conductors, one cell after the other."""
    assert (cloud.in_pods("scheduler"), cloud.in_pods("conductor"), cloud.on_hosts("nova-conductor")) == (1, 4, 0)
    with BootLoop(api, CLIENTS) as loop:
        loop.flow(FLOW)
        cloud.shift("nova", "vms")
        assert (cloud.in_pods("scheduler"), cloud.on_hosts("nova-scheduler")) == (0, 1)
        loop.flow(FLOW)
        cloud.shift("nova@c{1..3}", "c{}-vms")
        assert (cloud.in_pods("conductor"), cloud.on_hosts("nova-conductor")) == (0, 4)
        loop.flow(FLOW)
        cloud.shift("nova@c{1..3}", "c{}-pods")
        loop.flow(FLOW)
        cloud.shift("nova", "pods")
        assert (cloud.in_pods("scheduler"), cloud.in_pods("conductor"), cloud.on_hosts("nova-conductor")) == (1, 4, 0)
        loop.flow(FLOW)
    print(f"{loop.booted} servers were booted and deleted, {loop.calls} calls, {len(loop.failures)} failed")
    loop.assert_nothing_lost()
    assert cloud.operations() == []


def test_the_zone_of_the_hosts_is_cut_off_while_a_conductor_moves_there(cloud: Cloud, api: Api) -> None:
    """What it held may be lost; the pods take the messages again, and the next run ends what was declared."""
    with BootLoop(api, CLIENTS, enduring=True) as loop:
        loop.flow(FLOW)
        argv = [sys.executable, "-m", "planeshift", "shift", "nova@c1", "c1-vms=100", "--yes", "--time", "60s"]
        with subprocess.Popen(
            [*argv, "--steps", "100", "-f", str(cloud.file)], stderr=subprocess.PIPE, text=True
        ) as run:
            deadline = time.monotonic() + 120
            while not cloud.on_hosts("nova-conductor"):
                assert time.monotonic() < deadline and run.poll() is None
            cloud.rig.fault("cut", "a")
            asked = loop.asked
            _, err = run.communicate(timeout=300)
        cloud.rig.fault("mend", "a")
        meanwhile = loop.asked - asked
        assert run.returncode, err
        cloud.run("shift", "nova@c1", "--resume", *PACE) if "PS610" in err else cloud.run("up", "--yes")
        assert (cloud.in_pods("conductor"), cloud.on_hosts("nova-conductor")) == (3, 1)
        loop.flow(FLOW)
    print(f"{len(loop.failures)} of {loop.asked} servers failed, {meanwhile} were asked for while the zone was cut off")
    loop.assert_consistent(2 * len(CLIENTS) + meanwhile)
    cloud.shift("nova@c1", "c1-pods")
    assert cloud.operations() == []
