"""Three edges in front of one service: two of ours, and an HAProxy of somebody else's. They move together."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import Cloud, kill, until

from planeshift.openloop import Flow, Load, Step, load

RATE = 20
THEIRS = """
global
    stats socket {socket} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen statistics
    bind {address}:8404
    stats enable
    stats uri /
frontend identity
    bind {address}:5000
    default_backend ks
backend ks
    server a {host}:15000 weight 256
    server b {host}:15100 weight 0
    server other {host}:15000 weight 7
"""


class Edges:
    """The cloud with its three edges. `at` has the address of each."""

    def __init__(self, cloud: Cloud, place: Path) -> None:
        base = cloud.host.rpartition(".")[0]
        self.cloud = cloud
        self.at = {"edge": cloud.edge, "edge2": f"{base}.231", "theirs": f"{base}.232"}
        self.config, self.socket = place / "theirs.cfg", place / "theirs.sock"
        self.config.write_text(THEIRS.format(socket=self.socket, address=self.at["theirs"], host=cloud.host))

    @contextlib.contextmanager
    def theirs(self) -> Iterator[None]:
        """Somebody else's HAProxy runs."""
        self.socket.unlink(missing_ok=True)
        with subprocess.Popen(["haproxy", "-db", "-f", str(self.config)], stderr=subprocess.DEVNULL) as process:
            try:
                until(self.socket.exists, "somebody else's HAProxy")
                yield
            finally:
                process.kill()

    def weights(self, edge: str) -> dict[str, int]:
        """What an edge itself says of its servers."""
        with urllib.request.urlopen(f"http://{self.at[edge]}:8404/;csv", timeout=30) as answer:
            rows = list(csv.DictReader(answer.read().decode().lstrip("# ").splitlines()))
        servers = [r for r in rows if r["pxname"] in ("keystone", "ks") and r["svname"] not in ("FRONTEND", "BACKEND")]
        return {r["svname"].removesuffix("-here"): int(r["weight"]) for r in servers}

    def load(self, *edges: str) -> Load:
        """Keystone is asked through each of them."""
        steps = (Step(name=edge, url=f"http://{self.at[edge]}:5000/v3") for edge in edges)
        return Load(flows=tuple(Flow(steps=(step,), rate=RATE) for step in steps))

    def shift(self, target: str) -> subprocess.Popen[str]:
        """`planeshift shift` of all the traffic, beside us."""
        argv = [sys.executable, "-m", "planeshift", "shift", "keystone", f"{target}=100", "--yes", "-f"]
        return subprocess.Popen(
            [*argv, str(self.cloud.file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def assert_at(self, target: str) -> None:
        """All traffic is there, at every edge; what is not ours is as it was."""
        old, new = (256, 0) if target == "old" else (0, 256)
        assert self.weights("edge") == self.weights("edge2") == {"old": old, "new": new}
        assert self.weights("theirs") == {"a": old, "b": new, "other": 7}


@pytest.fixture(scope="module")
def edges(clouds: Callable[..., Cloud], tmp_path_factory: pytest.TempPathFactory) -> Edges:
    """All traffic is at `old`; the tests take turns at moving it to the other side."""
    cloud = clouds("edges", "keystone")
    made = Edges(cloud, tmp_path_factory.mktemp("edges"))
    named = {"keystone": {"backend": "ks", "servers": {"old": ["a"], "new": ["b"]}}}
    with cloud.edited() as spec:
        spec["edges"] += [
            {"name": "edge2", "address": made.at["edge2"]},
            {"name": "theirs", "mode": "driven", "socket": str(made.socket), "services": named},
        ]
        spec["services"]["keystone"]["shift"] = {"time": 2, "steps": [50, 100]}
        spec["services"]["keystone"]["backends"] = {
            "old": {"hosts": ["here"], "weight": 100},
            "new": {"hosts": ["here"], "weight": 0, "port": 15100},
        }
    with made.theirs():
        cloud.up()
    return made


def test_all_edges_move_together_and_nothing_is_lost(edges: Edges) -> None:
    with edges.theirs(), load(edges.load(*edges.at)) as found:
        with edges.shift("new") as process:
            _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        edges.assert_at("new")
    assert found.failures == []
    assert {step for _, step in found.counts} == set(edges.at)


def test_of_a_pair_of_edges_one_dies_and_the_other_covers_for_it(edges: Edges) -> None:
    with edges.theirs(), load(edges.load("edge", "edge2")) as found:
        edges.cloud.up()  # somebody else's begins where its file says
        with edges.shift("old") as process:
            until(lambda: edges.weights("edge")["old"] > 0, "a step was taken")
            there = edges.cloud.pids("edge/edge2", "haproxy")
            assert there
            for pid in there:
                with contextlib.suppress(ProcessLookupError):
                    kill(pid)
            _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        edges.assert_at("old")
        assert edges.cloud.kinds() == set()
    assert {failure.step for failure in found.failures} <= {"edge2"}, found.failures


def test_an_edge_that_cannot_be_reached_holds_a_shift_and_the_next_run_moves_all(edges: Edges) -> None:
    with load(edges.load("edge", "edge2")) as found:
        with edges.shift("new") as process:
            _, err = process.communicate(timeout=180)
        assert process.returncode == 1 and "theirs cannot be reached" in err, err
        assert edges.weights("edge") == edges.weights("edge2") == {"old": 256, "new": 0}
        with edges.theirs():
            edges.cloud.up()
            edges.assert_at("new")
    assert found.failures == []
