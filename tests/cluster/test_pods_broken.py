"""The four services as pods of a real cluster: what goes wrong has a name, or mends itself, and what serves serves on."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import leasecases
import pytest
import yaml
from podsrig import Cloud, until

from planeshift.app.compose import world as compose
from planeshift.app.site import open_site
from planeshift.drivers.kubernetes import KubernetesCluster
from planeshift.engine import leases
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.lab.kubernetes import SOCKET
from planeshift.ports import quiet
from planeshift.tools import find

pytestmark = pytest.mark.xdist_group("pods")

# Somebody who has the cluster's lease until he is killed.
HOLDER = """
import sys, time
from planeshift.app.compose import world
from planeshift.app.site import open_site
from planeshift.engine import leases
with leases.held(world(open_site(sys.argv[1])), print):
    print("held", flush=True)
    time.sleep(3600)
"""


@pytest.fixture(scope="module")
def cloud(pods: Cloud) -> Cloud:
    """Up, however the tests before ended; Placement has two pods."""
    pods.alone("placement")
    return pods


@pytest.fixture
def world(cloud: Cloud) -> World:
    return compose(open_site(str(cloud.file)))


# --- killed


def test_a_release_that_a_killed_client_left_pending_is_mended(cloud: Cloud, tmp_path: Path) -> None:
    cloud.rig.planeshift("chart", "export", "placement", "-d", str(tmp_path))
    argv = [str(find("helm")), "--kubeconfig", str(cloud.rig.site.kubeconfig), "-n", "openstack", "upgrade"]
    argv += [
        "placement-pods",
        str(tmp_path / "placement"),
        "--reuse-values",
        "--set",
        "image=none.invalid/x:y",
        "--wait",
    ]
    pending = ("list", "--all", "-o", "json", "--filter", "placement-pods")
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as helm:
        until(lambda: '"pending-upgrade"' in cloud.helm(*pending), lambda: cloud.helm(*pending))
        helm.kill()
    assert "the last client left it pending-upgrade" in cloud.summaries()
    cloud.mends()
    assert cloud.get(8778, "/") == 200


@pytest.mark.parametrize(
    "moment", ["build-image:", "bring-image:", "lay-out:k1", "release:k1", "set-weights:", "remove:k1"]
)
def test_killed_while_a_backend_of_pods_comes_and_goes(cloud: Cloud, moment: str) -> None:
    """Another release of Placement beside the first, and away again."""
    with cloud.edited() as spec:
        backends = spec["services"]["placement"]["backends"]
        if moment == "remove:k1":
            del backends["old"]
            backends["pods"]["weight"] = 100
        else:
            backends["pods"]["weight"] = 50
            backends["old"] = {"cluster": "k1", "replicas": 1, "weight": 50, "release": "2026.1", "port": 31999}
    if any(o.startswith(moment) for o in cloud.operations()):  # an image may be there already
        with cloud.coming_up(moment):
            pass
    if moment in ("set-weights:", "remove:k1"):
        cloud.mends()
        assert ("placement-old" in cloud.helm("list", "-q")) == (moment == "set-weights:")
        assert cloud.get(8778, "/") == 200


# --- images and commands


def test_an_image_that_is_not_there_is_named_and_the_older_pods_serve_on(cloud: Cloud) -> None:
    with cloud.edited() as spec:
        spec["services"]["placement"]["backends"]["pods"]["image"] = "none.invalid/placement:1"
    cloud.refused("PS718", "placement-pods", "none.invalid/placement:1", "hint: ")
    assert cloud.get(8778, "/") == 200
    with cloud.edited() as spec:
        del spec["services"]["placement"]["backends"]["pods"]["image"]
    cloud.mends()


def test_an_image_that_a_node_lost_is_brought_and_what_waits_for_it_begins_anew(cloud: Cloud) -> None:
    cloud.spread("placement")
    [image] = {c["image"] for p in cloud.alive("placement") for c in p["spec"]["containers"]}
    [there] = [pod for pod, node in cloud.nodes("placement").items() if node == "node2"]
    cloud.rig.inside("node2", "ctr", "-a", SOCKET, "-n", "k8s.io", "images", "rm", "--sync", image)
    with cloud.closed("node1"):
        cloud.kubectl("delete", "pod", there)
        until(lambda: "ImagePullBackOff" in cloud.kubectl("get", "pods"), lambda: cloud.kubectl("get", "pods"))
        assert cloud.get(8778, "/") == 200
        cloud.mends()  # whether the cluster tries again by itself in time, or we make the pod anew
    assert set(cloud.nodes("placement").values()) == {"node1", "node2"}


def test_a_command_that_fails_shows_its_last_lines(world: World) -> None:
    pods = world.desired.pods["k1/placement/pods"]
    with pytest.raises(PlaneshiftError) as failure:
        world.clusters["k1"].run(pods, world.control.key(), ("placement-manage", "nonsense"), {}, quiet)
    [problem] = failure.value.problems
    assert problem.code == "PS717" and "invalid choice" in problem.why


def test_a_command_that_hangs_is_ended_and_shows_its_last_lines(cloud: Cloud, world: World) -> None:
    pods = world.desired.pods["k1/placement/pods"]
    ends = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); "
    command = ("python", "-c", f"{ends} print('it has begun', flush=True); time.sleep(3600)")
    said: list[str] = []

    def say(line: str) -> None:
        """Once it is seen to run, its time is over."""
        if line.endswith("it has begun") and not said:
            said.append(line)
            [job] = [name for name in cloud.kubectl("get", "jobs", "-o", "name").split() if "python" in name]
            cloud.kubectl("patch", job, "-p", '{"spec": {"activeDeadlineSeconds": 1}}')

    with pytest.raises(PlaneshiftError) as failure:
        world.clusters["k1"].run(pods, world.control.key(), command, {}, say)
    [problem] = failure.value.problems
    assert problem.code == "PS717" and "it has begun\nDeadlineExceeded: " in problem.why, problem.why


# --- the API


def test_credentials_that_are_refused_are_named(cloud: Cloud) -> None:
    kubeconfig = yaml.safe_load(cloud.rig.site.kubeconfig.read_text())
    kubeconfig["users"] = [{"name": u["name"], "user": {"token": "expired"}} for u in kubeconfig["users"]]
    (cloud.rig.directory / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    before = cloud.file.read_text()
    with cloud.edited() as spec:
        spec["clusters"] = [{"name": "k1", "kubeconfig": "kubeconfig", "registry": "registry.example.org"}]
    cloud.refused("PS712", "k1 refuses us", "hint: Renew")
    cloud.file.write_text(before)
    assert cloud.operations() == []


def test_an_api_that_does_not_answer_changes_nothing_at_the_edge(cloud: Cloud) -> None:
    cloud.rig.fault("pause", "node1")
    try:
        cloud.refused("PS711", "the API of k1 does not answer", "hint: ")
        rows = json.loads(cloud.run("status", "-o", "json", check=False).stdout)
        assert {r["health"] for r in rows if r["host"] == "k1"} == {"unknown"}
    finally:
        cloud.rig.fault("resume", "node1")
    until(lambda: cloud.rig.states()["node1"] == "ready", cloud.rig.status)
    cloud.mends()
    assert cloud.get(5000, "/v3") == 200


def test_an_api_that_dies_in_the_midst_of_up_is_waited_for(cloud: Cloud) -> None:
    """Killed with `up` standing still, so that it is away when it is asked next; helm's own trouble: tests/unit."""
    cloud.glance.write_text(cloud.glance.read_text().replace("[DEFAULT]", "[DEFAULT]\nlimit_param_default = 24"))
    with cloud.coming_up("lay-out:k1/glance") as up:
        up.send_signal(signal.SIGSTOP)
        cloud.rig.inside("node1", "pkill", "-KILL", "kube-apiserver")
        up.send_signal(signal.SIGCONT)
        out, err = up.communicate()
    assert up.returncode == 0, out[-3000:] + err
    assert cloud.operations() == []
    assert cloud.get(9292, "/healthcheck") == 200


