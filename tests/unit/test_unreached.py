"""Hosts that do not answer: each is asked once, `status` shows the others, and nothing is planned without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from worlds import TWO_BACKENDS, Operator

from planeshift.app import change
from planeshift.app.site import Site
from planeshift.app.status import status
from planeshift.drivers.memory import Memory
from planeshift.engine.observe import observe
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem, away
from planeshift.model.load import load


class Silent:
    """A host that does not answer, and how often it was asked."""

    def __init__(self, name: str) -> None:
        self.name, self.asked = name, 0

    def units(self, key: bytes) -> Any:
        self.asked += 1
        raise PlaneshiftError(Problem("PS473", f"{self.name} cannot be reached", hint="planeshift doctor"))

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.units(b"")


def settled() -> Operator:
    operator = Operator(TWO_BACKENDS)
    operator.up()
    return operator


def silence(world: World, *names: str) -> list[Silent]:
    silent = [Silent(name) for name in names]
    world.hosts = {**world.hosts, **{host.name: host for host in silent}}  # type: ignore[dict-item]
    return silent


def test_each_is_asked_once_and_the_plan_names_them_all() -> None:
    world = settled().next()
    silent = silence(world, "a", "b")
    with pytest.raises(PlaneshiftError) as caught:
        change.plan(world)
    assert [p.message for p in caught.value.problems] == ["a cannot be reached", "b cannot be reached"]
    assert [host.asked for host in silent] == [1, 1]
    assert caught.value.problems[-1].hint.splitlines()[0] == "planeshift doctor"


def test_status_shows_the_others_and_what_the_edge_says() -> None:
    world = settled().next()
    silence(world, "b")
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}}
    text = yaml.safe_dump(whole | {"spec": yaml.safe_load(TWO_BACKENDS)})
    rows = {r.backend: r for r in status(Site(Path("cloud.yaml"), load(text, "cloud.yaml"), {}), world)}
    assert (rows["one"].health, rows["one"].detail) == ("up", "")
    assert (rows["two"].health, rows["two"].detail, rows["two"].config) == ("up", "b cannot be reached", "unknown")


def test_up_names_all_that_it_cannot_reach_before_it_changes_anything() -> None:
    operator = settled()
    operator.edit(TWO_BACKENDS.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20"))
    before = operator.events[:]

    def prepare(_: Memory, world: World) -> None:
        silence(world, "a", "b")

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=prepare)
    assert [p.message for p in caught.value.problems] == ["a cannot be reached", "b cannot be reached"]
    assert operator.events == before


def test_of_many_the_first_are_said_in_full() -> None:
    gone = {f"h{n}": (Problem("PS473", f"h{n} cannot be reached", hint="planeshift doctor"),) for n in range(40)}
    said = away(gone)
    assert [p.message for p in said[:3]] == [f"h{n} cannot be reached" for n in range(3)]
    assert said[3].message.startswith("37 more cannot be looked at: h3, h4") and said[3].message.endswith("27 more")
    assert len(said) == 4 and said[3].hint == "What is gone for good is taken out of the cloud file."


def test_what_is_there_is_seen_whole() -> None:
    observed = observe(settled().next())
    assert not observed.unreached and set(observed.units) >= {"a/keystone/one", "b/keystone/two"}
