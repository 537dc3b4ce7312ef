"""The pins of tools: each is whole, and what names a build is all that the build depends on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from planeshift import tools
from planeshift.errors import PlaneshiftError
from planeshift.tools import pinning as module
from planeshift.tools.pinning import fits, numbers, pins


def test_every_tool_has_its_module_its_version_and_its_sums() -> None:
    for tool in pins().values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", tool.version), tool
        assert tool.what and len(tool.key) == 12 and tool.go >= (1, 23)
        sums = (tool.directory / "go.sum").read_text()
        assert f" v{tool.version} h1:" in sums, tool.name


def test_kubernetes_is_of_one_version_throughout() -> None:
    versions = {tool.version for tool in pins().values() if tool.module == "kubernetes"}
    assert len(versions) == 1
    minor = numbers(versions.pop())[1]
    staging = re.findall(r"=> k8s\.io/\S+ v0\.(\d+)\.", (module.HERE / "kubernetes" / "go.mod").read_text())
    assert len(staging) == 31 and {int(m) for m in staging} == {minor}
    assert f"k8s.io/component-base/version.gitMinor={minor}" in " ".join(pins()["kubelet"].link)


def test_flags_hold_the_version() -> None:
    helm = pins()["helm"]
    assert f"-X=helm.sh/helm/v3/internal/version.version=v{helm.version}" in helm.link


@pytest.mark.parametrize("change", ["go.mod", "go.sum", "tools.toml", "nothing"])
def test_the_key_follows_whatever_the_build_depends_on(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pins()["age"]
    copy = tmp_path / "tools"
    shutil.copytree(module.HERE, copy)
    if change == "tools.toml":
        text = (copy / change).read_text()
        (copy / change).write_text(text.replace("main.Version=v{version}", "main.Version={version}"))
    elif change != "nothing":
        with (copy / "age" / change).open("a") as file:
            file.write("\n// another\n")
    monkeypatch.setattr(module, "HERE", copy)
    after = pins.__wrapped__()["age"]
    assert (after.key == before.key) == (change == "nothing")
    assert pins.__wrapped__()["etcd"].key == pins()["etcd"].key


@pytest.mark.parametrize(
    ("version", "good"), [("v3.14.0", True), ("3.99.1", True), ("3.13.9", False), ("4.0.0", False), ("none", False)]
)
def test_a_program_on_path_fits_by_major_and_least_version(version: str, good: bool) -> None:
    assert fits(pins()["helm"], numbers(version)) is good


def test_the_parts_of_a_cluster_are_never_taken_from_path() -> None:
    assert not fits(pins()["kubelet"], numbers(pins()["kubelet"].version))


def test_an_unknown_tool_is_named() -> None:
    with pytest.raises(PlaneshiftError) as caught:
        tools.find("helmet")
    assert caught.value.problems[0].code == "PS410"


def test_a_tool_that_is_not_built_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(PlaneshiftError) as caught:
        tools.find("etcd")
    assert (caught.value.problems[0].code, caught.value.problems[0].hint) == ("PS411", "planeshift tools build etcd")
