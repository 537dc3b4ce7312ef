"""The engine against worlds in memory: any cloud converges, from any kill, and nobody gets in anybody's way."""

from __future__ import annotations

import concurrent.futures
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from strategies import changes, clouds
from worlds import FOUR, KEYSTONE, PASSWORD, PODS, TWO_BACKENDS, Operator, assert_serves, cloud, ids, kinds

from planeshift import catalog
from planeshift.app import change
from planeshift.drivers.memory import Call, Data, Killed, Memory
from planeshift.drivers.memory.faults import Moment
from planeshift.drivers.memory.keep import MemoryClock
from planeshift.engine import run
from planeshift.engine.run import Event
from planeshift.engine.world import World
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.plan.operations import Kind, Operation, Plan, from_json, in_order, to_json

TLS = "endpoints: {public: {tls: {trial: true}}}\n"
EDGE = "here/edge/edge"
VMS = "here/keystone/vms"
# Facts of two releases whose schemas differ, as the real ones of today do not.
SCHEMAS = {
    "2026.1": {"heads": ["old"], "expand": ["old"], "revisions": ["old"]},
    "2026.2": {"heads": ["new"], "expand": ["old", "middle"], "revisions": ["old", "middle", "new"]},
}


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each service's schema differ between its two releases; only some migrate in two steps."""
    real = catalog.facts

    def facts(name: str, release: str) -> Mapping[str, Any]:
        found = {**real(name, release), **SCHEMAS[release]}
        if catalog.service(name).migration.kind == "single":
            del found["expand"]
        return found

    monkeypatch.setattr(catalog, "facts", facts)


# --- any cloud


@settings(max_examples=40)
@given(clouds())
def test_any_cloud_comes_up_and_a_second_up_finds_nothing_to_do(declared: Any) -> None:
    operator = Operator(declared)
    operator.up(workers=6)
    assert_serves(operator)
    assert ids(operator.plan()) == []
    operator.up()
    assert operator.memory.faults.changes() == []


@settings(max_examples=40)
@given(changes())
def test_any_cloud_becomes_any_other_one_and_what_is_not_declared_is_gone(pair: Any) -> None:
    before, after = pair
    operator = Operator(before)
    operator.up()
    operator.edit(after)
    operator.up(workers=6)
    assert_serves(operator)
    assert ids(operator.plan()) == []


@settings(max_examples=25)
@given(changes())
def test_a_plan_is_determined_reads_back_and_keeps_its_order(pair: Any) -> None:
    before, after = pair
    operator = Operator(before)
    operator.up()
    operator.edit(after)
    plan = operator.plan()
    assert operator.plan() == plan
    assert operator.plan().digest == plan.digest
    assert from_json(to_json(plan)) == plan
    assert in_order(plan.operations) == list(plan.operations)
    done: set[str] = set()
    for operation in in_order(reversed(plan.operations)):
        assert operation.needs <= done
        done.add(operation.id)


def test_a_host_that_the_file_no_longer_names_is_left_empty() -> None:
    operator = Operator(TWO_BACKENDS)
    operator.up()
    operator.edit(
        """
        hosts: [{name: a, via: local, address: 127.0.0.2}]
        services: {keystone: {backends: {one: {hosts: [a]}}}}
        """
    )
    operator.up()
    assert_serves(operator)


@pytest.mark.parametrize("old, new", [("vms", "pods"), ("vms", "vms2")])
def test_a_backend_may_be_renamed_where_it_stands(old: str, new: str) -> None:
    operator = Operator(KEYSTONE.replace("vms", old))
    operator.up()
    operator.edit(KEYSTONE.replace("vms", new))
    operator.up()
    assert_serves(operator)
    assert ids(operator.plan()) == []


def test_hosts_may_be_listed_in_another_order() -> None:
    operator = Operator(TWO_BACKENDS)
    operator.up()
    body = cloud(TWO_BACKENDS).spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    body["hosts"].reverse()
    operator.edit(body)
    operator.up()
    assert_serves(operator)
    assert ids(operator.plan()) == []


