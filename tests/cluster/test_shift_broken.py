"""Something dies while Glance's or Keystone's traffic moves between a host and pods, under a load that counts every loss.

Only what the thing that died held itself may be lost, or what nobody could have answered. Each test begins and ends with all
traffic at the host; each fault is tried at one step, or at each (PLANESHIFT_SOAK=1). What dies on a machine without a lab:
tests/local/test_shift_faults.py.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from lost import held
from sides import Cloud, cheap_and_dear
from steps import at_each

from planeshift.openloop import Tally, load, openstack

pytestmark = pytest.mark.xdist_group("sides")

RATE, DEAR_RATE = 60, 5.0
SHARES = ("25", "50", "100")
PACE = ("--steps", ",".join(SHARES), "--time", "4s")
STEPS = (1, 2, 3)
CHECKED = 8.0  # seconds until an edge's check has found a server down, at most, three times in a row


@pytest.fixture
def cloud(both_sides: Cloud) -> Iterator[Cloud]:
    yield both_sides
    both_sides.rig.up()
    with both_sides.edited() as spec:
        for service in spec["services"].values():
            service["backends"]["vms"]["weight"], service["backends"]["pods"]["weight"] = 100, 0
    both_sides.run("up", "--yes")
    both_sides.wait_up()
    assert both_sides.operations() == []


def long(step: int) -> tuple[str, ...]:
    """Steps that are watched for as long as a fault takes to be found; those before the one that matters are needed, too."""
    return "--steps", ",".join(SHARES), "--time", "60s" if step == 1 else "30s"


def told(tally: Tally, cloud: Cloud, began: float) -> str:
    """Every failure, by the client's word and the edge's."""
    return "".join(f"{f}\n" for f in tally.failures) + "".join(cloud.edge_failures(began))


def meanwhile(tally: Tally, begin: float, end: float) -> bool:
    """Whether all that failed broke off after the one moment, and was due before the other; both since 1970."""
    return all(begin < f.at + f.wait_ms / 1000 and f.at < end for f in tally.failures)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate(timeout=240)
    return process.returncode, err


@at_each(STEPS, usual=2)
def test_a_pod_dies_before_its_endpoint_is_withdrawn_and_only_what_it_held_is_lost(cloud: Cloud, step: int) -> None:
    began = time.time()
    with (
        load(cheap_and_dear(cloud, RATE, DEAR_RATE)) as tally,
        cloud.shifting("glance", "pods", step, *PACE) as process,
    ):
        names = cloud.rig.kubectl("-n", "openstack", "get", "pods", "-o", "name").split()
        [pod] = [name for name in names if "glance" in name]
        cloud.rig.kubectl("-n", "openstack", "delete", "--grace-period=0", "--force", pod)
        code, err = ended(process)
    assert code == 0 or "PS610" in err, err
    assert held(tally.failures), told(tally, cloud, began)


@at_each(STEPS, usual=1)
def test_a_slow_side_is_found_and_all_traffic_is_back(cloud: Cloud, step: int) -> None:
    began = time.time()
    with (
        load(cheap_and_dear(cloud, RATE, DEAR_RATE)) as tally,
        cloud.shifting("glance", "pods", step, *long(step)) as process,
    ):
        cloud.rig.fault("slow", "node1", "--rate", "500kbit")
        cloud.wait_for("return")
        cloud.rig.fault("hasten", "node1")  # what was sent there ends there
        code, err = ended(process)
    assert code == 1 and "PS610" in err and any(gate in err for gate in ("p50", "p99", "servers")), err
    [back] = [e for e in cloud.log() if e["event"] == "return"]
    assert back["shares"] == {"vms": 100.0, "pods": 0.0}
    assert tally.failures == [], told(tally, cloud, began)
    assert cloud.operations() == []  # held


@at_each(STEPS, usual=1)
def test_the_database_dies_for_both_sides_and_traffic_goes_on_its_way(cloud: Cloud, step: int) -> None:
    began = time.time()
    with (
        load(cheap_and_dear(cloud, RATE, DEAR_RATE)) as tally,
        cloud.shifting("keystone", "pods", step, *PACE) as process,
    ):
        gone = time.time()
        cloud.rig.fault("pause", "db1")
        time.sleep(10)
        cloud.rig.fault("resume", "db1")
        back = time.time() + 5  # until all that waited for it has been served
        code, err = ended(process)
    assert code == 0, err
    lost = [f for f in tally.failures if f.step in openstack.CHEAP]
    assert lost == [], told(tally, cloud, began)  # what asks no database never notices
    assert meanwhile(tally, gone, back), told(tally, cloud, began)


@at_each(STEPS, usual=1)
def test_the_zone_of_the_new_side_is_cut_off_and_traffic_is_back(cloud: Cloud, step: int) -> None:
    began = time.time()
    with (
        load(cheap_and_dear(cloud, RATE, DEAR_RATE)) as tally,
        cloud.shifting("glance", "pods", step, *long(step)) as process,
    ):
        cut = time.time()
        cloud.rig.fault("cut", "a")
        found = time.time() + CHECKED
        cloud.wait_for("return")
        cloud.rig.fault("mend", "a")
        code, err = ended(process)
    assert code == 1 and "PS610" in err, err
    assert meanwhile(tally, cut, found), told(tally, cloud, began)


@at_each(STEPS, usual=1)
def test_the_node_dies_and_traffic_is_back(cloud: Cloud, step: int) -> None:
    began = time.time()
    with (
        load(cheap_and_dear(cloud, RATE, DEAR_RATE)) as tally,
        cloud.shifting("glance", "pods", step, *long(step)) as process,
    ):
        died = time.time()
        cloud.rig.fault("kill", "node1")
        found = time.time() + CHECKED
        code, err = ended(process)
    assert code == 1 and "PS610" in err, err
    assert meanwhile(tally, died, found), told(tally, cloud, began)


@at_each(STEPS, usual=2)
def test_the_host_that_gives_traffic_away_dies_and_the_pods_have_all_of_it(cloud: Cloud, step: int) -> None:
    began = time.time()
    cloud.run("shift", "keystone", "pods=100", "--yes", "--steps", "100", "--time", "1s")
    with (
        load(cheap_and_dear(cloud, RATE, DEAR_RATE)) as tally,
        cloud.shifting("glance", "pods", step, *PACE) as process,
    ):
        died = time.time()
        cloud.rig.fault("kill", "vm1")
        found = time.time() + CHECKED
        code, err = ended(process)
    assert code == 0, err
    assert meanwhile(tally, died, found), told(tally, cloud, began)
