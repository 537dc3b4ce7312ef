"""Keystone and Glance on both sides of a real lab, behind one edge, and an open-loop load that counts every loss.

A node, a host, and a host with database and store: made once for the tests that share it (`both_sides`). The host is the
lab's, or one that is reached by ssh and has a systemd, where the environment has PLANESHIFT_VIA=ssh.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from cloudfile import CloudFile
from labrig import Rig

from planeshift.openloop import Load, openstack
from planeshift.traffic.lines import read

SSH = os.environ.get("PLANESHIFT_VIA") == "ssh"
LAB = f"""
  zones: [a, b]
  hosts:
    - {{name: node1, zone: a, cluster: k1}}
    - {{name: vm1, zone: b, runs: {"{systemd: {}, sshd: {}}" if SSH else "{}"}}}
    - name: db1
      zone: b
      runs: {{mariadb: {{databases: [keystone, glance]}}, s3: {{}}, memcached: {{}}}}
"""
SHIFT = {"time": 2}
PATIENCE = 180


class Cloud(CloudFile):
    """Keystone and Glance on a host of a lab, and as pods, behind an edge on this machine."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig)
        self.vm = next(h.address for h in rig.site.lab.hosts if h.name == "vm1")
        backends = {
            "vms": {"hosts": ["vm1"], "weight": 100},
            "pods": {"cluster": "k1", "replicas": 1, "weight": 0},
        }
        spec = self.common()
        spec["hosts"].append({"name": "vm1", "address": self.vm, **self._way()})
        spec["services"] = {
            "keystone": {"shift": SHIFT, "backends": json.loads(json.dumps(backends))},
            "glance": {"shift": SHIFT, "config": "config/glance", "backends": backends},
        }
        self.write(spec)

    def _way(self) -> dict[str, Any]:
        keys = f".planeshift/lab-{self.rig.site.lab.name}/ssh"
        way = {"via": "ssh", "ssh": {"key": f"{keys}/key", "known-hosts": f"{keys}/known_hosts"}}
        return way if SSH else {"via": "lab", "lab": "lab.yaml"}

    def url(self, port: int, path: str) -> str:
        return f"http://{self.machine}:{port}{path}"

    def statistics(self, column: str, service: str = "") -> dict[str, str]:
        """What the edge says of each server, or of those of a service."""
        with urllib.request.urlopen(self.url(8404, "/;csv"), timeout=30) as answer:
            rows = list(csv.DictReader(answer.read().decode().lstrip("# ").splitlines()))
        servers = [r for r in rows if r["svname"] not in ("FRONTEND", "BACKEND")]
        return {f"{r['pxname']}/{r['svname']}": r[column] for r in servers if service in ("", r["pxname"])}

    def shares(self, service: str) -> dict[str, int]:
        """The weights that the edge has for each server of a service."""
        return {at.partition("/")[2]: int(weight) for at, weight in self.statistics("weight", service).items()}

    def log(self, since: frozenset[Path] = frozenset()) -> list[dict[str, Any]]:
        """The events of the last shift; `since`: unless it is one of these."""
        newest = max(self.logs() - since, key=lambda log: log.parent.name, default=None)
        whole = newest.read_text().rpartition("\n")[0] if newest else ""
        return [json.loads(line) for line in whole.splitlines()]

    def logs(self) -> frozenset[Path]:
        """Those of all shifts that are kept."""
        return frozenset((self.rig.directory / ".planeshift/shifts").glob("*/events.jsonl"))

    @contextlib.contextmanager
    def shifting(self, service: str, target: str, step: int, *more: str) -> Iterator[subprocess.Popen[str]]:
        """`planeshift shift` to a backend, beside us, from when a step has been watched for a while."""
        before = self.logs()
        argv = [sys.executable, "-m", "planeshift", "shift", service, f"{target}=100", "--yes", *more]
        argv += ["-f", str(self.file)]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                until(
                    lambda: (
                        any(e["event"] == "sample" and e["step"] == step for e in self.log(before))
                        or process.poll() is not None
                    ),
                    lambda: self.log(before)[-3:],
                )
                assert process.poll() is None, process.communicate()[1]
                yield process
            finally:
                process.kill()

    def edge_failures(self, since: float) -> list[str]:
        """What the edge's own log says of requests that failed since then."""
        logs = sorted((self.rig.directory / ".planeshift/logs/here/edge/lb").glob("haproxy.log*"), reverse=True)
        found = (r for log in logs for r in read(log.read_text("utf-8", "replace").splitlines()).requests)
        return [f"{request.text}\n" for request in found if request.failed and request.at >= since]

    def wait_for(self, event: str) -> None:
        """Until the last shift has told such an event."""
        until(lambda: any(e["event"] == event for e in self.log()), lambda: self.log()[-3:])

    def wait_up(self) -> None:
        """Until the edge finds every server up."""
        until(lambda: set(self.statistics("status").values()) == {"UP"}, lambda: self.statistics("status"))

    def credentials(self) -> str:
        password = yaml.safe_load((self.rig.directory / "secrets/keystone.yaml").read_text())["admin_password"]
        user = {"name": "admin", "domain": {"name": "Default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
        identity = {"methods": ["password"], "password": {"user": user}}
        return json.dumps({"auth": {"identity": identity, "scope": scope}})

    def token(self) -> str:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url(5000, "/v3/auth/tokens"), self.credentials().encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(answer.headers["X-Subject-Token"])


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def cheap_and_dear(cloud: Cloud, rate: float, dear: float = 0.0) -> Load:
    """So many requests a second that cost little, and so many (one in fifteen of as many) more that cost much."""
    keystone, glance = cloud.url(5000, ""), cloud.url(9292, "")
    flows = (
        *openstack.cheap(keystone, glance, rate),
        *openstack.dear(keystone, glance, cloud.credentials(), dear or rate / 15),
    )
    return Load(flows=flows, seconds=7200, kept={"token": cloud.token()})