def test_an_edited_image_is_no_drift_and_a_deployment_that_went_is() -> None:
    operator = Operator(PODS)
    operator.up()
    operator.edit(PODS.replace("replicas: 3", 'replicas: 3, image: "registry.example.org/other:1"'))
    [release] = [o for o in operator.plan().operations if o.kind is Kind.RELEASE]
    assert release.detail == ("~ image",) and not release.drift
    operator.edit(PODS)
    operator.data.clusters["k1"].releases["k1/keystone/pods"][-1].gone = True
    [release] = [o for o in operator.plan().operations if o.kind is Kind.RELEASE]
    assert release.drift and "its Deployment is gone" in release.summary


def test_a_registry_that_is_down_stops_only_what_needs_a_new_image() -> None:
    operator = Operator(PODS)
    operator.up()

    def without_registry() -> Plan:
        world = operator.next()
        away = PlaneshiftError(Problem("PS461", "registry.example.org does not answer"))
        operator.memory.faults.fail("cluster.has", away, times=99)
        return change.plan(world)

    plan = without_registry()
    assert ids(plan) == [] and len([n for n in plan.notes if "registry.example.org does not answer" in n]) == 2
    operator.edit(PODS.replace("replicas: 1,", "replicas: 1, release: '2026.1',"))
    assert [o.subject for o in without_registry().operations if o.kind is Kind.BRING_IMAGE] == [
        o.subject for o in operator.plan().operations if o.kind is Kind.BRING_IMAGE
    ]


def test_a_clock_that_jumps_back_and_forth_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.cycle(["2031-01-01T00:00:00+00:00", "1970-01-01T00:00:00+00:00", "2026-06-01T00:00:00+00:00"])
    monkeypatch.setattr(MemoryClock, "now", lambda self: next(times))
    operator = Operator(KEYSTONE)
    operator.up()
    operator.edit(KEYSTONE + "caches: {main: {hosts: ['127.0.0.9:11211']}}")
    assert not any(o.drift for o in operator.plan().operations)
    operator.up()
    assert_serves(operator)
    assert ids(operator.plan()) == []
    assert [r["result"] for r in operator.data.audit] == ["done", "done"]


# --- killed anywhere


Snapshot = tuple[Call, Moment, Data]


def snapshots(operator: Operator, **options: Any) -> Iterator[Snapshot]:
    """The world as a kill before, in, or after each port call of an `up` would leave it.

    Before a call it is as after the last one that changed something, so only those are kept, and the very first.
    """
    found: list[Snapshot] = []

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if not found or (call.changes and moment != "before"):
                found.append((call, moment, memory.copy()))

        memory.faults.watch = watch

    operator.up(prepare=prepare, **options)
    return iter(found)


def assert_goes_on(operator: Operator, data: Data, what: str, contract: tuple[str, ...] = ()) -> None:
    """The next process brings a world up with no hand work, the one after it finds nothing to do."""
    secrets = {path: dict(values) for path, values in data.secrets.items()}
    admins = [d.keystone.passwords["admin"] for d in data.databases.values() if d.keystone.passwords]
    next_one = Operator(operator.cloud, data)
    next_one.tree = operator.tree
    try:
        next_one.up(contract=contract)
        assert_serves(next_one)
        assert ids(next_one.plan(contract=contract)) == []
    except (PlaneshiftError, AssertionError) as error:
        raise AssertionError(f"killed {what}: {error}") from error
    for path, values in secrets.items():
        assert values.items() <= data.secrets[path].items(), f"killed {what}: {path} was changed"
    for database in data.databases.values():
        assert not admins or database.keystone.passwords.get("admin", admins[0]) in admins, f"killed {what}"


def assert_survives_every_kill(operator: Operator, **options: Any) -> None:
    for call, moment, data in snapshots(operator, **options):
        assert_goes_on(operator, data, f"{moment} call {call.index}, {call.name} {call.subject}", **options)


