"""The four services as pods of a real cluster: what goes wrong has a name, or mends itself, and what serves serves on."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import leasecases
import pytest
import yaml
from podsrig import Cloud, until

from planeshift.app.compose import world as compose
from planeshift.app.site import open_site
from planeshift.drivers.kubernetes import KubernetesCluster
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.lab.kubernetes import SOCKET
from planeshift.ports import quiet
from planeshift.tools import find

pytestmark = pytest.mark.xdist_group("pods")


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


def test_one_has_the_lease_of_a_real_cluster_at_a_time(cloud: Cloud) -> None:
    cluster = KubernetesCluster("k1", "contract", str(cloud.rig.site.kubeconfig), "k1", "leases", str, None)
    leasecases.one_has_it_at_a_time(cluster.lease)
