"""Consumers that move: which of them run, and an engine that starts, sees, stops, is sent back, killed, held."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_unreached import Silent, silence
from worlds import Operator, assert_serves, cloud, ids

from planeshift.app import change
from planeshift.app.fleet import fleet
from planeshift.app.site import Site
from planeshift.app.status import status
from planeshift.drivers.memory import Killed, Memory
from planeshift.drivers.memory.data import Data
from planeshift.drivers.memory.faults import Call, Moment
from planeshift.engine.observe import observe
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.model.load import load
from planeshift.plan.operations import Kind
from planeshift.render.consumers import running
from planeshift.render.desired import Consumers

SHIFT = f"{Kind.SHIFT}:nova@c1"
CELLS = """
hosts:
- {name: here, via: local}
- {name: "c{1..3}", via: local, address: "127.0.1.{1..3}"}
- {name: n1, via: local, address: 127.0.2.1}
databases: {main: {engine: mysql, manage: true, host: here}}
messaging: {main: {manage: true, host: here}}
cells: [{name: c1, database: main, messaging: main}]
services:
  keystone: {backends: {vms: {hosts: [here]}}}
  glance: {backends: {vms: {hosts: [here]}}}
  placement: {backends: {vms: {hosts: [here]}}}
  neutron: {backends: {vms: {hosts: [here]}}}
  nova:
    shift: {time: 2}
    backends:
      vms: {hosts: [here]}
      old: {hosts: [c1], cell: c1, weight: OLD}
      new: {hosts: [c2, c3], cell: c1, weight: NEW}
      n1: {hosts: [n1], cell: c1, components: {nova-compute: {}}}
"""


def spec(new: int) -> str:
    return CELLS.replace("OLD", str(100 - new)).replace("NEW", str(new))


def takes(operator: Operator) -> set[str]:
    """Who runs a conductor of the cell."""
    found = {p.unit for p in operator.data.processes.values() if p.program == "nova-conductor"}
    return found - {"here/nova/vms.consumers"}


@pytest.fixture(scope="module")
def settled() -> Data:
    found = Operator(spec(0))
    found.up()
    return found.data


@pytest.fixture
def operator(settled: Data) -> Operator:
    """A cloud whose cell's messages are all taken by `old`, which is to change."""
    return Operator(spec(100), copy.deepcopy(settled))


# --- which run

PAIR = Consumers("nova", "c1", {"a": ("a1", "a2", "a3"), "b": ("b1", "b2", "b3")})


@pytest.mark.parametrize(
    "shares, wanted",
    [
        ({"a": 100, "b": 0}, {"a1", "a2", "a3"}),
        ({"a": 99, "b": 1}, {"a1", "a2", "a3", "b1"}),
        ({"a": 50, "b": 50}, {"a1", "a2", "a3", "b1", "b2", "b3"}),
        ({"a": 40, "b": 60}, {"a1", "a2", "b1", "b2", "b3"}),
    ],
)
def test_a_share_is_as_many_replicas(shares: dict[str, float], wanted: set[str]) -> None:
    assert running(PAIR, shares) == wanted


@given(st.integers(0, 100))
def test_somebody_always_takes_messages(share: int) -> None:
    found = running(PAIR, {"a": share, "b": 100 - share})
    assert any(u.startswith("a") for u in found) is (share > 0)
    assert any(u.startswith("b") for u in found) is (share < 100)


def test_what_the_api_and_consumers_share_is_looked_after_apart() -> None:
    operator = Operator(spec(0))
    units = operator.next().desired.units
    assert [c.name for c in units["here/nova/vms"].unit.components] == ["nova-api"]
    assert [c.name for c in units["here/nova/vms.consumers"].unit.components] == ["nova-scheduler", "nova-conductor"]


