"""Processes of the shared cloud are killed: some come back by themselves, the rest `status` names and `up` mends."""

from __future__ import annotations

import pytest
from rig import Cloud, kill, started, traffic, until

pytestmark = pytest.mark.xdist_group("local")

GLANCE = ("glance/vms", "glance-api")
EDGE = ("edge/edge", "haproxy")


def alive(cloud: Cloud) -> bool:
    return set(cloud.health().values()) == {"up"}


def answers(cloud: Cloud) -> bool:
    try:
        return cloud.request("GET", 9292, "/versions").status == 200 and cloud.request("GET", 5000, "/v3").status == 200
    except OSError:
        return False


def test_a_killed_worker_comes_back_by_itself_and_loses_only_what_it_had_in_hand(cloud: Cloud) -> None:
    master, worker = cloud.pids(*GLANCE)
    with traffic(cloud) as requests:
        kill(worker)
        requests.flow(30)
    assert len(requests.failures) <= requests.clients, requests.failures
    now = cloud.pids(*GLANCE)
    assert now[0] == master and len(now) == 2 and worker not in now
    cloud.settles()


def test_a_killed_server_is_started_again_by_its_supervisor(cloud: Cloud) -> None:
    supervisor, (master, worker) = cloud.supervisor("glance/vms"), cloud.pids(*GLANCE)
    kill(master)
    until(lambda: len(set(cloud.pids(*GLANCE)) - {master, worker}) == 2, "the server is there again")
    until(lambda: answers(cloud) and alive(cloud), "all is up")
    assert cloud.supervisor("glance/vms") == supervisor and not started(worker)
    cloud.settles()


def test_a_killed_supervisor_leaves_orphans_which_status_names_and_up_ends(cloud: Cloud) -> None:
    orphans = cloud.pids(*GLANCE)
    kill(cloud.supervisor("glance/vms"))
    assert cloud.health()["glance/vms"] == "orphaned"  # `rows` has asserted that status exits 1
    assert answers(cloud)  # nobody is worse off until somebody mends it
    plan = cloud.does("plan").out
    assert "orphans    here/glance/vms: 2 processes without a supervisor, to be ended" in plan
    assert "Drift" in plan
    cloud.mends()
    assert not any(map(started, orphans))
    assert len(cloud.pids(*GLANCE)) == 2


def test_a_killed_haproxy_is_started_again_by_its_supervisor(cloud: Cloud) -> None:
    supervisor, before = cloud.supervisor("edge/edge"), cloud.pids(*EDGE)
    kill(before[0])
    until(lambda: len(cloud.pids(*EDGE)) == 2 and not set(before) & set(cloud.pids(*EDGE)), "HAProxy is there again")
    until(lambda: answers(cloud) and alive(cloud), "all is up")
    assert cloud.supervisor("edge/edge") == supervisor
    cloud.settles()


def test_a_killed_supervisor_of_haproxy_is_named_and_mended(cloud: Cloud) -> None:
    orphans = cloud.pids(*EDGE)
    kill(cloud.supervisor("edge/edge"))
    assert cloud.health()["edge/edge"] == "orphaned"
    assert answers(cloud)
    cloud.mends()
    assert not any(map(started, orphans))


def test_haproxy_and_its_supervisor_killed(cloud: Cloud) -> None:
    kill(cloud.supervisor("edge/edge"))
    for pid in cloud.pids(*EDGE):
        kill(pid)
    assert cloud.health()["edge/edge"] == "down"
    cloud.mends()


def test_everything_killed_at_once_as_by_a_power_cut(cloud: Cloud) -> None:
    secrets = cloud.secret_digests()
    everything = cloud.processes()
    for pid in sorted(everything, key=lambda p: "#supervisord" not in everything[p]):
        kill(pid)
    assert set(cloud.health().values()) == {"down"}
    cloud.mends()
    assert cloud.secret_digests() == secrets
    assert cloud.request("GET", 9292, "/v2/images", headers={"X-Auth-Token": cloud.token()}).status == 200
