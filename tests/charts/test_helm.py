"""Stock Helm against the server: what a person types."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from chartrig import Server, form, make, tool


@pytest.fixture
def helm(tmp_path: Path) -> Callable[..., str]:
    """Runs helm in a home of its own."""
    program = tool("helm")
    home = tmp_path / "helm"
    home.mkdir()
    places = {f"HELM_{n}_HOME": str(home / n.lower()) for n in ("CACHE", "CONFIG", "DATA")}

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [program, *arguments], cwd=home, env={**os.environ, **places}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An OpenPGP key of somebody's: public and secret keyring, as gpg exports them."""
    if shutil.which("gpg") is None:
        pytest.skip("there is no gpg: apt-get install gnupg")
    home = tmp_path_factory.mktemp("gpg", numbered=True)
    home.chmod(0o700)
    env = {**os.environ, "GNUPGHOME": str(home)}

    def gpg(*arguments: str) -> bytes:
        return subprocess.run(["gpg", "--batch", *arguments], env=env, check=True, capture_output=True).stdout

    gpg("--passphrase", "", "--quick-gen-key", "Jo <jo@example.org>", "rsa2048", "sign", "never")
    (home / "pub.gpg").write_bytes(gpg("--export"))
    (home / "sec.gpg").write_bytes(gpg("--export-secret-keys"))
    subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False, capture_output=True)
    return home / "pub.gpg", home / "sec.gpg"


def test_a_repository_is_added_updated_searched_pulled_and_rendered(server: Server, helm: Callable[..., str]) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0-rc.1"):
        assert server.post("/api/charts", make("alpha", version)).status == 201
    helm("repo", "add", "ours", server.url)
    assert "1.1.0" in helm("search", "repo", "ours/alpha")
    assert server.post("/api/charts", make("alpha", "1.3.0")).status == 201
    helm("repo", "update")
    assert "1.3.0" in helm("search", "repo", "ours/alpha")
    helm("pull", "ours/alpha", "--version", "~1.1")
    assert "blue" in helm("template", "ours/alpha")
    assert "red" in helm("template", "ours/alpha", "--version", "~1.1", "--set", "colour=red")


def test_provenance_of_helm_is_served_and_verified_by_helm(
    server: Server, helm: Callable[..., str], key: tuple[Path, Path], tmp_path: Path
) -> None:
    public, secret = key
    tree = tmp_path / "helm" / "alpha"
    tree.mkdir()
    (tree / "Chart.yaml").write_text("apiVersion: v2\nname: alpha\nversion: 1.0.0\ndescription: signed\n")
    helm("package", "--sign", "--key", "Jo", "--keyring", str(secret), "alpha")
    chart, prov = (tmp_path / "helm" / f"alpha-1.0.0.tgz{x}" for x in ("", ".prov"))
    body, kind = form(chart=chart.read_bytes(), prov=prov.read_bytes())
    assert server.post("/api/charts", body, content_type=kind).status == 201
    chart.unlink()
    prov.unlink()
    helm("repo", "add", "ours", server.url)
    helm("pull", "ours/alpha", "--prov")
    assert prov.exists()
    helm("pull", "ours/alpha", "--verify", "--keyring", str(public))