def test_weights_of_different_programs_are_refused() -> None:
    text = spec(0).replace(
        "cell: c1, weight: 0}", "cell: c1, weight: 0, components: {nova-metadata: {}, nova-conductor: {}}}"
    )
    cloud(text)
    other = (
        spec(0)
        .replace("old: {hosts: [c1], cell: c1", "old: {hosts: [c1]")
        .replace("new: {hosts: [c2, c3], cell: c1", "new: {hosts: [c2, c3]")
    )
    with pytest.raises(AssertionError, match="PS233"):
        cloud(
            other.replace("weight: 100}", "weight: 100, components: {nova-scheduler: {}}}").replace(
                "weight: 0}", "weight: 0, components: {nova-conductor: {}}}"
            )
        )


# --- moved


def test_what_has_no_share_does_not_run(settled: Data) -> None:
    operator = Operator(spec(0), settled)
    assert takes(operator) == {"c1/nova/old"}
    assert ids(operator.plan()) == []
    assert "c2/nova/new" in operator.data.units  # its files lie there
    assert_serves(operator)


def test_the_new_side_takes_messages_before_the_old_one_stops(operator: Operator) -> None:
    plan = operator.plan()
    assert ids(plan) == [SHIFT]
    assert plan.operations[0].summary == "consumers  nova@c1: new 0 %, old 100 % -> new 100 %, old 0 %"
    seen: list[set[str]] = []

    def prepare(memory: Memory, world: World) -> None:
        def look(call: object, moment: str) -> None:
            if not seen or seen[-1] != takes(operator):
                seen.append(takes(operator))

        memory.faults.watch = look

    operator.up(prepare=prepare)
    old, first, second = "c1/nova/old", "c2/nova/new", "c3/nova/new"
    assert seen[0] == {old}
    assert all(old in s or {first, second} <= s for s in seen)
    assert takes(operator) == {first, second}
    assert ids(operator.plan()) == [] and not operator.data.standing
    assert_serves(operator)
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    assert events[-1]["result"] == "done"
    assert any("nova-conductor on c2: heard of 0 s ago" in e["text"] for e in events if e["event"] == "evidence")


def test_a_new_side_that_takes_no_messages_is_sent_back_and_held(operator: Operator) -> None:
    operator.data.deaf |= {"c2/nova/new", "c3/nova/new"}
    with pytest.raises(PlaneshiftError) as caught:
        operator.up()
    assert caught.value.problems[0].code == "PS610"
    assert "nova-conductor on c2 was not heard of" in caught.value.problems[0].why
    assert takes(operator) == {"c1/nova/old"}
    assert ids(operator.plan()) == []
    assert any("nova@c1 is held" in note for note in operator.plan().notes)
    operator.edit(spec(0))
    operator.up()
    operator.edit(spec(100))
    operator.data.deaf.clear()
    operator.up()
    assert takes(operator) == {"c2/nova/new", "c3/nova/new"}


def test_what_a_killed_run_has_started_is_waited_for_before_the_old_side_stops(operator: Operator) -> None:
    """Its processes run, but it takes no messages yet, or never will."""
    started = {"c2/nova/new"}
    operator.data.deaf |= started
    seen: list[set[str]] = []

    def killed(memory: Memory, world: World) -> None:
        def look(call: Call, moment: Moment) -> None:
            if started <= takes(operator):
                memory.faults.kill[call.index] = moment

        memory.faults.watch = look

    def watched(memory: Memory, world: World) -> None:
        memory.faults.watch = lambda call, moment: seen.append(takes(operator))

    with pytest.raises(Killed):
        operator.up(prepare=killed)
    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=watched)
    assert "nova-conductor on c2 was not heard of" in caught.value.problems[0].why
    assert all("c1/nova/old" in those for those in seen)
    assert takes(operator) == {"c1/nova/old"}


def test_messages_that_nobody_takes_send_it_back(operator: Operator) -> None:
    operator.data.waiting["conductor"] = 5
    operator.edit(spec(100).replace("time: 2", "time: 60"))
    with pytest.raises(PlaneshiftError) as caught:
        operator.up()
    assert "5 messages have waited" in caught.value.problems[0].why
    assert takes(operator) == {"c1/nova/old"}