def backwards(operations: Iterable[Operation]) -> list[Operation]:
    """Another order that the needs allow: what is listed last comes first."""
    return in_order(reversed(list(operations)))


@pytest.mark.parametrize(
    "spec", [FOUR, TWO_BACKENDS, TLS + KEYSTONE, PODS], ids=["four-services", "two-backends", "tls", "pods"]
)
def test_killed_at_any_port_call_of_a_first_up_in_another_order_the_next_one_goes_on(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Operator(spec)
    with monkeypatch.context() as patch:
        patch.setattr(run, "in_order", backwards)
        found = list(snapshots(operator))
    for call, moment, data in found:
        assert_goes_on(operator, data, f"{moment} call {call.index}, {call.name} {call.subject}")


@pytest.mark.parametrize(
    "spec", [FOUR, TWO_BACKENDS, TLS + KEYSTONE, PODS], ids=["four-services", "two-backends", "tls", "pods"]
)
def test_killed_at_any_port_call_of_the_first_up_the_next_one_goes_on(spec: str) -> None:
    assert_survives_every_kill(Operator(spec))


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_kill_ends_the_run_at_once_and_the_next_process_goes_on(moment: Moment) -> None:
    whole = Operator(FOUR)
    whole.up()
    for index in range(0, len(whole.memory.faults.calls), 9):
        operator = Operator(FOUR)

        def prepare(memory: Memory, world: World, index: int = index) -> None:
            memory.faults.kill[index] = moment

        try:
            operator.up(prepare=prepare)
            assert moment == "half", "the kill did not happen"
        except Killed:
            assert len(operator.memory.faults.calls) == index + 1
        assert_goes_on(operator, operator.data, f"{moment} call {index}")


HOSTS = PODS.replace("pods: {cluster: k1, replicas: 3}", "vms: {hosts: [here]}").replace(
    "{vms: {hosts: [here], weight: 50}, pods: {cluster: k1, replicas: 1, weight: 50}}", "{vms: {hosts: [here]}}"
)
CHANGES = {
    "a file": (KEYSTONE, KEYSTONE + "caches: {main: {hosts: ['127.0.0.9:11211']}}"),
    "the release": ('release: "2026.1"\n' + KEYSTONE, KEYSTONE),
    "a backend more": (
        TWO_BACKENDS.replace("{one: {hosts: [a], weight: 90}, two: {hosts: [b], weight: 10}}", "{one: {hosts: [a]}}"),
        TWO_BACKENDS,
    ),
    "a backend less": (
        TWO_BACKENDS,
        TWO_BACKENDS.replace("{one: {hosts: [a], weight: 90}, two: {hosts: [b], weight: 10}}", "{one: {hosts: [a]}}"),
    ),
    "a backend's name": (KEYSTONE, KEYSTONE.replace("vms", "pods")),
    "weights": (TWO_BACKENDS, TWO_BACKENDS.replace("90", "40").replace("10}", "60}")),
    "TLS": (KEYSTONE, TLS + KEYSTONE),
    "the web server": (KEYSTONE, KEYSTONE.replace("{backends", "{server: httpd, backends")),
    "a service more": (KEYSTONE, FOUR),
    "services less": (FOUR, KEYSTONE),
    "hosts to pods": (HOSTS, PODS),
    "pods to hosts": (PODS, HOSTS),
    "more pods": (PODS, PODS.replace("replicas: 1", "replicas: 4")),
    "files of pods": (PODS, PODS + "caches: {main: {hosts: ['192.0.2.7:11211']}}"),
    "the release of pods": ('release: "2026.1"\n' + PODS, PODS),
}


@pytest.mark.parametrize("before, after", CHANGES.values(), ids=CHANGES)
def test_killed_at_any_port_call_of_a_change_the_next_up_goes_on(before: str, after: str) -> None:
    operator = Operator(before)
    operator.up()
    operator.edit(after)
    assert_survives_every_kill(operator)


@pytest.mark.usefixtures("schemas")
@pytest.mark.parametrize("service", ["keystone", "glance", "placement", "barbican"])
def test_killed_at_any_port_call_of_a_migration_the_next_up_goes_on(service: str) -> None:
    spec = FOUR.replace(f"{service}: {{backends", f'{service}: {{release: "2026.1", backends')
    operator = Operator(spec)
    operator.up()
    operator.edit(FOUR)
    assert_survives_every_kill(operator)


@pytest.mark.usefixtures("schemas")
def test_killed_at_any_port_call_of_a_contraction_the_next_up_goes_on() -> None:
    operator = Operator('release: "2026.1"\n' + KEYSTONE)
    operator.up()
    operator.edit(KEYSTONE)
    operator.up()
    assert_survives_every_kill(operator, contract=("keystone",))


def test_a_kill_between_a_new_certificate_and_the_reload_is_made_good() -> None:
    operator = Operator(KEYSTONE + "endpoints: {public: {tls: {certificate: tls/a.pem, key: tls/a.key}}}")
    operator.tree = {"tls/a.pem": b"first\n", "tls/a.key": b"key\n"}
    operator.up()
    operator.tree = {"tls/a.pem": b"second\n", "tls/a.key": b"key\n"}
    assert_survives_every_kill(operator)


def test_after_a_reboot_everything_comes_back_and_no_secret_is_made_anew() -> None:
    operator = Operator(FOUR)
    operator.up()
    made = operator.data.made
    operator.memory.mishaps.reboots()
    operator.up()
    assert_serves(operator)
    assert operator.data.made == made
    assert not [c for c in operator.memory.faults.calls if c.name == "host.run"]


# --- what happens by itself


MISHAPS = {
    "a worker dies": lambda m: m.worker_dies(VMS),
    "a supervisor dies": lambda m: m.supervisor_dies(VMS),
    "everything of a unit dies": lambda m: m.everything_of_dies(VMS),
    "HAProxy dies": lambda m: m.everything_of_dies(EDGE),
    "HAProxy's supervisor dies": lambda m: m.supervisor_dies(EDGE),
    "a file is edited": lambda m: m.drifts(VMS, "home/.keystone/keystone.conf", b"[DEFAULT]\n"),
    "a file is lost": lambda m: m.loses(VMS, "gunicorn.conf.py"),
    "a file is added": lambda m: m.drifts(VMS, "home/.keystone/policy.yaml", b"{}"),
    "the supervisor's file is edited": lambda m: m.drifts(VMS, "supervisord.conf", b"[supervisord]\n"),
    "HAProxy's file is edited": lambda m: m.drifts(EDGE, "haproxy.cfg", b"global\n"),
    "a server is withheld": lambda m: m.is_withheld(EDGE, "keystone", "vms-here"),
    "a weight is set": lambda m: m.is_weighted(EDGE, "keystone", "vms-here", 3),
}


@pytest.mark.parametrize("happens", MISHAPS.values(), ids=MISHAPS)
def test_what_went_wrong_by_itself_is_made_good(happens: Any) -> None:
    operator = Operator(KEYSTONE)
    operator.up()
    happens(operator.memory.mishaps)
    operator.up()
    assert_serves(operator)
    assert ids(operator.plan()) == []


@pytest.mark.parametrize("happens", MISHAPS.values(), ids=MISHAPS)
def test_what_went_wrong_while_the_release_changed_is_made_good(happens: Any) -> None:
    operator = Operator('release: "2026.1"\n' + KEYSTONE)
    operator.up()
    happens(operator.memory.mishaps)
    operator.edit(KEYSTONE)
    operator.up()
    assert_serves(operator)
    assert ids(operator.plan()) == []


def test_drift_is_told_from_change_after_the_very_first_up() -> None:
    operator = Operator(KEYSTONE)
    operator.up()
    operator.memory.mishaps.drifts(VMS, "home/.keystone/keystone.conf", b"[DEFAULT]\n")
    assert all(o.drift for o in operator.plan().operations)
    operator.edit(KEYSTONE + "caches: {main: {hosts: ['127.0.0.9:11211']}}")
    assert not any(o.drift for o in operator.plan().operations)


def test_after_down_an_up_is_no_drift() -> None:
    operator = Operator(KEYSTONE)
    operator.up()
    change.down(operator.next(), operator.said.append)
    assert not operator.data.units
    assert not operator.data.processes
    assert not any(o.drift for o in operator.plan().operations)


# --- nobody is without a server


def served(operator: Operator) -> bool:
    """Whether a client of Keystone gets an answer."""
    from planeshift.drivers.memory import processes

    return processes.answers(operator.data, "http://127.0.0.1:5000/v3")


@pytest.mark.parametrize(
    "before, after",
    [
        ('release: "2026.1"\n' + TWO_BACKENDS, TWO_BACKENDS),
        (CHANGES["a backend more"][0] + 'release: "2026.1"', TWO_BACKENDS),
        CHANGES["weights"],
        CHANGES["a backend less"],
    ],
    ids=["both backends restart", "a backend comes while the other restarts", "weights", "a backend goes"],
)
@pytest.mark.parametrize("workers", [1, 6])
def test_a_service_with_two_backends_always_has_one_that_serves(before: str, after: str, workers: int) -> None:
    operator = Operator(before)
    operator.up()
    operator.edit(after)
    gaps: list[str] = []

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if call.changes and not served(operator):
                gaps.append(f"{moment} {call.name} {call.subject}")

        memory.faults.watch = watch

    assert served(operator)
    operator.up(workers=workers, prepare=prepare)
    assert not gaps


# --- failures


def test_a_failure_names_the_operation_stops_what_follows_and_the_next_up_goes_on() -> None:
    operator = Operator(FOUR)

    def prepare(memory: Memory, world: World) -> None:
        memory.faults.fail("host.install", PlaneshiftError(Problem("PS405", "no network", hint="Plug it in.")))

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=prepare)
    problem = caught.value.problems[0]
    assert problem.code == "PS405"
    assert problem.message.startswith("install:here/")
    assert problem.hint == "Plug it in."
    assert not operator.data.units, "nothing may begin after a failure"
    assert operator.data.audit[-1]["result"] == "failed"
    operator.up()
    assert_serves(operator)


