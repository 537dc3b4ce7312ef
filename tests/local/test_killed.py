"""A small cloud is hindered and killed on its way up, from fault to fault: each `up` goes on from what is there.

The tests of this module build on one another, as runs of a person in trouble do: what a fault left is where the next
begins. PLANESHIFT_SOAK=1 adds every operation of a fresh `up`, each killed on a cloud that was made anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import LIMIT, Cloud, kill, listening, program, started, until, uv_cache

from planeshift import catalog
from planeshift.drivers.control import LocalControl
from planeshift.drivers.local.install import install
from planeshift.errors import PlaneshiftError
from planeshift.plan.operations import Kind
from planeshift.render.desired import Environment

DEAD = "http://127.0.0.1:9/simple"  # nobody listens at the discard port
COVERED: set[str] = set()
CUT: list[bool] = []  # whether each killed `up` was cut off, or had noted its end when the kill came


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache directory without anything."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small(clouds: Callable[..., Cloud]) -> Cloud:
    """Keystone alone, not up yet."""
    return clouds("small", "keystone")


@pytest.fixture(autouse=True)
def secrets_stay(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a secret file holds once is never changed by anything that goes wrong."""
    cloud: Cloud = request.getfixturevalue("small")
    before = {service: cloud.secrets(service) for service in ("keystone", "glance")}
    yield
    for service, values in before.items():
        assert values.items() <= cloud.secrets(service).items(), f"secrets of {service} changed"


def killed(cloud: Cloud, operation: str, inside: str = "") -> str:
    """kill -9 of `up` when an operation begins, or once its command `inside` runs. Returns the operation's id."""
    with cloud.events() as run:
        found = run.until_begin(operation)
        assert found, f"no {operation} in {run.seen}\n{(cloud.root / 'events.err').read_text()}"
        if inside:
            until(lambda: f"{cloud.state}#{inside}" in cloud.processes().values(), f"{inside} runs")
        run.kill()
    CUT.append(LocalControl(cloud.state).unfinished() is not None)
    COVERED.add(found.split(":")[0])
    return found


def mended(cloud: Cloud) -> None:
    """Converged, with nothing left of what was killed."""
    done = cloud.up()  # which may have nothing left to do but to say so
    cloud.wait_up()
    cloud.settles()
    assert ("going on after a run of" in done.err) == CUT[-1], done.text
    assert [what for what in cloud.processes().values() if what.startswith(str(cloud.state))] == []
    assert list((cloud.state / "environments").glob(".*")) == []


# --- before anything is there


def test_a_state_directory_that_is_a_link_is_refused(small: Cloud, tmp_path: Path) -> None:
    small.state.symlink_to(tmp_path)
    try:
        for command in (("up", "--yes"), ("status",), ("down", "--yes"), ("env",)):
            small.run(*command).refused("PS402", ".planeshift is a symbolic link")
    finally:
        small.state.unlink()
    assert list(tmp_path.iterdir()) == [] and not (small.root / "secrets").exists()


@pytest.mark.parametrize(
    ("hostile", "word"),
    [
        ("mkdir {base} && chown 65534 {base}", "not a directory of this user"),
        ("mkdir {base}.theirs && ln -s {base}.theirs {base}", "a symbolic link"),
        ("mkdir -p {base}.theirs {base} && ln -s {base}.theirs {runtime}", "a symbolic link"),
        ("mkdir -p {base} && touch {runtime}", "not a directory of this user"),
    ],
)
def test_a_runtime_directory_that_somebody_else_prepared_is_refused(small: Cloud, hostile: str, word: str) -> None:
    """In a mount namespace of its own, where nobody else's directories are in the way."""
    base = small.runtime.parent
    script = f'mount -t tmpfs tmpfs {base.parent} && {hostile.format(base=base, runtime=small.runtime)} && exec "$@"'
    small.wrap = [*namespace(), "sh", "-c", script, "sh"]
    try:
        small.run("up", "--yes").refused("PS402", word)
        small.run("status").refused("PS402", word)
    finally:
        small.wrap = []
    assert not (small.root / "secrets").exists()


def namespace() -> list[str]:
    command = ["unshare", "--mount"]
    if program("unshare") is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace of its own: run as root")
    return command