# --- two operators


@pytest.fixture
def elsewhere(cloud: Cloud, tmp_path: Path) -> Path:
    """The cloud file as another operator has it, with state of his own: a copy of the directory, as git makes it."""
    for name in ("config", "secrets"):
        shutil.copytree(cloud.rig.directory / name, tmp_path / name)
    file = tmp_path / "cloud.yaml"
    whole: dict[str, Any] = yaml.safe_load(cloud.file.read_text())
    shutil.copy(cloud.rig.site.kubeconfig, tmp_path / "kubeconfig")
    cluster = {"name": "k1", "kubeconfig": "kubeconfig", "context": "k1", "registry": "registry.example.org"}
    file.write_text(yaml.safe_dump(whole | {"spec": whole["spec"] | {"clusters": [cluster]}}))
    return file


def test_one_has_the_lease_of_a_real_cluster_at_a_time(cloud: Cloud) -> None:
    cluster = KubernetesCluster("k1", "contract", str(cloud.rig.site.kubeconfig), "k1", "leases", str, None)
    leasecases.one_has_it_at_a_time(cluster.lease)


def test_of_two_operators_the_second_is_refused_by_the_name_of_the_first(
    cloud: Cloud, world: World, elsewhere: Path
) -> None:
    kinds = ("get", "deployments,configmaps,secrets", "-o", "name")
    before = cloud.kubectl(*kinds)
    with leases.held(world, quiet) as keep:
        done = cloud.rig.planeshift("up", "--yes", "-f", str(elsewhere), check=False)
        keep()
    assert done.returncode == 1 and f"error[PS801]: {world.clock.who().partition(',')[0]}" in done.stderr, done.stderr
    assert cloud.kubectl(*kinds) == before


