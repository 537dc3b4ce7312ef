"""A Keystone and a Barbican that misbehave on demand: the parts of their APIs that keys are kept by, and faults."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakeCloud:
    """Answers at `url`; `faults` name what goes wrong; `asked` counts what was asked."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.faults: set[str] = set()
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(BrokenPipeError):  # a client that waited long enough
                    cloud.answer(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "OS_AUTH_URL": f"{self.url}/v3", "OS_USERNAME": "u", "OS_PASSWORD": "hush-canary", "OS_PROJECT_NAME": "p",
        }  # fmt: skip

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        what = f"{request.command} {request.path}"
        self.asked.append(what)
        if request.path == "/v3/auth/tokens":
            self._token(request, json.loads(body))
        elif request.headers.get("X-Auth-Token") not in self.tokens:
            self._send(request, 401, {"title": "Unauthorized"})
        elif "expires" in self.faults:
            self.faults.remove("expires")
            self.tokens.clear()
            self._send(request, 401, {"title": "Unauthorized"})
        elif request.command == "POST":
            name = str(uuid.uuid4())
            self.secrets[name], self.names[name] = json.loads(body)["payload"], json.loads(body)["name"]
            self._send(request, 201, {"secret_ref": f"{self.url}/v1/secrets/{name}"})
        elif request.path.startswith("/v1/secrets?"):
            self._list(request)
        else:
            self._payload(request)

    def _token(self, request: http.server.BaseHTTPRequestHandler, body: Any) -> None:
        if "slow" in self.faults:
            time.sleep(3)
        secret = json.dumps(body)
        if "hush-canary" not in secret or "keystone refuses" in self.faults:
            self._send(request, 401, {"error": {"message": "no"}})
            return
        token = uuid.uuid4().hex
        self.tokens.add(token)
        endpoint = {"interface": "public", "region_id": "R", "url": self.url}
        catalog = [] if "no catalogue" in self.faults else [{"type": "key-manager", "endpoints": [endpoint]}]
        self._send(request, 201, {"token": {"catalog": catalog}}, {"X-Subject-Token": token})

    def _list(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = parse_qs(urlsplit(request.path).query).get("name", [""])[0]
        rows = [
            {"name": n, "secret_ref": f"{self.url}/v1/secrets/{i}"} for i, n in self.names.items() if wanted in ("", n)
        ]
        self._send(request, 200, {"secrets": rows, "total": len(rows)})

    def _payload(self, request: http.server.BaseHTTPRequestHandler) -> None:
        name = request.path.split("/")[3]
        if "acl" in self.faults:
            self._send(request, 403, {"title": "Forbidden", "description": "not yours"})
        elif "down" in self.faults:
            self._send(request, 503, {"title": "no \x1b[31mservice"})
        elif "garbage" in self.faults:
            self._send(request, 200, "<html>")
        elif name not in self.secrets:
            self._send(request, 404, {"title": "Not Found"})
        elif "another's" in self.faults:
            self._send(request, 200, next(v for k, v in self.secrets.items() if k != name))
        else:
            self._send(request, 200, self.secrets[name])

    def _send(
        self, request: http.server.BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
