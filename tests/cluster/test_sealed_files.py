"""`kubectl secrets` and `helm secrets` at a real API server: sealed files are applied, compared, changed, removed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from labrig import Rig

from planeshift.tools import find

CANARY, NEW = (f"canary{os.urandom(8).hex()}" for _ in range(2))
SECRET = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: sealed}}\nstringData: {{password: {CANARY}}}\n"
CONFIG = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sealed}}\ndata: {{token: {CANARY}}}\n"
PLAIN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\ndata: {a: b}\n"
TEMPLATE = (
    "apiVersion: v1\nkind: Secret\nmetadata: {name: of-helm}\nstringData: {password: {{ .Values.password | quote }}}\n"
)

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(lab: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a program in a directory with a key, its rules, and the plugins of kubectl and helm."""
    identity = pyrage.x25519.Identity.generate()
    rule = f"age: {identity.to_public()}, encrypted_regex: '^(data|stringData|password)$'"
    (tmp_path / ".sops.yaml").write_text(f"creation_rules: [{{{rule}}}]\n")
    programs = [Path(sys.executable).parent, find("kubectl").parent, find("helm").parent]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    own = {f"HELM_{n}_HOME": str(tmp_path / n.lower()) for n in ("DATA", "CONFIG", "CACHE")}
    more = {"KUBECONFIG": str(lab.site.kubeconfig), "SOPS_AGE_KEY": str(identity), "PATH": path, **own}
    environment = {**os.environ, **more}

    def do(*argv: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, input=stdin, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert CANARY not in done.stderr
        return done

    return do


def password(run: Run, name: str) -> str:
    found = json.loads(run("kubectl", "get", "secret", name, "-o", "json").stdout)
    return base64.b64decode(found["data"]["password"]).decode()


def sealed(run: Run, directory: Path, name: str, text: str) -> str:
    (directory / name).write_text(text)
    run("planeshift", "secrets", "enc", name)
    assert CANARY not in (directory / name).read_text()
    return name


def test_kubectl_secrets(run: Run, tmp_path: Path) -> None:
    secret, config = sealed(run, tmp_path, "s.yaml", SECRET), sealed(run, tmp_path, "c.yaml", CONFIG)
    (tmp_path / "plain.yaml").write_text(PLAIN)
    everything = ("-f", secret, f"--filename={config}", "-fplain.yaml")
    run("kubectl", "secrets", "apply", "--server-side", *everything)
    assert password(run, "sealed") == CANARY
    assert run("kubectl", "secrets", "diff", "--server-side", *everything).stdout == ""
    run("planeshift", "secrets", "set", config, "data.token", stdin=NEW)
    shown = run("kubectl", "secrets", "diff", "--server-side", *everything, code=1).stdout
    assert f"-  token: {CANARY}" in shown and f"+  token: {NEW}" in shown
    run("kubectl", "secrets", "replace", "-f", config)
    assert NEW in run("kubectl", "get", "configmap", "sealed", "-o", "yaml").stdout
    refused = run("kubectl", "secrets", "create", "-f", secret, code=1)
    assert "already exists" in refused.stderr
    run("kubectl", "secrets", "delete", *everything)
    assert run("kubectl", "get", "secret,configmap", "-l", "!kubernetes.io/x", "-o", "name").stdout.count("sealed") == 0


def test_helm_secrets(run: Run, tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: chart\nversion: 1.0.0\n")
    (chart / "templates/secret.yaml").write_text(TEMPLATE)
    run("planeshift", "secrets", "helm-plugin")
    values = sealed(run, tmp_path, "v.yaml", f"password: {CANARY}\n")
    run("helm", "secrets", "install", "r", "chart", "-f", values)
    assert password(run, "of-helm") == CANARY
    run("planeshift", "secrets", "set", values, "password", stdin=NEW)
    run("helm", "secrets", "upgrade", "r", "chart", f"--values={values}", "--wait")
    assert password(run, "of-helm") == NEW
    run("helm", "uninstall", "r")
