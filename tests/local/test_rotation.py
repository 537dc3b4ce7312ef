"""Live credentials changed under traffic: database users in turn, a service account, token keys; killed, gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import PLANESHIFT, Cloud, program, traffic, until
from test_trial import PASSWORDS, MariaDB

pytestmark = pytest.mark.xdist_group("local-own")

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
        spec["databases"] = {"shared": {"engine": "mysql", "host": mariadb.address}}
        spec["services"]["glance"]["database"] = {"main": "shared"}
    write(cloud, "glance", {"database_password": PASSWORDS["glance"]})
    write(cloud, "databases", {"shared": {"user": "adm", "password": ADMIN}})
    cloud.up()
    cloud.wait_up()
    return cloud


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
