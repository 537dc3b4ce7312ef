"""A real Nova with a cell, on this machine: what takes messages moves from host to host; its database goes and comes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bootloop import Api, BootLoop
from rig import LIMIT, PLANESHIFT, PROC, Cloud, blob, kill, until

from planeshift import catalog

LATE = 20  # seconds after which a call over the bus is given up; Nova's own minute would be most of the tests' time
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
                "config": "config/nova",
                "shift": {"steps": [50, 100], "time": 4},
                "backends": {
                    "vms": {"hosts": ["here"], "weight": 100},
                    "top": {"hosts": ["top"], "weight": 0},
                    "old": {"hosts": ["c1"], "cell": "c1", "weight": 100},
                    "new": {"hosts": ["c2"], "cell": "c1", "weight": 0},
                    "nodes": {"hosts": ["n1"], "cell": "c1", "components": {"nova-compute": {}}},
                },
            },
        },
    }


@pytest.fixture(scope="module")
def nova(clouds: Callable[..., Cloud]) -> Iterator[Cloud]:
    if shutil.which("mariadbd") is None or not RABBITMQ.exists():
        pytest.skip("MariaDB or RabbitMQ is not installed: apt-get install mariadb-server rabbitmq-server")
    made = clouds("cells", "keystone")
    config = made.root / "config/nova"
    config.mkdir(parents=True, exist_ok=True)
    config.joinpath("nova.conf").write_text(f"[DEFAULT]\nrpc_response_timeout = {LATE}\n")
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


def named(api: Api, name: str) -> list[str]:
    """The servers whose names begin so."""
    return [s["id"] for s in api.nova("GET", f"/servers?all_tenants=1&name=^{name}")[1]["servers"]]


def test_what_takes_messages_moves_under_a_boot_loop_and_nothing_is_lost(nova: Cloud, api: Api) -> None:
    pace = ("--steps", "100", "--time", "2s", "--yes")
    assert takers(nova) == {"here/nova/vms.consumers", "c1/nova/old"}
    with BootLoop(api, ["n1"]) as loop:
        loop.boot("n1", f"planeshift-verify-{int(time.time()) - 7200}-0")  # as a round trip that was killed leaves it
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
    assert named(api, "planeshift-verify") == []
    loop.assert_nothing_lost()
    assert "Nothing to do" in nova.up().out
    rows = {(r["service"], r["backend"], r["host"]): r for r in nova.rows()}
    assert rows["cell", "c1", ""]["health"] == "up", rows
    assert rows["nova", "new", "c2"]["detail"] == "idle"


SLOW = """
import sys, threading, time, types
import oslo_messaging
from oslo_config import cfg

begun, ended = threading.Event(), threading.Event()


class Endpoint:
    def work(self, context):
        begun.set()
        time.sleep(1)
        ended.set()


def main():
    cfg.CONF([])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, "fake:")
    target = oslo_messaging.Target(topic="topic", server="server")
    server = oslo_messaging.get_rpc_server(transport, target, [Endpoint()])
    server.start()
    oslo_messaging.get_rpc_client(transport, target).cast({}, "work")
    assert begun.wait(60)
    server.stop()
    print(sys.argv, ended.is_set())
    server.wait()


sys.modules["nova.cmd.PROGRAM"] = types.SimpleNamespace(main=main)
"""


@pytest.mark.parametrize("program", ["scheduler", "conductor", "compute"])
def test_a_server_of_messages_that_has_stopped_has_finished_what_it_took(nova: Cloud, program: str) -> None:
    """Nova closes what a message needs before it waits for the message: one that came last would fail."""
    [component] = [c for c in catalog.service("nova").components if c.name == f"nova-{program}"]
    python, *options, code, name = component.command
    [environment] = (nova.state / "environments").glob("nova-*")
    argv = [environment / "bin" / python, *options, SLOW.replace("PROGRAM", program) + code, name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.stdout == f"['nova-{program}'] True\n", done.stderr


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
    loop.delete(server)
    loop.assert_nothing_lost()
    nova.wait_up()


# --- faults while the cell's conductors move

CLIENTS = ["n1", "n1"]  # each has one server in flight
UNITS = {"old": "c1/nova/old", "new": "c2/nova/new"}


def programs(nova: Cloud, unit: str, name: str) -> list[int]:
    """The processes of a unit's program."""
    return [pid for pid, what in nova.processes().items() if what == f"{nova.runtime}/{unit}#{name}"]


def sides(nova: Cloud) -> tuple[str, str]:
    """The unit that takes messages of the cell, and the backend that does not."""
    [there] = takers(nova) & set(UNITS.values())
    [other] = [name for name, unit in UNITS.items() if unit != there]
    return there, other


def moved(nova: Cloud, other: str) -> bool:
    """Whether this backend alone takes the cell's messages."""
    return takers(nova) & set(UNITS.values()) == {UNITS[other]}


