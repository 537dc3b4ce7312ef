"""Shifts: where traffic is, the steps, and an engine that moves it in a world in memory, is sent back, killed, held."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from worlds import Operator, assert_serves, ids

from planeshift.app.status import _weight
from planeshift.drivers.memory import Killed, Memory, processes
from planeshift.drivers.memory.data import EdgeData, ProcessData, ServerData
from planeshift.drivers.memory.faults import Call, Moment
from planeshift.drivers.memory.traffic import MemoryCollector
from planeshift.drivers.prober import Access, RoundTrips
from planeshift.engine.observe import observe
from planeshift.engine.readiness import EVERY, Readiness
from planeshift.engine.world import World, unleased
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.model.edit import remove, set_number
from planeshift.model.load import load
from planeshift.model.ranges import expand, fill, member
from planeshift.plan.build import build
from planeshift.plan.observed import Foreign
from planeshift.plan.operations import Kind
from planeshift.plan.shifts import same, stages
from planeshift.plan.sides import _option, options
from planeshift.render import rules
from planeshift.render.desired import File, driven_unit
from planeshift.traffic.gates import Counters, Judge
from planeshift.traffic.lines import Request

SHIFT = f"{Kind.SHIFT}:keystone"
TWO = """
hosts: [{name: a, via: local, address: 127.0.0.2}, {name: b, via: local, address: 127.0.0.3}]
services:
  keystone: {backends: {one: {hosts: [a], weight: ONE}, two: {hosts: [b], weight: TWO}}}
