"""Charts in a registry of somebody else's: the real one, with and without tokens, and Helm beside us."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chartrig import Server, make, tool
from registryrig import registry, token_server
from test_life import chart

from planeshift.charts.mirror import Lock


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[str]:
    """A registry without users; its host."""
    with registry(tmp_path) as host:
        yield host


def write(directory: Path, *versions: str) -> list[Path]:
    """Archives of chart alpha."""
    paths = [directory / f"alpha-{v}.tgz" for v in versions]
    for path, version in zip(paths, versions, strict=True):
        path.write_bytes(make("alpha", version))
    return paths


def test_what_is_pushed_is_helm_s_and_what_helm_pushes_is_ours(theirs: str, tmp_path: Path) -> None:
    repo, env = f"oci+http://{theirs}/site", {**os.environ, "HELM_CACHE_HOME": str(tmp_path / "cache")}
    ours, helms = write(tmp_path, "1.0.0+build.5", "1.1.0")
    chart("push", ours, "--repo", repo)
    chart("push", ours, "--repo", repo)  # the same again is no change

    def helm(*arguments: str) -> None:
        argv = [tool("helm"), *arguments, "--plain-http"]
        subprocess.run(argv, cwd=tmp_path / "got", env=env, check=True, capture_output=True)

    (tmp_path / "got").mkdir()
    helm("pull", f"oci://{theirs}/site/alpha", "--version", "1.0.0+build.5")
    assert (tmp_path / "got" / ours.name).read_bytes() == ours.read_bytes()
    helm("push", str(helms), f"oci://{theirs}/site")
    assert chart("list", "alpha", "--repo", repo, "-o", "name").output.split()[1::2] == ["1.1.0", "1.0.0+build.5"]
    chart("pull", "alpha", "-d", tmp_path / "got", "--repo", repo)
    assert (tmp_path / "got" / helms.name).read_bytes() == helms.read_bytes()
    helms.write_bytes(make("alpha", "1.1.0", {"other": b"x"}))
    chart("push", helms, "--repo", repo, fails="PS436")
    chart("pull", "nothing", "--repo", repo, fails="PS434")


def test_mirrored_from_it_and_to_it_and_cleaned_up(
    theirs: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in write(tmp_path, "1.0.0", "1.1.0", "2.0.0"):
        chart("push", path, "--repo", f"oci+http://{theirs}/up")
    chart("mirror", f"oci+http://{theirs}/up", "--chart", "alpha@^1", "--repo", server.url)
    assert [e["version"] for e in server.get("/api/charts/alpha").json] == ["1.1.0", "1.0.0"]
    digests = {
        c.version: c.digest for c in Lock.parse(Path("charts.lock").read_text(), "").of(f"oci+http://{theirs}/up")
    }
    assert digests == {v: hashlib.sha256(make("alpha", v)).hexdigest() for v in ("1.0.0", "1.1.0")}
    back = f"oci+http://{theirs}/back"
    assert "2 copied" in chart("mirror", server.url, "--repo", back, "--lock", "back.lock").stderr
    assert "0 copied, 2 there already" in chart("mirror", server.url, "--repo", back, "--lock", "back.lock").stderr
    chart("gc", "alpha", "--releases", "1", "--days", "0", "--repo", back)  # without dates, all is young
    assert chart("list", "alpha", "--repo", back, "-o", "name").output.split()[1::2] == ["1.1.0", "1.0.0"]


def test_a_registry_with_tokens(tmp_path: Path) -> None:
    (archive,) = write(tmp_path, "1.0.0")
    (tmp_path / "password").write_text("right\n")
    with token_server(tmp_path, "right") as tokens, registry(tmp_path, tokens["settings"]) as host:
        us = ("--username", "op", "--password-file", tmp_path / "password", "--repo", f"oci+http://{host}/site")
        chart("push", archive, *us)
        chart("pull", "alpha", "-d", tmp_path / "got", *us)
        assert (tmp_path / "got" / archive.name).read_bytes() == archive.read_bytes()
        (tmp_path / "password").write_text("wrong\n")
        chart("push", archive, *us, fails="PS431")
        chart("push", archive, "--repo", f"oci+http://{host}/site", fails="PS431")
