"""The four services as pods of a real cluster: two nodes in two zones, and a host with database, store and cache.

Made once for the tests of pods (`pods`), which build on one another: test_pods.py, test_pods_broken.py, test_pods_charts.py,
test_pods_removed.py, in this order.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from cloudfile import CloudFile
from labrig import Rig

from planeshift.tools import find

LAB = """
  zones: [a, b]
  hosts:
    - {name: node1, zone: a, cluster: k1}
    - {name: node2, zone: b, cluster: k1}
    - name: db1
      zone: a
      runs: {mariadb: {databases: [keystone, glance, placement, barbican]}, s3: {}, memcached: {}}
"""
SERVICES = ("keystone", "glance", "placement", "barbican")
WAIT = 180  # seconds; nothing is meant to take as long


class Cloud(CloudFile):
    """A cloud file, and what runs of it."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        spec = self.common()
        pods = {"cluster": "k1", "replicas": 1}
        spec["services"] = {n: {"shift": {"time": 1}, "backends": {"pods": dict(pods)}} for n in SERVICES}
        spec["services"]["glance"]["config"] = "config/glance"
        self.write(spec)

    def summaries(self) -> str:
        return str([o["summary"] for o in self.planned()])

    def mends(self) -> str:
        """It comes up, and then nothing is left to do. What was told of it."""
        told = self.run("up", "--yes").stderr
        assert self.operations() == []
        return told

    def refused(self, code: str, *words: str) -> None:
        done = self.run("up", "--yes", check=False)
        assert done.returncode == 1 and f"error[{code}]" in done.stderr, done.stderr
        assert all(word in done.stderr for word in words), done.stderr

    @contextlib.contextmanager
    def coming_up(self, moment: str) -> Iterator[subprocess.Popen[str]]:
        """`planeshift up -o json` beside us, from when an operation begins; it is killed at the end, if it still runs."""
        argv = [sys.executable, "-m", "planeshift", "up", "--yes", "-o", "json", "-f", str(self.file)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                for line in process.stdout:
                    event = json.loads(line)
                    if event["event"] == "begin" and event["operation"].startswith(moment):
                        break
                else:
                    raise AssertionError(f"no {moment} began: {process.communicate()[1]}")
                yield process
            finally:
                process.kill()

    def kubectl(self, *arguments: str) -> str:
        return self.rig.kubectl("-n", "openstack", *arguments)

    def helm(self, *arguments: str) -> str:
        argv = [str(find("helm")), "--kubeconfig", str(self.rig.site.kubeconfig), "-n", "openstack", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def alive(self, service: str) -> list[dict[str, Any]]:
        """The pods that serve, and are to stay; those of its commands and migrations end by themselves, anywhere."""
        selector = f"app.kubernetes.io/instance={service}-pods,app.kubernetes.io/component notin (command, migrate)"
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [p for p in found if not p["metadata"].get("deletionTimestamp")]

    def pods(self, service: str) -> dict[str, str]:
        """Those of them that run, with the ConfigMap that each has."""
        return {p["metadata"]["name"]: _config(p) for p in self.alive(service) if p["status"]["phase"] == "Running"}

    def nodes(self, service: str) -> dict[str, str]:
        """The node of each of them."""
        return {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in self.alive(service)}

    @contextlib.contextmanager
    def closed(self, node: str) -> Iterator[None]:
        """A node takes no new pods."""
        self.kubectl("cordon", node)
        try:
            yield
        finally:
            self.kubectl("uncordon", node)

    def alone(self, service: str) -> None:
        """A service has one backend, of two pods."""
        with self.edited() as spec:
            spec["services"][service]["backends"] = {"pods": {"cluster": "k1", "replicas": 2}}
        self.mends()

    def spread(self, service: str) -> None:
        """Two pods of a service, one on each node, and nothing else of it."""
        self.alone(service)
        nodes = self.nodes(service)
        if len(set(nodes.values())) < 2:
            pod, node = nodes.popitem()
            with self.closed(node):
                self.kubectl("delete", "pod", pod)
                self.mends()
        assert set(self.nodes(service).values()) == {"node1", "node2"}

    def get(self, port: int, path: str) -> int:
        with urllib.request.urlopen(f"http://{self.machine}:{port}{path}", timeout=30) as answer:
            return int(answer.status)

    def lost(self, port: int, path: str, work: Callable[[], object]) -> list[str]:
        """What goes wrong with requests, one after the other, while something is done."""
        wrong: list[str] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                try:
                    self.get(port, path)
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


def _config(pod: dict[str, Any]) -> str:
    [files] = [v["projected"]["sources"] for v in pod["spec"]["volumes"] if v["name"] == "files"]
    return next(str(s["configMap"]["name"]) for s in files if "-config-" in s.get("configMap", {}).get("name", ""))


def until(condition: Callable[[], object], what: Callable[[], object]) -> None:
    """Until something holds; else `what` is told."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)