"""
EDGE = "a/edge/edge"
HEALTHY_BUT_SICK = ("127.0.0.3", 15000)


def spec(two: int) -> str:
    return TWO.replace("ONE", str(100 - two)).replace("TWO", str(two))


def weights(operator: Operator) -> dict[str, int]:
    """What the running edge gives each server."""
    state = operator.next().edge.state(EDGE)
    assert state is not None
    return {server: s.weight for (_, server), s in state.servers.items()}


@pytest.fixture
def operator() -> Operator:
    """A cloud whose whole traffic is on `one`."""
    found = Operator(spec(0))
    found.up()
    found.edit(spec(100))
    return found


# --- the steps

percents = st.integers(0, 100)
ways = st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True).map(sorted)


@given(percents, percents, ways)
def test_the_steps_lead_from_one_to_the_other_and_never_back(before: int, after: int, steps: list[int]) -> None:
    origin, target = {"a": 100.0 - before, "b": float(before)}, {"a": 100.0 - after, "b": float(after)}
    found = stages(origin, target, steps, origin)
    assert found[-1] == target
    gone = [abs(s["b"] - before) for s in found]
    assert gone == sorted(gone) and all(sum(s.values()) == pytest.approx(100) for s in found)
    assert all(round(moved) in steps for moved in gone[:-1])


@given(percents, percents, ways, st.integers(0, 5))
def test_a_way_that_was_cut_off_goes_on_where_it_was(before: int, after: int, steps: list[int], at: int) -> None:
    origin, target = {"a": 100.0 - before, "b": float(before)}, {"a": 100.0 - after, "b": float(after)}
    whole = stages(origin, target, steps, origin)
    there = whole[min(at, len(whole) - 1)]
    rest = stages(origin, target, steps, there)
    assert rest == (whole[whole.index(there) + 1 :] or [target])


@pytest.mark.parametrize(
    "one, other, alike",
    [({"a": 99.7, "b": 0.3}, {"a": 100, "b": 0}, False), ({"a": 74.9, "b": 25.1}, {"a": 75, "b": 25}, True)],
)
def test_nothing_is_never_the_same_as_something(
    one: Mapping[str, float], other: Mapping[str, float], alike: bool
) -> None:
    assert same(one, other) is alike


# --- a world in memory


def test_a_changed_weight_is_a_shift_and_a_second_up_finds_nothing_to_do(operator: Operator) -> None:
    plan = operator.plan()
    assert ids(plan) == [SHIFT]
    assert plan.operations[0].summary == "traffic    keystone: one 100 %, two 0 % -> one 0 %, two 100 %"
    operator.up()
    assert weights(operator) == {"one-a": 0, "two-b": 256}
    assert ids(operator.plan()) == []
    assert_serves(operator)
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    assert [e["shares"]["two"] for e in events if e["event"] == "step"] == [1, 5, 25, 50, 100]
    assert events[-1]["result"] == "done"
    assert operator.data.shift_logs[-1].report and not operator.data.standing


def test_a_backend_that_joins_gets_its_traffic_by_a_shift_only() -> None:
    operator = Operator(
        """
        hosts: [{name: a, via: local, address: 127.0.0.2}]
        services: {keystone: {backends: {one: {hosts: [a]}}}}
        """
    )
    operator.up()
    operator.edit(spec(10))
    found = ids(operator.plan())
    assert found.index("reload-edge:edge") < found.index(SHIFT) == len(found) - 1
    operator.up()
    assert_serves(operator)


def test_a_first_up_has_nobody_to_move() -> None:
    assert SHIFT not in ids(Operator(spec(30)).plan())


def test_what_answers_its_health_check_and_fails_at_its_work_sends_all_back_and_is_held(operator: Operator) -> None:
    operator.data.sick[HEALTHY_BUT_SICK] = "HttpException: 500"
    with pytest.raises(PlaneshiftError) as caught:
        operator.up()
    assert caught.value.problems[0].code == "PS610"
    assert "500" in caught.value.problems[0].why
    assert weights(operator)["two-b"] == 0
    hold = operator.data.standing["keystone"].hold
    assert hold and "500" in hold.reason
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    assert [e["event"] for e in events if e["event"] in ("return", "end")] == ["return", "end"]
    assert any(e["event"] == "evidence" for e in events)
    shown = [_weight(operator.next(), "keystone", backend) for backend in ("one", "two")]
    assert shown == ["100 %, wanted 0 %", "0 %, wanted 100 %"]

    plan = operator.plan()
    assert ids(plan) == []
    assert any("held" in note for note in plan.notes)
    operator.up()
    assert weights(operator)["two-b"] == 0


def test_the_requests_that_failed_are_kept_as_evidence_one_a_line(operator: Operator) -> None:
    def serve(memory: Memory, world: World) -> None:
        def watch(call: object, moment: str) -> None:
            if (getattr(call, "name", ""), moment) == ("prober.start", "after"):
                good = Request(0.0, "keystone", "one-a", 200, 1, 2, "--", False, "GET /v3")
                memory.mishaps.is_served(EDGE, *[good] * 100)
                bad = replace(good, server="two-b", status=-1, state="SH", failed=True)
                memory.mishaps.is_served(EDGE, *[bad] * 100)

        memory.faults.watch = watch

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=serve)
    assert caught.value.problems[0].why.startswith("errors: 100 of 100 failed")
    assert "report.html" in caught.value.problems[0].hint
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    failed = next(e for e in events if e["event"] == "evidence" and e["name"].startswith("requests that failed"))
    line = "1970-01-01T00:00:00.000Z two-b GET /v3: no answer after 2 ms (ended: SH)"
    assert failed["text"].split("\n") == [line] * 60
    logs = [e["text"] for e in events if e["event"] == "evidence" and e["name"].startswith("log of")]
    assert logs and "\\n" not in logs[0]


def test_a_log_that_is_silent_about_what_the_edge_serves_sends_all_back(operator: Operator) -> None:
    def serve(memory: Memory, world: World) -> None:
        request = Request(0.0, "keystone", "two-b", 200, 5, 5, "--", False, "GET /v3")
        memory.faults.watch = lambda call, moment: (
            memory.mishaps.is_served(EDGE, request, silent=True)
            if (call.name, moment) == ("prober.start", "after")
            else None
        )

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=serve)
    assert caught.value.problems[0].code == "PS610"
    assert "its log has not told of 1 of them" in caught.value.problems[0].why
    assert weights(operator)["two-b"] == 0


@pytest.mark.parametrize("call", range(30, 36))
def test_lines_that_come_while_the_edge_is_asked_are_not_ahead_of_what_it_counts(operator: Operator, call: int) -> None:
    calls = iter(range(10_000))

    def serve(memory: Memory, world: World) -> None:
        request = Request(0.0, "keystone", "two-b", 200, 5, 5, "--", False, "GET /v3")
        memory.faults.watch = lambda seen, moment: (
            memory.mishaps.is_served(EDGE, *[request] * 100)
            if (seen.name, moment) == ("traffic.traffic", "before") and next(calls) == call
            else None
        )

    operator.edit(spec(100).replace("keystone: {", "keystone: {shift: {time: 1200}, "))
    operator.up(prepare=serve)
    assert next(calls) > 36 and weights(operator)["two-b"] == 256


def test_an_edge_that_cannot_be_asked_for_a_while_has_lost_no_lines(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(10_000))
    counters = MemoryCollector.counters

    def asked(collector: MemoryCollector) -> Mapping[tuple[str, str], Counters] | None:
        return None if 30 < next(looks) < 60 else counters(collector)

    def serve(memory: Memory, world: World) -> None:
        request = Request(0.0, "keystone", "two-b", 200, 5, 5, "--", False, "GET /v3")
        memory.faults.watch = lambda seen, moment: (
            memory.mishaps.is_served(EDGE, request) if (seen.name, moment) == ("edge.state", "before") else None
        )

    monkeypatch.setattr(MemoryCollector, "counters", asked)
    operator.edit(spec(100).replace("keystone: {", "keystone: {shift: {time: 1200}, "))
    operator.up(prepare=serve)
    assert next(looks) > 60 and weights(operator)["two-b"] == 256


def at_one_step(operator: Operator, call: str, *requests: Request) -> None:
    """Move all in one step; these requests, and two good ones, have ended at the edge by the end of these calls."""

    def serve(memory: Memory, world: World) -> None:
        ended = {"edge.set_weights": [Request(0.0, "keystone", "two-b", 200, 5, 5, "--", False, "GET /v3")] * 2}
        ended[call] = [*ended.get(call, []), *requests]
        memory.faults.watch = lambda seen, moment: (
            memory.mishaps.is_served(EDGE, *ended.pop(seen.name))
            if moment == "after" and getattr(seen, "name", "") in ended
            else None
        )

    operator.edit(spec(100).replace("keystone: {", "keystone: {shift: {steps: [100], time: 5}, "))
    operator.up(prepare=serve)


def test_what_ended_before_a_step_is_not_of_it(operator: Operator) -> None:
    """Consumers may take half a minute to join; what the old side served meanwhile does not make the new one idle."""
    served = Request(0.0, "keystone", "one-a", 200, 5, 5, "--", False, "GET /v3")
    at_one_step(operator, "control.stand", *[served] * 40)  # which is noted before anything is moved
    assert weights(operator)["two-b"] == 256


def test_what_ends_once_the_weights_are_set_is_of_the_step(operator: Operator) -> None:
    """Consumers may take long to leave: what the new side fails meanwhile is judged, and shown."""
    failed = Request(0.0, "keystone", "two-b", 503, 5, 5, "--", True, "GET /v3")
    at_one_step(operator, "edge.set_weights", *[failed] * 40)
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    last = next(e for e in reversed(events) if e["event"] == "sample")
    assert {g["name"]: g["detail"] for g in last["gates"]}["errors"] == "40 of 42 failed (95.24 %)"


def test_what_answers_slowly_sends_all_back(operator: Operator) -> None:
    def serve(memory: Memory, world: World) -> None:
        def watch(call: object, moment: str) -> None:
            if (getattr(call, "name", ""), moment) == ("edge.state", "before"):
                for server, wait, count in (("one-a", 20, 90), ("two-b", 60, 10)):
                    request = Request(0.0, "keystone", server, 200, wait, wait, "--", False, "GET /v3")
                    memory.mishaps.is_served(EDGE, *[request] * count)

        memory.faults.watch = watch

    operator.edit(spec(100).replace("keystone: {", "keystone: {shift: {time: 3600}, "))
    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=serve)
    assert caught.value.problems[0].code == "PS610"
    assert "GET /v3: 60 ms, 20 ms on the side that stayed" in caught.value.problems[0].why


def test_round_trips_that_fail_while_an_edge_is_away_say_nothing_of_the_service(operator: Operator) -> None:
    def fall(memory: Memory, world: World) -> None:
        edge = next(p for p in memory.data.processes.values() if p.edge)
        tries, kept = 0, edge.edge

        def watch(call: object, moment: str) -> None:
            nonlocal tries
            now = getattr(call, "name", ""), moment
            tries += now == ("prober.start", "before")
            if now == ("prober.start", "before") and tries == 1:
                edge.edge, memory.data.sick[HEALTHY_BUT_SICK] = None, "no token"
            elif now == ("edge.state", "after") and tries == 1:
                edge.edge = kept
            elif tries == 3:
                memory.data.sick.clear()

        memory.faults.watch = watch

    operator.up(prepare=fall)
    assert weights(operator) == {"one-a": 0, "two-b": 256}
    assert any("waiting for HAProxy of a/edge/edge" in event.text for event in operator.events)


def test_round_trips_that_fail_on_both_sides_are_no_reason_to_go_back(operator: Operator) -> None:
    sick = [HEALTHY_BUT_SICK, ("127.0.0.2", 15000)]

    def fall(memory: Memory, world: World) -> None:
        tries = 0

        def watch(call: object, moment: str) -> None:
            nonlocal tries
            tries += (getattr(call, "name", ""), moment) == ("prober.start", "before")
            memory.data.sick.update(dict.fromkeys(sick, "no database") if tries < 4 else {})
            if tries == 4:
                memory.data.sick.clear()

        memory.faults.watch = watch

    operator.up(prepare=fall)
    assert weights(operator) == {"one-a": 0, "two-b": 256}


def test_what_does_not_run_is_not_ready_unless_it_runs_again_at_the_next_look(operator: Operator) -> None:
    world = operator.next()
    readiness = Readiness(world, "keystone", {"two"})

    def looked() -> Mapping[str, str]:
        world.clock.sleep(EVERY)
        readiness.look()  # begins one beside
        return readiness.look()

    assert readiness.look() == looked() == {}
    operator.memory.mishaps.everything_of_dies("b/keystone/two")
    assert looked() == {}
    assert looked() == {"b/keystone/two": "keystone-api does not run"}
    operator.up()
    assert looked() == {}


def test_a_side_that_is_not_ready_sends_all_back(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Readiness, "_of_clusters", lambda _: {"k1/keystone/two": "1 of 3 pods are ready"})
    with pytest.raises(PlaneshiftError) as caught:
        operator.up()
    assert caught.value.problems[0].why == "readiness: k1/keystone/two: 1 of 3 pods are ready"


def test_a_changed_file_makes_a_hold_void(operator: Operator) -> None:
    operator.data.sick[HEALTHY_BUT_SICK] = "HttpException: 500"
    with pytest.raises(PlaneshiftError):
        operator.up()
    operator.data.sick.clear()
    operator.edit(spec(60))
    assert ids(operator.plan()) == [SHIFT]
    operator.up()
    assert_serves(operator)
    assert not operator.data.standing


def test_a_hold_is_over_once_the_file_wants_traffic_where_it_is(operator: Operator) -> None:
    operator.data.sick[HEALTHY_BUT_SICK] = "HttpException: 500"
    with pytest.raises(PlaneshiftError):
        operator.up()
    operator.edit(spec(0))
    operator.up()
    assert not operator.data.standing
    operator.edit(spec(100))
    assert ids(operator.plan()) == [SHIFT]


def test_an_edge_that_was_killed_in_a_shift_starts_where_the_traffic_was(operator: Operator) -> None:
    def die(memory: Memory, world: World) -> None:
        steps = 0

        def watch(call: object, moment: str) -> None:
            nonlocal steps
            steps += (getattr(call, "name", ""), moment) == ("control.stand", "after")
            if steps == 3:
                memory.mishaps.everything_of_dies(EDGE)
                raise Killed

        memory.faults.watch = watch

    with pytest.raises(Killed):
        operator.up(prepare=die)
    plan = operator.plan()
    assert "start-edge:edge" in ids(plan) and ids(plan)[-1] == SHIFT
    assert "two 25 %" in plan.operations[-1].summary
    operator.up()
    assert_serves(operator)


def test_an_interrupt_leaves_the_traffic_where_it_is_and_the_next_up_goes_on(operator: Operator) -> None:
    def interrupt(memory: Memory, world: World) -> None:
        world.watch = lambda event: world.stopping.set() if getattr(event, "step", 0) == 2 else None

    world = operator.next()
    plan = operator.plan()
    from planeshift.engine.run import execute

    interrupt(operator.memory, world)
    with pytest.raises(PlaneshiftError) as caught:
        execute(plan, world, lambda event: None, unleased, workers=1)
    assert caught.value.exit_code == Exit.INTERRUPTED
    assert 0 < weights(operator)["two-b"] < 20
    operator.up()
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    assert [e["shares"]["two"] for e in events if e["event"] == "step"] == [25, 50, 100]
    assert_serves(operator)


def test_the_lease_is_asked_for_while_a_step_is_watched(operator: Operator) -> None:
    def take(memory: Memory, world: World) -> None:
        memory.faults.watch = lambda call, moment: (
            memory.mishaps.lease_is_taken_away() if (call.name, moment) == ("prober.start", "after") else None
        )

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=take)
    assert caught.value.problems[0].code == "PS802"
    assert 0 < weights(operator)["two-b"] < 10


def test_of_two_edges_the_first_goes_back_where_the_second_fails() -> None:
    pair = "edges: [{name: lb1, address: 127.0.0.4}, {name: lb2, address: 127.0.0.5}]\n"
    operator = Operator(pair + spec(0).strip("\n"))
    operator.up()
    operator.edit(pair + spec(100).strip("\n"))

    def fail(memory: Memory, world: World) -> None:
        error = PlaneshiftError(Problem("PS607", "HAProxy of a/edge/lb2 cannot be reached"))
        memory.faults.fail("edge.set_weights", error, subject="a/edge/lb2", times=99)

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=fail)
    assert "lb2" in str(caught.value)
    assert not operator.data.standing  # a step that was not taken is nowhere to start from
    for edge in ("a/edge/lb1", "a/edge/lb2"):
        state = operator.next().edge.state(edge)
        assert state and state.servers["keystone", "two-b"].weight == 0
    operator.up()
    assert_serves(operator)


@pytest.mark.parametrize("how", ["refuses", "is away"])
def test_a_bad_verdict_sends_traffic_back_at_every_edge_that_can_be_told(how: str) -> None:
    pair = "edges: [{name: lb1, address: 127.0.0.4}, {name: lb2, address: 127.0.0.5}]\n"
    operator = Operator(pair + spec(0).strip("\n"))
    operator.up()
    operator.edit(pair + spec(100).strip("\n"))
    operator.data.sick[HEALTHY_BUT_SICK] = "HttpException: 500"
    lb1, lb2 = "a/edge/lb1", "a/edge/lb2"
    seen: list[int] = []

    def part(edge: str) -> int:
        state = operator.next().edge.state(edge)
        assert state
        return state.servers["keystone", "two-b"].weight

    def harm(memory: Memory, world: World) -> None:
        error = PlaneshiftError(Problem("PS607", "HAProxy of a/edge/lb2 cannot be reached"))

        def watch(call: Call, moment: Moment) -> None:
            record = memory.data.standing.get("keystone")
            if not (record and record.hold):
                return
            if not seen:
                if how == "refuses":
                    memory.faults.fail("edge.set_weights", error, subject=lb2, times=999)
                else:
                    memory.mishaps.everything_of_dies(lb2)
            running = processes.of(memory.data, lb1)
            seen.extend(p.edge.servers["keystone", "two-b"].weight for p in running if p.edge)

        memory.faults.watch = watch

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=harm)
    assert [p.code for p in caught.value.problems] == ["PS607", "PS610"]
    assert "lb2" in caught.value.problems[0].message and "is not back everywhere" in caught.value.problems[1].message
    assert part(lb1) == 0 and seen == sorted(seen, reverse=True)  # once back, it stays there
    events = [json.loads(line) for line in operator.data.shift_logs[-1].lines]
    assert events[-1]["result"] == "interrupted" and "return" not in {e["event"] for e in events}
    assert any("keystone is held" in note for note in operator.plan().notes)
    operator.up()
    assert part(lb1) == part(lb2) == 0
    assert_serves(operator)


def test_the_last_step_beside_a_third_backend_is_compared_with_the_side_that_was_left() -> None:
    three = TWO.replace("127.0.0.3}", "127.0.0.3}, {name: c, via: local, address: 127.0.0.6}").replace(
        "TWO}", "TWO}, three: {hosts: [c], weight: 50}"
    )

    def at(one: int) -> str:
        return three.replace("ONE", str(one)).replace("TWO", str(50 - one))

    operator, parts = Operator(at(50)), list[float]()
    operator.up()
    operator.edit(at(0))
    begin = Judge.begin_step

    def noted(self: Judge, share: float, now: float) -> None:
        parts.append(share)
        begin(self, share, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Judge, "begin_step", noted)
        operator.up()
    assert parts == sorted(parts) and parts[-1] == 100 and all(part < 100 for part in parts[:-1])
    assert 40 < parts[-2] < 60  # a quarter of all, of the half that moves


def test_a_hold_that_was_noted_sends_traffic_back_even_where_the_run_was_killed_then(operator: Operator) -> None:
    operator.data.sick[HEALTHY_BUT_SICK] = "HttpException: 500"

    def die(memory: Memory, world: World) -> None:
        def watch(call: object, moment: str) -> None:
            record = memory.data.standing.get("keystone")
            if record and record.hold and moment == "after":
                raise Killed

        memory.faults.watch = watch

    with pytest.raises(Killed):
        operator.up(prepare=die)
    assert weights(operator)["two-b"] > 0
    assert "set-weights:edge" in ids(operator.plan())
    operator.up()
    assert weights(operator)["two-b"] == 0


def test_traffic_whose_backend_the_file_no_longer_names_goes_at_once_and_the_plan_says_so() -> None:
    operator = Operator(spec(100))
    operator.up()
    operator.edit(
        """
        hosts: [{name: a, via: local, address: 127.0.0.2}, {name: b, via: local, address: 127.0.0.3}]
        services: {keystone: {backends: {one: {hosts: [a]}}}}
        """
    )
    plan = operator.plan()
    assert SHIFT not in ids(plan)
    assert any("at once" in note for note in plan.notes)


# --- the file

BLOCK = """\
spec:
  services:
    # the image service
    glance:
      backends:
        vms: {hosts: [here]}   # as ever
        pods:
          cluster: k1

    heat: {backends: {}}
