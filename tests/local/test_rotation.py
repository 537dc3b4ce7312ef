"""Live credentials changed under traffic: database users in turn, a service account, token keys; killed, gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import broker
import pytest
from rig import PLANESHIFT, Cloud, Watch, addresses, program, traffic, until, walk
from test_trial import PASSWORDS, MariaDB

ADMIN = "adm1n-canary-p@ss"


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
        spec |= mariadb.declare(cloud, "shared")
        spec["services"]["glance"]["database"] = {"main": "shared"}
    write(cloud, "glance", {"database_password": PASSWORDS["glance"]})
    write(cloud, "databases", {"shared": {"user": "adm", "password": ADMIN}})
    cloud.up()
    cloud.wait_up()
    return cloud


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[broker.RabbitMQ]:
    server = broker.rabbitmq(addresses()[0])
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


def killed_at(cloud: Cloud, line: str, *arguments: str, sign: signal.Signals = signal.SIGKILL) -> None:
    """A rotation, ended by a signal as soon as it says a line that begins so."""
    argv = [*PLANESHIFT, "secrets", "rotate", *arguments, "--yes", "-f", str(cloud.file)]
    with subprocess.Popen(argv, env=cloud.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for said in process.stderr:
            if said.startswith(line):
                process.send_signal(sign)
                break
    assert process.returncode in (-sign, 130)


def found(cloud: Cloud, texts: set[str], since: float) -> list[Path]:
    """Files that hold one of the texts, other than what a running service reads, and the secret files themselves."""
    wanted = [text.encode() for text in texts]
    new = [p for top in ("/tmp", "/dev/shm") for p in Path(top).iterdir() if p.lstat().st_ctime >= since]
    places = [cloud.state, cloud.runtime, *(p for p in new if not p.name.startswith(("planeshift-", "pytest-")))]
    files = (
        p for place in places for p in ([place] if place.is_file() else walk(place, skip={"environments", "data"}))
    )
    return [
        p
        for p in files
        if p.name != "90-secrets.conf"
        and not p.is_symlink()
        and p.is_file()
        and p.lstat().st_ctime >= since
        and any(text in p.read_bytes() for text in wanted)
    ]


@pytest.mark.parametrize(
    ("line", "sign"),
    [
        ("the next user is", signal.SIGKILL),
        ("bringing every backend", signal.SIGTERM),
        ("the next user", signal.SIGHUP),
    ],
)
def test_a_rotation_that_was_killed_is_gone_on_with_and_leaves_no_password_anywhere(
    rotated: Cloud, mariadb: MariaDB, line: str, sign: signal.Signals
) -> None:
    held, begun = rotated.secrets("glance"), time.time() - 1
    before, passwords = held.get("database_user", "glance"), {ADMIN, str(held["database_password"])}
    with traffic(rotated) as flow, Watch() as watch:
        killed_at(rotated, line, "glance", "database_password", sign=sign)
        held = rotated.secrets("glance")
        passwords |= {str(held["database_password"]), str(held.get("database_next", {}).get("password", ADMIN))}
        assert found(rotated, passwords, begun) == []
        rotated.does("secrets", "rotate", "glance", "database_password", "--yes")
        flow.flow()
    assert flow.failures == []
    held = rotated.secrets("glance")
    assert held["database_user"] != before and users(mariadb) == {held["database_user"]}
    assert not {"database_next", "database_previous"} & set(held)
    passwords.add(str(held["database_password"]))
    assert len(passwords) == 3 and found(rotated, passwords, begun) == []
    assert [shown for password in passwords for shown in watch.showing(password)] == []
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


def test_token_keys_are_staged_then_promoted_once_though_killed_and_tokens_live_on(rotated: Cloud) -> None:
    before, token = rotated.secret("keystone", "fernet_keys"), rotated.token()
    newest = max(map(int, before))
    with traffic(rotated) as flow:
        killed_at(rotated, "a new key is staged", "keystone", "fernet_keys")
        held = rotated.secrets("keystone")
        assert held["fernet_keys_promoting"] == str(newest + 1)
        staged = held["fernet_keys"]["0"]
        assert staged not in before.values() and max(map(int, held["fernet_keys"])) == newest
        killed_at(rotated, f"key {newest + 1} is promoted", "keystone", "fernet_keys")
        done = rotated.does("secrets", "rotate", "keystone", "fernet_keys", "--yes")
        flow.flow()
    assert flow.failures == []
    after = rotated.secrets("keystone")
    assert "fernet_keys_promoting" not in after and staged not in done.text
    assert after["fernet_keys"] == {
        str(newest + 1): staged,
        **{n: k for n, k in before.items() if n != "0"},
        "0": staged,
    }
    for one in (token, rotated.token()):
        assert rotated.request("GET", 9292, "/v2/images?limit=1", headers={"X-Auth-Token": one}).status == 200
    rotated.settles()


def test_credentials_that_are_stored_are_encrypted_anew(rotated: Cloud) -> None:
    headers = {"X-Auth-Token": rotated.token(), "Content-Type": "application/json"}
    user = json.loads(rotated.request("GET", 5000, "/v3/users?name=admin", headers=headers).body)["users"][0]["id"]
    body = {"credential": {"blob": "kept", "type": "note", "user_id": user}}
    made = rotated.request("POST", 5000, "/v3/credentials", json.dumps(body), headers)
    assert made.status == 201, made
    path = f"/v3/credentials/{json.loads(made.body)['credential']['id']}"

    def blob() -> object:
        answer = rotated.request("GET", 5000, path, headers=headers)
        return json.loads(answer.body)["credential"]["blob"] if answer.status == 200 else answer

    newest = max(map(int, rotated.secret("keystone", "credential_keys")))
    with traffic(rotated) as flow:
        killed_at(rotated, "what is stored", "keystone", "credential_keys")
        assert blob() == "kept"
        rotated.does("secrets", "rotate", "keystone", "credential_keys", "--yes")
        flow.flow()
    assert flow.failures == [] and blob() == "kept"
    keys = rotated.secret("keystone", "credential_keys")
    assert max(map(int, keys)) == newest + 1
    [database] = (rotated.state / "data").rglob("keystone.sqlite")
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        hashes = {found for (found,) in connection.execute("SELECT key_hash FROM credential")}
    assert hashes == {hashlib.sha1(keys[str(newest + 1)].encode()).hexdigest()}
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


def test_a_message_bus_user_is_rotated_and_no_notification_is_lost(rotated: Cloud, rabbitmq: broker.RabbitMQ) -> None:
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
