"""Keys in the Barbican of the shared cloud, under its Keystone: our commands, stock sops, and a user without rights."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from rig import Cloud, Done

from planeshift import tools
from planeshift.errors import PlaneshiftError

pytestmark = pytest.mark.xdist_group("local")


def stock(name: str) -> str:
    try:
        return str(tools.find(name))
    except PlaneshiftError:
        pytest.skip(f"{name} is not here: planeshift tools build {name}")


@pytest.fixture
def client(cloud: Cloud) -> dict[str, str]:
    """The environment of a user who typed `eval "$(planeshift env)"`."""
    words = [shlex.split(line) for line in cloud.does("env").out.splitlines()]
    given = dict(w.partition("=")[::2] for line in words for w in line if "=" in w)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**cloud.environment, **given, "PATH": path, "XDG_CONFIG_HOME": str(cloud.root / "none")}


@pytest.fixture
def place(cloud: Cloud, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def run(cloud: Cloud, environment: dict[str, str], *arguments: str) -> Done:
    return cloud.run("secrets", *arguments, file=False, environment=environment)


def test_seal_edit_and_open_with_a_key_in_barbican(cloud: Cloud, client: dict[str, str], place: Path) -> None:
    made = run(cloud, client, "key", "create", f"{cloud.name}/glance")
    assert made.code == 0, made.text
    recipient = made.out.strip()
    glass = pyrage.x25519.Identity.generate()
    (place / ".sops.yaml").write_text(f"creation_rules: [{{age: '{recipient},{glass.to_public()}'}}]\n")
    file, identities = place / "s.yaml", place / "id.txt"
    file.write_text("# of Glance\ndb: {password: one}\nuser: two\n")
    identities.write_text(run(cloud, client, "key", "identity").out)
    client["SOPS_AGE_KEY_FILE"] = str(identities)
    assert run(cloud, client, "enc", str(file)).code == 0
    assert "one" not in file.read_text().split("sops:")[0].replace("none", "")
    assert run(cloud, client, "view", str(file)).out == "# of Glance\ndb: {password: one}\nuser: two\n"
    editor = place / "editor"
    editor.write_text("#!/bin/sh\nsed -i s/two/three/ $1\n")
    editor.chmod(0o755)
    edited = run(cloud, {**client, "EDITOR": str(editor), "VISUAL": "", "SOPS_EDITOR": ""}, "edit", str(file))
    assert edited.code == 0, edited.text
    sops = stock("sops")
    done = subprocess.run([sops, "decrypt", str(file)], env=client, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "user: three" in done.stdout, done.stderr
    assert run(cloud, client, "rotate-key", str(file)).code == 0
    assert "three" in run(cloud, client, "view", str(file)).out
    # The break-glass key, with no cloud at all.
    bare = {k: v for k, v in client.items() if not k.startswith("OS_")} | {"SOPS_AGE_KEY": str(glass)}
    bare.pop("SOPS_AGE_KEY_FILE")
    done = subprocess.run([sops, "decrypt", str(file)], env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "user: three" in done.stdout, done.stderr
    rows = run(cloud, client, "key", "list").out
    assert f"{cloud.name}/glance" in rows


def test_who_may_not_read_the_key_cannot_open(cloud: Cloud, client: dict[str, str], place: Path) -> None:
    recipient = run(cloud, client, "key", "create", f"{cloud.name}/keystone").out.strip()
    (place / "s.yaml").write_text("a: b\n")
    assert run(cloud, client, "enc", str(place / "s.yaml"), "--age", recipient).code == 0
    (place / "id.txt").write_text(run(cloud, client, "key", "identity").out)
    # Glance's own user, on the service project: another project's secret.
    other = {k: v for k, v in client.items() if not k.startswith("OS_")} | {
        "SOPS_AGE_KEY_FILE": str(place / "id.txt"),
        "OS_AUTH_URL": cloud.url(5000, "/v3"),
        "OS_USERNAME": "glance",
        "OS_PASSWORD": cloud.secret("glance", "service_password"),
        "OS_PROJECT_NAME": "service",
    }
    done = run(cloud, other, "view", str(place / "s.yaml"))
    assert done.code == 1 and "PS1009" in done.err and "may not be read" in done.err, done.text
    wrong = run(cloud, {**other, "OS_PASSWORD": "wrong"}, "view", str(place / "s.yaml"))
    assert wrong.code == 1 and "its password" in wrong.err, wrong.text


def test_a_token_or_an_application_credential_opens_too(cloud: Cloud, client: dict[str, str], place: Path) -> None:
    recipient = run(cloud, client, "key", "create", f"{cloud.name}/credentials").out.strip()
    (place / "s.yaml").write_text("a: b\n")
    assert run(cloud, client, "enc", str(place / "s.yaml"), "--age", recipient).code == 0
    (place / "id.txt").write_text(run(cloud, client, "key", "identity").out)
    token = cloud.token()
    headers = {"X-Auth-Token": token, "X-Subject-Token": token, "Content-Type": "application/json"}
    mine = json.loads(cloud.request("GET", 5000, "/v3/auth/tokens", headers=headers).body)["token"]
    body = json.dumps(
        {"application_credential": {"name": "opens", "roles": [{"name": r["name"]} for r in mine["roles"]]}}
    )
    path = f"/v3/users/{mine['user']['id']}/application_credentials"
    answer = cloud.request("POST", 5000, path, body, headers)
    assert answer.status == 201, answer
    made = json.loads(answer.body)["application_credential"]
    bare = {k: v for k, v in client.items() if not k.startswith("OS_")} | {
        "SOPS_AGE_KEY_FILE": str(place / "id.txt"),
        "OS_AUTH_URL": cloud.url(5000, "/v3"),
    }
    for who in (
        {"OS_TOKEN": token, "OS_PROJECT_ID": mine["project"]["id"]},
        {"OS_APPLICATION_CREDENTIAL_ID": made["id"], "OS_APPLICATION_CREDENTIAL_SECRET": made["secret"]},
    ):
        assert run(cloud, bare | who, "view", str(place / "s.yaml")).out == "a: b\n"
    assert cloud.request("DELETE", 5000, f"{path}/{made['id']}", headers=headers).status == 204


def test_a_cloud_runs_from_a_sealed_secret_file(cloud: Cloud, client: dict[str, str], place: Path) -> None:
    glass = pyrage.x25519.Identity.generate()
    environment = {**client, "SOPS_AGE_KEY": str(glass)}
    file = cloud.root / "secrets" / "placement.yaml"
    plain, before = file.read_bytes(), cloud.snapshot()
    password = cloud.secret("placement", "service_password")
    try:
        assert run(cloud, environment, "enc", str(file), "--age", str(glass.to_public())).code == 0
        assert password.encode() not in file.read_bytes()
        done = cloud.run("up", "--yes", environment=environment)
        assert done.code == 0 and "Nothing to do" in done.out, done.text
        assert cloud.snapshot() == before
        cloud.run("plan").refused("PS1009", "no key at hand")
    finally:
        file.write_bytes(plain)