def test_every_failure_of_operations_that_ran_together_is_told() -> None:
    operator = Operator(FOUR)

    def prepare(memory: Memory, world: World) -> None:
        memory.faults.fail("secrets.add", PlaneshiftError(Problem("PS401", "full")), times=9)

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=prepare, workers=4)
    assert 1 <= len(caught.value.problems) <= 4
    assert {p.code for p in caught.value.problems} == {"PS401"}


def test_each_operation_is_told_as_begun_and_ended_and_journalled_so() -> None:
    operator = Operator(FOUR)
    plan = operator.up(workers=6)
    assert plan is not None
    wanted = sorted(o.id for o in plan.operations)
    for what in ("begin", "end"):
        assert sorted(e.operation.id for e in operator.events if e.what == what) == wanted
        assert sorted(j["operation"] for j in operator.data.journal if j["what"] == what) == wanted
    assert [e.done for e in operator.events if e.what == "end"] == list(range(1, len(wanted) + 1))
    assert operator.data.audit[-1]["result"] == "done"
    assert operator.data.audit[-1]["plan"] == plan.digest


def test_no_secret_reaches_journal_audit_plan_events_or_words() -> None:
    operator = Operator(TLS + FOUR)
    plan = operator.up()
    assert plan is not None
    told = [to_json(plan), repr(operator.events), repr(operator.said), repr(operator.data.journal)]
    told += [repr(operator.data.audit), repr([c for c in operator.memory.faults.calls if c.name == "host.run"])]
    secrets = [v for values in operator.data.secrets.values() for v in _texts(values)]
    assert len(secrets) >= 12
    assert not [s for s in secrets for text in told if s in text]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif value:
        yield str(value)


