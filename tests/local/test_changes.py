"""The shared cloud's file and configuration change, under traffic: nothing is lost, and what is wrong changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import Cloud, started, traffic, until

pytestmark = pytest.mark.xdist_group("local")

GLANCE = ("glance/vms", "glance-api")
METHODS = "enabled_import_methods"


def configure(cloud: Cloud, text: str) -> None:
    """The operator's file of Glance says this, and nothing else."""
    (cloud.root / "config/glance/glance-api.conf").write_text(f"[DEFAULT]\n{text}")


@contextlib.contextmanager
def wrongly_configured(cloud: Cloud, text: str) -> Iterator[None]:
    """The operator's file of Glance with further lines, for a while."""
    path = cloud.root / "config/glance/glance-api.conf"
    before = path.read_text()
    path.write_text(before + text)
    try:
        yield
    finally:
        path.write_text(before)


def digest(cloud: Cloud) -> str:
    return next(r["config"] for r in cloud.rows() if r["service"] == "glance")


def offered(cloud: Cloud) -> list[str]:
    """What the running Glance has read: its import methods."""
    answer = cloud.request("GET", 9292, "/v2/info/import", headers={"X-Auth-Token": cloud.token()})
    found: list[str] = answer.json["import-methods"]["value"]
    return found


# --- configuration


def test_a_changed_option_is_reloaded_without_losing_a_request(cloud: Cloud) -> None:
    before, master = digest(cloud), cloud.pids(*GLANCE)[0]
    configure(cloud, f"{METHODS} = [web-download]\n")
    plan = cloud.does("plan").out
    assert "reload, no request lost" in plan and "10-glance-api.conf" in plan and "Drift" not in plan
    assert plan.count("~") == 3  # the file, of which one changes, and the reload
    with traffic(cloud) as requests:
        cloud.up()
        requests.flow(20)
        assert offered(cloud) == ["web-download"]
    assert requests.failures == []
    assert digest(cloud) != before
    assert cloud.pids(*GLANCE)[0] == master
    cloud.settles()


def test_a_wrong_value_is_refused_by_name_while_the_old_processes_serve(cloud: Cloud) -> None:
    before = {pid: started(pid) for pid in cloud.pids(*GLANCE)}
    with wrongly_configured(cloud, "[paste_deploy]\nflavor = nosuch\n"), traffic(cloud) as requests:
        done = cloud.run("up", "--yes")
        done.refused("PS603", "reload:here/glance/vms", "nosuch")
        requests.flow(20)
    assert requests.failures == []
    assert {pid: started(pid) for pid in cloud.pids(*GLANCE)} == before
    cloud.mends()


def test_an_option_that_glance_does_not_know_is_refused_before_anything_is_asked(cloud: Cloud) -> None:
    with wrongly_configured(cloud, "enabled_import_method = [web-download]\n"):
        cloud.run("up", "--yes").refused("PS301", "enabled_import_method", METHODS, "glance-api.conf:")
    cloud.settles()


# --- drift


def test_what_was_changed_by_hand_is_shown_as_drift_and_put_back(cloud: Cloud) -> None:
    place = cloud.runtime / "here/glance/vms/home/.glance/glance.conf.d"
    operator, fragment = place / "10-glance-api.conf", place / "90-secrets.conf"
    wanted = operator.read_bytes()
    operator.write_bytes(wanted + b"debug = true\n")
    fragment.chmod(0o644)
    (place / "99-by-hand.conf").write_text("[DEFAULT]\ndebug = true\n")
    done = cloud.does("plan")
    _, _, drift = done.out.partition("\nDrift: ")
    for line in ("~ {}/10-glance-api.conf", "~ {}/90-secrets.conf", "- {}/99-by-hand.conf"):
        assert line.format("home/.glance/glance.conf.d") in drift, done.text
    cloud.mends()
    assert operator.read_bytes() == wanted
    assert stat.S_IMODE(fragment.stat().st_mode) == 0o600
    assert not (place / "99-by-hand.conf").exists()


# --- two backends


@pytest.fixture
def green(cloud: Cloud) -> Iterator[None]:
    """Whatever a test does to the cloud file is undone at its end."""
    before = cloud.file.read_text()
    yield
    if cloud.file.read_text() != before:
        cloud.file.write_text(before)
        cloud.up()