"""
BACKENDS = ("spec", "services", "glance", "backends")


def test_a_weight_is_set_where_it_stands_or_added_and_all_else_stays() -> None:
    text = set_number(set_number(BLOCK, (*BACKENDS, "vms", "weight"), 90), (*BACKENDS, "pods", "weight"), 10)
    assert "vms: {hosts: [here], weight: 90}   # as ever" in text
    assert "        pods:\n          weight: 10\n          cluster: k1\n\n    heat" in text
    assert set_number(text, (*BACKENDS, "vms", "weight"), 5) == text.replace("90", "5")


RANGES = """\
spec:
  services:
    glance:   # comments stay
      backends:
        vms: {hosts: [here]}
        "c{1..3}":   # cells
          hosts: ["h{}"]
          weight: 100
        "d{1..3}": {hosts: ["g{}"], weight: 0}

        # the last one

  # at the end
"""
FLOW = (
    'spec: {services: {glance: {backends: {vms: {}, "c{1..3}": {hosts: [x], weight: 100}, "d{1..3}": {}}}}}  # one line'
)


def said(text: str) -> dict[str, Any]:
    """The backends that a text speaks of."""
    found: dict[str, Any] = {}
    for key, item in yaml.safe_load(text)["spec"]["services"]["glance"]["backends"].items():
        for index, name in enumerate(expand(key)):
            found[name] = found.get(name, {}) | fill(item, member(key, index))
    return found


def test_one_of_a_range_gets_an_entry_of_its_own_until_all_are_alike() -> None:
    text = RANGES
    for number in (1, 2, 3):
        text = set_number(text, (*BACKENDS, f"c{number}", "weight"), 0)
        if number < 3:
            assert "weight: 0}\n        c1: {weight: 0}\n" in text
    assert text == RANGES.replace("weight: 100", "weight: 0")


@given(
    st.sampled_from([RANGES, FLOW]),
    st.lists(st.tuples(st.sampled_from("cd"), st.integers(1, 3), st.sampled_from([0, 7, 100])), max_size=9),
)
def test_whatever_is_set_is_what_the_text_says_and_the_rest_stays(text: str, edits: list[tuple[str, int, int]]) -> None:
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    for kind, number, weight in edits:
        expected = said(text)
        expected[f"{kind}{number}"]["weight"] = weight
        text = set_number(text, (*BACKENDS, f"{kind}{number}", "weight"), weight)
        assert said(text) == expected
        assert [line.partition("#")[2] for line in text.splitlines() if "#" in line] == comments


def test_a_backend_is_removed_and_all_else_stays() -> None:
    assert remove(BLOCK, (*BACKENDS, "pods")) == BLOCK.replace("        pods:\n          cluster: k1\n", "")
    assert remove(BLOCK, (*BACKENDS, "vms")) == BLOCK.replace("        vms: {hosts: [here]}   # as ever\n", "")


def test_what_stands_under_an_alias_is_left_to_a_person() -> None:
    text = "spec: {services: {a: {backends: &b {x: {hosts: [h]}}}, glance: {backends: *b}}}"
    with pytest.raises(PlaneshiftError) as caught:
        set_number(text, (*BACKENDS, "x", "weight"), 1)
    assert caught.value.problems[0].code == "PS809"


# --- before it begins


def details(operator: Operator) -> str:
    plan = operator.plan()
    return "\n".join(next(o for o in plan.operations if o.id == SHIFT).detail)


def test_two_backends_of_the_same_files_differ_in_nothing_that_the_plan_would_show(operator: Operator) -> None:
    assert "!" not in details(operator)


def test_the_plan_shows_how_the_releases_of_two_sides_differ() -> None:
    operator = Operator(spec(0).replace("weight: 0", 'weight: 0, release: "2026.1"'))
    operator.up()
    operator.edit(spec(100).replace("weight: 100}", 'weight: 100, release: "2026.1"}'))
    assert "! release 2026.2 -> 2026.1" in details(operator)


def test_options_that_differ_are_shown_and_secrets_are_not() -> None:
    main, fragment = "home/.x/x.conf", "home/.x/x.conf.d/90-secrets.conf"
    here = {main: File(b"[a]\nb = 1\npath = /here\n"), fragment: File(b"[a]\npassword = one\n", secret=True)}
    there = {main: File(b"[a]\nb = 2\npath = /there\n"), fragment: File(b"[a]\npassword = two\n", secret=True)}
    one, other = options(here), options(there)
    assert [_option(k, one[k], other[k]) for k in sorted(one)] == ["! [a] b: 2 -> 1", "! [a] password: *** -> ***", ""]


THEIRS = """
hosts:
  - {name: a, via: local, address: 127.0.0.2}
  - {name: x, via: external, address: 127.0.0.8, observe: ssh}
  - {name: y, via: external, address: 127.0.0.9, observe: ssh}