def test_a_port_that_somebody_else_has_is_named_and_he_is_left_alone(small: Cloud) -> None:
    script = "import socket, sys\nfor place in sys.argv[1:]:\n host, port = place.split(':')\n"
    script += " globals()[place] = s = socket.create_server((host, int(port)))\nprint(flush=True)\nsys.stdin.read()\n"
    places = [f"{small.edge}:5000", f"{small.host}:15000"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *places], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdin
        other.stdout.readline()
        for command in (("plan",), ("up", "--yes")):
            said = small.run(*command).refused("PS601", *places, f"(pid {other.pid})", "here/keystone/vms", "the edge")
            assert Path(f"/proc/{other.pid}/comm").read_text().strip() in said
        assert other.poll() is None
        for place in places:
            socket.create_connection((place.split(":")[0], int(place.split(":")[1])), timeout=LIMIT).close()
        other.stdin.close()
    assert small.processes() == {} and not (small.root / "secrets").exists()
    assert {"make-secrets", "install", "start", "start-edge"} <= small.kinds()


# --- packages


def test_without_network_nothing_half_installed_looks_complete(small: Cloud, empty: Path) -> None:
    nowhere = {"XDG_CACHE_HOME": str(empty), "UV_CACHE_DIR": str(empty / "uv"), "UV_HTTP_RETRIES": "0"}
    for how in ({"UV_OFFLINE": "1"}, {"UV_DEFAULT_INDEX": DEAD, "UV_INDEX_URL": DEAD}):
        done = small.run("up", "--yes", environment={**nowhere, **how})
        done.refused("PS405", "install:here/keystone", "Check network and package index")
        assert not list((small.state / "environments").glob("*"))
        assert not list(empty.glob("planeshift/environments/[!.]*"))
    assert "install" in small.kinds()


def test_a_package_that_is_not_what_was_locked_is_refused(tmp_path: Path) -> None:
    lines = iter(catalog.data("keystone", "2026.2", "lock.txt").splitlines())
    first = next(line for line in lines if line.startswith("iso8601=="))
    wrong = f"{first.rstrip(chr(92))}--hash=sha256:{'0' * 64}\n"
    environment = Environment(id="tampered", service="keystone", release="2026.2", version="0", requirements=wrong)
    marked = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "UV_CACHE_DIR": uv_cache()}
    with pytest.raises(PlaneshiftError) as failure:
        install(environment, tmp_path / "environments", marked, lambda _: None)
    [problem] = failure.value.problems
    assert problem.code == "PS406" and "iso8601" in problem.why and problem.hint
    assert not (tmp_path / "environments/tampered").exists()
    assert not list(tmp_path.glob("cache/planeshift/environments/[!.]*"))


# --- kill -9 of a fresh `up`, kind by kind, in the order in which they come


def test_killed_while_uv_installs(small: Cloud, empty: Path) -> None:
    """With what uv has downloaded, but nothing built: its command goes on as an orphan, and is ended by the next run."""
    usual = dict(small.environment)
    small.environment |= {"XDG_CACHE_HOME": str(empty), "UV_CACHE_DIR": uv_cache()}
    killed(small, "install:", inside="install")
    small.environment = usual
    assert not list((small.state / "environments").glob("[!.]*"))
    assert not list(empty.glob("planeshift/environments/[!.]*"))


def nothing(cloud: Cloud) -> None:
    pass


def reboot(cloud: Cloud) -> None:
    """What a power cut takes: processes, and what lies in memory."""
    for pid in cloud.processes():
        kill(pid)
    shutil.rmtree(cloud.runtime, ignore_errors=True)


def uninstall(cloud: Cloud) -> None:
    shutil.rmtree(cloud.state / "environments", ignore_errors=True)


def no_database(cloud: Cloud) -> None:
    shutil.rmtree(cloud.state / "data", ignore_errors=True)