def test_names_that_chartmuseum_mixes_up_are_pulled_and_verified_apart(
    server: Server, helm: Callable[..., str], key: tuple[Path, Path], tmp_path: Path
) -> None:
    public, secret = key
    for name, version in (("foo", "1.0.0-1.0.0"), ("foo-1.0.0", "1.0.0")):
        tree = tmp_path / "helm" / name
        tree.mkdir()
        (tree / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: {version}\n")
        helm("package", "--sign", "--key", "Jo", "--keyring", str(secret), name)
        chart, prov = (tmp_path / "helm" / f"{name}-{version}.tgz{x}" for x in ("", ".prov"))
        body, kind = form(chart=chart.read_bytes(), prov=prov.read_bytes())
        assert server.post("/api/charts", body, content_type=kind).status == 201
        chart.unlink()
        prov.unlink()
    helm("repo", "add", "ours", server.url)
    for name, version in (("foo", "1.0.0-1.0.0"), ("foo-1.0.0", "1.0.0")):
        helm("pull", f"ours/{name}", "--version", version, "--verify", "--keyring", str(public))
        assert f"name: {name}\n" in helm("show", "chart", f"{name}-{version}.tgz")
        (tmp_path / "helm" / f"{name}-{version}.tgz").unlink()
    assert server.get("/charts/foo-1.0.0-1.0.0.tgz").status == 409


def test_oci_push_and_pull(server: Server, helm: Callable[..., str], tmp_path: Path) -> None:
    chart = tmp_path / "helm" / "alpha-1.0.0+build.5.tgz"
    chart.write_bytes(make("alpha", "1.0.0+build.5"))
    address = f"oci://127.0.0.1:{server.port}"
    said = helm("push", str(chart), address, "--plain-http")
    digest = next(line.split()[1] for line in said.splitlines() if line.startswith("Digest:"))
    chart.unlink()
    assert digest in helm("pull", f"{address}/alpha", "--version", "1.0.0+build.5", "--plain-http")
    assert server.get("/charts/alpha-1.0.0+build.5.tgz").status == 200
    assert server.post("/api/charts", make("beta", "2.0.0")).status == 201
    assert "blue" in helm("template", f"{address}/beta", "--version", "2.0.0", "--plain-http")
    assert helm("show", "chart", f"{address}/alpha@{digest}", "--plain-http")


def test_tenants_and_passwords(serve: Callable[..., Server], helm: Callable[..., str], tmp_path: Path) -> None:
    server = serve("--depth", "2", "--auth", "basic", "--basic-auth-user", "jo", env={"BASIC_AUTH_PASS": "pw"})
    chart = tmp_path / "helm" / "alpha-1.0.0.tgz"
    chart.write_bytes(make("alpha"))
    helm("registry", "login", f"127.0.0.1:{server.port}", "-u", "jo", "-p", "pw", "--plain-http")
    helm("push", str(chart), f"oci://127.0.0.1:{server.port}/org/team", "--plain-http")
    helm("repo", "add", "ours", f"{server.url}/org/team", "--username", "jo", "--password", "pw")
    assert "1.0.0" in helm("search", "repo", "ours/alpha")
    helm("pull", "ours/alpha")
    helm("repo", "add", "theirs", f"{server.url}/org/team", "--username", "jo", "--password", "no", code=1)


def test_the_plugin_that_pushes_to_chartmuseum(
    serve: Callable[..., Server], helm: Callable[..., str], tmp_path: Path
) -> None:
    """`helm cm-push`: an archive, a directory with another version, what is there already, by force; to a tenant."""
    plugin = tmp_path / "helm" / "data" / "plugins" / "cm-push"
    plugin.mkdir(parents=True)
    (plugin / "plugin.yaml").write_text(f"name: cm-push\nversion: 1.0.0\ncommand: {tool('helm-cm-push')}\n")
    server = serve("--depth", "1", "--auth", "basic", "--basic-auth-user", "jo", env={"BASIC_AUTH_PASS": "pw"})
    chart = tmp_path / "helm" / "alpha-1.0.0.tgz"
    chart.write_bytes(make("alpha"))
    helm("repo", "add", "ours", f"{server.url}/team", "--username", "jo", "--password", "pw")
    assert "Done." in helm("cm-push", str(chart), "ours")
    assert "already exists" in helm("cm-push", str(chart), "ours", code=1)
    assert "Done." in helm("cm-push", str(chart), "ours", "--force")
    tree = tmp_path / "helm" / "beta"
    tree.mkdir()
    (tree / "Chart.yaml").write_text("apiVersion: v2\nname: beta\nversion: 1.0.0\n")
    assert "Done." in helm("cm-push", "beta", "ours", "--version", "2.1.0")
    assert "Error" in helm("cm-push", str(chart), f"{server.url}/team", "--username", "jo", "--password", "no", code=1)
    helm("repo", "update")
    assert "2.1.0" in helm("search", "repo", "ours/beta") and "1.0.0" in helm("search", "repo", "ours/alpha")
