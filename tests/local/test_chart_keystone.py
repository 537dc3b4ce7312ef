"""The chart server asks a real Keystone who may do what."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from rig import Cloud, until

from planeshift.charts import archive

pytestmark = pytest.mark.xdist_group("local")

CHART = archive.pack("alpha", {"Chart.yaml": b"apiVersion: v2\nname: alpha\nversion: 1.0.0\n"})


@pytest.fixture
def server(cloud: Cloud, tmp_path: Path) -> Iterator[str]:
    """A chart server with tenants, whose pushers are administrators of the tenant's project."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "planeshift",
        "chart",
        "serve",
        "--storage",
        str(tmp_path / "store"),
        "--depth",
        "1",
    ]
    options = ["--auth", "keystone", "--keystone-url", cloud.url(5000, "/v3"), "--keystone-push-roles", "admin"]
    process = subprocess.Popen([*command, "--port", str(port), *options])
    url = f"http://127.0.0.1:{port}"

    def listens() -> bool:
        try:
            return bool(urllib3.request("GET", f"{url}/health", retries=False, timeout=5).status == 200)
        except urllib3.exceptions.HTTPError:
            return False

    until(listens, "the chart server does not listen")
    yield url
    process.terminate()
    assert process.wait(60) == 0


@contextlib.contextmanager
def other_admin(cloud: Cloud, heads: dict[str, str], user: str) -> Iterator[tuple[str, str]]:
    """Another domain's project that is called admin, too: its ID, and a token for it. Gone afterwards."""

    def keystone(method: str, path: str, body: object = None) -> Any:
        answer = cloud.request(method, 5000, path, json.dumps(body) if body is not None else None, heads)
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    domain = keystone("POST", "/v3/domains", {"domain": {"name": f"other-{time.monotonic_ns()}"}})["domain"]["id"]
    project = keystone("POST", "/v3/projects", {"project": {"name": "admin", "domain_id": domain}})["project"]["id"]
    role = next(r["id"] for r in keystone("GET", "/v3/roles")["roles"] if r["name"] == "admin")
    keystone("PUT", f"/v3/projects/{project}/users/{user}/roles/{role}")
    identity = {"methods": ["token"], "token": {"id": heads["X-Auth-Token"]}}
    scoped = json.dumps({"auth": {"identity": identity, "scope": {"project": {"id": project}}}})
    answer = cloud.request("POST", 5000, "/v3/auth/tokens", scoped, heads)
    assert answer.status == 201
    yield project, answer.headers["x-subject-token"]
    keystone("DELETE", f"/v3/projects/{project}")
    keystone("PATCH", f"/v3/domains/{domain}", {"domain": {"enabled": False}})
    keystone("DELETE", f"/v3/domains/{domain}")


def test_tokens_and_application_credentials_are_asked_about(cloud: Cloud, server: str) -> None:
    def push(tenant: str, **headers: str) -> int:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return urllib3.request("POST", f"{server}/api/{tenant}/charts?force", body=CHART, headers=named).status

    token = cloud.token()
    assert push("admin") == 401 and push("admin", x_auth_token="nonsense") == 401
    assert push("admin", x_auth_token=token) == 201
    assert push("service", x_auth_token=token) == 401  # it is not a token of that project
    assert push("admin", authorization=f"Bearer {token}") == 201
    password = base64.b64encode(f"token:{token}".encode()).decode()
    assert push("admin", authorization=f"Basic {password}") == 201  # what helm can send
    answer = urllib3.request("GET", f"{server}/admin/index.yaml", headers={"X-Auth-Token": token})
    assert answer.status == 200 and b"alpha" in answer.data
    heads = {"X-Auth-Token": token, "X-Subject-Token": token, "Content-Type": "application/json"}
    user = cloud.request("GET", 5000, "/v3/auth/tokens", headers=heads).json["token"]["user"]["id"]
    wanted = json.dumps(
        {"application_credential": {"name": f"charts-{time.monotonic_ns()}", "roles": [{"name": "admin"}]}}
    )
    made = cloud.request("POST", 5000, f"/v3/users/{user}/application_credentials", wanted, heads)
    assert made.status == 201
    credential = made.json["application_credential"]

    def given(secret: str) -> str:
        return "Basic " + base64.b64encode(f"{credential['id']}:{secret}".encode()).decode()

    assert push("admin", authorization=given(credential["secret"])) == 201
    assert push("admin", authorization=given("wrong")) == 401
    with other_admin(cloud, heads, user) as (project, theirs):
        assert push(project, x_auth_token=theirs) == 201  # by its ID
        assert push("admin", x_auth_token=theirs) == 401  # not by the name that it has elsewhere
    path = f"/v3/users/{user}/application_credentials/{credential['id']}"
    assert cloud.request("DELETE", 5000, path, headers=heads).status == 204