@pytest.mark.parametrize(
    ("operation", "inside", "before"),  # `before` makes sure that the operation is still to be done
    [
        ("install:", "", uninstall),
        ("lay-out:here/edge", "", reboot),
        ("start-edge:", "", reboot),
        ("lay-out:here/keystone", "", reboot),
        ("prepare-database:", "", no_database),
        ("migrate:keystone:create", "keystone-manage", nothing),
        ("clear:", "", nothing),
        ("migrate:keystone:create", "", nothing),
        ("bootstrap:", "keystone-manage", nothing),
        ("start:", "", reboot),
        ("ensure-identity:", "", reboot),  # of a Keystone that does not answer nothing is known
    ],
)
def test_killed_on_the_way_up(small: Cloud, operation: str, inside: str, before: Callable[[Cloud], None]) -> None:
    before(small)
    killed(small, operation, inside)


def test_after_all_kills_an_up_converges_and_another_finds_nothing_to_do(small: Cloud) -> None:
    mended(small)
    records = [json.loads(line) for line in (small.state / "audit").read_text().splitlines()]
    assert records[-1]["result"] == "done" and records[0]["result"] == "failed"
    small.does("verify")


# --- kill -9 of changes


def test_killed_while_a_service_is_added(small: Cloud) -> None:
    config = small.root / "config/glance"
    config.mkdir()
    (config / "glance-api.conf").write_text("[DEFAULT]\n")
    with small.edited() as spec:
        spec["services"]["glance"] = {
            "config": "config/glance",
            "backends": {"vms": {"hosts": ["here"], "weight": 100}},
        }
    killed(small, "make-secrets:glance")
    killed(small, "migrate:glance", inside="glance-manage")
    killed(small, "start:here/glance")
    killed(small, "reload-edge:")
    killed(small, "ensure-identity:glance")
    mended(small)


def test_killed_while_configuration_changes(small: Cloud) -> None:
    path = small.root / "config/glance/glance-api.conf"
    path.write_text(path.read_text() + "enabled_import_methods = [web-download]\n")
    killed(small, "lay-out:here/glance")
    killed(small, "reload:here/glance")
    mended(small)
    answer = small.request("GET", 9292, "/v2/info/import", headers={"X-Auth-Token": small.token()})
    assert answer.json["import-methods"]["value"] == ["web-download"]


def test_killed_while_a_backend_is_added(small: Cloud) -> None:
    with small.edited() as spec:
        spec["services"]["glance"]["shift"] = {"time": 1}
        backends = spec["services"]["glance"]["backends"]
        backends["vms"]["weight"] = 25
        backends["green"] = {"hosts": ["here"], "weight": 75, "port": 19393}
    killed(small, "start:here/glance/green")
    killed(small, "shift:")
    mended(small)
    weights = {server: row["weight"] for (name, server), row in small.statistics().items() if name == "glance"}
    assert weights["vms-here"] == "85" and weights["green-here"] == "256"


def test_killed_while_a_backend_is_restarted(small: Cloud) -> None:
    with (small.runtime / "here/glance/green/supervisord.conf").open("a") as file:
        file.write("; by hand\n")
    (small.runtime / "here/glance/green/.supervision").unlink()  # what its supervisor has read is not known any more
    killed(small, "lay-out:here/glance/green")
    killed(small, "withhold:")
    killed(small, "restart:here/glance/green")
    killed(small, "admit:")
    mended(small)


def test_killed_while_orphans_are_ended(small: Cloud) -> None:
    orphans = small.pids("glance/green", "glance-api")
    kill(small.supervisor("glance/green"))
    killed(small, "withhold:")
    killed(small, "end-orphans:")
    mended(small)
    assert not any(map(started, orphans))


def test_killed_while_the_edge_is_restarted(small: Cloud) -> None:
    with (small.runtime / "here/edge/edge/supervisord.conf").open("a") as file:
        file.write("; by hand\n")
    killed(small, "restart-edge:")
    mended(small)


def test_killed_while_a_backend_goes(small: Cloud) -> None:
    before = small.file.read_text()
    with small.edited() as spec:
        del spec["services"]["glance"]["backends"]["green"]
        spec["services"]["glance"]["backends"]["vms"]["weight"] = 100
    killed(small, "reload-edge:")
    killed(small, "stop:")
    killed(small, "remove:")
    mended(small)
    assert before != small.file.read_text() and not (small.runtime / "here/glance/green").exists()
    assert listening([small.host]) and len(small.pids("glance/vms", "glance-api")) == 2


