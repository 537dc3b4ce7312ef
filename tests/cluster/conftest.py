"""A real lab on this machine: made once for all tests that share it. `make test-cluster`; root, Linux.

    def test_something(lab: Rig) -> None:      # one node (node1, cluster k1) and one plain host (vm1), both up
        lab.kubectl("get", "nodes")

Tests that break it take `breakable` in its place; those that need another one make it with `rig`. Workers have
networks of their own, so that several run at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import podsrig
import pytest
from labrig import ONE_NODE, Rig, free, lab_file
from sides import LAB, Cloud

from planeshift.lab.model import load
from planeshift.lab.requirements import refusals
from planeshift.lab.topology import topology


def _reason() -> str:
    """Why this machine cannot run these tests; empty where it can."""
    wanted = topology(load(lab_file(ONE_NODE, 0), "lab.yaml"), "/tmp")
    return "; ".join(f"{p.message}{f' ({p.hint})' if p.hint else ''}" for p in refusals(wanted, Path("/tmp")))


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(str(item.fspath)).parent == Path(__file__).parent]
    reason = _reason() if ours else ""
    for item in ours:
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"no lab on this machine: {reason}"))
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("lab"))


@pytest.fixture(scope="session")
def rig(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Rig]]:
    """Makes labs, of a spec, in a directory of their own; all are down at the end."""
    made: list[Rig] = []
    worker = 0 if worker_id == "master" else int(worker_id.removeprefix("gw")) + 1

    def make(spec: str = ONE_NODE, name: str = "lab") -> Rig:
        directory = tmp_path_factory.mktemp(name)
        number = next(n for n in itertools.count(20 * worker + len(made)) if free(spec, n))
        (directory / "lab.yaml").write_text(lab_file(spec, number))
        made.append(Rig(directory))
        return made[-1]

    yield make
    for one in made:
        one.down()


@pytest.fixture(scope="session")
def shared_lab(rig: Callable[..., Rig]) -> Rig:
    """The lab that tests share."""
    made = rig()
    made.build_tools()
    made.up()
    return made


@pytest.fixture
def lab(shared_lab: Rig) -> Rig:
    """The shared lab, up, for tests that leave it as it is."""
    return shared_lab


@pytest.fixture
def breakable(shared_lab: Rig) -> Iterator[Rig]:
    """The shared lab, up, for tests that break it; it is mended after them."""
    yield shared_lab
    shared_lab.up()


@pytest.fixture(scope="session")
def pods(rig: Callable[..., Rig]) -> Iterator[podsrig.Cloud]:
    """The four services as pods of a cluster of two nodes, once a test has brought them up."""
    made = rig(podsrig.LAB, name="pods")
    made.build_tools()
    made.up()
    cloud = podsrig.Cloud(made)
    yield cloud
    cloud.run("down", "--purge", "--yes", check=False)


@pytest.fixture(scope="session")
def both_sides(rig: Callable[..., Rig]) -> Iterator[Cloud]:
    """Keystone and Glance on a host and as pods; all traffic is the host's. Tests leave it so."""
    made = rig(LAB, name="sides")
    made.build_tools()
    made.up()
    cloud = Cloud(made)
    cloud.run("up", "--yes")
    yield cloud
    cloud.run("down", "--purge", "--yes", check=False)
