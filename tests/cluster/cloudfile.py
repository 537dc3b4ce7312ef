"""A cloud file beside a lab, as tests edit it and run commands on it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import yaml
from labrig import Rig

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


class CloudFile:
    """The file of a cloud whose edge is on this machine, and whose database, store and cache are on the lab's db1."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.file = rig, rig.directory / "cloud.yaml"
        lab = rig.site.lab
        self.machine, self.db = lab.gateway, next(h.address for h in lab.hosts if h.name == "db1")
        self.glance = rig.directory / "config/glance/glance-api.conf"
        self.glance.parent.mkdir(parents=True, exist_ok=True)
        self.glance.write_text(GLANCE.format(db=self.db))

    def common(self) -> dict[str, Any]:
        """What such a file says but for its services."""
        return {
            "edges": [{"name": "lb", "address": self.machine}],
            "databases": {"main": {"engine": "mysql", "host": self.db}},
            "caches": {"tokens": {"hosts": [f"{self.db}:11211"]}},
            "hosts": [{"name": "here", "via": "local", "address": self.machine}],
            "clusters": [{"name": "k1", "lab": "lab.yaml"}],
        }

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

    def planned(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("plan", "-o", "json").stdout)["operations"]
        return found

    def operations(self) -> list[str]:
        return [f"{o['kind']}:{o['subject']}" for o in self.planned()]
