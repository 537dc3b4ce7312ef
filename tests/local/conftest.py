"""Real clouds on loopback addresses of their own.

One xdist worker owns the shared cloud (group `local`); what needs clouds of its own is a group for each module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import Cloud, Watch, program

# In which order workers begin groups: what takes longest first, and last, when the least is at work beside it, shifts that
# are judged by how long requests take.
FIRST = ("test_cells", "test_changes")  # and with this one all that share a cloud
LAST = ("test_web", "test_shift_edges", "test_shift_faults")


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    for item in ours:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    places = [n for n, item in enumerate(items) if item in ours]
    for place, item in zip(places, sorted(ours, key=_turn), strict=True):
        items[place] = item


def _turn(item: pytest.Item) -> int:
    name = item.path.stem
    return FIRST.index(name) if name in FIRST else len(FIRST) + (LAST.index(name) + 1 if name in LAST else 0)


@pytest.fixture(scope="session")
def haproxy() -> None:
    if program("haproxy") is None:
        pytest.fail("haproxy is not installed: `make setup`, or apt-get install haproxy")


@pytest.fixture(scope="session")
def clouds(haproxy: None, request: pytest.FixtureRequest) -> Iterator[Callable[..., Cloud]]:
    """Makes clouds; each is taken down at the end, and must leave nothing."""
    made: list[Cloud] = []

    def make(name: str, *services: str) -> Cloud:
        made.append(Cloud(name, services))
        return made[-1]

    yield make
    problems = []
    for cloud in made:
        try:
            if cloud.root.exists():
                cloud.remove()
        except AssertionError as error:
            problems.append(f"{cloud.name}: {error}")
            cloud.end()
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def watch() -> Watch:
    """What processes showed while the shared cloud was first brought up."""
    return Watch()


@pytest.fixture(scope="session")
def shared(clouds: Callable[..., Cloud], watch: Watch) -> Cloud:
    """The shared cloud: all four services on SQLite, up."""
    made = clouds("shared", "keystone", "glance", "placement", "barbican")
    with watch:
        done = made.run("up", "--yes")
    assert done.code == 0, done.text
    return made


@pytest.fixture
def cloud(shared: Cloud, request: pytest.FixtureRequest) -> Cloud:
    """The shared cloud. A test leaves it up and as it was; after one that failed it is brought up again."""
    if request.session.testsfailed > shared.failures:
        shared.failures = request.session.testsfailed
        shared.up()
        shared.wait_up()
    return shared
