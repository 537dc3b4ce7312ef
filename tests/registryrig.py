"""A real registry of one test's own, and a proxy before it that does what networks and registries do at their worst."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

REASON = "these tests need a registry: Debian's docker-registry, or `planeshift tools build registry`"


def program() -> str:
    """The registry that there is."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "planeshift" / "tools" / "bin" / "registry"
    )
    found = shutil.which("docker-registry") or (str(cache) if cache.exists() else None)
    if not found:
        pytest.skip(REASON)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def registry(
    directory: Path, auth: dict[str, Any] | None = None, tls: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A running registry; its host and port. `tls` holds a `certificate` and its `key`, as PEM."""
    host = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": host},
    }
    if auth:
        settings["auth"] = auth
    if tls:
        for name in ("certificate", "key"):
            (directory / f"{name}.pem").write_text(tls[name])
            settings["http"].setdefault("tls", {})[name] = str(directory / f"{name}.pem")
    file = directory / "registry.yml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with (
        (directory / "registry.log").open("w") as log,
        subprocess.Popen([program(), "serve", str(file)], stdout=log, stderr=log, cwd=directory) as process,
    ):
        try:
            _answers(host, process)
            yield host
        finally:
            process.kill()


def _answers(host: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://{host}/v2/", timeout=1).close()
            return
        assert process.poll() is None, "the registry ended"
        time.sleep(0.05)
    raise AssertionError("the registry does not answer")


@dataclass
class Proxy:
    """Hands on requests to a registry. `fault(method, path, count)` tells what happens to the count-th request of its kind.

    `("cut", n)`: the connection dies after n bytes of the body, whichever way it goes; `("flip", 0)`: another byte in what
    is served; `("status", 503)`: that answer instead.
    """

    upstream: str
    fault: Callable[[str, str, int], tuple[str, int] | None] = lambda method, path, count: None
    seen: list[str] = field(default_factory=list)
    sent: int = 0
    host: str = ""


@contextlib.contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A running proxy."""
    state = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            with contextlib.suppress(OSError):
                super().handle_one_request()

        def _any(self) -> None:
            kind = f"{self.command} {self.path.split('?')[0].rpartition('/')[0]}"
            state.seen.append(f"{self.command} {self.path}")
            count = sum(s.startswith(kind) for s in state.seen)
            what, value = state.fault(self.command, self.path, count) or ("", 0)
            length = int(self.headers.get("Content-Length") or 0)
            if what == "status":
                self.rfile.read(length)
                self.send_response(value)
                self.send_header("Content-Length", "0")
                self.send_header("Retry-After", "0")
                self.end_headers()
                return
            cut = what == "cut" and length
            body = self.rfile.read(min(length, value) if cut else length)
            state.sent += len(body)
            up = http.client.HTTPConnection(state.upstream, timeout=20)
            up.putrequest(self.command, self.path, skip_accept_encoding=True, skip_host=True)
            for name, header in self.headers.items():
                up.putheader(name, header)
            up.endheaders()
            up.send(body)
            if cut:  # the registry sees the connection die, too, and keeps what it has
                up.close()
                time.sleep(0.2)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            answer = up.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, header in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, header.replace(state.upstream, state.host))
            self.end_headers()
            if what == "flip":
                data = bytes([data[0] ^ 1]) + data[1:]
            self.wfile.write(data[:value] if what == "cut" else data)
            if what == "cut":
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            up.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


# --- tokens, as https://distribution.github.io/distribution/spec/auth/jwt/ has them


@contextlib.contextmanager
def token_server(directory: Path, password: str) -> Iterator[dict[str, Any]]:
    """A token server that knows one user, `op`; yields the registry's `auth` settings."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "tokens.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    der = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    expected = "Basic " + base64.b64encode(f"op:{password}".encode()).decode()
    state: dict[str, Any] = {"password": expected, "given": 0, "life": 300.0}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != state["password"]:
                self.send_response(401)
                self.end_headers()
                return
            asked = parse_qs(urlsplit(self.path).query)
            kind, name, actions = asked["scope"][0].split(":")
            access = [{"type": kind, "name": name, "actions": actions.split(",")}]
            claims = {"iss": "tokens", "aud": "registry", "sub": "op", "access": access, "jti": str(state["given"])}
            claims |= {"nbf": int(time.time()) - 60, "iat": int(time.time()), "exp": int(time.time() + state["life"])}
            state["given"] += 1
            parts = [{"typ": "JWT", "alg": "ES256", "x5c": [der]}, claims]
            signed = b".".join(_url64(json.dumps(part).encode()) for part in parts)
            r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
            token = signed + b"." + _url64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
            body = json.dumps({"token": token.decode()}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    realm = f"http://127.0.0.1:{server.server_port}/token"
    settings = {"realm": realm, "service": "registry", "issuer": "tokens", "rootcertbundle": str(pem)}
    try:
        yield {"settings": {"token": settings}, "state": state}
    finally:
        server.shutdown()
        server.server_close()


def htpasswd(directory: Path) -> dict[str, Any]:
    """The registry's settings for user `op` with the password `right`."""
    file = directory / "htpasswd"
    file.write_text("op:$2b$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC\n")
    return {"htpasswd": {"realm": "test", "path": str(file)}}


def docker_config(directory: Path, host: str, password: str) -> dict[str, str]:
    """A HOME whose Docker knows `op` with this password; the environment that has it."""
    folder = directory / "home" / ".docker"
    folder.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"op:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    (folder / "config.json").chmod(0o600)
    return {"HOME": str(directory / "home"), "PATH": os.environ["PATH"]}


def _url64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