databases: {main: {engine: mysql, host: 192.0.2.9}}
services:
  keystone:
    config: config/keystone
    backends: {vms: {hosts: [x, y], weight: 100}, ours: {hosts: [a], weight: 0}}
"""
MAIN = "keystone.conf"
OURS = b"[DEFAULT]\ndebug = true\nmax_param_size = 1\n"


def told(*looks: Foreign) -> list[str]:
    """What the plan says where traffic moves away from two hosts of somebody else, of which that was seen."""
    operator = Operator(THEIRS)
    operator.tree = {f"config/keystone/{MAIN}": OURS, "config/keystone/policy.yaml": b"a: b\n"}
    operator.foreign = {("keystone", host): seen for host, seen in zip("xy", looks, strict=False)}
    operator.up()
    operator.edit(THEIRS.replace("100", "0").replace("weight: 0}}", "weight: 100}}"))
    return [line for line in next(o for o in operator.plan().operations if o.id == SHIFT).detail if "!" in line]


def test_hosts_of_others_are_compared_by_the_operators_files_and_their_secrets_are_not_shown() -> None:
    same = Foreign({MAIN: OURS, "policy.yaml": b"a: b\n"})
    assert told(same, same) == []
    text = b"[DEFAULT]\nmax_param_size = 2\ntypo = 1\n[database]\nconnection = mysql://u:geheim@h/d\n"
    assert told(Foreign({MAIN: text}), same) == [
        "! [DEFAULT] debug: unset -> true",
        "! [DEFAULT] max_param_size: 2 -> 1",
        "! [DEFAULT] typo: *** -> unset",
        "! [database] connection: *** -> unset",
        "! policy.yaml is at ours alone",
        f"! y has not the same files as x: {MAIN}, policy.yaml",
    ]


def test_of_hosts_that_cannot_be_looked_at_the_plan_says_why() -> None:
    assert told(Foreign(why="x cannot be reached")) == [
        "! what vms is configured with is unknown: x: x cannot be reached"
    ]
    assert told() == ["! what vms is configured with is unknown: somebody else runs it"]


def test_a_side_that_has_too_few_threads_for_what_is_served_now_is_refused() -> None:
    few = "databases: {main: {engine: mysql, host: 192.0.2.9}}\n" + spec(0).strip("\n").replace(
        "{hosts: [b], weight: 0", "{hosts: [b], weight: SHARE, components: {keystone-api: {workers: 1, threads: 2}}"
    )
    operator = Operator(few.replace("SHARE", "0"))
    operator.up()
    operator.edit(few.replace("SHARE", "100").replace("weight: 100}", "weight: 0}", 1))
    world = operator.next()
    observed = observe(world)
    for busy, codes in ((3.0, ["PS614"]), (1.0, [])):
        edges = {name: replace(state, busy={"keystone": busy}) for name, state in observed.edges.items()}
        found: list[str] = []
        try:
            build(world.desired, replace(observed, edges=edges), world.control.key())
        except PlaneshiftError as error:
            found = [p.code for p in error.problems]
        assert found == codes


# --- an edge of somebody else's

DRIVEN = """
hosts:
  - {name: a, via: local, address: 127.0.0.2}
  - {name: x, via: external, address: 127.0.0.9}
