"""Plain hosts of a lab as `via: lab` hosts of a cloud: a real Keystone on two of them, behind the edge of this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from labrig import PLAIN, Rig

from planeshift.app.site import runtime
from planeshift.lab import machine

pytestmark = [
    pytest.mark.xdist_group("lab-killed"),
    pytest.mark.skipif(
        not shutil.which("mariadbd"), reason="mariadbd is not installed: apt-get install mariadb-server"
    ),
]
PASSWORD = "of-keystone-s-database"


@pytest.fixture(scope="module")
def lab(rig: Callable[..., Rig]) -> Rig:
    made = rig(PLAIN)
    made.up()
    return made


@pytest.fixture(scope="module")
def database(lab: Rig) -> Iterator[str]:
    """A MariaDB of our own at this machine's address in the lab."""
    root, address = Path(tempfile.mkdtemp(prefix="planeshift-lab-")), lab.site.lab.gateway
    common = ["--no-defaults", f"--datadir={root / 'data'}", "--user=root"]
    make = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(make, check=True, capture_output=True)
    flags = [f"--bind-address={address}", f"--socket={root / 's'}", f"--pid-file={root / 'pid'}", "--skip-log-bin"]
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(["mariadbd", *common, *flags], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not (root / "s").exists():
            assert time.monotonic() < deadline and server.poll() is None, (root / "log").read_text()[-2000:]
            time.sleep(0.1)
        with pymysql.connect(unix_socket=str(root / "s"), user="root", autocommit=True).cursor() as cursor:
            cursor.execute("CREATE DATABASE keystone CHARACTER SET utf8mb4")
            cursor.execute("CREATE USER keystone@'%%' IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute("GRANT ALL ON keystone.* TO keystone@'%'")
        yield address
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def cloud(lab: Rig, database: str) -> Iterator[Rig]:
    """A cloud of one Keystone on vm1 and vm2."""
    hosts: list[dict[str, Any]] = [
        {"name": h.name, "via": "lab", "lab": "lab.yaml", "address": h.address, "zone": h.zone}
        for h in lab.site.lab.hosts
    ]
    spec = {
        "release": "2026.2",
        "zones": ["a", "b"],
        "edges": [{"name": "edge", "address": database}],
        "databases": {"main": {"engine": "mysql", "host": database}},
        "hosts": [{"name": "here", "via": "local", "zone": "a"}, *hosts],
        "services": {"keystone": {"database": {"main": "main"}, "backends": {"vms": {"hosts": ["vm1", "vm2"]}}}},
    }
    document = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "lab"}, "spec": spec}
    (lab.directory / "cloud.yaml").write_text(json.dumps(document))
    secrets = lab.directory / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "keystone.yaml").write_text(f"database_password: {json.dumps(PASSWORD)}\n")
    (secrets / "keystone.yaml").chmod(0o600)
    yield lab
    run(lab, "down", "--yes", "--purge")


def run(lab: Rig, verb: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return lab.planeshift(verb, "-f", str(lab.directory / "cloud.yaml"), *arguments, check=check)


def health(lab: Rig) -> dict[str, str]:
    rows = json.loads(run(lab, "status", "-o", "json", check=False).stdout)
    return {row["host"]: row["health"] for row in rows if row["service"] == "keystone"}


def test_services_run_on_the_labs_hosts_and_nothing_of_them_here(cloud: Rig) -> None:
    run(cloud, "up", "--yes")
    assert health(cloud) == {"vm1": "up", "vm2": "up"}
    for name in ("vm1", "vm2"):
        assert "gunicorn" in cloud.inside(name, "ps", "axww") and "gunicorn" not in cloud.inside(name, "ps", "-p", "1")
        place = runtime(cloud.directory / "cloud.yaml")
        files = [p for p in (machine(cloud.site, name).root / str(place).lstrip("/")).rglob("*") if p.is_file()]
        holding = [p for p in files if PASSWORD in p.read_text(errors="replace")]
        assert holding and all(p.stat().st_mode & 0o077 == 0 for p in holding)
        assert not (place / name).exists()
    run(cloud, "verify")
    assert "Nothing to do" in run(cloud, "up", "--yes").stdout


def test_a_host_that_dies_is_told_and_the_next_up_starts_its_services_again(cloud: Rig) -> None:
    cloud.fault("kill", "vm2")
    down = run(cloud, "up", "--yes", check=False)
    assert down.returncode == 1 and "PS445" in down.stderr and "planeshift lab up" in down.stderr
    cloud.up()
    run(cloud, "up", "--yes")
    assert health(cloud) == {"vm1": "up", "vm2": "up"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('"lab": "lab.yaml", ', "", "PS108"),
        ('"engine": "mysql"', '"engine": "sqlite"', "PS"),
        ('"edges"', '"edges_"', "PS106"),
    ],
)
def test_what_cannot_work_is_refused_by_check(cloud: Rig, tmp_path: Path, old: str, new: str, code: str) -> None:
    text = (cloud.directory / "cloud.yaml").read_text()
    assert old in text
    (tmp_path / "cloud.yaml").write_text(text.replace(old, new))
    done = cloud.planeshift("check", "-f", str(tmp_path / "cloud.yaml"), check=False)
    assert done.returncode == 1 and code in done.stderr