def test_what_a_dead_operator_of_another_machine_held_is_taken_over(cloud: Cloud, elsewhere: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(elsewhere)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    told = cloud.mends()
    assert "took the lease of k1 over: " in told and f"(pid {holder.pid}," in told, told


# --- nodes and zones


@pytest.fixture
def mended(cloud: Cloud) -> Iterator[Cloud]:
    """Placement with a pod in each zone; afterwards all is up again."""
    cloud.spread("placement")
    yield cloud
    cloud.rig.up()
    cloud.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=180s")
    # What comes back to a node is ready at a time of its own, and the edge's weights follow that.
    until(lambda: cloud.run("up", "--yes") and not cloud.operations(), cloud.operations)


def down_at_the_edge(cloud: Cloud) -> set[str]:
    """The servers of Placement that the edge does not find up."""
    with urllib.request.urlopen(f"http://{cloud.machine}:8404/;csv", timeout=30) as answer:
        rows = list(csv.DictReader(answer.read().decode().lstrip("# ").splitlines()))
    servers = [r for r in rows if r["pxname"] == "placement" and r["svname"] not in ("FRONTEND", "BACKEND")]
    return {r["svname"] for r in servers if not r["status"].startswith("UP")}


def test_a_zone_that_is_cut_off_is_left_out_by_the_edge(mended: Cloud) -> None:
    mended.rig.fault("cut", "b")
    until(lambda: "pods-node2" in down_at_the_edge(mended), lambda: down_at_the_edge(mended))
    assert [mended.get(8778, "/") for _ in range(20)] == [200] * 20
    mended.rig.fault("mend", "b")
    until(lambda: "pods-node2" not in down_at_the_edge(mended), lambda: down_at_the_edge(mended))


def test_the_pods_of_a_lost_node_are_made_anew_on_another_and_spread_again_once_it_is_back(mended: Cloud) -> None:
    there = [pod for pod, node in mended.nodes("placement").items() if node == "node2"]
    mended.rig.fault("kill", "node2")
    mended.kubectl("wait", "--for=condition=Ready=Unknown", "node/node2", "--timeout=180s")
    told = "its node node2 does not answer"
    status = ("status", "-o", "json")
    until(lambda: told in mended.run(*status, check=False).stdout, lambda: mended.run(*status, check=False).stdout)
    said = mended.run("up", "--yes", "-o", "json").stdout
    assert any(f"{pod} is made anew: {told}" in said for pod in there), said
    assert mended.operations() == []
    assert set(mended.nodes("placement").values()) == {"node1"}
    assert mended.get(8778, "/") == 200
    mended.rig.up()
    mended.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=180s")
    until(lambda: "2 pods in a, none in b, which is back" in mended.summaries(), mended.summaries)
    assert mended.lost(8778, "/", lambda: mended.run("up", "--yes")) == []
    assert set(mended.nodes("placement").values()) == {"node1", "node2"}
