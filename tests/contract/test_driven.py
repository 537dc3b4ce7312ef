"""An HAProxy that is somebody else's, for real: seen, counted and weighted by its runtime socket alone."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from planeshift.drivers.haproxy import HAProxy
from planeshift.drivers.traffic import RingTraffic
from planeshift.errors import PlaneshiftError
from planeshift.render.desired import driven_unit

UNIT = driven_unit("lb2")
HOST = "127.87.3.1"
THEIRS = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend web
    bind {host}:18080
    default_backend ks
backend ks
    server one {host}:18081 weight 100
    server two {host}:18081 weight 0
"""


class Web(BaseHTTPRequestHandler):
    """Fails where it is asked to."""

    def do_GET(self) -> None:
        self.send_response(500 if self.path == "/bad" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    if not shutil.which("haproxy"):
        pytest.skip("haproxy is not installed")
    path, config = tmp_path / "theirs.sock", tmp_path / "haproxy.cfg"
    config.write_text(THEIRS.format(socket=path, host=HOST))
    with ThreadingHTTPServer((HOST, 18081), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL) as process:
            try:
                while not path.exists():
                    assert process.poll() is None
                    time.sleep(0.02)
                yield str(path)
            finally:
                process.kill()
                server.shutdown()


def ask(path: str) -> None:
    try:
        with urllib.request.urlopen(f"http://{HOST}:18080{path}", timeout=10):
            pass
    except urllib.error.HTTPError:
        pass


def test_its_weights_are_set_and_its_requests_counted(socket: str) -> None:
    edge, traffic = HAProxy({}, {UNIT: socket}), RingTraffic({}, {UNIT: socket})
    state = edge.state(UNIT)
    assert state and {name: s.weight for name, s in state.servers.items()} == {("ks", "one"): 100, ("ks", "two"): 0}
    with traffic.collect(UNIT) as collector:
        ask("/")
        edge.set_weights(UNIT, {("ks", "one"): 0, ("ks", "two"): 256})
        ask("/bad")
        while sum(c.requests for c in (collector.counters() or {}).values()) < 2:
            time.sleep(0.02)
        found = {name: (c.requests, c.failed) for name, c in (collector.counters() or {}).items()}
        assert found == {("ks", "one"): (1, 0), ("ks", "two"): (1, 1)}
        assert collector.take() == [] and collector.lost() == 0
    state = edge.state(UNIT)
    assert state and state.servers["ks", "two"].weight == 256


def test_one_that_is_not_there_is_seen_as_such(tmp_path: Path) -> None:
    nowhere = {UNIT: str(tmp_path / "none.sock")}
    assert HAProxy({}, nowhere).state(UNIT) is None
    with pytest.raises(PlaneshiftError) as caught, RingTraffic({}, nowhere).collect(UNIT):
        pass
    assert caught.value.problems[0].code == "PS607"
