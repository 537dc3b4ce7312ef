"""Everything that a cloud may have besides: MariaDB, TLS of our own making, memcached; and an upgrade of all."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from rig import Cloud, Watch, addresses, kill, program, until, walk

from planeshift.catalog.spec import Secret
from planeshift.drivers.databases.mysql import Mysql
from planeshift.drivers.maker import RandomMaker
from planeshift.errors import PlaneshiftError
from planeshift.render.desired import DesiredDatabase

SERVICES = ("keystone", "glance", "placement", "barbican")
# As awkward as passwords are: for URLs, oslo.config, YAML, MariaDB's option files.
PASSWORDS = {name: f"{name}-p@ss/%$w:rd\"'\\#?" for name in SERVICES}
TRUST = "tls/authorities.pem"
PASSWORDS["keystone"] = PASSWORDS["keystone"].translate(
    dict.fromkeys(map(ord, "@/%"))
)  # its migrations cannot have them


class MariaDB:
    """A server of our own on a loopback address, which speaks TLS, and nothing else to who comes over the network."""

    def __init__(self) -> None:
        self.address, _ = addresses()
        self.root = Path(tempfile.mkdtemp(prefix="planeshift-mariadb-"))
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self.common = ["--no-defaults", f"--datadir={self.root / 'data'}", f"--user={user}"]
        make = [str(program("mariadb-install-db")), *self.common, "--auth-root-authentication-method=normal"]
        done = subprocess.run([*make, "--skip-test-db"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        made = certificate(self.address)
        self.authority = made["ca_certificate"]
        for name in ("certificate", "key"):
            (self.root / name).write_text(made[name])
            shutil.chown(self.root / name, user)
        self.start()
        with self.cursor() as cursor:
            for name, password in PASSWORDS.items():
                cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
                cursor.execute(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", (password,))
                cursor.execute(f"GRANT ALL ON {name}.* TO {name}@'%'")

    def start(self) -> None:
        flags = [f"--bind-address={self.address}", "--port=3306", f"--socket={self.root / 's'}"]
        flags += ["--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", f"--pid-file={self.root / 'pid'}"]
        flags += [f"--ssl-cert={self.root / 'certificate'}", f"--ssl-key={self.root / 'key'}"]
        flags += ["--require-secure-transport=ON"]
        with (self.root / "log").open("ab") as log:
            command = [str(program("mariadbd")), *self.common, *flags]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers, lambda: f"MariaDB answers: {(self.root / 'log').read_text()[-2000:]}")

    def answers(self) -> bool:
        try:
            socket.create_connection((self.address, 3306), timeout=5).close()
        except OSError:
            return False
        return True

    def cursor(self) -> Any:
        connection = pymysql.connect(unix_socket=str(self.root / "s"), user="root", autocommit=True)
        return connection.cursor()

    def declare(self, cloud: Cloud, name: str) -> dict[str, Any]:
        """It, as a cloud declares it and whom it trusts."""
        trust(cloud, self.authority)
        return {"databases": {name: {"engine": "mysql", "host": self.address, "tls": True}}, "trust": TRUST}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def end(self) -> None:
        self.stop()
        shutil.rmtree(self.root)


def certificate(name: str) -> dict[str, str]:
    """An authority, a certificate by it, and its key; PEM."""
    made = RandomMaker().make(Secret("tls", "trial-tls", "a certificate"), [name])
    assert isinstance(made, dict)
    return made


def trust(cloud: Cloud, *authorities: str) -> None:
    path = cloud.root / TRUST
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(authorities))


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB | None]:
    if program("mariadbd") is None or program("mariadb-install-db") is None:
        yield None
        return
    server = MariaDB()
    yield server
    server.end()


@pytest.fixture(scope="module")
def memcached() -> Iterator[str]:
    """Its address and port, or nothing."""
    if program("memcached") is None:
        yield ""
        return
    address, _ = addresses()
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    process = subprocess.Popen([str(program("memcached")), "-l", address, "-p", "11211", "-u", user, "-m", "32"])
    until(lambda: memcached_statistics(f"{address}:11211"), "memcached answers")
    yield f"{address}:11211"
    process.terminate()
    process.wait()


def memcached_statistics(place: str) -> dict[str, int]:
    try:
        with socket.create_connection((place.split(":")[0], 11211), timeout=10) as connection:
            connection.sendall(b"stats\r\nquit\r\n")
            with connection.makefile() as answer:
                found = [line.split() for line in answer]
    except OSError:
        return {}
    return {f[1]: int(f[2]) for f in found if len(f) == 3 and f[2].isdigit()}


@pytest.fixture(scope="module")
def trial(clouds: Callable[..., Cloud], mariadb: MariaDB | None, memcached: str) -> Cloud:
    """A cloud with all of it that this machine has, of the older release; its secret files hold what was given."""
    cloud = clouds("trial", *SERVICES)
    with cloud.edited() as spec:
        spec["release"] = "2026.1"
        spec["endpoints"] = {"public": {"tls": {"trial": True}}}
        if mariadb:
            spec |= mariadb.declare(cloud, "main")
        if memcached:
            spec["caches"] = {"shared": {"hosts": [memcached]}}
    cloud.secure = True
    return cloud


@pytest.fixture
def sql(mariadb: MariaDB | None) -> MariaDB:
    if mariadb is None:
        pytest.skip("mariadbd is not installed: apt-get install mariadb-server")
    return mariadb


def give(cloud: Cloud, passwords: dict[str, str]) -> None:
    for name, password in passwords.items():
        path = cloud.root / "secrets" / f"{name}.yaml"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        lines = [line for line in lines if not line.startswith("database_password:")]
        path.write_text("\n".join([*lines, f"database_password: {json.dumps(password)}", ""]))
        path.chmod(0o600)


# --- MariaDB


def test_a_database_password_that_was_not_given_is_asked_for(trial: Cloud, sql: MariaDB) -> None:
    trial.run("up", "--yes").refused("PS502", "secrets/glance.yaml", "database_password")
    assert trial.processes() == {}


def test_a_wrong_database_password_is_named_before_anything_is_touched(trial: Cloud, sql: MariaDB) -> None:
    give(trial, PASSWORDS | {"glance": "wrong"})
    said = trial.run("up", "--yes").refused("PS501", "the database of glance", "does not take the password of glance")
    assert "wrong" not in said and "keystone" not in said
    assert trial.processes() == {} and not trial.secrets("barbican").get("kek")


def test_a_database_server_with_a_certificate_of_somebody_else_is_refused(trial: Cloud, sql: MariaDB) -> None:
    trust(trial, certificate(sql.address)["ca_certificate"])
    said = trial.run("up", "--yes").refused("PS501", "the database of glance", "the certificate of", "`trust`")
    assert "does not answer" not in said
    trust(trial, sql.authority, certificate("another")["ca_certificate"])  # one of several, in any order
    assert trial.processes() == {}


def test_everything_comes_up_and_no_password_is_shown(trial: Cloud, mariadb: MariaDB | None) -> None:
    if mariadb:
        give(trial, PASSWORDS)
    with Watch() as watch:
        trial.up()
    trial.wait_up()
    trial.settles()
    trial.does("verify")
    shown = {p: watch.showing(p) for p in PASSWORDS.values()}
    assert {p: s for p, s in shown.items() if s} == {}
    printed = trial.does("plan", "-o", "json").out + trial.does("render", "files").out
    assert not [p for p in PASSWORDS.values() if p in printed]


def test_services_keep_their_state_in_mariadb(trial: Cloud, sql: MariaDB) -> None:
    with sql.cursor() as cursor:
        for name in SERVICES:
            assert cursor.execute(f"SELECT version_num FROM {name}.alembic_version") >= 1
    assert not list(trial.state.glob("**/*.sqlite"))


# --- TLS


def test_stock_clients_trust_the_trial_authority_and_others_do_not(trial: Cloud) -> None:
    url, authority = trial.url(5000, "/v3"), trial.state / "ca.pem"
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, timeout=60)
    context = ssl.create_default_context(cafile=str(authority))
    with urllib.request.urlopen(url, timeout=60, context=context) as answer:
        assert answer.status == 200 and f'"{url}/"'.encode() in answer.read()
    environment = dict(line.removeprefix("export ").split("=", 1) for line in trial.does("env").out.splitlines())
    clouds = Path(environment["OS_CLIENT_CONFIG_FILE"].strip("'"))
    assert str(authority) in clouds.read_text()
    openstack = [str(Path(sys.executable).with_name("openstack")), "token", "issue", "-f", "value", "-c", "id"]
    done = subprocess.run(openstack, env=trial.environment | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and len(done.stdout) > 50, done.stderr


def test_no_private_key_can_be_read_by_others(trial: Cloud) -> None:
    holding = []
    for root in (trial.runtime, trial.state, trial.root / "secrets"):
        for path in walk(root, skip={"environments", "data"}):
            if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
                holding.append(path)
    assert len(holding) >= 2
    assert {stat.S_IMODE(p.stat().st_mode) for p in holding} == {0o600}
    assert "PRIVATE KEY" not in trial.does("render", "files").out


# --- memcached


def test_tokens_are_cached_in_the_shared_memcached(trial: Cloud, memcached: str) -> None:
    if not memcached:
        pytest.skip("memcached is not installed: apt-get install memcached")
    for unit in ("keystone/vms/home/.keystone/keystone.conf", "glance/vms/home/.glance/glance-api.conf"):
        assert memcached in (trial.runtime / "here" / unit).read_text()
    headers = {"X-Auth-Token": trial.token()}
    before = memcached_statistics(memcached)
    for _ in range(5):
        assert trial.request("GET", 9292, "/v2/images", headers=headers).status == 200
    after = memcached_statistics(memcached)
    assert after["get_hits"] - before["get_hits"] >= 4 and after["cmd_set"] > before["cmd_set"]


# --- faults of the database


def test_a_database_that_is_down_is_named_and_all_is_well_when_it_is_back(trial: Cloud, sql: MariaDB) -> None:
    processes = trial.processes()
    sql.stop()
    try:
        trial.run("up", "--yes").refused("PS501", "the database of keystone", f"{sql.address}:3306 does not answer")
        rows = [r for r in trial.rows() if r["service"] == "database"]
        assert {(r["backend"], r["health"]) for r in rows} == {(name, "down") for name in SERVICES}
        assert all("does not answer" in r["detail"] for r in rows), rows
        assert trial.processes() == processes
    finally:
        sql.start()
    trial.wait_up()
    trial.settles()
    until(lambda: trial.run("verify").code == 0, "all is proved again", 60)


# --- an upgrade


def test_an_upgrade_of_every_service_in_place(trial: Cloud) -> None:
    token = trial.token()
    with trial.edited() as spec:
        spec["release"] = "2026.2"
    kinds = trial.kinds()
    assert {"install", "lay-out", "restart"} <= kinds
    assert not kinds & {"migrate", "back-up", "bootstrap", "ensure-identity"}  # the two share their schemas
    trial.mends()
    assert {r["release"] for r in trial.rows() if r["service"] != "edge"} == {"2026.2"}
    answer = trial.request("GET", 5000, "/v3/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token})
    assert answer.status == 200
    trial.does("verify")


# --- backups of MariaDB


def test_a_backup_of_mariadb_is_tried_and_brings_everything_back(
    trial: Cloud, sql: MariaDB, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database = described(sql, "barbican")
    said: list[str] = []
    target = tmp_path / "backup.sql"
    Mysql().back_up(database, PASSWORDS["barbican"], target, said.append)
    assert target.stat().st_size > 10_000 and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "was not tested" in said[0]  # its user has no right to make a schema, and that is said
    with sql.cursor() as cursor:
        cursor.execute("GRANT ALL ON barbican_planeshift_trial.* TO barbican@'%'")
        said.clear()
        Mysql().back_up(database, PASSWORDS["barbican"], target, said.append)
        assert said == ["restoring the backup into barbican_planeshift_trial, as a test"]
        assert cursor.execute("SHOW DATABASES LIKE 'barbican_planeshift_trial'") == 0
        before = tables(cursor)
        cursor.execute("DROP DATABASE barbican")  # and back, as docs/operating.md has it
        cursor.execute("CREATE DATABASE barbican CHARACTER SET utf8mb4")
        with target.open("rb") as file:
            client = [str(program("mariadb")), "--no-defaults", f"--socket={sql.root / 's'}", "--user=root", "barbican"]
            subprocess.run(client, stdin=file, check=True)
        assert tables(cursor) == before
    trial.does("verify")


def test_a_backup_with_a_wrong_password_is_refused(trial: Cloud, sql: MariaDB, tmp_path: Path) -> None:
    with pytest.raises(PlaneshiftError) as failure:
        Mysql().back_up(described(sql, "barbican"), "wrong", tmp_path / "backup.sql", lambda _: None)
    [problem] = failure.value.problems
    assert problem.code == "PS506" and "Access denied" in problem.why
    assert not (tmp_path / "backup.sql").exists()


def described(server: MariaDB, name: str) -> DesiredDatabase:
    url = f"mysql+pymysql://{name}@{server.address}:3306/{name}?charset=utf8"
    return DesiredDatabase(
        name, "mysql", url, "", "here", f"here/{name}/vms", "2026.2", frozenset(), ca=server.authority
    )


def tables(cursor: Any) -> dict[str, int]:
    cursor.execute("SHOW TABLES FROM barbican")
    names = [name for (name,) in cursor.fetchall()]
    found = {}
    for name in names:
        cursor.execute(f"SELECT COUNT(*) FROM barbican.`{name}`")
        found[name] = cursor.fetchone()[0]
    return found


def test_mariadb_killed_and_everything_else_with_it(trial: Cloud, sql: MariaDB) -> None:
    """A power cut of the whole machine: the database comes back first, then `up`."""
    sql.process.kill()
    sql.process.wait()
    for pid in trial.processes():
        kill(pid)
    sql.start()
    trial.mends()