def test_a_round_trip_that_fails_sends_it_back(operator: Operator) -> None:
    operator.data.sick["127.0.0.1", 8774] = "a server in ERROR"
    with pytest.raises(PlaneshiftError) as caught:
        operator.up()
    assert "a server in ERROR" in caught.value.problems[0].why
    assert takes(operator) == {"c1/nova/old"}


def test_killed_anywhere_the_next_run_ends_where_the_file_says_and_somebody_took_messages_always(
    operator: Operator,
) -> None:
    before = copy.deepcopy(operator.data)
    operator.up()
    moments: tuple[Moment, ...] = ("before", "half", "after")
    for number, index in enumerate(c.index for c in operator.memory.faults.changes()):
        again, moment = Operator(spec(100), copy.deepcopy(before)), moments[number % 3]

        def prepare(memory: Memory, world: World, index: int = index, moment: Moment = moment) -> None:
            memory.faults.kill[index] = moment

        try:
            again.up(prepare=prepare)
        except Killed:
            assert takes(again), (index, moment)
            again.up()
        assert takes(again) == {"c2/nova/new", "c3/nova/new"}, (index, moment)
        assert ids(again.plan()) == [], (index, moment)
        assert_serves(again)


def test_after_a_reboot_those_start_that_took_messages(operator: Operator) -> None:
    operator.up()
    for unit in ("c1/nova/old", "c2/nova/new", "c3/nova/new"):
        operator.memory.mishaps.everything_of_dies(unit)
    assert set(ids(operator.plan())) == {"start:c2/nova/new", "start:c3/nova/new"}
    operator.up()
    assert takes(operator) == {"c2/nova/new", "c3/nova/new"}


def test_what_moved_above_the_cells_goes_with_the_requests() -> None:
    text = spec(0).replace(
        "vms: {hosts: [here]}\n      old",
        "vms: {hosts: [here], weight: 100}\n      top: {hosts: [c2], weight: 0}\n      old",
    )
    operator = Operator(text)
    operator.up()
    idle = operator.next().desired.idle
    assert "c2/nova/top.consumers" in idle and "c2/nova/top" not in idle
    operator.edit(
        text.replace(
            "vms: {hosts: [here], weight: 100}\n      top: {hosts: [c2], weight: 0}",
            "vms: {hosts: [here], weight: 0}\n      top: {hosts: [c2], weight: 100}",
        )
    )
    assert ids(operator.plan()) == ["shift:nova"]
    operator.up()
    assert operator.next().desired.idle >= {"here/nova/vms.consumers"}
    assert_serves(operator)


PODS = (
    CELLS.replace(
        "hosts:\n- {name: here, via: local}",
        "edges: [{name: lb, address: 192.0.2.1}]\nhosts:\n- {name: here, via: local, address: 192.0.2.1}",
    )
    .replace("databases:", "clusters: [{name: k1, registry: registry.example.org/site}]\ndatabases:")
    .replace("new: {hosts: [c2, c3], cell: c1", "new: {cluster: k1, replicas: 3, cell: c1")
    .replace(
        "vms: {hosts: [here]}\n      old",
        "vms: {hosts: [here], weight: TOP}\n      pods: {cluster: k1, weight: REST}\n      old",
    )
)


def pods(new: int, top: int = 0) -> str:
    text = PODS.replace("OLD", str(100 - new)).replace("NEW", str(new))
    return text.replace("TOP", str(100 - top)).replace("REST", str(top))


def test_from_hosts_to_pods_and_back() -> None:
    operator = Operator(pods(0))
    planned = {o.id: o for o in operator.plan().operations}
    assert planned["release:k1/nova/new"].summary.endswith("install nova-new, no pods")
    assert planned["set-weights:lb"].detail == ("nodes of k1/nova/pods: by their ready pods",)
    operator.up()
    world = operator.next()
    assert world.desired.pods["k1/nova/new"].values["takers"] == {"nova-conductor": 0}
    assert world.desired.pods["k1/nova/new"].values["serve"] is False
    assert world.desired.pods["k1/nova/pods"].values["takers"] == {"nova-scheduler": 0, "nova-conductor": 0}
    assert takes(operator) == {"c1/nova/old"}
    assert_serves(operator)
    operator.edit(pods(100, 100))
    assert ids(operator.plan()) == ["shift:nova", "shift:nova@c1"]
    operator.up()
    assert (
        takes(operator) == {"k1/nova/new", "k1/nova/pods"} and "here/nova/vms.consumers" in operator.next().desired.idle
    )
    assert ids(operator.plan()) == []
    assert_serves(operator)
    operator.edit(pods(0, 0))
    assert ids(operator.plan()) == ["shift:nova", "shift:nova@c1"]
    operator.up()
    assert takes(operator) == {"c1/nova/old"}
    assert_serves(operator)