databases: {main: {engine: mysql, host: 192.0.2.9}}
edges:
  - {name: lb1}
  - {name: lb2, mode: driven, socket: /run/other.sock, services: {keystone: {backend: ks, servers: {two: [their-x]}}}}
services:
  keystone: {backends: {one: {hosts: [a], weight: ONE}, two: {hosts: [x], weight: TWO}}}
"""


def with_theirs(two: int) -> Operator:
    """A world in which somebody else's HAProxy runs, with a server more than we are to touch."""
    operator = Operator(driven(two))
    servers = {
        ("ks", "one-a"): ServerData("127.0.0.2", 15000, 256),
        ("ks", "their-x"): ServerData("127.0.0.9", 5000, 0),
        ("ks", "not-ours"): ServerData("127.0.0.8", 5000, 7),
    }
    edge = EdgeData("theirs", {}, servers)
    operator.data.processes[7] = ProcessData(7, 1, driven_unit("lb2"), "haproxy", 1, edge=edge)
    return operator


def driven(two: int) -> str:
    return DRIVEN.replace("ONE", str(100 - two)).replace("TWO", str(two))


def theirs(operator: Operator) -> dict[str, int]:
    state = operator.next().edge.state(driven_unit("lb2"))
    assert state is not None
    return {server: s.weight for (_, server), s in state.servers.items()}


