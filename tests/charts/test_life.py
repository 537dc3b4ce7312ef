"""A chart's life, by the commands that a person types, against real servers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from chartrig import Server, chart_yaml, make, tool
from click.testing import CliRunner, Result
from test_helm import key  # noqa: F401 - a fixture

from planeshift.charts import tree
from planeshift.charts.metadata import Invalid
from planeshift.charts.mirror import Lock
from planeshift.charts.remote import Offer
from planeshift.charts.retention import Retention, superfluous
from planeshift.cli.root import cli
from planeshift.errors import PlaneshiftError


def chart(*arguments: str | Path, fails: str = "", code: int = 0, env: dict[str, str] | None = None) -> Result:
    """`planeshift chart …`; `fails`: the problem's code."""
    result = CliRunner().invoke(cli, ["chart", *map(str, arguments)], env=env, standalone_mode=False)
    if fails:
        assert isinstance(result.exception, PlaneshiftError), result.output
        assert fails in {p.code for p in result.exception.problems}, result.exception
        return result
    if result.exception is not None:
        raise result.exception
    assert (result.return_value or 0) == code, result.output
    return result


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A chart's directory."""
    root = tmp_path / "alpha"
    (root / "templates").mkdir(parents=True)
    (root / "Chart.yaml").write_bytes(chart_yaml("alpha", "1.0.0"))
    (root / "values.yaml").write_text("colour: blue\n")
    (root / "templates" / "map.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {colour: '{{ .Values.colour }}'}\n---\n"
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: '{{ .Values.colour }}'}\n"
    )
    return root