def test_a_second_release_takes_over_and_the_first_goes_without_losing_a_request(cloud: Cloud, green: None) -> None:
    image = make_image(cloud)
    with traffic(cloud) as requests:
        with cloud.edited() as spec:
            spec["services"]["glance"]["shift"] = {"time": 1, "steps": [50, 100]}
            backends = spec["services"]["glance"]["backends"]
            backends["vms"]["weight"] = 50
            backends["green"] = {"hosts": ["here"], "weight": 50, "release": "2026.1", "port": 19393}
        cloud.up()
        cloud.wait_up()
        served(cloud, "vms-here", "green-here")
        assert {r["release"] for r in cloud.rows() if r["service"] == "glance"} == {"2026.1", "2026.2"}
        assert image in images(cloud)

        running = cloud.processes()
        with cloud.edited() as spec:
            backends = spec["services"]["glance"]["backends"]
            backends["vms"]["weight"], backends["green"]["weight"] = 0, 100
        events = cloud.does("up", "--yes", "-o", "json").out
        begun = [e["operation"] for e in map(json.loads, events.splitlines()) if e["event"] == "begin"]
        assert begun == ["shift:glance"]
        assert cloud.processes() == running
        assert cloud.statistics()["glance", "vms-here"]["weight"] == "0"
        served(cloud, "green-here")
        cloud.settles()

        with cloud.edited() as spec:
            del spec["services"]["glance"]["backends"]["vms"]
        cloud.up()
        served(cloud, "green-here")
        assert cloud.pids(*GLANCE) == [] and not (cloud.runtime / "here/glance/vms").exists()
        assert image in images(cloud)
        cloud.settles()

        with cloud.edited() as spec:  # and back: what the next tests start from
            spec["services"]["glance"]["backends"] = {"vms": {"hosts": ["here"], "weight": 100}}
        cloud.mends()
    assert requests.failures == []
    assert cloud.request("DELETE", 9292, f"/v2/images/{image}", headers={"X-Auth-Token": cloud.token()}).status == 204


def served(cloud: Cloud, *servers: str) -> None:
    """Until the edge's log shows new requests at all of these servers; none at others."""
    begin = len(cloud.edge_log())

    def seen() -> set[str]:
        lines = [line.split() for line in cloud.edge_log()[begin:].splitlines() if " glance glance/" in line]
        return {word.removeprefix("glance/") for line in lines for word in line if word.startswith("glance/")}

    until(lambda: seen() >= set(servers), lambda: f"{servers} were served; {seen()}")
    assert seen() == set(servers)


def make_image(cloud: Cloud) -> str:
    headers = {"X-Auth-Token": cloud.token(), "Content-Type": "application/json"}
    answer = cloud.request("POST", 9292, "/v2/images", '{"name": "kept"}', headers)
    assert answer.status == 201, answer
    return str(answer.json["id"])


def images(cloud: Cloud) -> list[str]:
    answer = cloud.request("GET", 9292, "/v2/images", headers={"X-Auth-Token": cloud.token()})
    return [i["id"] for i in answer.json["images"]]


# --- two at once


def test_of_two_ups_the_second_is_refused_by_name_of_the_first_and_a_dead_one_s_lease_is_free(cloud: Cloud) -> None:
    configure(cloud, f"{METHODS} = [glance-direct]\n")
    with cloud.events() as first:
        assert first.until_begin("lay-out")
        os.kill(first.pid, signal.SIGSTOP)
        for command in (("up", "--yes"), ("down", "--yes")):
            cloud.run(*command).refused("PS801", f"(pid {first.pid}", "is changing this cloud")
        cloud.does("plan")  # looking is free
        first.kill()
    done = cloud.mends()
    assert f"(pid {first.pid}" in done.err  # whose work it went on with
    assert offered(cloud) == ["glance-direct"]


# --- time


def test_a_clock_that_jumps_confuses_no_wait(cloud: Cloud, tmp_path: Path) -> None:
    """Every look at the time of day is a year off from the one before."""
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "real, years = time.time, itertools.cycle((-1, 1, 0))\n"
        "time.time = lambda: real() + next(years) * 365 * 86400\n"
        "time.time_ns = lambda: int(time.time() * 1e9)\n"
    )
    configure(cloud, f"{METHODS} = [web-download]\n")
    done = cloud.run("up", "--yes", environment={"PYTHONPATH": str(tmp_path)})
    assert done.code == 0, done.text
    assert offered(cloud) == ["web-download"]
    cloud.settles()
