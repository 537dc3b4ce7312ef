"""OpenStack Swift's S3: it heeds conditions one after the other, not at once, so that one server writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import swiftrig
import test_s3
from chartrig import Server, form, make
from test_api import PROV

from planeshift.charts.store.s3 import S3Store

pytestmark = pytest.mark.xdist_group("swift")


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with swiftrig.running(tmp_path_factory.mktemp("swift")) as port:
        yield port


@pytest.fixture
def store(swift: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[S3Store]:
    for name, value in swiftrig.environment(swift).items():
        monkeypatch.setenv(name, value)
    made = S3Store.open(f"s3://charts/{request.node.name.replace('_', '-')}", os.environ)
    yield made
    made.close()


def test_the_contract(store: S3Store) -> None:
    assert not store.conditional
    test_s3.test_the_contract_of_stores(store)


def test_racing_writers(store: S3Store) -> None:
    test_s3.test_racing_writers_of_one_store(store)


def test_of_racing_servers_one_writes(serve: Callable[..., Server], swift: int, tmp_path: Path) -> None:
    """One takes uploads, and one of a version; the other sends clients away, serves, and takes over."""
    env = swiftrig.environment(swift)
    one, two = (
        serve("--cache-interval", "1", storage="s3://charts/servers", env=env | {"XDG_CACHE_HOME": str(tmp_path / n)})
        for n in "ab"
    )
    body, kind = form(chart=make(), prov=PROV)
    assert one.post("/api/charts", body, content_type=kind).status == 201
    for number in range(5):
        bodies = [make("beta", f"1.0.{number}", {"who": str(n).encode()}) for n in range(16)]
        with ThreadPoolExecutor(16) as pool:
            jobs = [pool.submit((one, two)[n % 2].post, "/api/charts", b) for n, b in enumerate(bodies)]
            statuses = [job.result().status for job in jobs]
        assert sorted(statuses) == [201] + [409] * 7 + [503] * 8
        won = bodies[statuses.index(201)]
        assert all(s.get(f"/charts/beta-1.0.{number}.tgz").body == won for s in (one, two))
    assert two.get("/charts/alpha-1.0.0.tgz.prov").body == PROV
    one.stop()
    assert two.post("/api/charts", make("gamma")).status == 201
