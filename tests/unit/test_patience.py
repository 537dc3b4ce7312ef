"""A cluster's API that comes and goes, as a client sees it; a real one that is killed: tests/cluster."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from apiserver import Answer, Api, api, breaks_off, hangs_up, says, status
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from planeshift.drivers.kubernetes import patience
from planeshift.drivers.kubernetes.api import answering
from planeshift.drivers.kubernetes.helm import Helm
from planeshift.drivers.kubernetes.patience import again, patient
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.errors import PlaneshiftError, Problem

MAP = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "one", "resourceVersion": "7"}}


class Time:
    """A clock that goes on where somebody sleeps."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "time", Time())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Api]:
    with api(tmp_path, says(200, MAP)) as made:
        yield made


def talk(server: Api) -> Talk:
    return Talk("k1", server.kubeconfig, "", "openstack")


@pytest.mark.parametrize(
    "away",
    [hangs_up, breaks_off, status(503), status(504), status(429, Retry_After="0")],
    ids=["hangs up", "breaks off", "503", "504", "429"],
)
def test_what_is_looked_up_made_or_removed_while_the_api_is_away_is_asked_again(server: Api, away: Answer) -> None:
    said: list[str] = []
    with patient(said.append), answering("k1"):
        for ask in (
            lambda: talk(server).get(ConfigMap, "one"),
            lambda: talk(server).create(ConfigMap(metadata=ObjectMeta(name="one"))),
            lambda: talk(server).delete(ConfigMap, "one"),
        ):
            server.answers, server.asked = [away, away], []
            ask()
            assert len(server.asked) == 3 and len(set(server.asked)) == 1
    assert len(said) == 3 and all(line.startswith("waiting for the API since 0 s: ") for line in said)


def test_what_was_made_although_the_answer_was_lost_is_made_once(server: Api) -> None:
    server.answers = [hangs_up, status(409)]
    with patient(lambda line: None):
        talk(server).create(ConfigMap(metadata=ObjectMeta(name="one")))
    server.answers = [breaks_off, status(404)]
    with patient(lambda line: None):
        talk(server).delete(ConfigMap, "one")
    assert server.answers == []


def test_who_only_looks_is_told_at_once(server: Api) -> None:
    server.answers = [status(503)]
    with pytest.raises(PlaneshiftError) as caught, answering("k1"):
        talk(server).get(ConfigMap, "one")
    assert (caught.value.problems[0].code, len(server.asked)) == ("PS711", 1)


def test_an_api_that_stays_away_is_an_error_after_a_while(tmp_path: Path) -> None:
    with api(tmp_path, status(503)) as server:
        with pytest.raises(PlaneshiftError) as caught, patient(lambda line: None), answering("k1"):
            talk(server).get(ConfigMap, "one")
        assert caught.value.problems[0].code == "PS711" and len(server.asked) == patience.SECONDS + 1
    config = yaml.safe_load(Path(server.kubeconfig).read_text())
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        Path(server.kubeconfig).write_text(yaml.safe_dump(config))
        said: list[str] = []
        with pytest.raises(PlaneshiftError) as caught, patient(said.append), answering("k1"):
            talk(server).get(ConfigMap, "one")
    assert caught.value.problems[0].code == "PS711" and "refused" in said[0]


def test_what_is_refused_is_not_asked_again_but_by_a_server_that_just_came_back(server: Api) -> None:
    """An API server that starts answers before it knows who may do what."""
    server.answers = [status(403)]
    with pytest.raises(PlaneshiftError) as caught, patient(lambda line: None), answering("k1"):
        talk(server).get(ConfigMap, "one")
    assert (caught.value.problems[0].code, len(server.asked)) == ("PS712", 1)
    server.answers = [hangs_up, status(403), status(401)]
    with patient(lambda line: None), answering("k1"):
        assert talk(server).get(ConfigMap, "one").metadata.resourceVersion == "7"
    assert server.answers == []


def helm(directory: Path, *answers: str) -> Helm:
    """A helm that fails with each of these, and then does well. It notes how often it was run."""
    for number, words in enumerate(answers):
        (directory / f"words{number}").write_text(words)
    program = directory / "helm"
    program.write_text(
        f"#!/bin/sh\ncd {directory}\nn=$(cat runs 2>/dev/null || echo 0)\necho $((n + 1)) > runs\n"
        "if [ -e words$n ]; then cat words$n >&2; exit 1; fi\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Helm(str(program), "", "", "openstack")


@pytest.mark.parametrize(
    "words",
    [
        'Error: Kubernetes cluster unreachable: Get "https://192.0.2.1:6443/version": EOF',
        'Error: UPGRADE FAILED: Get "https://192.0.2.1:6443/api": dial tcp 192.0.2.1:6443: connect: connection refused',
        "Error: query: failed to query with labels: read tcp 192.0.2.2:4000->192.0.2.1:6443: read: connection reset by peer",
        "Error: UPGRADE FAILED: etcdserver: request timed out",
        'Error: UPGRADE FAILED: unable to build kubernetes objects from new release manifest: error validating "": error '
        "validating data: failed to download openapi: unknown",
        "Error: the server is currently unable to handle the request",
    ],
)
def test_helm_is_run_again_where_it_did_not_reach_the_api(tmp_path: Path, words: str) -> None:
    said: list[str] = []
    made = helm(tmp_path, words, words)
    again(lambda: made.upgrade("one", {"Chart.yaml": b""}, {}, {}), said.append)
    assert (tmp_path / "runs").read_text() == "3\n" and words in said[0]


def test_helm_that_fails_otherwise_is_not_run_again(tmp_path: Path) -> None:
    made = helm(tmp_path, "Error: UPGRADE FAILED: Deployment is invalid: spec.replicas: must be greater than 0")
    with pytest.raises(PlaneshiftError, match="helm upgrade one failed") as caught:
        again(lambda: made.upgrade("one", {"Chart.yaml": b""}, {}, {}), lambda line: None)
    assert caught.value.problems[0].code == "PS714" and (tmp_path / "runs").read_text() == "1\n"


def test_helm_is_not_run_for_ever() -> None:
    def away() -> None:
        raise PlaneshiftError(Problem("PS711", "helm upgrade failed", why="connection refused"))

    with pytest.raises(PlaneshiftError, match="helm upgrade failed"):
        again(away, lambda line: None)
