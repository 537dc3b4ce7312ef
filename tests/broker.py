"""A real RabbitMQ of a test's own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # without Debian's wrapper, which changes the user
_PATIENCE = 120


def rabbitmq(address: str) -> RabbitMQ:
    """A broker, or a skipped test."""
    if not Path(SERVER).exists() or shutil.which("epmd") is None:
        pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
    return RabbitMQ(address)


def _free() -> str:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class RabbitMQ:
    """A broker at an address of this machine, with its management at port 15672, and a user `glance`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.root = Path(tempfile.mkdtemp(prefix="planeshift-rabbitmq-"))
        (self.root / "plugins").write_text("[rabbitmq_management].\n")
        (self.root / "rabbit.conf").write_text(
            f"listeners.tcp.1 = {self.address}:5672\nmanagement.tcp.ip = {self.address}\nmanagement.tcp.port = 15672\n"
            "loopback_users = none\n"
        )
        epmd, distribution = _free(), _free()  # another broker may have the usual ones
        numbers = self.address.replace(".", ",")
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": self.address, "ERL_EPMD_PORT": epmd,
            "RABBITMQ_NODENAME": f"rotation{os.getpid()}@localhost", "RABBITMQ_DIST_PORT": distribution,
            "RABBITMQ_MNESIA_BASE": str(self.root / "mnesia"), "RABBITMQ_LOG_BASE": str(self.root / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.root / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.root / "rabbit.conf"), "RABBITMQ_PID_FILE": str(self.root / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{{numbers}}}",
        }  # fmt: skip
        argv = ["epmd", "-address", self.address, "-port", epmd]
        self.processes = [subprocess.Popen(argv, env=self.environment, stderr=subprocess.DEVNULL)]
        with (self.root / "out").open("wb") as out:
            self.processes.append(
                subprocess.Popen([SERVER], env=self.environment, stdout=out, stderr=out, cwd=self.root)
            )
        try:
            self._wait()
        except AssertionError:
            self.end()
            raise
        self.ask("PUT", "users/glance", {"password": "bus-p@ss", "tags": ""})
        self.ask("PUT", "permissions/%2F/glance", {"configure": ".*", "write": ".*", "read": ".*"})

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.answers():
            assert time.monotonic() < deadline, (self.root / "out").read_text()[-2000:]
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            return bool(self.ask("GET", "whoami"))
        except (OSError, AssertionError, urllib3.exceptions.HTTPError):
            return False

    def ask(self, method: str, path: str, body: object = None) -> Any:
        headers = {**urllib3.make_headers(basic_auth="guest:guest"), "Content-Type": "application/json"}
        url = f"http://{self.address}:15672/api/{path}"
        answer = urllib3.request(method, url, headers=headers, body=json.dumps(body) if body else None, retries=False)
        assert answer.status < 400, answer.data
        return json.loads(answer.data) if answer.data else None

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        shutil.rmtree(self.root)
