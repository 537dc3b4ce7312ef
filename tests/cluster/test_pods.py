"""The four services as pods of a real cluster: made, proved, changed, broken, mended, removed.

The tests of this module build on one another, on one lab of their own: a node, and a host with database and store.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stockchart
import yaml
from labrig import Rig

from planeshift.app.compose import world as compose
from planeshift.app.site import open_site
from planeshift.charts import archive
from planeshift.errors import PlaneshiftError
from planeshift.tools import find

pytestmark = pytest.mark.xdist_group("pods")

LAB = """
  zones: [a]
  hosts:
    - {name: node1, zone: a, cluster: k1}
    - name: db1
      zone: a
      runs: {mariadb: {databases: [keystone, glance, placement, barbican]}, s3: {}, memcached: {}}
"""
GLANCE = """[DEFAULT]
enabled_backends = shared:s3
[glance_store]
default_backend = shared
[shared]
s3_store_host = http://{db}:7070
s3_store_bucket = images
s3_store_create_bucket_on_put = true
s3_store_bucket_url_format = path
"""
WAIT = 120


class Cloud:
    """A cloud file beside a lab, and what runs of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.file = rig, rig.directory / "cloud.yaml"
        lab = rig.site.lab
        self.machine, self.db = lab.gateway, next(h.address for h in lab.hosts if h.name == "db1")
        (rig.directory / "config/glance").mkdir(parents=True)
        self.glance = rig.directory / "config/glance/glance-api.conf"
        self.glance.write_text(GLANCE.format(db=self.db))
        pods = {"cluster": "k1", "replicas": 1}
        spec: dict[str, Any] = {
            "edges": [{"name": "lb", "address": self.machine}],
            "databases": {"main": {"engine": "mysql", "host": self.db}},
            "caches": {"tokens": {"hosts": [f"{self.db}:11211"]}},
            "hosts": [{"name": "here", "via": "local", "address": self.machine}],
            "clusters": [{"name": "k1", "lab": "lab.yaml"}],
            "services": {
                n: {"backends": {"pods": dict(pods)}} for n in ("keystone", "glance", "placement", "barbican")
            },
        }
        spec["services"]["glance"]["config"] = "config/glance"
        self.write(spec)

    def write(self, spec: dict[str, Any]) -> None:
        whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": spec}
        self.file.write_text(yaml.safe_dump(whole, sort_keys=False))

    @contextlib.contextmanager
    def edited(self) -> Iterator[dict[str, Any]]:
        spec = yaml.safe_load(self.file.read_text())["spec"]
        yield spec
        self.write(spec)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.rig.planeshift(*arguments, "-f", str(self.file), check=check)

    def operations(self) -> list[str]:
        plan = json.loads(self.run("plan", "-o", "json").stdout)
        return [f"{o['kind']}:{o['subject']}" for o in plan["operations"]]

    def summaries(self) -> str:
        return str([o["summary"] for o in json.loads(self.run("plan", "-o", "json").stdout)["operations"]])

    def mends(self) -> None:
        """It comes up, and then nothing is left to do."""
        self.run("up", "--yes")
        assert self.operations() == []

    def refused(self, code: str, *words: str) -> None:
        done = self.run("up", "--yes", check=False)
        assert done.returncode == 1 and f"error[{code}]" in done.stderr, done.stderr
        assert all(word in done.stderr for word in words), done.stderr

    def kubectl(self, *arguments: str) -> str:
        return self.rig.kubectl("-n", "openstack", *arguments)

    def helm(self, *arguments: str, check: bool = True) -> str:
        argv = [str(find("helm")), "--kubeconfig", str(self.rig.site.kubeconfig), "-n", "openstack", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def pods(self, service: str) -> dict[str, str]:
        """The pods of a release, with the ConfigMap that each has."""
        selector = f"app.kubernetes.io/instance={service}-pods"
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        alive = [p for p in found if not p["metadata"].get("deletionTimestamp") and p["status"]["phase"] == "Running"]
        return {p["metadata"]["name"]: _config(p) for p in alive}

    def get(self, port: int, path: str) -> int:
        with urllib.request.urlopen(f"http://{self.machine}:{port}{path}", timeout=30) as answer:
            return int(answer.status)


def _config(pod: dict[str, Any]) -> str:
    [files] = [v["projected"]["sources"] for v in pod["spec"]["volumes"] if v["name"] == "files"]
    return next(str(s["configMap"]["name"]) for s in files if "-config-" in s.get("configMap", {}).get("name", ""))


@pytest.fixture(scope="module")
def cloud(rig: Callable[..., Rig]) -> Iterator[Cloud]:
    made = rig(LAB)
    made.build_tools()
    made.up()
    cloud = Cloud(made)
    yield cloud
    cloud.run("down", "--purge", "--yes", check=False)


def test_four_services_come_up_as_pods_and_are_proved(cloud: Cloud) -> None:
    cloud.mends()
    cloud.run("verify")
    rows = json.loads(cloud.run("status", "-o", "json").stdout)
    assert {(r["service"], r["host"], r["health"]) for r in rows if r["service"] != "edge"} == {
        (name, "k1", "up") for name in ("keystone", "glance", "placement", "barbican")
    }
    assert (
        "a line" not in cloud.run("logs", "keystone").stdout and "keystone-pods" in cloud.run("logs", "keystone").stdout
    )


def test_no_secret_is_in_values_config_maps_or_jobs(cloud: Cloud) -> None:
    directory = cloud.rig.directory / "secrets"
    words = {str(v) for p in directory.glob("*.yaml") for v in _texts(yaml.safe_load(p.read_text())) if len(v) > 12}
    shown = "".join(cloud.helm("get", "all", f"{name}-pods") for name in ("keystone", "glance", "barbican"))
    shown += cloud.kubectl("get", "configmaps,jobs,pods,deployments,events", "-o", "json")
    assert words and [w for w in words if w in shown] == []


def _texts(value: Any) -> Iterator[str]:
    for inner in value.values() if isinstance(value, dict) else [value]:
        if isinstance(inner, dict):
            yield from _texts(inner)
        else:
            yield str(inner)


def test_the_namespace_lets_only_restricted_pods_in(cloud: Cloud) -> None:
    labels = json.loads(cloud.rig.kubectl("get", "namespace", "openstack", "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_changed_file_rolls_the_pods_that_have_it_and_no_others_and_a_rollback_brings_it_back(cloud: Cloud) -> None:
    before = {name: cloud.pods(name) for name in ("keystone", "glance")}
    cloud.glance.write_text(cloud.glance.read_text() + "[image_format]\ncontainer_formats = bare\n")
    assert "release:k1/glance/pods" in cloud.operations()
    lost = _requests(cloud, 9292, "/healthcheck", lambda: cloud.mends())
    after = {name: cloud.pods(name) for name in ("keystone", "glance")}
    assert before["keystone"] == after["keystone"] and before["glance"].keys().isdisjoint(after["glance"])
    assert lost == []
    cloud.helm("rollback", "glance-pods", "--wait", "--timeout", "3m")
    assert set(cloud.pods("glance").values()) == set(before["glance"].values())
    assert "release:k1/glance/pods" in cloud.operations()
    cloud.mends()
    assert set(cloud.pods("glance").values()) == set(after["glance"].values())


def _requests(cloud: Cloud, port: int, path: str, work: Callable[[], None]) -> list[str]:
    """What goes wrong with requests, one after the other, while something is done."""
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                cloud.get(port, path)
            except OSError as error:
                wrong.append(repr(error))
            time.sleep(0.02)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        work()
    finally:
        done.set()
        asking.join()
    return wrong


def test_more_pods_are_asked_for_and_come_without_a_restart(cloud: Cloud) -> None:
    before = cloud.pods("placement")
    with cloud.edited() as spec:
        spec["services"]["placement"]["backends"]["pods"]["replicas"] = 2
    assert "no pod restarts" in cloud.summaries()
    cloud.mends()
    assert before.keys() < cloud.pods("placement").keys() and len(cloud.pods("placement")) == 2


def test_what_somebody_changed_by_hand_is_told_and_goes_back(cloud: Cloud) -> None:
    cloud.kubectl("scale", "deployment/placement-pods", "--replicas=1")
    assert "1 pods instead of 2" in cloud.summaries()
    cloud.mends()
    assert len(cloud.pods("placement")) == 2
    cloud.kubectl("delete", "deployment/placement-pods")
    assert "its Deployment is gone" in cloud.summaries()
    cloud.mends()
    assert len(cloud.pods("placement")) == 2


def test_a_release_that_a_killed_client_left_pending_is_mended(cloud: Cloud, tmp_path: Path) -> None:
    cloud.rig.planeshift("chart", "export", "placement", "-d", str(tmp_path))
    argv = [str(find("helm")), "--kubeconfig", str(cloud.rig.site.kubeconfig), "-n", "openstack"]
    argv += [
        "upgrade",
        "placement-pods",
        str(tmp_path / "placement"),
        "--reuse-values",
        "--set",
        "image=none.invalid/x:y",
    ]
    with subprocess.Popen([*argv, "--wait"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as helm:
        deadline = time.monotonic() + WAIT
        while '"pending-upgrade"' not in cloud.helm("list", "--all", "-o", "json", "--filter", "placement-pods"):
            assert time.monotonic() < deadline
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
        spec["services"]["placement"]["shift"] = {"time": 1}
        backends = spec["services"]["placement"]["backends"]
        if moment == "remove:k1":
            del backends["old"]
            backends["pods"]["weight"] = 100
        else:
            backends["pods"]["weight"] = 50
            backends["old"] = {"cluster": "k1", "replicas": 1, "weight": 50, "release": "2026.1", "port": 31999}
    argv = [sys.executable, "-m", "planeshift", "up", "--yes", "-o", "json", "-f", str(cloud.file)]
    if any(o.startswith(moment) for o in cloud.operations()):  # an image may be there already
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
            assert run.stdout
            for line in run.stdout:
                event = json.loads(line)
                if event["event"] == "begin" and event["operation"].startswith(moment):
                    break
            run.kill()
    if moment in ("set-weights:", "remove:k1"):
        cloud.mends()
        assert ("placement-old" in cloud.helm("list", "-q")) == (moment == "set-weights:")
        assert cloud.get(8778, "/") == 200


def test_an_image_that_is_not_there_is_named_and_the_older_pods_serve_on(cloud: Cloud) -> None:
    with cloud.edited() as spec:
        spec["services"]["placement"]["backends"]["pods"]["image"] = "none.invalid/placement:1"
    cloud.refused("PS718", "placement-pods", "none.invalid/placement:1", "hint: ")
    assert cloud.get(8778, "/") == 200
    with cloud.edited() as spec:
        del spec["services"]["placement"]["backends"]["pods"]["image"]
    cloud.mends()


def test_a_command_that_fails_shows_its_last_lines(cloud: Cloud) -> None:
    world = compose(open_site(str(cloud.file)))
    pods = world.desired.pods["k1/placement/pods"]
    with pytest.raises(PlaneshiftError) as failure:
        world.clusters["k1"].run(pods, world.control.key(), ("placement-manage", "nonsense"), {}, lambda line: None)
    [problem] = failure.value.problems
    assert problem.code == "PS717" and "invalid choice" in problem.why


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """A chart repository of ours, with a chart that is not."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    argv = [sys.executable, "-m", "planeshift", "chart", "serve", "--storage", str(tmp_path / "store")]
    log = tmp_path / "server.log"
    with log.open("wb") as file, subprocess.Popen([*argv, "--port", url.rpartition(":")[2]], stderr=file) as server:
        try:
            deadline = time.monotonic() + WAIT
            while b"serving" not in log.read_bytes():
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            for version in ("1.0.0", "1.1.0"):
                push(url, stockchart.files(version))
            yield url
        finally:
            server.terminate()


def push(url: str, files: dict[str, bytes], query: str = "") -> None:
    asked = urllib.request.Request(f"{url}/api/charts{query}", archive.pack(stockchart.NAME, files), method="POST")
    assert urllib.request.urlopen(asked).status == 201


def test_a_stock_chart_of_the_cloud_s_repository_is_a_backend_beside_ours(cloud: Cloud, repository: str) -> None:
    values, locked = cloud.rig.directory / "charts/placement.yaml", cloud.rig.directory / "charts.lock"
    values.parent.mkdir()
    values.write_text(stockchart.PLACEMENT)
    chart = {"name": "web", "version": "1.0.0", "values": "charts/placement.yaml"}
    with cloud.edited() as spec:
        backends = spec["services"]["placement"]["backends"]
        spec["charts"] = {"repository": repository}
        backends["pods"]["weight"] = 0
        backends["stock"] = {"cluster": "k1", "replicas": 1, "weight": 100, "port": 31998, "chart": chart}
    cloud.mends()
    cloud.run("verify")
    [release] = json.loads(cloud.helm("list", "-o", "json", "--filter", "placement-stock"))
    assert (release["chart"], release["status"]) == ("web-1.0.0", "deployed")
    assert "name: web" in locked.read_text() and cloud.get(8778, "/") == 200
    rows = json.loads(cloud.run("status", "-o", "json").stdout)
    assert [r["detail"] for r in rows if r["backend"] == "stock"] == ["1 of 1 pods of web 1.0.0"]
    assert "placement-stock-web" in cloud.run("logs", "placement").stdout

    # A changed configuration file reaches it as it reaches ours; by hand it is not changed for long.
    cloud.kubectl("scale", "deployment/placement-stock-web", "--replicas=2")
    assert "2 pods instead of 1" in cloud.summaries()
    (cloud.rig.directory / "config/placement").mkdir()
    (cloud.rig.directory / "config/placement/placement.conf").write_text("[placement]\nmax_allocation_candidates = 9\n")
    lost = _requests(cloud, 8778, "/", cloud.mends)
    assert "lay-out:k1/placement/stock" not in cloud.operations() and lost == []

    # Other bytes under the same version: what runs stays, nothing of it is released.
    push(repository, stockchart.files("1.0.0", "of somebody else's"), "?force")
    shutil.rmtree(cloud.rig.directory / ".planeshift/charts")
    assert cloud.operations() == []
    values.write_text(stockchart.PLACEMENT + "more: 1\n")
    cloud.refused("PS438", "web 1.0.0", "hint: ")
    with cloud.edited() as spec:
        spec["services"]["placement"]["backends"]["stock"]["chart"]["version"] = "1.1.0"
    assert "upgrade to the chart web 1.1.0" in cloud.summaries()
    cloud.mends()
    assert cloud.get(8778, "/") == 200

    with cloud.edited() as spec:
        del spec["services"]["placement"]["backends"]["stock"]
        spec["services"]["placement"]["backends"]["pods"]["weight"] = 100
    cloud.mends()
    assert "placement-stock" not in cloud.helm("list", "-q") + cloud.kubectl("get", "configmaps,secrets", "-o", "name")
    assert cloud.get(8778, "/") == 200


def test_helm_installs_from_our_repository(cloud: Cloud, repository: str, tmp_path: Path) -> None:
    """By a repository's name, by its URL, and as an OCI registry; upgraded, rolled back, removed."""
    argv = [str(find("helm")), "--kubeconfig", str(cloud.rig.site.kubeconfig), "-n", "default"]
    places = {n: str(tmp_path / n) for n in ("HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME")}

    def helm(*arguments: str) -> str:
        done = subprocess.run([*argv, *arguments], capture_output=True, text=True, env={**os.environ, **places})
        assert done.returncode == 0, done.stderr
        return done.stdout

    registry = repository.replace("http://", "oci://")
    fixed = ("--set", "replicaCount=0", "--set", "service.type=NodePort", "--set", "service.nodePort=31997", "--wait")
    helm("repo", "add", "ours", repository)
    helm("repo", "update")
    helm("install", "one", "ours/web", "--version", "1.0.0", *fixed)
    helm("upgrade", "one", "web", "--repo", repository, *fixed)
    helm("upgrade", "one", f"{registry}/web", "--version", "1.0.0", "--plain-http", *fixed)
    charts = [r["chart"] for r in json.loads(helm("history", "one", "-o", "json"))]
    assert charts == ["web-1.0.0", "web-1.1.0", "web-1.0.0"]
    helm("rollback", "one", "2", "--wait")
    assert "web-1.1.0" in helm("list")
    helm("uninstall", "one", "--wait")


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
        done = cloud.run("plan", check=False)
        assert "error[PS711]: the cluster k1 cannot be looked at" in done.stderr, done.stderr
        rows = json.loads(cloud.run("status", "-o", "json", check=False).stdout)
        assert {r["health"] for r in rows if r["host"] == "k1"} == {"unknown"}
    finally:
        cloud.rig.up()
    cloud.mends()
    assert cloud.get(5000, "/v3") == 200


def test_what_is_no_longer_declared_goes_with_its_files(cloud: Cloud) -> None:
    with cloud.edited() as spec:
        del spec["services"]["barbican"]
    cloud.mends()
    assert "barbican" not in cloud.helm("list", "-q") + cloud.kubectl(
        "get", "configmaps,secrets,deployments", "-o", "name"
    )
    cloud.run("verify")


def test_down_leaves_nothing_of_it_in_the_cluster_and_purge_leaves_the_lab(cloud: Cloud) -> None:
    cloud.run("down", "--purge", "--yes")
    deadline, kinds = time.monotonic() + WAIT, "all,configmaps,secrets,networkpolicies,serviceaccounts"
    # Pods finish what they serve; all else is gone at once.
    while left := set(cloud.kubectl("get", kinds, "-o", "name").split()) - {
        "configmap/kube-root-ca.crt",
        "serviceaccount/default",
    }:
        assert all(name.startswith("pod/") for name in left) and time.monotonic() < deadline, left
        time.sleep(0.5)
    assert cloud.rig.states()["node1"] == "ready"