def test_a_hold_of_pods_that_took_messages_is_kept() -> None:
    operator = Operator(pods(0))
    operator.up()
    operator.edit(pods(100).replace("time: 2", "time: 60"))
    operator.data.waiting["conductor"] = 5
    with pytest.raises(PlaneshiftError, match="sent back"):
        operator.up()
    operator.data.waiting.clear()
    assert ids(operator.plan()) == []
    assert any("nova@c1 is held" in note for note in operator.plan().notes)


# --- a host that does not answer any more


def at_the_first_step(operator: Operator, do: Callable[[World], object]) -> None:
    """`up`; that is done when the first step was made."""

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if "c2/nova/new" in takes(operator) and not done:
                done.append(1)
                do(world)

        memory.faults.watch = watch

    done: list[int] = []
    operator.up(prepare=prepare)


@pytest.mark.parametrize("host", ["c2", "c3"])
def test_a_host_of_the_new_side_that_does_not_answer_sends_messages_back(operator: Operator, host: str) -> None:
    operator.edit(spec(100).replace("time: 2", "time: 2, steps: [50, 100]"))
    with pytest.raises(PlaneshiftError) as caught:
        at_the_first_step(operator, lambda world: silence(world, host))
    assert "is not back everywhere" in caught.value.problems[-1].message  # nobody knows whether it stopped
    assert caught.value.problems[-1].code == "PS610" and f"{host}/nova/new: {host} cannot be reached" in str(
        caught.value.problems[-1].why
    )
    assert "c1/nova/old" in takes(operator)
    assert any("nova@c1 is held" in note for note in operator.plan().notes)


def test_messages_stay_where_they_are_taken_if_what_they_should_go_back_to_does_not_answer(operator: Operator) -> None:
    operator.edit(spec(100).replace("time: 2", "time: 60"))

    def harm(world: World) -> None:
        silence(world, "c1")
        operator.data.waiting["conductor"] = 5

    with pytest.raises(PlaneshiftError) as caught:
        at_the_first_step(operator, harm)
    assert [p.code for p in caught.value.problems] == ["PS409", "PS610"]
    assert "c2/nova/new" in takes(operator)  # which the step has started


class Blinking:
    """A host that once gives no answer, and does again."""

    def __init__(self, host: Any) -> None:
        self.host, self.asked = host, 0

    def __getattr__(self, name: str) -> Any:
        self.asked += name == "units"
        return getattr(Silent("it") if self.asked == 1 and name == "units" else self.host, name)


def test_a_host_that_gives_no_answer_once_in_a_step_is_no_reason_to_send_messages_back(operator: Operator) -> None:
    blinking: list[Blinking] = []

    def blink(world: World) -> None:
        blinking.append(Blinking(world.hosts["c2"]))
        world.hosts = {**world.hosts, "c2": blinking[0]}  # type: ignore[dict-item]

    at_the_first_step(operator, blink)
    assert blinking[0].asked > 1 and takes(operator) == {"c2/nova/new", "c3/nova/new"}


def test_nothing_is_planned_where_it_was_not_seen_who_takes_messages(operator: Operator) -> None:
    world = operator.next()
    world.hosts = {**world.hosts, "c1": Blinking(world.hosts["c1"])}  # type: ignore[dict-item]
    with pytest.raises(PlaneshiftError, match="it cannot be reached"):
        change.plan(world)