def test_no_operation_begins_before_what_it_needs_has_ended() -> None:
    operator = Operator(FOUR)
    plan = operator.up(workers=6)
    assert plan is not None
    ended: set[str] = set()
    for event in operator.events:
        if event.what == "begin":
            assert event.operation.needs <= ended
        elif event.what == "end":
            ended.add(event.operation.id)


# --- guards


def test_two_ups_at_once_are_refused_by_the_holders_name() -> None:
    operator = Operator(KEYSTONE)
    world = operator.next()
    with world.control.lease("ada@desk (pid 7)"), pytest.raises(PlaneshiftError, match="ada@desk") as caught:
        change.up(world, agree=lambda _: True, listen=lambda _: None, say=lambda _: None)
    assert caught.value.problems[0].code == "PS801"
    assert not operator.data.units


def test_the_lease_of_a_dead_holder_is_free() -> None:
    operator = Operator(KEYSTONE)

    def prepare(memory: Memory, world: World) -> None:
        memory.faults.kill[40] = "before"

    with pytest.raises(Killed):
        operator.up(prepare=prepare)
    assert operator.data.holder
    operator.up()
    assert any("going on after a run" in line for line in operator.said)
    assert not operator.data.holder


def test_a_lease_that_is_taken_away_stops_the_run_before_its_next_operation() -> None:
    operator = Operator(FOUR)

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if (call.name, moment) == ("host.install", "after"):
                memory.mishaps.lease_is_taken_away()

        memory.faults.watch = watch

    with pytest.raises(PlaneshiftError) as caught:
        operator.up(prepare=prepare)
    assert [p.code for p in caught.value.problems] == ["PS802"]
    installs = [c for c in operator.memory.faults.calls if c.name == "host.install"]
    assert len(installs) == 1
    assert operator.memory.faults.changes()[-1].name.startswith("control.")


