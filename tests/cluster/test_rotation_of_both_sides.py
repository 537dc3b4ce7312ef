"""Live credentials changed on both sides at once, from a sealed secret file, under an open-loop load that counts every loss.

The tests of this module build on one another.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import broker
import pyrage
import pytest
import yaml
from sides import Cloud, cheap_and_dear

from planeshift.openloop import load

pytestmark = pytest.mark.xdist_group("sides")

SECRETS = "secrets/glance.yaml"
NOTIFY = "\n[oslo_messaging_notifications]\ndriver = messagingv2\n"
ADMIN = "adm1n-canary-p@ss"
PATIENCE = 60


class Site:
    """The cloud of both sides, half of the traffic on each, Glance's secrets sealed."""

    def __init__(self, cloud: Cloud, recipient: str) -> None:
        self.cloud, self.recipient, self.directory = cloud, recipient, cloud.rig.directory

    def secrets(self, *arguments: str, stdin: str = "") -> str:
        """`planeshift secrets …` in the cloud's directory."""
        argv = [sys.executable, "-m", "planeshift", "secrets", *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, cwd=self.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def held(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.secrets("view", SECRETS))
        return found

    def mysql(self, statement: str) -> set[str]:
        client = ("mariadb", "--no-defaults", "--socket=/run/mariadb.sock", "-N", "-e", statement)
        return set(self.cloud.rig.inside("db1", *client).split())

    def weights(self, vms: int, pods: int) -> None:
        with self.cloud.edited() as spec:
            for service in spec["services"].values():
                service["backends"]["vms"]["weight"], service["backends"]["pods"]["weight"] = vms, pods
        self.cloud.run("up", "--yes")

    def rotated(self, service: str, name: str) -> str:
        """Rotate under load; no request is lost, and then nothing is left to do. What was said."""
        with load(cheap_and_dear(self.cloud, 80)) as found:
            done = self.cloud.run("secrets", "rotate", service, name, "--yes")
        assert found.failures == [], done.stderr
        assert {"keystone-version", "token", "validate", "upload"} <= found.by_step().keys()
        assert self.cloud.operations() == []
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(both_sides: Cloud) -> Iterator[Site]:
    identity = pyrage.x25519.Identity.generate()
    os.environ["SOPS_AGE_KEY"] = str(identity)
    made = Site(both_sides, str(identity.to_public()))
    made.mysql(f"CREATE USER adm@'%' IDENTIFIED BY '{ADMIN}'; GRANT ALL ON *.* TO adm@'%' WITH GRANT OPTION")
    rights = made.directory / "secrets/databases.yaml"
    rights.write_text(f"main: {{user: adm, password: {ADMIN}}}\n")
    for path in (SECRETS, "secrets/databases.yaml"):
        made.secrets("enc", path, "--age", made.recipient)
    assert both_sides.operations() == []  # a sealed file says what the one in the clear said
    made.weights(50, 50)
    yield made
    made.weights(100, 0)
    made.secrets("dec", "--in-place", SECRETS)
    rights.unlink()
    made.mysql("DROP USER adm@'%'")
    del os.environ["SOPS_AGE_KEY"]


def clear(site: Site, password: str) -> list[str]:
    """Where in the cluster a password is to be read, other than in a Secret."""
    objects = ("configmaps", "deployments", "pods", "events", "jobs")
    found = [
        kind for kind in objects if password in site.cloud.rig.kubectl("-n", "openstack", "get", kind, "-o", "yaml")
    ]
    return found + [str(p) for p in (site.directory / "secrets").iterdir() if password in p.read_text()]


def test_a_database_user_on_hosts_and_pods(site: Site) -> None:
    before = site.held()["database_password"]
    said = site.rotated("glance", "database_password")
    held = site.held()
    assert held["database_user"] == "glance_b" and held["database_password"] != before
    assert not {"database_next", "database_previous"} & set(held)
    assert "glance" not in (names := site.mysql("SELECT User FROM mysql.user")) and "glance_b" in names
    connected = "SELECT SUBSTRING_INDEX(host, ':', 1) FROM information_schema.processlist WHERE user = 'glance_b'"
    assert len(site.mysql(connected)) == 2  # the host, and the pod
    for password in (before, held["database_password"], ADMIN):
        assert password not in said and clear(site, password) == []


def test_a_service_user_on_hosts_and_pods(site: Site) -> None:
    site.rotated("glance", "service_password")
    held = site.held()
    assert held["service_user"] == "glance_b" and not {"service_next", "service_previous"} & set(held)
    assert clear(site, held["service_password"]) == []
    site.cloud.run("verify")


def test_keys_of_tokens_on_hosts_and_pods(site: Site) -> None:
    path, token = site.directory / "secrets/keystone.yaml", site.cloud.token()
    before = yaml.safe_load(path.read_text())["fernet_keys"]
    site.rotated("keystone", "fernet_keys")
    after = yaml.safe_load(path.read_text())["fernet_keys"]
    newest = str(max(map(int, before)) + 1)
    assert set(after) == {*before, newest} and after[newest] not in before.values()
    with load(replace(cheap_and_dear(site.cloud, 80), kept={"token": token})) as found:  # it lives on, on both sides
        time.sleep(2)
    assert found.failures == []


@pytest.fixture
def bus(site: Site) -> Iterator[broker.RabbitMQ]:
    """A broker on this machine, which Glance notifies."""
    conf = site.directory / "config/glance/glance-api.conf"
    before, made = conf.read_text(), broker.rabbitmq(site.cloud.machine)
    rights = site.directory / "secrets/messaging.yaml"
    rights.write_text(f"{made.address}: {{management: 'http://{made.address}:15672', user: guest, password: guest}}\n")
    rights.chmod(0o600)
    url = f"rabbit://glance:bus-p%40ss@{made.address}:5672//"
    option = "options.oslo_messaging_notifications"
    site.secrets("set", SECRETS, f"{option}.transport_url", stdin=url)
    conf.write_text(before + NOTIFY)
    site.cloud.run("up", "--yes")
    yield made
    conf.write_text(before)
    site.secrets("unset", SECRETS, option)
    site.cloud.run("up", "--yes")
    rights.unlink()
    made.end()


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def test_a_message_bus_user_on_hosts_and_pods(site: Site, bus: broker.RabbitMQ) -> None:
    def peers() -> set[tuple[str, str]]:
        return {(c["user"], c["peer_host"]) for c in bus.ask("GET", "connections") if c["user"] != "guest"}

    assert "bus-p" not in site.rotated("glance", "transport_url")
    held = site.held()
    assert "//glance_b:" in held["options"]["oslo_messaging_notifications"]["transport_url"]
    assert not {"transport_next", "transport_previous"} & set(held)
    names = {u["name"] for u in bus.ask("GET", "users")}
    assert "glance_b" in names and "glance" not in names
    with load(cheap_and_dear(site.cloud, 100, 27)) as found:
        until(lambda: len(peers()) == 2, peers)  # both sides notify as the new one, and nobody as another
    assert found.failures == [] and {user for user, _ in peers()} <= {"glance_b"}
