"""MariaDB and RabbitMQ of ours: schemas, vhosts and their users, in memory and on real servers that we run ourselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from conftest import address
from worlds import cloud

from planeshift.drivers.databases import LocalDatabases
from planeshift.drivers.local.host import LocalHost
from planeshift.drivers.memory import Memory
from planeshift.drivers.rabbitmq import RabbitBuses, RabbitUsers
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import DatabaseState, QueueState
from planeshift.ports import Buses, Databases, Host, quiet
from planeshift.render.build import build
from planeshift.render.desired import Desired, DesiredUnit, HostPaths

ADMIN, PASSWORD, OTHER = "adm'in \\ %", "first p@ss", "second"
SPEC = """
hosts: [{{name: here, via: local, address: {address}}}]
edges: [{{name: lb, address: {address}, statistics: {{port: 8405}}}}]
databases: {{main: {{engine: mysql, manage: true, host: here}}}}
messaging: {{main: {{manage: true, host: here}}}}
services:
  keystone: {{backends: {{vms: {{hosts: [here]}}}}}}
  neutron: {{backends: {{vms: {{hosts: [here]}}}}}}
"""
NEEDED = {"mariadb": ("mariadbd", "mariadb-install-db"), "rabbitmq": ("rabbitmq-server", "epmd")}


class Rig:
    """A host with one of the two servers."""

    def __init__(self, host: Host, databases: Databases, buses: Buses, desired: Desired) -> None:
        self.host, self.databases, self.buses, self.desired = host, databases, buses, desired
        self.database, self.bus = desired.databases["keystone"], desired.buses["neutron"]

    def start(self, kind: str) -> None:
        unit = self.unit(kind)
        self.host.make_directories(unit.directories)
        self.host.lay_out(unit.unit.id, unit.files)
        self.host.start(unit.unit.id, unit.programs)
        self.host.wait_ready(unit.health, unit.unit.id, quiet)

    def stop(self, kind: str) -> None:
        self.host.stop(self.unit(kind).unit.id)

    def unit(self, kind: str) -> DesiredUnit:
        return self.desired.units[f"here/{kind}/main"]

    def state(self, password: str = PASSWORD) -> DatabaseState:
        return self.databases.state(self.database, password, "")


@pytest.fixture
def rig(kind: str, directory: Path, server: str) -> Iterator[Rig]:
    path = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if kind == "real" and not all(shutil.which(program, path=path) for program in NEEDED[server]):
        pytest.skip(f"{server} is not installed")
    declared = cloud(SPEC.format(address=address()))
    paths = HostPaths(runtime=str(directory / "run"), state=str(directory / "state"))
    secrets = {"mariadb": {"main_password": ADMIN}, "rabbitmq": {"main_password": ADMIN}}
    desired = build(declared, {}, secrets, {"here": paths})
    memory = Memory()
    made = (
        Rig(memory.host("here", paths), memory.databases, memory.buses, desired)
        if kind == "memory"
        else Rig(LocalHost("here", paths, {}), LocalDatabases(directory / "state"), RabbitBuses(), desired)
    )
    yield made
    made.stop(server)


@pytest.mark.parametrize("server", ["mariadb"])
def test_a_schema_and_its_user_are_made_and_what_is_in_it_stays(rig: Rig, kind: str, server: str) -> None:
    assert rig.state() == DatabaseState(), "nobody can say what is in a server that does not run"
    with pytest.raises(PlaneshiftError):
        rig.databases.prepare(rig.database, PASSWORD, ADMIN)
    rig.start(server)
    assert not rig.state().exists
    for _ in range(2):
        rig.databases.prepare(rig.database, PASSWORD, ADMIN)
    assert rig.state() == DatabaseState(reachable=True, exists=True, empty=True)
    if kind == "real":
        _only_its_own(rig)
    rig.databases.prepare(rig.database, OTHER, ADMIN)
    assert rig.state(OTHER).exists
    rig.stop(server)
    assert rig.state(OTHER) == DatabaseState()
    rig.start(server)
    there = rig.state(OTHER)
    assert there.exists and there.empty is (kind == "memory")
    if kind == "real":
        said: list[str] = []
        rig.databases.back_up(rig.database, OTHER, said.append)
        assert said == ["restoring the backup into keystone_planeshift_trial, as a test"]


def _only_its_own(rig: Rig) -> None:
    """A user has rights to its own schema, and to no other."""
    host = rig.desired.units["here/mariadb/main"].unit
    connection = pymysql.connect(host=host.address, port=host.port, user="keystone", password=PASSWORD)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE keystone.t (n INT)")
        cursor.execute("SHOW DATABASES")
        assert {name for (name,) in cursor.fetchall()} == {"information_schema", "keystone"}
        for statement in (
            "CREATE DATABASE x",
            "SELECT * FROM mysql.user",
            "GRANT SELECT ON keystone.* TO keystone@'%'",
        ):
            with pytest.raises(pymysql.Error):
                cursor.execute(statement)
    assert rig.databases.rows(rig.database, PASSWORD, "SHOW TABLES") == [("t",)]


@pytest.mark.parametrize("server", ["rabbitmq"])
def test_a_vhost_and_its_user_are_made_and_nobody_else_gets_in(rig: Rig, kind: str, server: str) -> None:
    with pytest.raises(PlaneshiftError):
        rig.buses.queues(rig.bus, PASSWORD, ["q"])
    assert not rig.buses.state(rig.bus, PASSWORD).works
    with pytest.raises(PlaneshiftError):
        rig.buses.prepare(rig.bus, PASSWORD, ADMIN)
    rig.start(server)
    for _ in range(2):
        rig.buses.prepare(rig.bus, PASSWORD, ADMIN)
    assert rig.buses.state(rig.bus, PASSWORD).works
    refused = rig.buses.state(rig.bus, OTHER)
    assert refused.problem and not refused.works
    rig.buses.prepare(rig.bus, OTHER, ADMIN)
    assert rig.buses.state(rig.bus, OTHER).works
    assert rig.buses.queues(rig.bus, OTHER, ["q", "r"]) == {}
    if kind == "real":
        _a_message_waits(rig)
        assert rig.buses.queues(rig.bus, OTHER, ["q", "none", "r"]) == {"q": QueueState(1), "r": QueueState()}
    rig.stop(server)
    assert not rig.buses.state(rig.bus, OTHER).works
    rig.start(server)
    assert rig.buses.state(rig.bus, OTHER).works


def _a_message_waits(rig: Rig) -> None:
    """Two queues, and a message in the first one."""
    host, port = rig.bus.hosts[0]
    broker = RabbitUsers(host, port, {"management": rig.bus.management, "user": rig.bus.user, "password": OTHER})
    admin = {"management": rig.bus.management, "user": "planeshift", "password": ADMIN}
    RabbitUsers(host, port, admin)._ask("PUT", f"users/{rig.bus.user}", {"password": OTHER, "tags": "management"})
    for name in ("q", "r"):
        broker._ask("PUT", f"queues/{rig.bus.vhost}/{name}", {"durable": True})
    message = {"properties": {}, "routing_key": "q", "payload": "x", "payload_encoding": "string"}
    broker._ask("POST", f"exchanges/{rig.bus.vhost}/amq.default/publish", message)