def test_an_edge_of_somebody_elses_is_moved_by_the_servers_that_are_named_and_nothing_else_is_touched() -> None:
    operator = with_theirs(0)
    operator.up()
    operator.edit(driven(100))
    assert ids(operator.plan()) == [SHIFT]
    operator.up()
    assert theirs(operator) == {"one-a": 0, "their-x": 256, "not-ours": 7}
    assert ids(operator.plan()) == []


def test_a_server_that_an_edge_of_somebody_elses_does_not_have_is_refused_by_name() -> None:
    operator = with_theirs(0)
    edge = operator.data.processes[7].edge
    assert edge is not None
    del edge.servers["ks", "their-x"]
    with pytest.raises(PlaneshiftError) as caught:
        operator.plan()
    assert [(p.code, "ks/their-x" in p.message) for p in caught.value.problems] == [("PS615", True)]


def test_an_edge_of_somebody_elses_that_does_not_answer_holds_the_shift_and_nothing_moves() -> None:
    operator = with_theirs(0)
    operator.up()
    del operator.data.processes[7]
    operator.edit(driven(100))
    assert any("lb2 does not answer" in note for note in operator.plan().notes)
    with pytest.raises(PlaneshiftError) as caught:
        operator.up()
    assert "lb2 cannot be reached" in str(caught.value)
    state = operator.next().edge.state("a/edge/lb1")
    assert state and state.servers["keystone", "two-x"].weight == 0


