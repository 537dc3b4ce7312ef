"""A cluster's API that goes away in the midst of `up`: what the edge has stays, and it is waited for."""

from __future__ import annotations

import pytest
from worlds import PODS, Operator

from planeshift.app import change
from planeshift.drivers.memory import Memory
from planeshift.drivers.memory.keep import MemoryClock
from planeshift.engine.run import Event
from planeshift.errors import PlaneshiftError
from planeshift.plan.operations import Kind

CHANGED = PODS.replace("replicas: 1, weight: 50", "replicas: 2, weight: 50")


class Away(Operator):
    """Its cluster goes when an edge's weights are to be set, for so many looks of a second."""

    def run(self, looks: float, monkeypatch: pytest.MonkeyPatch) -> None:
        world, there = self.next(), self.data.clusters["k1"]
        left = looks

        def listen(event: Event) -> None:
            if event.what == "begin" and event.operation.kind == Kind.SET_WEIGHTS:
                there.problem = "connection refused"
            self.events.append(event)

        def sleep(clock: MemoryClock, seconds: float) -> None:
            nonlocal left
            left -= 1
            clock.data.ticks += int(seconds)
            if left <= 0:
                there.problem = ""

        monkeypatch.setattr(MemoryClock, "sleep", sleep)
        change.up(world, agree=lambda _: True, listen=listen, say=self.said.append, workers=1)


def servers(memory: Memory) -> dict[object, int]:
    """The weights of what the running edges send requests to."""
    edges = [process.edge for process in memory.data.processes.values() if process.edge]
    return {name: server.weight for edge in edges for name, server in edge.servers.items()}


@pytest.fixture
def away() -> Away:
    operator = Away(PODS)
    operator.up()
    operator.edit(CHANGED)
    return operator


def test_it_is_waited_for_and_told(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    away.run(3, monkeypatch)
    assert "waiting for the API: connection refused" in [e.text for e in away.events if e.what == "line"]
    assert not away.plan().operations


def test_if_it_stays_away_the_edge_keeps_what_it_has(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    before = servers(away.memory)
    with pytest.raises(PlaneshiftError) as caught:
        away.run(1e9, monkeypatch)
    assert {p.code for p in caught.value.problems} == {"PS711"}
    assert before and servers(away.memory) == before
    away.data.clusters["k1"].problem = ""
    away.up()
    assert not away.plan().operations