def test_a_saved_plan_is_carried_out_exactly() -> None:
    operator = Operator(KEYSTONE)
    saved = from_json(to_json(operator.plan()))
    done = operator.up(saved=saved)
    assert done is not None
    assert done.digest == saved.digest
    assert_serves(operator)


@pytest.mark.parametrize("moves", ["the world", "the file"])
def test_a_saved_plan_is_refused_when_the_world_or_the_file_moved_on(moves: str) -> None:
    operator = Operator(KEYSTONE)
    operator.up()
    operator.memory.mishaps.worker_dies(VMS)
    saved = operator.plan()
    if moves == "the world":
        operator.up()
    else:
        operator.edit(FOUR)
    with pytest.raises(PlaneshiftError) as caught:
        operator.up(saved=saved)
    assert caught.value.problems[0].code == "PS804"
    assert operator.memory.faults.changes() == []


def test_nothing_is_changed_where_nobody_agrees() -> None:
    operator = Operator(KEYSTONE)
    assert operator.up(agree=lambda plan: False) is None
    assert operator.memory.faults.changes() == []


def test_the_plan_that_is_agreed_to_is_the_one_that_is_carried_out() -> None:
    operator, shown = Operator(KEYSTONE), list[Plan]()
    done = operator.up(agree=lambda plan: not shown.append(plan))
    assert [done] == shown


class Interrupt:
    """Stands for `concurrent.futures.wait`, and is interrupted at the given looks."""

    def __init__(self, *looks: int) -> None:
        self.looks, self.count = looks, 0

    def __call__(self, running: Any, return_when: str) -> Any:
        self.count += 1
        if self.count in self.looks:
            raise KeyboardInterrupt
        return concurrent.futures.wait(running, return_when=return_when)


