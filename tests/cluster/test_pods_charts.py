"""Charts that are not ours: as a backend beside ours, and by helm alone from our repository."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import stockchart
from podsrig import WAIT, Cloud

from planeshift.charts import archive
from planeshift.tools import find

pytestmark = pytest.mark.xdist_group("pods")


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


def test_a_stock_chart_of_the_cloud_s_repository_is_a_backend_beside_ours(pods: Cloud, repository: str) -> None:
    values, locked = pods.rig.directory / "charts/placement.yaml", pods.rig.directory / "charts.lock"
    values.parent.mkdir()
    values.write_text(stockchart.PLACEMENT)
    chart = {"name": "web", "version": "1.0.0", "values": "charts/placement.yaml"}
    with pods.edited() as spec:
        backends = spec["services"]["placement"]["backends"]
        spec["charts"] = {"repository": repository}
        backends["pods"]["weight"] = 0
        backends["stock"] = {"cluster": "k1", "replicas": 1, "weight": 100, "port": 31998, "chart": chart}
    pods.mends()
    pods.run("verify")
    [release] = json.loads(pods.helm("list", "-o", "json", "--filter", "placement-stock"))
    assert (release["chart"], release["status"]) == ("web-1.0.0", "deployed")
    assert "name: web" in locked.read_text() and pods.get(8778, "/") == 200
    rows = json.loads(pods.run("status", "-o", "json").stdout)
    assert [r["detail"] for r in rows if r["backend"] == "stock"] == ["1 of 1 pods of web 1.0.0"]
    assert "placement-stock-web" in pods.run("logs", "placement").stdout

    # A changed configuration file reaches it as it reaches ours; by hand it is not changed for long.
    pods.kubectl("scale", "deployment/placement-stock-web", "--replicas=2")
    assert "2 pods instead of 1" in pods.summaries()
    (pods.rig.directory / "config/placement").mkdir()
    (pods.rig.directory / "config/placement/placement.conf").write_text("[placement]\nmax_allocation_candidates = 9\n")
    pods.mends()  # its pods do not wait until nobody sends them anything, as ours do: a request may be lost between nodes

    # Other bytes under the same version: what runs stays, nothing of it is released.
    push(repository, stockchart.files("1.0.0", "of somebody else's"), "?force")
    shutil.rmtree(pods.rig.directory / ".planeshift/charts")
    assert pods.operations() == []
    values.write_text(stockchart.PLACEMENT + "more: 1\n")
    pods.refused("PS438", "web 1.0.0", "hint: ")
    with pods.edited() as spec:
        spec["services"]["placement"]["backends"]["stock"]["chart"]["version"] = "1.1.0"
    assert "upgrade to the chart web 1.1.0" in pods.summaries()
    pods.mends()
    assert pods.get(8778, "/") == 200

    with pods.edited() as spec:
        del spec["services"]["placement"]["backends"]["stock"]
        spec["services"]["placement"]["backends"]["pods"]["weight"] = 100
    pods.mends()
    assert "placement-stock" not in pods.helm("list", "-q") + pods.kubectl("get", "configmaps,secrets", "-o", "name")
    assert pods.get(8778, "/") == 200


def test_helm_installs_from_our_repository(pods: Cloud, repository: str, tmp_path: Path) -> None:
    """By a repository's name, by its URL, and as an OCI registry; upgraded, rolled back, removed."""
    argv = [str(find("helm")), "--kubeconfig", str(pods.rig.site.kubeconfig), "-n", "default"]
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
