"""A small HTTPS server in a cluster API's place: how a client behaves when it misbehaves. Real clusters: tests/cluster."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from planeshift.catalog.spec import Secret
from planeshift.drivers.maker import RandomMaker

Answer = Callable[["Handler"], None]


@dataclass
class Api:
    """A server, and the requests that it was asked. `answers`: what the next ones get; then `otherwise` for all."""

    kubeconfig: str
    otherwise: Answer
    answers: list[Answer] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    api: Api

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.api.asked.append(f"{self.command} {self.path}")
        with contextlib.suppress(OSError):
            (self.api.answers.pop(0) if self.api.answers else self.api.otherwise)(self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def says(code: int, body: dict[str, Any], **headers: str) -> Answer:
    """An answer with a code, a JSON body and headers."""

    def answer(handler: Handler) -> None:
        text = json.dumps(body).encode()
        handler.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(text)

    return answer


def status(code: int, **headers: str) -> Answer:
    """An error as the API says it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"a {code}"}
    return says(code, body, **headers)


def hangs_up(handler: Handler) -> None:
    """No answer: the connection ends."""
    handler.close_connection = True


def breaks_off(handler: Handler) -> None:
    """The connection ends in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"kind": ')
    handler.close_connection = True


@contextlib.contextmanager
def api(directory: Path, otherwise: Answer) -> Iterator[Api]:
    """A server on a port of its own, with a kubeconfig for it."""
    made = RandomMaker().make(Secret("trial_tls", "trial-tls", ""), ["127.0.0.1"])
    assert isinstance(made, dict)
    for name, text in made.items():
        (directory / f"{name}.pem").write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    kind: type[Handler] = type("Bound", (Handler,), {})
    server = _Server(("127.0.0.1", 0), kind)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    url = f"https://127.0.0.1:{server.server_address[1]}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "k1", "cluster": {"server": url, "certificate-authority": str(directory / "ca_certificate.pem")}}
        ],
        "users": [{"name": "ada", "user": {"token": "x"}}],
        "contexts": [{"name": "k1", "context": {"cluster": "k1", "user": "ada"}}],
        "current-context": "k1",
    }
    (directory / "kubeconfig").write_text(yaml.safe_dump(config))
    kind.api = Api(str(directory / "kubeconfig"), otherwise)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield kind.api
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested."""
