"""Charts of backends, had from a real repository: kept, recorded, held against what was recorded."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chartrig import Server, make

from planeshift.app.released import LOCK, RepositoryCharts
from planeshift.app.site import open_site
from planeshift.errors import Problem
from planeshift.render.desired import ChartSource, ChartView

SPEC = """
charts: {repository: %s}
hosts: [{name: here, via: local, address: 192.0.2.1}]
edges: [{name: lb, address: 192.0.2.1}]
clusters: [{name: k1, registry: registry.example.org}]
databases: {main: {engine: mysql, host: 192.0.2.9}}
services: {keystone: {backends: {pods: {cluster: k1, chart: {name: alpha, version: 1.0.0}}}}}
"""


class Cloud:
    """A cloud file whose charts a server has; each look is a new process's."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory, self.server = directory, server
        directory.mkdir()
        self.over("http")

    def over(self, scheme: str) -> None:
        """The server by its HTTP API, or as a registry."""
        self.source = ChartSource(self.server.url.replace("http", scheme, 1), "alpha", "1.0.0")
        self.write()

    def write(self, more: str = "") -> None:
        spec = yaml.safe_load(SPEC % self.source.repository)
        spec["charts"] |= yaml.safe_load(more) or {}
        body = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "t"}, "spec": spec}
        (self.directory / "cloud.yaml").write_text(yaml.safe_dump(body))

    def charts(self) -> RepositoryCharts:
        return RepositoryCharts(open_site(str(self.directory / "cloud.yaml")))

    def view(self) -> ChartView:
        return self.charts().views([self.source])[self.source]

    def problem(self) -> Problem:
        view = self.view()
        assert not view.archive
        [problem] = view.problems
        return problem

    def forget(self) -> None:
        for path in (self.directory / ".planeshift/charts").iterdir():
            path.unlink()


@pytest.fixture
def cloud(tmp_path: Path, server: Server) -> Cloud:
    server.post("/api/charts", make("alpha"))
    return Cloud(tmp_path / "cloud", server)


@pytest.mark.parametrize("scheme", ["http", "oci+http"])
def test_a_chart_is_had_and_recorded_and_then_nobody_is_asked(cloud: Cloud, scheme: str) -> None:
    cloud.over(scheme)
    archive = make("alpha")
    view = cloud.view()
    assert (view.archive, view.digest, view.problems) == (archive, hashlib.sha256(archive).hexdigest(), ())
    assert not (cloud.directory / LOCK).exists(), "looking records nothing"
    charts = cloud.charts()
    charts.record(cloud.source)
    assert f"sha256:{view.digest}" in (cloud.directory / LOCK).read_text()
    assert stat.S_IMODE((cloud.directory / ".planeshift").stat().st_mode) == 0o700
    cloud.server.kill()
    assert cloud.view() == view


def test_other_bytes_under_the_same_version_are_refused_until_the_line_is_removed(cloud: Cloud) -> None:
    cloud.charts().record(cloud.source)
    before = (cloud.directory / LOCK).read_text()
    cloud.server.post("/api/charts?force", make("alpha", files={"x": b"y"}))
    assert cloud.view().archive == make("alpha"), "what was recorded is still here"
    cloud.forget()
    problem = cloud.problem()
    assert problem.code == "PS438" and LOCK in problem.hint
    assert cloud.view().digest in before
    cloud.charts().record(cloud.source)
    assert (cloud.directory / LOCK).read_text() == before
    (cloud.directory / LOCK).unlink()
    assert cloud.view().archive == make("alpha", files={"x": b"y"})


def test_what_lies_in_the_cache_is_believed_by_its_digest_alone(cloud: Cloud) -> None:
    cloud.charts().record(cloud.source)
    for path in (cloud.directory / ".planeshift/charts").iterdir():
        path.write_bytes(b"something else")
    assert cloud.view().archive == make("alpha")


def test_a_chart_that_is_not_there_a_repository_that_is_away_and_a_lock_that_is_none(cloud: Cloud) -> None:
    cloud.server.ask("DELETE", "/api/charts/alpha/1.0.0")
    assert cloud.problem().code == "PS434"
    (cloud.directory / LOCK).write_text("- nonsense")
    assert cloud.problem().code == "PS437"
    (cloud.directory / LOCK).unlink()
    cloud.server.kill()
    assert cloud.problem().code == "PS431"


def test_credentials_of_the_repository_are_in_a_secret_file(serve: Callable[..., Server], tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hush")
    server = serve("--auth", "basic", "--basic-auth-user", "me", "--basic-auth-pass-file", str(secret))
    server.post("/api/charts", make("alpha"), Authorization="Basic bWU6aHVzaA==")
    cloud = Cloud(tmp_path / "cloud", server)
    assert cloud.problem().code == "PS431"
    cloud.write("secrets: secrets/charts.yaml")
    (cloud.directory / "secrets").mkdir()
    (cloud.directory / "secrets/charts.yaml").write_text("username: me\npassword: hush\n")
    (cloud.directory / "secrets/charts.yaml").chmod(0o600)
    assert cloud.view().archive == make("alpha")