def test_whoever_may_still_take_messages_is_named(operator: Operator) -> None:
    operator.edit(spec(100).replace("time: 2", "time: 2, steps: [100]"))
    with pytest.raises(PlaneshiftError, match="c1/nova/old may still take messages"):
        at_the_first_step(operator, lambda world: silence(world, "c1"))
    assert takes(operator) == {"c1/nova/old", "c2/nova/new", "c3/nova/new"}
    operator.up()
    assert takes(operator) == {"c2/nova/new", "c3/nova/new"}


def test_what_never_ran_is_not_said_to_take_messages(operator: Operator) -> None:
    """`c3` is needed for the second step: not before."""
    operator.edit(spec(100).replace("time: 2", "time: 2, steps: [25, 100]"))
    with pytest.raises(PlaneshiftError, match=r"was sent back to new 0 %, old 100 %") as caught:
        at_the_first_step(operator, lambda world: silence(world, "c3"))
    assert "may still take" not in str(caught.value) and takes(operator) == {"c1/nova/old"}


def test_status_shows_a_consumers_host_that_does_not_answer(settled: Data) -> None:
    operator = Operator(spec(0), copy.deepcopy(settled))
    world = operator.next()
    silence(world, "c1")
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}}
    text = yaml.safe_dump(whole | {"spec": yaml.safe_load(spec(0))})
    rows = {(r.backend, r.host): r for r in status(Site(Path("cloud.yaml"), load(text, "cloud.yaml"), {}), world)}
    assert (rows["old", "c1"].health, rows["old", "c1"].detail) == ("unknown", "c1 cannot be reached")
    assert rows["new", "c2"].detail == "idle"


def test_an_interrupt_while_the_new_side_is_waited_for_forgets_not_where_the_shift_began(operator: Operator) -> None:
    operator.data.deaf |= {"c2/nova/new", "c3/nova/new"}
    with pytest.raises(PlaneshiftError) as caught:
        at_the_first_step(operator, lambda world: world.stopping.set())
    assert caught.value.problems[0].code == "PS803"
    with pytest.raises(PlaneshiftError, match="sent back to new 0 %, old 100 %"):
        operator.up()
    assert takes(operator) == {"c1/nova/old"}


def test_status_says_who_is_idle(settled: Data) -> None:
    operator = Operator(spec(0), settled)
    world, text = (
        operator.next(),
        yaml.safe_dump(
            {
                "apiVersion": "planeshift/v1",
                "kind": "Cloud",
                "metadata": {"name": "test"},
                "spec": yaml.safe_load(spec(0)),
            }
        ),
    )
    site = Site(Path("cloud.yaml"), load(text, "cloud.yaml"), {})
    rows = {(r.backend, r.host): r for r in status(site, world)}
    assert rows["new", "c2"].detail == "idle" and rows["new", "c2"].well
    assert rows["old", "c1"].weight == "100 %"
    assert rows["c1", ""].well


def test_an_api_of_a_cell_gives_a_sign_of_life_once_and_the_cell_is_well_ever_after(settled: Data) -> None:
    operator = Operator(
        spec(0) + "      api: {hosts: [c3], cell: c1, components: {nova-metadata: {}}}\n", copy.deepcopy(settled)
    )
    operator.up()
    world = operator.next()
    lines = {line.name: line for line in fleet(world, observe(world))}
    assert lines["c1"].health == "up" and lines["c1"].detail.startswith("compute 1/1 up, conductor 1/1 up, 0 queued")


@pytest.mark.parametrize("name", ["messaging_password", "messaging_password_c1", "database_password_c1"])
def test_credentials_of_a_cell_are_rotated_and_reach_its_mapping(settled: Data, name: str) -> None:
    operator = Operator(spec(0), copy.deepcopy(settled))
    before = operator.data.secrets["secrets/nova.yaml"][name]
    operator.rotate("nova", name)
    held = operator.data.secrets["secrets/nova.yaml"]
    assert held[name] != before and str(held[name.replace("password", "user")]).endswith("_b")
    assert not any(n.endswith(("_next", "_previous")) for n in held)
    assert ids(operator.plan()) == []
    assert_serves(operator)