def test_packing_the_same_tree_gives_the_same_bytes(directory: Path, tmp_path: Path) -> None:
    chart("package", directory, "-d", tmp_path / "one")
    for path in directory.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    os.umask(os.umask(0o077))
    done = chart("package", directory, "-d", tmp_path / "two", "-o", "json")
    one, two = (tmp_path / n / "alpha-1.0.0.tgz" for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert json.loads(done.output)["digest"] == f"sha256:{hashlib.sha256(one.read_bytes()).hexdigest()}"
    chart("package", directory, "-d", tmp_path, "--version", "2.0.0", "--app-version", "7")
    assert (tmp_path / "alpha-2.0.0.tgz").exists()


def test_helm_takes_what_is_packed_as_its_own(directory: Path, tmp_path: Path) -> None:
    helm = tool("helm")
    (directory / ".helmignore").write_text("# not these\n*.bak\n/private\nsecret/\n")
    for name in ("a.bak", "private", "templates/.hidden", "templates/b.bak", "kept"):
        (directory / name).write_text("x: 1\n")
    (directory / "secret").mkdir()
    (directory / "secret" / "x").write_text("x")
    (directory / "charts" / "sub").mkdir(parents=True)
    (directory / "charts" / "sub" / "Chart.yaml").write_bytes(chart_yaml("sub", "0.1.0"))
    chart("package", directory, "-d", tmp_path / "ours")
    subprocess.run([helm, "package", str(directory), "-d", str(tmp_path / "theirs")], check=True, capture_output=True)
    listed = [
        sorted(
            subprocess.run(
                ["tar", "tzf", str(tmp_path / n / "alpha-1.0.0.tgz")], check=True, capture_output=True, text=True
            ).stdout.split()
        )
        for n in ("ours", "theirs")
    ]
    assert listed[0] == listed[1] and "alpha/kept" in listed[0]
    subprocess.run([helm, "template", str(tmp_path / "ours" / "alpha-1.0.0.tgz")], check=True, capture_output=True)


def test_what_cannot_be_packed(directory: Path, tmp_path: Path) -> None:
    (directory / "out").symlink_to("/etc/passwd")
    chart("package", directory, "-d", tmp_path, fails="PS430")
    (directory / "out").unlink()
    (directory / "loop").symlink_to(directory)
    chart("package", directory, "-d", tmp_path, fails="PS430")
    (directory / "loop").unlink()
    (directory / "Chart.yaml").write_bytes(chart_yaml("alpha", "1.0.0", dependencies="[{name: sub, version: 1.x}]"))
    chart("package", directory, "-d", tmp_path, fails="PS430")
    (directory / "Chart.yaml").unlink()
    chart("package", directory, "-d", tmp_path, fails="PS430")
    with pytest.raises(Invalid, match="double-star"):
        tree.rules("a/**")
    assert not list(tmp_path.glob("*.tgz"))


@pytest.mark.parametrize("scheme", ["http", "oci"])
def test_signed_pushed_listed_pulled_and_verified(
    scheme: str,
    serve: Callable[..., Server],
    directory: Path,
    tmp_path: Path,
    key: tuple[Path, Path],  # noqa: F811
) -> None:
    public, secret = key
    server = serve("--provenance", "enforce", "--keyring", str(public))
    repo = server.url if scheme == "http" else server.url.replace("http", "oci+http")
    chart("package", directory, "-d", tmp_path)
    archive = tmp_path / "alpha-1.0.0.tgz"
    chart("push", archive, "--repo", repo, fails="PS431")  # unsigned
    chart("sign", archive, "--key-file", secret)
    chart("push", archive, "--repo", repo)
    chart("push", archive, "--repo", repo, fails="PS436") if scheme == "http" else chart(
        "push", archive, "--repo", repo
    )
    assert "alpha 1.0.0" in chart("list", "--repo", repo, "-o", "name").output
    assert json.loads(chart("list", "alpha", "--repo", repo, "-o", "json").output)[0]["version"] == "1.0.0"
    chart("list", "beta", "--repo", repo, fails="PS434")
    got = tmp_path / "got"
    chart("pull", "alpha", "--version", "^1", "-d", got, "--verify", "--keyring", public, "--repo", repo)
    assert (got / archive.name).read_bytes() == archive.read_bytes()
    assert "Jo <jo@example.org>" in chart("verify", got / archive.name, "--keyring", public).output
    chart("pull", "alpha", "--version", "9", "--repo", repo, fails="PS434")
    (got / archive.name).write_bytes(make("alpha"))
    chart("verify", got / archive.name, "--keyring", public, fails="PS432")
    forged = (got / f"{archive.name}.prov").read_text().replace("For tests", "For harm")
    (tmp_path / f"{archive.name}.prov").write_text(forged)
    chart("verify", archive, "--keyring", public, fails="PS432")
    helm = tool("helm")
    chart("sign", archive, "--key-file", secret)
    subprocess.run([helm, "verify", str(archive), "--keyring", str(public)], check=True, capture_output=True)


def test_the_server_refuses_provenance_that_is_forged(
    serve: Callable[..., Server],
    tmp_path: Path,
    key: tuple[Path, Path],  # noqa: F811
) -> None:
    from chartrig import form
    from test_api import PROV

    for policy, status in (("enforce", 400), ("warn", 201)):
        server = serve("--provenance", policy, "--keyring", str(key[0]), storage=tmp_path / policy)
        body, kind = form(chart=make(), prov=PROV)
        assert server.post("/api/charts", body, content_type=kind).status == status
        assert server.post("/api/charts", make("beta")).status == status
        assert sorted(server.index()["entries"]) == ([] if status == 400 else ["alpha", "beta"])


@pytest.mark.parametrize("scheme", ["http", "oci+http"])
def test_a_mirror_takes_what_is_new_and_notices_what_changed(
    scheme: str, serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    up, ours = serve(storage=tmp_path / "up"), serve("--depth", "1", storage=tmp_path / "ours")
    upstream, repo = up.url.replace("http", scheme), f"{ours.url}/site"
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        up.post("/api/charts", make("alpha", version))
    up.post("/api/charts", make("beta"))
    chart("mirror", upstream, "--repo", repo, "--chart", "alpha@^1")
    assert sorted(e["version"] for e in ours.get("/api/site/charts/alpha").json) == ["1.0.0", "1.1.0"]
    lock = Lock.parse((tmp_path / "charts.lock").read_text(), "charts.lock")
    assert lock.pins() == {("alpha", "1.0.0"), ("alpha", "1.1.0")}
    ours.stop()
    ours.start()
    done = chart("mirror", upstream, "--repo", repo)
    assert "2 copied, 2 there already" in done.stderr
    assert ours.get("/site/charts/beta-1.0.0.tgz").body == make("beta")
    assert "0 copied, 4 there already" in chart("mirror", upstream, "--repo", repo).stderr
    # upstream changes what it has published
    up.post("/api/charts?force", make("alpha", "2.0.0", {"evil": b"x"}))
    ours.ask("DELETE", "/api/site/charts/alpha/2.0.0")
    assert "PS437" in chart("mirror", upstream, "--repo", repo, code=1).stderr
    assert ours.get("/site/charts/alpha-2.0.0.tgz").status == 404
    # a new site gets what the lock says, and no more
    up.post("/api/charts?force", make("alpha", "2.0.0"))
    up.post("/api/charts", make("alpha", "3.0.0"))
    chart("mirror", upstream, "--repo", f"{ours.url}/new", "--frozen")
    assert sorted(e["version"] for e in ours.get("/api/new/charts/alpha").json) == ["1.0.0", "1.1.0", "2.0.0"]
    chart("mirror", upstream, "--repo", repo, "--chart", "nothing", fails="PS434")
    chart("mirror", upstream, "--repo", repo, "--frozen", "--lock", "none.lock", fails="PS437")


def test_gc_shows_first_and_then_deletes(server: Server, tmp_path: Path) -> None:
    for patch in range(5):
        server.post("/api/charts", make("alpha", f"1.0.{patch}"))
    lock = tmp_path / "charts.lock"
    lock.write_text('charts:\n- {name: alpha, version: "1.0.0", digest: sha256:00, from: x}\n')
    rule = ("--releases", "2", "--repo", server.url, "--lock", lock)
    assert "0 of 5" in chart("gc", *rule).stderr  # all are young
    shown = chart("gc", *rule, "--days", "0").output
    assert "would delete alpha 1.0.1" in shown and "1.0.0" not in shown
    assert len(server.get("/api/charts/alpha").json) == 5
    chart("gc", *rule, "--days", "0", "--yes")
    assert [e["version"] for e in server.get("/api/charts/alpha").json] == ["1.0.4", "1.0.3", "1.0.0"]


def test_what_retention_keeps() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    offers = [Offer("a", f"1.{n}.0", created="2026-01-01T00:00:00Z") for n in range(5)]
    offers += [Offer("a", f"2.0.0-rc.{n}", created="2026-01-01T00:00:00Z") for n in range(3)]
    offers += [Offer("a", "0.1.0", created="2026-11-20T00:00:00.5Z"), Offer("b", "0.0.1"), Offer("b", "0.0.2")]
    gone = superfluous(offers, Retention(releases=1, prereleases=1, days=7), now)
    assert [o.version for o in gone] == ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "2.0.0-rc.0", "2.0.0-rc.1"]
    assert superfluous(offers, Retention(releases=9, prereleases=9, days=0), now) == []


def test_two_versions_are_compared_by_what_they_render(server: Server, directory: Path, tmp_path: Path) -> None:
    chart("package", directory, "-d", tmp_path)
    (directory / "values.yaml").write_text("colour: red\n")
    extra = "apiVersion: v1\nkind: Service\nmetadata: {name: new}\n"
    (directory / "templates" / "service.yaml").write_text(extra)
    chart("package", directory, "-d", tmp_path, "--version", "1.1.0")
    for version in ("1.0.0", "1.1.0"):
        chart("push", tmp_path / f"alpha-{version}.tgz", "--repo", server.url)
    env = {"PATH": f"{Path(tool('helm')).parent}:{os.environ['PATH']}"}
    old_new = ("alpha@1.0.0", tmp_path / "alpha-1.1.0.tgz", "--repo", server.url)
    said = chart("diff", *old_new, "--detailed-exitcode", code=2, env=env).output
    assert "~ ConfigMap/x" in said and "+ Service/new" in said and "+  colour: red" in said
    assert "~ Secret/s" in said and "key: '*** (" in said and "stringData" in said
    assert "red" not in said.split("Secret/s")[1].split("Service")[0]
    values = tmp_path / "v.yaml"
    values.write_text("colour: green\n")
    said = chart("diff", *old_new, "--values", values, env=env).output
    assert "ConfigMap" not in said and "+ Service/new" in said


def test_the_cloud_file_names_the_repository(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("--auth", "basic", "--basic-auth-user", "jo", env={"BASIC_AUTH_PASS": "pw"})
    monkeypatch.chdir(tmp_path)
    chart("list", fails="PS108")
    cloud = (
        "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: c}\nspec:\n  charts: {repository: 'URL'}\n"
        "  services: {keystone: {endpoint: 'http://192.0.2.1:5000/v3'}}\n"
    )
    (tmp_path / "cloud.yaml").write_text(cloud.replace("URL", server.url))
    env = {"PLANESHIFT_CHART_PASSWORD": "pw", "PLANESHIFT_CHART_USERNAME": "jo"}
    (tmp_path / "alpha-1.0.0.tgz").write_bytes(make())
    chart("push", "alpha-1.0.0.tgz", env=env)
    assert "alpha" in chart("list", env=env).output
    chart("list", env=env | {"PLANESHIFT_CHART_PASSWORD": "no"}, fails="PS431")
    (tmp_path / "cloud.yaml").write_text(cloud.replace("URL", "ftp://x"))
    chart("list", fails="PS107")


def test_a_repository_that_is_none(server: Server, tmp_path: Path) -> None:
    chart("list", "--repo", "http://127.0.0.1:1", fails="PS431")
    chart("list", "--repo", f"{server.url}/nowhere", fails="PS434")
    chart("list", "--repo", "ftp://x", fails="PS431")