@pytest.mark.parametrize(
    "edge, words",
    [
        ("{name: lb, mode: driven}", "`socket` of the edge `lb` is missing"),
        ("{name: lb, socket: /run/x.sock}", "`socket` goes with `mode: driven`"),
        ("{name: lb, mode: driven, socket: /s, services: {glance: {}}}", "runs no service `glance`"),
        ("{name: lb, mode: driven, socket: /s, services: {keystone: {servers: {too: [s]}}}}", "no backend `too`"),
        ("{name: lb, mode: driven, socket: /s, services: {keystone: {servers: {two: [s, t]}}}}", "2 names for 1 hosts"),
    ],
)
def test_what_is_wrong_with_an_edge_of_somebody_elses_is_told(edge: str, words: str) -> None:
    text = driven(0)
    lines = [line for line in text.splitlines() if "name: lb" not in line]
    at = lines.index("edges:")
    lines.insert(at + 1, f"  - {edge}")
    head = "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: t}\nspec:\n"
    loaded = load(head + "\n".join(f"  {line}" for line in lines), "cloud.yaml")
    assert any(words in p.message for p in rules.check(loaded)), rules.check(loaded)


def test_work_beside_a_shift_does_not_hold_its_orders_up() -> None:
    before = sys.getswitchinterval()
    try:
        RoundTrips(Access("http://192.0.2.1/v3", "RegionOne")).beside(dict)
        assert sys.getswitchinterval() <= 0.001
    finally:
        sys.setswitchinterval(before)
