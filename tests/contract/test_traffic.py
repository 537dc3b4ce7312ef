"""What is told of the requests at an edge, in memory and for real."""

from __future__ import annotations

import pytest
from rigs import EdgeRig, RealEdgeRig, until, weighted

from planeshift.errors import PlaneshiftError
from planeshift.ports import Collector
from planeshift.traffic.lines import Request


def taken(collector: Collector, count: int) -> list[Request]:
    """What is taken until there are as many; more would be seen by the next."""
    found: list[Request] = []

    def enough() -> bool:
        found.extend(collector.take())
        return len(found) >= count

    until(enough)
    return found


def counted(collector: Collector) -> tuple[int, int]:
    """Requests and failures of all servers."""
    counters = (collector.counters() or {}).values()
    return sum(c.requests for c in counters), sum(c.failed for c in counters)


def test_nothing_is_collected_where_no_edge_runs(edge: EdgeRig) -> None:
    edge.lay_out()
    with pytest.raises(PlaneshiftError) as caught, edge.traffic.collect(edge.unit):
        pass
    assert caught.value.problems[0].code == "PS607"


def test_requests_are_told_as_they_end_and_as_the_edge_counts_them(edge: EdgeRig) -> None:
    edge.start()
    until(lambda: edge.up() == {"one", "two"})
    edge.request("/before")
    with edge.traffic.collect(edge.unit) as collector:
        edge.request("/v2/images/4711/file?limit=5")
        edge.request("/v3", 503)
        found = taken(collector, 2)
        assert [(r.service, r.status, r.failed, r.kind) for r in found] == [
            ("web", 200, False, "GET /v2/images/*/file"),
            ("web", 503, True, "GET /v3"),
        ]
        assert {r.server for r in found} <= {"one", "two"}
        until(lambda: counted(collector) == (2, 1))
        assert collector.take() == []
        assert collector.lost() == 0


def test_two_may_collect_at_once_each_for_itself(edge: EdgeRig) -> None:
    edge.start()
    with edge.traffic.collect(edge.unit) as one:
        edge.request()
        with edge.traffic.collect(edge.unit) as other:
            edge.request()
            assert len(taken(other, 1)) == 1
        assert len(taken(one, 2)) == 2


def test_one_that_cannot_be_asked_tells_no_counts(edge: EdgeRig) -> None:
    edge.start()
    with edge.traffic.collect(edge.unit) as collector:
        edge.request()
        assert len(taken(collector, 1)) == 1
        edge.hosts.port.stop(edge.unit)
        assert collector.counters() is None


def test_a_reload_loses_and_repeats_nothing_and_the_older_process_ends(edge: EdgeRig) -> None:
    edge.start()
    with edge.traffic.collect(edge.unit) as collector:
        edge.request("/a")
        edge.reload(weighted(edge.servers[0], 100))
        edge.port.settle(edge.unit, lambda line: None)
        edge.request("/b", 503)
        edge.request("/c")
        assert [r.kind for r in taken(collector, 3)] == ["GET /a", "GET /b", "GET /c"]
        until(lambda: counted(collector)[1] == 1)
        assert collector.take() == []
        assert collector.lost() == 0


@pytest.fixture
def real(edge: EdgeRig) -> RealEdgeRig:
    """A real edge, alone."""
    if not isinstance(edge, RealEdgeRig):
        pytest.skip("of the real edge alone")
    return edge


def test_lines_that_nobody_took_in_time_are_counted_as_lost(real: RealEdgeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planeshift.drivers.traffic.LIMIT_BYTES", 0)
    real.start()
    with real.traffic.collect(real.unit) as collector:
        real.request()
        until(lambda: collector.lost() == 1)
        assert collector.take() == []


def test_an_edge_that_is_gone_is_waited_for_and_read_from_its_first_line(real: RealEdgeRig) -> None:
    real.start()
    with real.traffic.collect(real.unit) as collector:
        real.request("/a")
        assert len(taken(collector, 1)) == 1
        real.hosts.port.stop(real.unit)
        assert collector.take() == []
        counted(collector)
        real.hosts.port.start(real.unit, real.programs())
        until(lambda: real.up() == {"one", "two"})
        real.request("/b")
        assert [r.kind for r in taken(collector, 1)] == ["GET /b"]
