"""Verdicts on steps: what is found, what is not taken for a fault, and how often chance is."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from planeshift.model.cloud import Gates
from planeshift.traffic.bets import Bets, Ranks
from planeshift.traffic.figures import Marks
from planeshift.traffic.gates import SLOT, Counters, Evidence, Judge, Probe, Verdict
from planeshift.traffic.lines import Request
from planeshift.traffic.splitting import Balance, Splitting, beyond

GOOD = Evidence(probe=Probe(ok=True))


def judge(share: float = 25, *, logs: bool = True, gates: Gates | None = None) -> Judge:
    """A judge in a step of 60 seconds from 0, whose round trips went well."""
    found = Judge(gates or Gates(), frozenset({"new"}), frozenset({"old"}), logs=logs)
    found.begin_step(share, 0.0)
    found.evidence(GOOD)
    return found


def served(judge: Judge, backend: str, waits: Iterable[int], kind: str = "GET /v3", failed: int = 0) -> None:
    """Requests ended, the first ones badly."""
    judge.add(
        (backend, Request(0.0, "keystone", f"{backend}-a", 200, wait, wait, "--", number < failed, kind))
        for number, wait in enumerate(waits)
    )


def state(verdict: Verdict, gate: str) -> str:
    return next(g.state for g in verdict.gates if g.name == gate)


def failed(verdict: Verdict) -> set[str]:
    return {reason.gate for reason in verdict.reasons}


# --- what chance does


def crossed(bets: Bets) -> bool:
    return bets.log >= 3.0


@pytest.mark.parametrize("begins", [1, 5])
def test_evidence_between_sides_that_are_alike_is_rarely_convincing_at_any_look(begins: int) -> None:
    """The bound for exp(3) is one in twenty; outages of both sides, changing shares and new beginnings change nothing."""
    found = {Splitting: 0, Balance: 0}
    for seed in range(400):
        chance = random.Random(seed)
        splitting, balance = Splitting(), Balance()
        hit = {Splitting: False, Balance: False}
        for look in range(200):
            if look and look % (200 // begins) == 0:
                splitting.begin_again()
                balance.begin_again()
            of, other_of = (5, 95) if look < 100 else (50, 50)
            rate = 0.5 if look % 50 == 7 else 0.01
            one, other = (sum(chance.random() < rate for _ in range(n)) for n in (of, other_of))
            splitting.add(one, of, other, other_of)
            balance.add(*beyond(Marks(of, one, one), Marks(other_of, other, other)))
            hit[Splitting] |= crossed(splitting)
            hit[Balance] |= crossed(balance)
        for kind, was in hit.items():
            found[kind] += was
    assert all(count <= 0.05 * 400 for count in found.values()), found


def test_ranks_of_what_comes_from_one_source_are_never_convincing() -> None:
    for seed in range(400):
        chance = random.Random(seed)
        ranks = Ranks(chance.gauss(0, 1) for _ in range(48))
        for _ in range(40):
            ranks.add(chance.gauss(0, 1))
        assert not ranks.convinced


@pytest.mark.parametrize("before", [24, 48])
def test_ranks_find_what_is_greater_than_all_before(before: int) -> None:
    ranks = Ranks(range(before))
    for value in range(100, 112):
        ranks.add(value)
    assert ranks.convinced


# --- waits


def looks(judge: Judge, count: int, moved: dict[str, list[int]], stayed: dict[str, list[int]]) -> Verdict:
    """As many slots in which the sides had these waits by kind."""
    for look in range(1, count + 1):
        for backend, kinds in (("new", moved), ("old", stayed)):
            for kind, waits in kinds.items():
                served(judge, backend, waits, kind)
        verdict = judge.judge(judge.began + look * SLOT)
        if verdict.state != "watching":
            break
    return verdict


def test_a_median_that_is_longer_than_allowed_is_found_and_the_reason_says_how_long() -> None:
    waits = list(range(20, 50))
    found = looks(judge(), 100, {"GET /v3": [2 * w for w in waits[::3]]}, {"GET /v3": waits})
    assert "p50" in failed(found)
    text = next(r.text for r in found.reasons if r.gate == "p50")
    assert text == "GET /v3: 64 ms, 34 ms on the side that stayed; 41 ms allowed"


def test_while_few_requests_may_be_slow_by_chance_the_gate_says_so() -> None:
    found = looks(judge(), 12, {"GET /v3": [20, 60]}, {"GET /v3": list(range(20, 50))})
    text = next(g.detail for g in found.gates if g.name == "p99")
    assert text == "GET /v3: 60 ms, 49 ms on the side that stayed; 54 ms allowed, and 24 requests may be chance"


def test_slow_requests_that_are_slower_are_found_where_the_median_is_the_same() -> None:
    stayed = [20, 21, 22, 23, 24, 25, 26, 27, 28, 60] * 3
    found = looks(judge(), 110, {"GET /v3": [20, 21, 22, 23, 24, 25, 26, 27, 28, 90]}, {"GET /v3": stayed})
    assert failed(found) == {"p99"}


@pytest.mark.parametrize("more", [{"slack": 40}, {"p50": 100, "p99": 100}])
def test_what_is_allowed_is_no_fault(more: dict[str, float]) -> None:
    waits = list(range(20, 50))
    found = looks(judge(gates=Gates(**more)), 100, {"GET /v3": [int(1.7 * w) for w in waits[::3]]}, {"GET /v3": waits})  # type: ignore[arg-type]
    assert not found.reasons


def test_another_mix_of_requests_is_no_fault() -> None:
    found, chance = judge(50), random.Random(1)
    for look in range(1, 121):
        for backend, quick, slow in (("new", 5, 50), ("old", 50, 5)):
            served(found, backend, [chance.randrange(5, 15) for _ in range(quick)], "GET /a")
            served(found, backend, [chance.randrange(200, 300) for _ in range(slow)], "GET /b")
        verdict = found.judge(look * SLOT)
    assert verdict.state == "passed"


def test_a_kind_that_is_slower_is_not_hidden_by_many_that_are_quicker() -> None:
    quick, slow = [10] * 30, list(range(50, 80))
    moved = {"GET /a": [1] * 10, "GET /b": [2 * w for w in slow[::10]]}
    found = looks(judge(), 110, moved, {"GET /a": quick, "GET /b": slow[::3]})
    assert found.reasons and all("GET /b" in r.text for r in found.reasons)


def test_a_stall_of_both_sides_is_no_fault_and_hides_none() -> None:
    found = judge()
    for look in range(1, 121):
        stalled = 2000 if 40 <= look < 50 else 0
        served(found, "old", [w + stalled for w in range(20, 50)])
        served(found, "new", [w + stalled for w in range(20, 50, 3)])
        assert not found.judge(look * SLOT).reasons
    found.begin_step(50, 60.0)
    found.evidence(GOOD)
    last = looks(found, 110, {"GET /v3": [2 * w for w in range(20, 50)]}, {"GET /v3": list(range(20, 50))})
    assert failed(last) & {"p50", "p99"}


@pytest.mark.parametrize("good", [0, 15])
def test_a_last_step_of_half_a_minute_that_looks_bad_is_watched_until_it_surely_is(good: int) -> None:
    """Also where it begins well: then it is gross, if not surely no chance."""
    found = Judge(Gates(), frozenset({"new"}), frozenset({"old"}), seconds=30)
    chance = random.Random(2)

    def waits(count: int, times: float) -> list[int]:
        return [int(times * chance.uniform(20, 50)) for _ in range(count)]

    for step, share in enumerate((25, 50)):
        found.begin_step(share, step * 30.0)
        found.evidence(GOOD)
        for look in range(1, 61):
            served(found, "new", waits(share // 5, 1.0))
            served(found, "old", waits((100 - share) // 5, 1.0))
            verdict = found.judge(step * 30 + look * SLOT)
        assert verdict.state == "passed"
    found.begin_step(100, 60.0)
    found.evidence(GOOD)
    for look in range(1, 141):
        served(found, "new", waits(20, 1.0 if look <= good else 30.0))
        verdict = found.judge(60 + look * SLOT)
        if verdict.state != "watching":
            break
    assert failed(verdict) & {"p50", "p99"} and 60 < look <= (120 if good else 90)  # in time for no step after it


def test_the_last_step_is_compared_with_what_the_other_side_did_before() -> None:
    found = judge()
    chance = random.Random(1)

    def waits(count: int, times: float) -> list[int]:
        return [int(times * chance.uniform(20, 50)) for _ in range(count)]

    for step, share in enumerate((25, 50, 75)):
        found.begin_step(share, step * 60.0)
        found.evidence(GOOD)
        for look in range(1, 121):
            served(found, "new", waits(share, 1.0))
            served(found, "old", waits(100 - share, 1.0))
            verdict = found.judge(step * 60 + look * SLOT)
        assert verdict.state == "passed"
    found.begin_step(100, 180.0)
    found.evidence(GOOD)
    for look in range(1, 121):
        served(found, "new", waits(100, 3.0))
        verdict = found.judge(180 + look * SLOT)
        if verdict.reasons:
            break
    assert "p50" in failed(verdict)


def test_where_nothing_was_seen_of_the_other_side_waits_are_waived_and_failures_are_not() -> None:
    found = looks(judge(100), 110, {"GET /v3": list(range(20, 50))}, {})
    assert (state(found, "p50"), state(found, "p99"), state(found, "errors")) == ("waived", "waived", "passed")
    sick = judge(100)
    for look in range(1, 60):
        served(sick, "new", [20] * 50, failed=1)
        verdict = sick.judge(look * SLOT)
    assert failed(verdict) == {"errors"}


# --- failures


def test_failures_within_what_is_tolerated_are_no_fault_however_sure() -> None:
    found = judge(50, gates=Gates(errors=3))
    for look in range(1, 121):
        served(found, "new", [20] * 100, failed=2)
        served(found, "old", [20] * 100)
        assert not found.judge(look * SLOT).reasons


def test_one_failure_fails_no_step() -> None:
    found = judge(1)
    for look in range(1, 121):
        served(found, "new", [20], failed=look == 60)
        served(found, "old", [20] * 99)
        assert not found.judge(look * SLOT).reasons


def test_an_outage_of_both_sides_is_no_fault_and_hides_none() -> None:
    found = judge(5)
    for look in range(1, 121):
        outage = 20 <= look < 40
        served(found, "old", [20] * 95, failed=95 * outage)
        served(found, "new", [20] * 5, failed=5 * outage or look > 60)
        verdict = found.judge(look * SLOT)
        if verdict.reasons:
            break
    assert failed(verdict) == {"errors"} and look > 60


# --- data


def test_an_edge_without_a_log_is_judged_by_its_counters_and_waits_are_waived() -> None:
    found = judge(logs=False)
    for look in range(1, 121):
        found.evidence(Evidence(unlogged={"new": Counters(50 * look, look), "old": Counters(150 * look, 0)}))
        verdict = found.judge(look * SLOT)
        if verdict.reasons:
            break
    assert failed(verdict) == {"errors"}
    assert (state(verdict, "p50"), state(verdict, "p99")) == ("waived", "waived")


def counted(judge: Judge, now: float, new: int, in_flight: int = 0) -> Verdict:
    judge.evidence(Evidence(counters={"new": Counters(new, 0, in_flight), "old": Counters()}))
    return judge.judge(now)


def test_a_log_that_says_nothing_of_what_the_edge_counts_is_no_data() -> None:
    found = judge()
    assert counted(found, 1, 3).state == "watching"
    assert failed(counted(found, 5, 3)) == {"data"}


def test_a_log_that_falls_silent_is_no_data() -> None:
    found = judge()
    served(found, "new", [20] * 100)
    counted(found, 1, 100)
    counted(found, 2, 150)
    assert failed(counted(found, 6, 250)) == {"data"}


def test_an_edge_that_says_no_counts_is_not_judged_by_those_of_before() -> None:
    found = judge()
    served(found, "new", [20] * 9)
    counted(found, 1, 10)  # of one the line is still to come
    for look in range(2, 10):
        found.evidence(Evidence(counters=None))
        assert not found.judge(look).reasons
    served(found, "new", [20])
    assert not counted(found, 10, 10).reasons


def test_what_is_under_way_or_comes_a_little_later_or_went_with_a_process_is_no_silence() -> None:
    found = judge()
    for second in range(1, 60):
        served(found, "new", [20] * 50)
        assert not counted(found, second, 50 * second + (8 if second > 10 else 0) + 30, in_flight=30).reasons
    assert not counted(found, 60, 50 * 60 + 8, in_flight=0).reasons
    served(found, "new", [20] * 50)
    assert counted(found, 61, 50 * 60 + 8).state == "passed"