def test_killed_while_a_weight_is_put_right(small: Cloud) -> None:
    """Somebody's hand at HAProxy's socket: the share is as declared, the number is not."""
    with socket.socket(socket.AF_UNIX) as runtime:
        runtime.connect(str(small.runtime / "here/edge/edge/admin.sock"))
        runtime.sendall(b"set server glance/vms-here weight 100\n")
        assert runtime.recv(100).strip() == b""
    assert small.kinds() == {"set-weights"}
    killed(small, "set-weights:")
    mended(small)
    assert small.statistics()["glance", "vms-here"]["weight"] == "256"


def test_killed_while_the_schema_of_the_release_before_is_migrated(small: Cloud) -> None:
    with database(small, "keystone") as connection:  # what 2026.1 brought, taken away: the schema of 2025.2
        connection.execute("DROP INDEX ix_revocation_event_project_id_user_id")
        connection.execute("DROP INDEX ix_revocation_event_composite")
        changed = connection.execute(
            "UPDATE alembic_version SET version_num = 'e8725d6fa226' WHERE version_num = '742c857f1dfb'"
        )
        assert changed.rowcount == 1
    users = small.request("GET", 5000, "/v3/users", headers={"X-Auth-Token": small.token()}).json["users"]
    assert {"back-up", "migrate"} == small.kinds()
    killed(small, "back-up:")
    killed(small, "migrate:keystone:expand", inside="keystone-manage")
    mended(small)
    backups = [p.name for p in (small.state / "backups").glob("keystone-*")]
    assert backups and all(name.endswith(".sqlite") for name in backups), backups
    assert small.request("GET", 5000, "/v3/users", headers={"X-Auth-Token": small.token()}).json["users"] == users


def database(cloud: Cloud, service: str) -> sqlite3.Connection:
    return sqlite3.connect(cloud.state / f"data/{service}/{service}.sqlite", timeout=60)


def test_every_kind_of_operation_was_killed() -> None:
    # Killed on a real cluster: tests/cluster/test_pods_broken.py.
    pods = {Kind.BUILD_IMAGE, Kind.BRING_IMAGE, Kind.RELEASE}
    cells = {Kind.PREPARE_BUS, Kind.MAP_CELL, Kind.REMOVE_CELL, Kind.DISCOVER}  # this cloud has no Nova
    assert set(Kind) - pods - cells == COVERED, sorted(set(Kind) - cells ^ COVERED)


def test_a_wrong_administrators_password_stops_a_plan_and_not_status(small: Cloud) -> None:
    path = small.root / "secrets/keystone.yaml"
    text = path.read_text()
    path.write_text(re.sub(r"admin_password: .*", 'admin_password: "another one"', text))
    try:
        small.run("plan").refused("PS701", "does not take the password of admin")
        small.wait_up()
    finally:
        path.write_text(text)
    small.settles()


def test_a_secret_file_that_others_can_read_is_refused(small: Cloud) -> None:
    path = small.root / "secrets/keystone.yaml"
    path.chmod(0o644)
    for command in (("up", "--yes"), ("plan",), ("env",)):
        small.run(*command).refused("PS503", "secrets/keystone.yaml", "chmod 600")
    path.chmod(0o600)
    small.settles()


# --- hours


@pytest.mark.skipif(not os.environ.get("PLANESHIFT_SOAK"), reason="hours: PLANESHIFT_SOAK=1")
def test_soak_every_operation_killed_at_its_begin_and_amid_it(clouds: Callable[..., Cloud]) -> None:
    cloud = clouds("soak", "keystone", "glance", "placement", "barbican")
    operations: list[dict[str, Any]] = json.loads(cloud.does("plan", "--from-nothing", "-o", "json").out)["operations"]
    for operation in operations:
        identity = ":".join(filter(None, (operation["kind"], operation["subject"], operation["argument"])))
        for inside in {False, operation["kind"] in ("migrate", "bootstrap")}:
            with cloud.events() as run:
                assert run.until_begin(identity) == identity
                if inside:
                    until(lambda: any(w.endswith("-manage") for w in cloud.processes().values()), "its command runs")
                run.kill()
            secrets = cloud.secret_digests()
            cloud.mends()
            assert secrets.items() <= cloud.secret_digests().items(), identity
            cloud.does("verify")
            cloud.does("down", "--purge", "--yes")
            cloud.assert_nothing_left()
