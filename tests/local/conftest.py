"""Real clouds on loopback addresses of their own.

One xdist worker owns the shared cloud (group `local`), and one those of single modules (`local-own`): that one takes
longer, so that shifts, which are judged by how long requests take, come when nobody else needs the processors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rig import Cloud, Watch, program


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
