"""Live credentials changed under traffic: database users in turn, a service account, token keys; killed, gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from rig import PLANESHIFT, Cloud, addresses, program, traffic, until
from test_trial import PASSWORDS, MariaDB

pytestmark = pytest.mark.xdist_group("local-own")

ADMIN = "adm1n-canary-p@ss"
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # without Debian's wrapper, which changes the user


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    if program("mariadbd") is None or program("mariadb-install-db") is None:
        pytest.skip("mariadbd is not installed: apt-get install mariadb-server")
    server = MariaDB()
    with server.cursor() as cursor:
        cursor.execute("CREATE USER adm@'%%' IDENTIFIED BY %s", (ADMIN,))
        cursor.execute("GRANT ALL ON *.* TO adm@'%' WITH GRANT OPTION")
    yield server
    server.end()


@pytest.fixture(scope="module")
def rotated(clouds: Callable[..., Cloud], mariadb: MariaDB) -> Cloud:
    """Keystone, and Glance on MariaDB in two backends of one service."""
    cloud = clouds("rotation", "keystone", "glance")
    with cloud.edited() as spec:
        spec["databases"] = {"shared": {"engine": "mysql", "host": mariadb.address}}
        spec["services"]["glance"]["database"] = {"main": "shared"}
    write(cloud, "glance", {"database_password": PASSWORDS["glance"]})
    write(cloud, "databases", {"shared": {"user": "adm", "password": ADMIN}})
    cloud.up()
    cloud.wait_up()
    return cloud


class RabbitMQ:
    """A broker of our own on a loopback address, with its management."""

    def __init__(self) -> None:
        self.address, _ = addresses()
        self.root = Path(tempfile.mkdtemp(prefix="planeshift-rabbitmq-"))
        (self.root / "plugins").write_text("[rabbitmq_management].\n")
        (self.root / "rabbit.conf").write_text(
            f"listeners.tcp.1 = {self.address}:5672\nmanagement.tcp.ip = {self.address}\nmanagement.tcp.port = 15672\n"
            "loopback_users = none\n"
        )
        numbers = self.address.replace(".", ",")
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": self.address, "ERL_EPMD_PORT": "4369",
            "RABBITMQ_NODENAME": f"rotation{os.getpid()}@localhost", "RABBITMQ_DIST_PORT": "25672",
            "RABBITMQ_MNESIA_BASE": str(self.root / "mnesia"), "RABBITMQ_LOG_BASE": str(self.root / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.root / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.root / "rabbit.conf"), "RABBITMQ_PID_FILE": str(self.root / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{{numbers}}}",
        }  # fmt: skip
        epmd = [str(program("epmd")), "-address", self.address, "-port", "4369"]
        self.processes = [subprocess.Popen(epmd, env=self.environment, stderr=subprocess.DEVNULL)]
        with (self.root / "out").open("wb") as out:
            self.processes.append(subprocess.Popen([SERVER], env=self.environment, stdout=out, stderr=out))
        until(self.answers, lambda: f"RabbitMQ answers: {(self.root / 'out').read_text()[-2000:]}")
        self.ask("PUT", "users/glance", {"password": "bus-p@ss", "tags": ""})
        self.ask("PUT", "permissions/%2F/glance", {"configure": ".*", "write": ".*", "read": ".*"})

    def answers(self) -> bool:
        try:
            return bool(self.ask("GET", "whoami"))
        except (OSError, AssertionError, urllib3.exceptions.HTTPError):
            return False

    def ask(self, method: str, path: str, body: object = None) -> Any:
        headers = {**urllib3.make_headers(basic_auth="guest:guest"), "Content-Type": "application/json"}
        url = f"http://{self.address}:15672/api/{path}"
        answer = urllib3.request(method, url, headers=headers, body=json.dumps(body) if body else None, retries=False)
        assert answer.status < 400, answer.data
        return json.loads(answer.data) if answer.data else None

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        shutil.rmtree(self.root)


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    if not Path(SERVER).exists() or program("epmd") is None:
        pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
    server = RabbitMQ()
    yield server
    server.end()


def write(cloud: Cloud, name: str, values: dict[str, object]) -> None:
    path = cloud.root / "secrets" / f"{name}.yaml"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in values.items()))
    path.chmod(0o600)


def users(mariadb: MariaDB) -> set[str]:
    with mariadb.cursor() as cursor:
        cursor.execute("SELECT User FROM mysql.user WHERE User LIKE 'glance%'")
        return {str(name) for (name,) in cursor.fetchall()}


def test_a_database_user_is_rotated_under_traffic_and_back(rotated: Cloud, mariadb: MariaDB) -> None:
    for user, other in (("glance_b", "glance"), ("glance", "glance_b")):
        before = rotated.secret("glance", "database_password")
        with traffic(rotated) as flow:
            done = rotated.does("secrets", "rotate", "glance", "database_password", "--yes")
            flow.flow()
        assert flow.failures == [], done.text
        held = rotated.secrets("glance")
        assert held["database_user"] == user and held["database_password"] != before
        assert not {"database_next", "database_previous"} & set(held)
        assert users(mariadb) == {user} and other != user
        rotated.settles()
        with mariadb.cursor() as cursor:
            cursor.execute("SELECT DISTINCT user FROM information_schema.processlist WHERE user LIKE 'glance%'")
            assert {name for (name,) in cursor.fetchall()} <= {user}
        assert before not in done.text and held["database_password"] not in done.text and ADMIN not in done.text


@pytest.mark.parametrize("line", ["the next user is", "bringing every backend"])
def test_a_rotation_that_was_killed_is_gone_on_with(rotated: Cloud, mariadb: MariaDB, line: str) -> None:
    before = rotated.secrets("glance").get("database_user", "glance")
    argv = [*PLANESHIFT, "secrets", "rotate", "glance", "database_password", "--yes", "-f", str(rotated.file)]
    with traffic(rotated) as flow:
        with subprocess.Popen(argv, env=rotated.environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            for said in process.stderr:
                if said.startswith(line):
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        rotated.does("secrets", "rotate", "glance", "database_password", "--yes")
        flow.flow()
    assert flow.failures == []
    held = rotated.secrets("glance")
    assert held["database_user"] != before and users(mariadb) == {held["database_user"]}
    assert not {"database_next", "database_previous"} & set(held)
    rotated.settles()


def test_a_service_account_is_rotated_under_traffic(rotated: Cloud) -> None:
    with traffic(rotated) as flow:
        rotated.does("secrets", "rotate", "glance", "service_password", "--yes")
        flow.flow()
    assert flow.failures == []
    assert rotated.secrets("glance")["service_user"] == "glance_b"
    answer = rotated.request("GET", 5000, "/v3/users", headers={"X-Auth-Token": rotated.token()})
    names = {u["name"] for u in json.loads(answer.body)["users"]}
    assert "glance_b" in names and "glance" not in names
    rotated.settles()
    rotated.does("verify")


def test_token_keys_are_promoted_under_traffic_and_tokens_live_on(rotated: Cloud) -> None:
    before, token = rotated.secret("keystone", "fernet_keys"), rotated.token()
    with traffic(rotated) as flow:
        rotated.does("secrets", "rotate", "keystone", "fernet_keys", "--yes")
        flow.flow()
    assert flow.failures == []
    after = rotated.secret("keystone", "fernet_keys")
    newest = max(map(int, after))
    assert after[str(newest)] == before["0"] and after["0"] != before["0"] and newest == max(map(int, before)) + 1
    assert rotated.request("GET", 9292, "/v2/images?limit=1", headers={"X-Auth-Token": token}).status == 200
    rotated.settles()


def test_what_cannot_be_rotated_is_refused(rotated: Cloud, mariadb: MariaDB) -> None:
    rotated.run("secrets", "rotate", "glance", "nonsense", "--yes").refused("PS1022", "database_password")
    rotated.run("secrets", "rotate", "nova", "database_password", "--yes").refused("PS205", "nova")
    assert rotated.run("secrets", "rotate", "keystone", "database_password", "--yes").code == 1  # a file
    aside = Path(f"{rotated.root}/secrets/databases.yaml")
    held, password = rotated.secret_digests(), aside.read_text()
    aside.unlink()
    try:
        rotated.run("secrets", "rotate", "glance", "database_password", "--yes").refused("PS1022", "database_next")
    finally:
        aside.write_text(password)
        aside.chmod(0o600)
    assert rotated.secret_digests() == held
    write(rotated, "databases", {"shared": {"user": "adm", "password": "wrong"}})
    try:
        said = rotated.run("secrets", "rotate", "glance", "database_password", "--yes").refused("PS1022", "refuses adm")
        assert "wrong" not in said
    finally:
        write(rotated, "databases", {"shared": {"user": "adm", "password": ADMIN}})
    until(lambda: set(rotated.health().values()) == {"up"}, "all is up")


def test_a_message_bus_user_is_rotated_and_no_notification_is_lost(rotated: Cloud, rabbitmq: RabbitMQ) -> None:
    held = rotated.secrets("glance")
    url = f"rabbit://glance:bus-p%40ss@{rabbitmq.address}:5672//"
    write(rotated, "glance", {**held, "options": {"oslo_messaging_notifications": {"transport_url": url}}})
    admin = {"management": f"http://{rabbitmq.address}:15672", "user": "guest", "password": "guest"}
    write(rotated, "messaging", {rabbitmq.address: admin})
    conf = rotated.root / "config" / "glance" / "glance-api.conf"
    conf.write_text(conf.read_text() + "\n[oslo_messaging_notifications]\ndriver = messagingv2\n")
    rotated.up()
    token, stop, made, failures = rotated.token(), threading.Event(), [0], list[str]()

    def create() -> None:
        body = json.dumps({"name": "n", "disk_format": "raw", "container_format": "bare"})
        headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
        while not stop.wait(0.1):
            try:
                answer = rotated.request("POST", 9292, "/v2/images", body, headers)
                if answer.status != 201:
                    failures.append(f"{answer.status} {answer.body!r}")
                made[0] += 1
            except OSError as error:
                failures.append(str(error))

    def told() -> int:
        found = rabbitmq.ask("GET", "queues/%2F/notifications.info")  # it counts every few seconds
        return int(found.get("messages", 0))

    thread = threading.Thread(target=create)
    thread.start()
    try:
        until(lambda: made[0] >= 3, "images are made")
        done = rotated.does("secrets", "rotate", "glance", "transport_url", "--yes")
        more = made[0] + 3
        until(lambda: made[0] >= more, "images are made after it")
    finally:
        stop.set()
        thread.join()
    assert failures == [], done.text
    assert "bus-p" not in done.text
    found = rotated.secrets("glance")
    assert "//glance_b:" in found["options"]["oslo_messaging_notifications"]["transport_url"]
    assert not {"transport_next", "transport_previous"} & set(found)
    names = {u["name"] for u in rabbitmq.ask("GET", "users")}
    assert "glance_b" in names and "glance" not in names
    until(lambda: told() == made[0], lambda: f"every notification came: {told()} of {made[0]}", 60)
    rotated.settles()