@contextlib.contextmanager
def moving(nova: Cloud, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run beside us that moves messages; the log of its shift has begun."""
    before = set((nova.state / "shifts").glob("*/events.jsonl"))
    argv, pipe = [*PLANESHIFT, *arguments, "--yes", "-f", str(nova.file)], subprocess.PIPE
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=pipe, text=True, env=nova.environment) as process:
        try:
            until(lambda: set((nova.state / "shifts").glob("*/events.jsonl")) > before, "a shift")
            yield process
        finally:
            process.kill()


def told(nova: Cloud, event: str) -> bool:
    """Whether the last shift has told of such an event."""
    newest = max((nova.state / "shifts").iterdir(), key=lambda d: d.name)
    return any(json.loads(line)["event"] == event for line in (newest / "events.jsonl").read_text().splitlines())


def reaches(nova: Cloud, process: subprocess.Popen[str], other: str) -> None:
    """The shift ends, the next run goes on where it did not come through, and the one after it finds nothing to do."""
    _, err = process.communicate(timeout=240)
    if process.returncode:
        assert "PS901" not in err, err
        nova.does("shift", "nova@c1", "--resume", "--steps", "100", "--yes") if "PS610" in err else nova.up()
    assert moved(nova, other)
    assert "Nothing to do" in nova.up().out


def test_planeshift_is_killed_and_messages_are_taken_and_the_next_run_goes_on(nova: Cloud, api: Api) -> None:
    _, other = sides(nova)
    with BootLoop(api, CLIENTS, enduring=True) as loop:
        loop.flow()
        with moving(nova, "shift", "nova@c1", f"{other}=100") as process:
            until(lambda: UNITS[other] in takers(nova), f"{other} is started")
            process.kill()
        assert takers(nova) >= set(UNITS.values())
        loop.flow()
        with moving(nova, "up") as process:
            until(lambda: named(api, "planeshift-verify"), "a round trip has its server")
            process.kill()
        loop.flow()
        nova.up()
        assert moved(nova, other)
        assert "Nothing to do" in nova.up().out
    # What a round trip had made when it was killed stays, and is deleted here as all that is there.
    loop.assert_consistent(0)


@contextlib.contextmanager
def nothing_written(nova: Cloud) -> Iterator[None]:
    """Whoever writes into the cell's database waits until the block ends."""
    with subprocess.Popen([*client(nova), "--unbuffered"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"FLUSH TABLES WITH READ LOCK; SELECT 'locked';\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()


def client(nova: Cloud) -> list[str]:
    return ["mariadb", "--no-defaults", "-N", "-S", f"{nova.runtime}/c1/mariadb/cell/m.sock"]


def has_in_hand(nova: Cloud, pids: list[int]) -> bool:
    """Whether one of these waits for the database for the sake of a server."""
    query = "SELECT host FROM information_schema.processlist WHERE state LIKE 'Waiting%' AND info LIKE '%instance%'"
    found = subprocess.run([*client(nova), "-e", query], capture_output=True, text=True, check=True).stdout
    ports = {int(line.rpartition(":")[2]) for line in found.splitlines()}
    return bool(ports & local_ports(pids))


def local_ports(pids: list[int]) -> set[int]:
    """The ports of our side of the TCP connections of these processes."""
    inodes = set()
    for link in [link for pid in pids for link in (PROC / str(pid) / "fd").glob("*")]:
        with contextlib.suppress(OSError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in blob(PROC / "net/tcp").decode().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def test_a_conductor_is_killed_with_messages_in_hand(nova: Cloud, api: Api) -> None:
    there, other = sides(nova)
    with BootLoop(api, CLIENTS, enduring=True) as loop:
        loop.flow()
        with moving(nova, "shift", "nova@c1", f"{other}=100", "--steps", "100") as process:
            until(lambda: UNITS[other] in takers(nova), f"{other} is started")
            killed = programs(nova, there, "nova-conductor")
            with nothing_written(nova):
                until(lambda: has_in_hand(nova, killed), "it has messages in hand")
                for pid in killed:
                    kill(pid)
            until(lambda: programs(nova, there, "nova-conductor"), "its supervisor starts it again")
            reaches(nova, process, other)
        loop.flow()
    # A message that was taken is gone with who took it: whoever waits for the answer gives the server up.
    loop.assert_consistent(len(CLIENTS))


def test_rabbitmq_is_restarted(nova: Cloud, api: Api) -> None:
    _, other = sides(nova)
    with BootLoop(api, CLIENTS, enduring=True) as loop:
        loop.flow()
        with moving(nova, "shift", "nova@c1", f"{other}=100") as process:
            until(lambda: told(nova, "sample"), "a step is watched")
            before = loop.asked
            for pid in programs(nova, "here/rabbitmq/main", "rabbitmq"):
                kill(pid)
            until(lambda: answers(nova.host, 5672), "it takes connections again")
            meanwhile = loop.asked - before
            reaches(nova, process, other)
        loop.flow()
    # What was in flight when it went, what was asked for while it was away, and what was in flight when it came.
    loop.assert_consistent(2 * len(CLIENTS) + meanwhile)


def answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), timeout=5).close()
        return True
    return False


def test_the_cells_database_is_gone_for_a_while(nova: Cloud, api: Api) -> None:
    _, other = sides(nova)
    [supervisor] = programs(nova, "c1/mariadb/cell", "supervisord")
    [cell_database] = [h["address"] for h in spec(nova)["hosts"] if h["name"] == "c1"]
    with BootLoop(api, CLIENTS, enduring=True) as loop:
        loop.flow()
        with moving(nova, "shift", "nova@c1", f"{other}=100") as process:
            until(lambda: told(nova, "sample"), "a step is watched")
            before = loop.asked
            os.kill(supervisor, signal.SIGSTOP)  # who would start it again at once
            try:
                for pid in programs(nova, "c1/mariadb/cell", "mariadbd"):
                    kill(pid)
                time.sleep(20)
            finally:
                os.kill(supervisor, signal.SIGCONT)
            until(lambda: answers(cell_database, 3306), "it takes connections again")
            meanwhile = loop.asked - before
            reaches(nova, process, other)
        loop.flow()
    # As above: Nova says of most at once that they are in ERROR, so that clients ask for many.
    loop.assert_consistent(2 * len(CLIENTS) + meanwhile)
