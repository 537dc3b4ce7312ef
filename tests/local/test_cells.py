"""A real Nova with a cell, on this machine: what takes messages moves from host to host; its database goes and comes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bootloop import Api, BootLoop
from rig import Cloud, kill, until

pytestmark = pytest.mark.xdist_group("local-own")

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def spec(cloud: Cloud) -> dict[str, Any]:
    """One cell with a compute node, and two places for each of what takes messages."""
    base = cloud.host.rpartition(".")[0]
    hosts = [{"name": "here", "via": "local", "address": cloud.host}]
    hosts += [
        {"name": n, "via": "local", "address": f"{base}.{200 + i}"} for i, n in enumerate(("top", "c1", "c2", "n1"))
    ]
    return {
        "release": "2026.2",
        "hosts": hosts,
        "edges": [{"name": "edge", "address": cloud.edge}],
        "databases": {n: {"engine": "mysql", "manage": True, "host": h} for n, h in (("main", "here"), ("cell", "c1"))},
        "messaging": {"main": {"manage": True, "host": "here"}},
        "cells": [{"name": "c1", "database": "cell", "messaging": "main"}],
        "services": {
            **{
                name: {"backends": {"vms": {"hosts": ["here"]}}}
                for name in ("keystone", "glance", "placement", "neutron")
            },
            "nova": {
                "backends": {
                    "vms": {"hosts": ["here"], "weight": 100},
                    "top": {"hosts": ["top"], "weight": 0},
                    "old": {"hosts": ["c1"], "cell": "c1", "weight": 100},
                    "new": {"hosts": ["c2"], "cell": "c1", "weight": 0},
                    "nodes": {"hosts": ["n1"], "cell": "c1", "components": {"nova-compute": {}}},
                }
            },
        },
    }


@pytest.fixture(scope="module")
def nova(clouds: Callable[..., Cloud]) -> Iterator[Cloud]:
    if shutil.which("mariadbd") is None or not RABBITMQ.exists():
        pytest.skip("MariaDB or RabbitMQ is not installed: apt-get install mariadb-server rabbitmq-server")
    made = clouds("cells", "keystone")
    with made.edited() as written:
        wanted = spec(made)
        written.clear()
        written.update(wanted)
    made.up()
    yield made
    patterns = {line for file in made.runtime.glob("*/*/*/leaves") for line in file.read_text().split()}
    made.remove()
    left = [path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))]
    assert patterns and not left, left


@pytest.fixture(scope="module")
def api(nova: Cloud) -> Api:
    found = Api(nova.edge, nova.secret("keystone", "admin_password"))
    found.log_in()
    return found


def takers(nova: Cloud) -> set[str]:
    """The units that take messages, by the processes of this machine."""
    places = {what.removeprefix(f"{nova.runtime}/") for what in nova.processes().values()}
    return {p.partition("#")[0] for p in places if p.endswith(("#nova-conductor", "#nova-scheduler"))}


def test_what_takes_messages_moves_under_a_boot_loop_and_nothing_is_lost(nova: Cloud, api: Api) -> None:
    pace = ("--steps", "100", "--time", "2s", "--yes")
    assert takers(nova) == {"here/nova/vms.consumers", "c1/nova/old"}
    with BootLoop(api, ["n1"]) as loop:
        loop.flow()
        nova.does("shift", "nova@c1", "new=100", *pace)
        assert takers(nova) == {"here/nova/vms.consumers", "c2/nova/new"}
        loop.flow()
        nova.does("shift", "nova", "top=100", *pace)
        assert takers(nova) == {"top/nova/top.consumers", "c2/nova/new"}
        loop.flow()
        nova.does("shift", "nova@c1", "--back", *pace)
        assert takers(nova) == {"top/nova/top.consumers", "c1/nova/old"}
        loop.flow()
    loop.assert_nothing_lost()
    assert "Nothing to do" in nova.up().out
    rows = {(r["service"], r["backend"], r["host"]): r for r in nova.rows()}
    assert rows["cell", "c1", ""]["health"] == "up", rows
    assert rows["nova", "new", "c2"]["detail"] == "idle"


def test_a_cell_whose_database_is_gone_is_listed_in_part_and_comes_back(nova: Cloud, api: Api) -> None:
    loop = BootLoop(api, ["n1"])
    server = loop.boot("n1")
    place = f"{nova.runtime}/c1/mariadb/cell#"
    for program in ("supervisord", "mariadbd"):
        for pid in [p for p, what in nova.processes().items() if what == place + program]:
            kill(pid)
    status, found = api.nova("GET", "/servers/detail?all_tenants=1")
    assert status == 200, found
    assert {s["id"]: s["status"] for s in found["servers"]}[server] == "UNKNOWN"
    rows = {(r["service"], r["backend"]): r for r in nova.rows()}
    assert rows["cell", "c1"]["health"] == "down" and "listed in part" in rows["cell", "c1"]["detail"]
    nova.up()
    until(
        lambda: api.nova("GET", f"/servers/{server}")[1].get("server", {}).get("status") == "ACTIVE",
        "it is shown again",
    )
    loop.delete("n1", server)
    loop.assert_nothing_lost()
    nova.wait_up()