def test_an_interrupt_lets_what_runs_end_begins_nothing_and_the_next_up_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = Operator(FOUR)
    monkeypatch.setattr(run, "wait", Interrupt(5))
    with pytest.raises(PlaneshiftError) as caught:
        operator.up(workers=1)
    monkeypatch.undo()
    assert caught.value.problems[0].code == "PS803"
    assert caught.value.exit_code == Exit.INTERRUPTED
    begun = {e.operation.id for e in operator.events if e.what == "begin"}
    assert begun == {e.operation.id for e in operator.events if e.what == "end"}
    assert len(begun) == 5
    operator.up()
    assert_serves(operator)


def test_a_second_interrupt_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator(FOUR)
    monkeypatch.setattr(run, "wait", Interrupt(5, 6))
    with pytest.raises(KeyboardInterrupt):
        operator.up(workers=1)
    monkeypatch.undo()
    operator.up()
    assert_serves(operator)


def test_an_interrupt_during_the_last_operation_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator(KEYSTONE)
    monkeypatch.setattr(run, "wait", Interrupt(len(operator.plan().operations)))
    operator.up(workers=1)
    assert operator.data.audit[-1]["result"] == "done"


# --- migrations


@pytest.mark.usefixtures("schemas")
def test_a_schema_is_expanded_once_with_a_backup_before_and_contracted_when_the_operator_says_so() -> None:
    operator = Operator('release: "2026.1"\n' + KEYSTONE)
    operator.up()
    operator.edit(KEYSTONE)
    plan = operator.up()
    assert plan is not None
    order = [k for k in kinds(plan) if k in (Kind.BACK_UP, Kind.MIGRATE, Kind.RESTART)]
    assert order == [Kind.BACK_UP, Kind.MIGRATE, Kind.RESTART]
    assert plan.later == ()
    after = operator.plan()
    assert after.operations == ()
    assert "contract" in after.later[0]
    operator.up(contract=["keystone"])
    assert [d.heads for d in operator.data.databases.values()] == [frozenset({"new"})]
    assert operator.plan().later == ()


@pytest.mark.usefixtures("schemas")
def test_an_older_backend_serves_on_through_the_expansion_and_the_contraction_waits_for_it() -> None:
    older = TWO_BACKENDS.replace("services", 'release: "2026.1"\nservices')
    operator = Operator(older)
    operator.up()
    operator.edit(older.replace("weight: 10", 'weight: 10, release: "2026.2"'))
    operator.up()
    assert served(operator)
    plan = operator.plan(contract=["keystone"])
    assert plan.operations == ()
    assert "waits for the last backend of 2026.1" in plan.later[0]


@pytest.mark.usefixtures("schemas")
def test_what_was_written_while_an_expansion_was_cut_off_is_not_lost() -> None:
    operator = Operator('release: "2026.1"\n' + KEYSTONE)
    operator.up()
    operator.edit(KEYSTONE)

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if (call.name, moment) == ("host.run", "after"):
                memory.faults.kill[call.index + 1] = "before"

        memory.faults.watch = watch

    with pytest.raises(Killed):
        operator.up(prepare=prepare)
    assert served(operator), "the old release serves on, and writes"
    (database,) = operator.data.databases.values()
    database.keystone.passwords["someone new"] = PASSWORD
    operator.up()
    assert "someone new" in database.keystone.passwords


def test_a_command_that_a_killed_run_left_behind_is_waited_for() -> None:
    operator = Operator(KEYSTONE)

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if (call.name, moment) == ("host.run", "before"):
                memory.faults.kill[call.index] = "half"

        memory.faults.watch = watch

    with pytest.raises(Killed):
        operator.up(prepare=prepare)
    assert operator.data.commands
    operator.up()
    assert any("waiting for keystone-manage" in line for line in operator.said)
    assert_serves(operator)


def test_events_are_told_one_at_a_time() -> None:
    operator, inside = Operator(FOUR), list[Event]()

    def listen(event: Event) -> None:
        assert not inside
        inside.append(event)
        time.sleep(0.001)  # a chance for another thread to come in
        inside.remove(event)

    change.up(operator.next(), agree=lambda _: True, listen=listen, say=lambda _: None, workers=6)
