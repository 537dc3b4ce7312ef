"""A real HAProxy under load: who takes of the requests that wait; and one that dies while a server is drained."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rigs import until

from planeshift.drivers.haproxy import HAProxy, ask, rows
from planeshift.ports import quiet
from planeshift.render.desired import driven_unit

UNIT = driven_unit("lb")
HOST = (
    f"127.{88 + (os.getpid() >> 16) % 32}.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF or 1}"  # of each worker its own
)
WAITING = 6
CONFIG = f"""
global
    stats socket {{socket}} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout queue 60s
frontend web
    bind {HOST}:18080
    default_backend web
backend web
    balance roundrobin
    server old {HOST}:18081 maxconn 1 weight 256
    server new {HOST}:18082 maxconn 2 weight 0
"""


class Slow(BaseHTTPRequestHandler):
    """Answers nothing before it is told to."""

    go = threading.Event()

    def do_GET(self) -> None:
        if self.server.server_address[1] == 18081:
            Slow.go.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class Running:
    """A HAProxy that can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.socket, self.config = directory / "theirs.sock", directory / "haproxy.cfg"
        self.config.write_text(CONFIG.format(socket=self.socket))
        self.port = HAProxy({}, {UNIT: str(self.socket)})

    def start(self) -> None:
        argv = ["haproxy", "-db", "-f", str(self.config)]
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        until(lambda: self.port.state(UNIT))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def count(self, name: str, column: str) -> int:
        """What the statistics have of a server, or of all as BACKEND."""
        found = rows(ask(str(self.socket), "show stat"))
        return next(int(row[column]) for row in found if (row["pxname"], row["svname"]) == ("web", name))


def client() -> None:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:18080/", timeout=60):
        answered.append(time.monotonic())


answered: list[float] = []


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Running]:
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed")
    servers = [ThreadingHTTPServer((HOST, port), Slow) for port in (18081, 18082)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    running = Running(tmp_path)
    Slow.go.clear()
    try:
        running.start()
        yield running
    finally:
        Slow.go.set()
        running.kill()
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.mark.parametrize("admitted", [False, True])
def test_who_waits_while_the_old_side_is_full_is_served_by_the_new_one(edge: Running, admitted: bool) -> None:
    if admitted:
        edge.port.withhold(UNIT, "web", "new", quiet)
        edge.port.set_weights(UNIT, {("web", "new"): 25})
    answered.clear()
    clients = [threading.Thread(target=client, daemon=True) for _ in range(1 + WAITING)]
    for one in clients:
        one.start()
    until(lambda: edge.count("BACKEND", "qcur") == WAITING)
    if admitted:
        edge.port.admit(UNIT, "web", "new")
    else:
        edge.port.set_weights(UNIT, {("web", "old"): 231, ("web", "new"): 25})
    until(lambda: len(answered) == WAITING)
    Slow.go.set()
    for one in clients:
        one.join(60)
    assert len(answered) == 1 + WAITING


def test_one_that_is_killed_while_a_server_is_drained_is_told_again(edge: Running) -> None:
    threading.Thread(target=client, daemon=True).start()
    until(lambda: edge.count("old", "scur"))
    told: list[str] = []
    draining = threading.Thread(target=edge.port.withhold, args=(UNIT, "web", "old", told.append), daemon=True)
    draining.start()
    until(lambda: told)
    edge.kill()
    edge.start()
    draining.join(60)
    state = edge.port.state(UNIT)
    assert not draining.is_alive() and state and state.servers["web", "old"].withheld
