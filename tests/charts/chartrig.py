"""Charts to upload, and a real server to upload them to."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from planeshift.charts import archive

SOAK = bool(os.environ.get("PLANESHIFT_SOAK"))


def chart_yaml(name: str, version: str, **more: str) -> bytes:
    """A Chart.yaml."""
    lines = ["apiVersion: v2", f"name: {name}", f'version: "{version}"', "description: For tests"]
    return "\n".join([*lines, *(f"{k}: {v}" for k, v in more.items())]).encode() + b"\n"


def make(name: str = "alpha", version: str = "1.0.0", files: Mapping[str, bytes] | None = None, **more: str) -> bytes:
    """A chart archive."""
    template = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {colour: '{{ .Values.colour }}'}\n"
    content = {"Chart.yaml": chart_yaml(name, version, **more), "values.yaml": b"colour: blue\n"}
    return archive.pack(name, content | {"templates/map.yaml": template} | dict(files or {}))


def tgz(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    """A gzipped tar of any members, harmless or not."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for given, content in members:
            info = tarfile.TarInfo(given) if isinstance(given, str) else given
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


class Answer:
    """What a server said."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """`planeshift chart serve` in a process of its own, on a free port."""

    def __init__(self, storage: str | Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.storage = str(storage)
        self.options = options
        self.env = {**os.environ, **(env or {})}
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.log = Path(f"{storage}.log") if "://" not in self.storage else Path(os.devnull)
        self.start()

    def start(self) -> None:
        """Start it (again, on the same port) and wait until it listens."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "planeshift", "chart", "serve", "--storage", self.storage]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *self.options], stderr=log, stdout=log, env=self.env
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.said()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                if b"serving" in self.log.read_bytes() or self.log == Path(os.devnull):
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"the server does not listen: {self.said()}")

    def said(self) -> str:
        """Its log."""
        return self.log.read_text("utf-8", "replace") if self.log.is_file() else ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        return self.ask("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def index(self, path: str = "/index.yaml") -> Any:
        """The index, read as YAML."""
        import yaml

        return yaml.load(self.get(path).body, Loader=yaml.CSafeLoader)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


def form(**files: bytes) -> tuple[bytes, str]:
    """A multipart body of files, and its content type."""
    boundary = "a-boundary-of-tests"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{field}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for field, content in files.items()
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def tool(name: str) -> str:
    """A program: named by a variable (HELM), on PATH, or built by `planeshift tools build`; else the test is skipped."""
    from planeshift import tools
    from planeshift.errors import PlaneshiftError

    found = os.environ.get(name.upper().replace("-", "_")) or shutil.which(name)
    if found:
        return found
    try:
        return str(tools.find(name))
    except PlaneshiftError:
        pytest.skip(f"{name} is not there: planeshift tools build {name}")
