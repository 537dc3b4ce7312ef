"""An edge that sends requests to an ingress controller: a real HAProxy, and a controller that knows names alone."""

from __future__ import annotations

import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import address
from rigs import until

from planeshift.drivers.haproxy import HAProxy
from planeshift.render.desired import Bind, Frontend, Hop, Server
from planeshift.render.haproxy import haproxy

NAME = "glance-pods.openstack.k1.internal"


class _Controller(BaseHTTPRequestHandler):
    """Answers with the headers that pods would see, to those alone who ask for the right name."""

    def do_GET(self) -> None:
        known = self.headers["Host"] == NAME
        body = f"{self.headers['Host']} {self.headers['X-Forwarded-Host']}".encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def controller() -> Iterator[str]:
    server = ThreadingHTTPServer((address(), 0), _Controller)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"{server.server_address[0]!s}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not shutil.which("haproxy", path="/usr/sbin:/usr/bin"), reason="haproxy is not installed")
def test_requests_and_checks_reach_the_pods_by_their_name(directory: Path, controller: str) -> None:
    here, (host, _, port) = address(), controller.partition(":")
    server = Server("pods-k1", "pods", here, 31292, 256, "k1", False, Hop(NAME, host, int(port)))
    frontend = Frontend("glance", (Bind(here, 9292),), (server,), "/healthcheck", 30)
    unit = directory / "edge"
    unit.mkdir()
    text, _ = haproxy(str(unit), [frontend], Bind(here, 8404))
    (unit / "haproxy.cfg").write_text(text)
    argv = ["haproxy", "-db", "-f", str(unit / "haproxy.cfg")]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/") as process:
        try:
            edge = HAProxy({"edge": str(directory)})
            until(lambda: (state := edge.state("edge")) and all(s.up for s in state.servers.values()))
            state = edge.state("edge")
            assert state and set(state.servers) == {("glance", "pods-k1")}
            with urllib.request.urlopen(f"http://{here}:9292/v2/images", timeout=10) as answer:
                assert answer.read().decode() == f"{NAME} {here}:9292"
        finally:
            process.terminate()
