"""Operators of two machines at one cluster: who holds its lease, who is refused, and when a dead one's is free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
from worlds import PODS, Operator

from planeshift.app import change
from planeshift.drivers.clock import SystemClock
from planeshift.drivers.memory import Killed, Memory
from planeshift.drivers.memory.data import ClusterData, Data
from planeshift.drivers.memory.faults import Call, Moment
from planeshift.drivers.memory.keep import MemoryClock
from planeshift.engine import leases
from planeshift.engine.run import Event
from planeshift.engine.world import Keep, World
from planeshift.errors import PlaneshiftError
from planeshift.ports import LeaseRecord


class Machine:
    """A machine of its own, with its control and its clock, at a cluster that others use, too."""

    def __init__(self, name: str, shared: Data, ticks: int = 0) -> None:
        self.said: list[str] = []
        data = Data(mark=f"control of {name}", clusters=shared.clusters, ticks=ticks)
        self.operator = Operator(PODS, data=data)
        self.world = self.operator.next()
        self.memory = self.operator.memory
        self.clock = Clock(self.memory, name)
        self.world.clock = self.clock

    def held(self) -> AbstractContextManager[Keep]:
        return leases.held(self.world, self.said.append)


class Clock(MemoryClock):
    """A clock by which others do something while we wait."""

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory._data, memory.faults)
        self.name, self.meanwhile = name, list[Callable[[], None]]()

    def who(self) -> str:
        return self.name

    def monotonic(self) -> float:
        return float(self.data.ticks)

    def sleep(self, seconds: float) -> None:
        for work in self.meanwhile:
            work()
        self.data.ticks += int(seconds)


@pytest.fixture
def shared() -> Data:
    data = Operator(PODS).data
    data.clusters["k1"] = ClusterData(lease=LeaseRecord("", "", leases.VALID, "", "0"))  # free
    return data


def record(shared: Data) -> LeaseRecord:
    found = shared.clusters["k1"].lease
    assert found
    return found


def test_the_second_is_refused_by_the_name_of_the_first_who_renews_it(shared: Data) -> None:
    ada, ben = Machine("ada@one", shared), Machine("ben@two", shared, ticks=1_000_000)  # clocks may differ
    with ada.held() as keep:
        ada.clock.data.ticks += leases.PERIOD  # it is renewed in the background, or before an operation
        ben.clock.meanwhile.append(keep)
        with pytest.raises(PlaneshiftError, match="ada@one is changing k1") as caught, ben.held():
            pass
        assert caught.value.problems[0].code == "PS801"
        keep()
    assert record(shared).who == ""
    with ben.held():
        assert record(shared).who == "ben@two"
    assert ben.said == ["ada@one has the lease of k1: 15 s to see whether that still runs"]


def test_nothing_is_written_into_a_cluster_that_nobody_has_changed_before_the_first_operation(shared: Data) -> None:
    shared.clusters["k1"].lease = None
    ada, ben = Machine("ada@one", shared), Machine("ben@two", shared)
    with ada.held() as keep, ben.held() as too_late:
        keep(wait=False)
        assert shared.clusters["k1"].lease is None
        keep()
        assert record(shared).who == "ada@one"
        ada.clock.data.ticks += leases.PERIOD
        ben.clock.meanwhile.append(keep)
        with pytest.raises(PlaneshiftError, match="ada@one is changing k1"):
            too_late()
    assert record(shared).who == ""


def test_a_dead_holder_s_lease_is_taken_over_once_it_was_not_renewed_for_so_long(shared: Data) -> None:
    shared.clusters["k1"].lease = LeaseRecord("ada@one", "another", 15, "2126-01-01T00:00:00+00:00", "1")
    ben = Machine("ben@two", shared)
    waited = list[float]()
    ben.clock.meanwhile.append(lambda: waited.append(ben.clock.monotonic()))
    with ben.held():
        assert record(shared).who == "ben@two"
    assert waited[-1] - waited[0] >= leases.VALID - 2
    assert ben.said[-1] == "took the lease of k1 over: ada@one has not renewed it"


def test_a_dead_run_of_the_same_control_is_not_waited_for(shared: Data) -> None:
    ada = Machine("ada@one", shared)
    shared.clusters["k1"].lease = LeaseRecord("ada@one (pid 3)", ada.operator.data.mark, 15, "", "1")
    with ada.held():
        assert record(shared).who == "ada@one"
    assert ada.said == []


def test_of_two_who_find_it_free_one_gets_it(shared: Data) -> None:
    ada, ben = Machine("ada@one", shared), Machine("ben@two", shared)

    def first(call: object, moment: str) -> None:
        if moment == "before" and getattr(call, "name", "") == "lease.write":
            ben.memory.faults.watch = None
            stack.append(ada.held())
            keep = stack[0].__enter__()
            ada.clock.data.ticks += leases.PERIOD
            ben.clock.meanwhile.append(keep)

    stack: list[AbstractContextManager[Keep]] = []
    ben.memory.faults.watch = first
    with pytest.raises(PlaneshiftError, match="ada@one"), ben.held():
        pass
    stack[0].__exit__(None, None, None)


def test_who_lost_it_begins_no_more_operations(shared: Data) -> None:
    ada = Machine("ada@one", shared)

    def steal(event: Event) -> None:
        if event.what == "end" and event.operation.kind == "lay-out":
            shared.clusters["k1"].lease = LeaseRecord("ben@two", "another", 15, "", "99")
            ada.clock.data.ticks += leases.PERIOD
            begun.clear()
        begun.append(event.operation.id)

    begun: list[str] = []
    with pytest.raises(PlaneshiftError) as caught:
        change.up(ada.world, agree=lambda _: True, listen=steal, say=ada.said.append, workers=1)
    assert {(p.code, p.why) for p in caught.value.problems} == {("PS802", "ben@two has it.")}
    assert len(set(begun)) == 1
    assert record(shared).who == "ben@two"  # it is not ours to give back


def test_a_cluster_that_is_away_for_a_while_is_waited_for_before_an_operation(shared: Data) -> None:
    ada = Machine("ada@one", shared)
    there = shared.clusters["k1"]
    with ada.held() as keep:
        there.problem = "connection refused"
        keep()  # it is known to be ours still
        keep(wait=False)
        ada.clock.data.ticks += leases.PERIOD
        ada.clock.meanwhile.append(lambda: setattr(there, "problem", ""))
        keep()
        there.problem, ada.clock.meanwhile = "connection refused", []
        ada.clock.data.ticks += leases.PERIOD
        with pytest.raises(PlaneshiftError) as caught:
            keep()
        assert caught.value.problems[0].code == "PS711"
        keep(wait=False)  # as a shift asks, five times a second: a cluster that is away is not waited for
        there.problem, there.lease = "", LeaseRecord("ben@two", "another", 15, "", "99")
        ada.clock.data.ticks += leases.PERIOD
        with pytest.raises(PlaneshiftError, match="taken away"):
            keep()
        with pytest.raises(PlaneshiftError, match="taken away"):
            keep(wait=False)


def test_a_renewal_whose_answer_was_lost_is_no_loss(shared: Data) -> None:
    ada = Machine("ada@one", shared)
    with ada.held() as keep:
        shared.clusters["k1"].lease = replace(record(shared), version="98")  # as the API has it, and she does not know
        ada.clock.data.ticks += leases.PERIOD
        keep()
        assert record(shared).version not in ("1", "98")
        keep(wait=False)
    assert record(shared).who == ""


def test_while_it_is_not_known_whether_a_renewal_came_through_the_lease_is_not_said_to_be_lost(shared: Data) -> None:
    ada = Machine("ada@one", shared)
    with ada.held() as keep:
        shared.clusters["k1"].lease = replace(record(shared), version="98")
        ada.clock.data.ticks += leases.PERIOD
        asked: list[int] = []

        def watch(call: Call, moment: Moment) -> None:
            if call.name == "lease.read" and moment == "before":
                asked.append(1)
                keep(wait=False)

        ada.memory.faults.watch = watch
        keep()
        assert asked
        keep(wait=False)


def test_killed_with_a_lease_the_next_run_goes_on_at_once() -> None:
    operator = Operator(PODS)

    def prepare(memory: Memory, world: World) -> None:
        memory.faults.watch = lambda call, moment: (
            die(memory) if (call.name, moment) == ("lease.write", "after") else None
        )

    def die(memory: Memory) -> None:
        memory.faults.dead = True
        raise Killed

    with pytest.raises(Killed):
        operator.up(prepare=prepare)
    assert record(operator.data).who
    operator.up()
    assert record(operator.data).who == ""
    assert not any("lease" in line for line in operator.said)


def test_down_is_refused_before_anything_is_stopped(shared: Data) -> None:
    ada, ben = Machine("ada@one", shared), Machine("ben@two", shared)
    with ada.held() as keep:
        ada.clock.data.ticks += leases.PERIOD
        ben.clock.meanwhile.append(keep)
        with pytest.raises(PlaneshiftError, match="ada@one"):
            change.down(ben.world, ben.said.append)
    assert not any(c.changes for c in ben.memory.faults.calls)


def test_the_real_clock_does_work_beside_until_its_context_ends() -> None:
    thrice, times = threading.Event(), list[int]()

    def work() -> None:
        times.append(1)
        if len(times) == 3:
            thrice.set()

    before = threading.active_count()
    with SystemClock().every(0.01, work):
        assert thrice.wait(60)
    assert threading.active_count() == before  # nobody is left who could do more


def test_a_lease_is_renewed_while_an_operation_goes_on(shared: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, renewed = Machine("ada@one", shared), threading.Event()
    monkeypatch.setattr(leases, "PERIOD", 0.01)
    monkeypatch.setattr(ada.clock, "every", SystemClock().every)
    with ada.held():
        first = record(shared)
        ada.memory.faults.watch = lambda call, moment: (
            renewed.set() if (call.name, moment) == ("lease.write", "after") else None
        )
        assert renewed.wait(60)
        assert record(shared).who == first.who and record(shared).version != first.version
