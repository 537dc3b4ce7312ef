"""Plans: what is desired and what was seen in, operations out. No driver, no engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import FOUR, KEYSTONE, TWO_BACKENDS, cloud, ids, kinds, paths

from planeshift import catalog
from planeshift.catalog.spec import SecretValue
from planeshift.errors import PlaneshiftError
from planeshift.plan.build import applied, build
from planeshift.plan.observed import (
    NOTHING,
    DatabaseState,
    EdgeState,
    IdentityState,
    Observed,
    Process,
    ServerState,
    UnitState,
)
from planeshift.plan.operations import Kind, Mark, Operation, Plan, from_json, in_order, to_json
from planeshift.render import build as render
from planeshift.render.desired import Desired, File
from planeshift.render.supervisor import SUPERVISORD as SUPERVISION

KEY = b"key"
UNIT, EDGE = "here/keystone/vms", "here/edge/edge"
ONE, TWO = "a/keystone/one", "b/keystone/two"
OLD = 'release: "2026.1"\n'
SCHEMAS = {
    "2026.1": {"heads": ["old"], "expand": ["old"], "revisions": ["old"]},
    "2026.2": {"heads": ["new"], "expand": ["middle"], "revisions": ["old", "middle", "new"]},
}


def desired(spec: str, tree: Mapping[str, bytes] | None = None) -> Desired:
    """What a cloud file wants once its secrets are made."""
    declared = cloud(spec)
    ours = {h.name: paths() for h in declared.spec.hosts if h.via == "local"}
    first = render.build(declared, {}, {}, ours)
    secrets: dict[str, dict[str, SecretValue]] = {
        name: {s.name: {"0": f"key {s.name}"} if s.kind == "fernet-keys" else f"secret {s.name}" for s in file.secrets}
        for name, file in first.secrets.items()
    }
    if "edge" in secrets:
        [made] = secrets["edge"]
        secrets["edge"] = {made: {"ca_certificate": "ca", "certificate": "certificate", "key": "key"}}
    return render.build(declared, tree or {}, secrets, ours)


def settled(wanted: Desired) -> Observed:
    """A world that is as it should be."""
    files = {name: unit.files for name, unit in wanted.units.items()}
    programs = {name: unit.programs for name, unit in wanted.units.items()}
    loaded = {name: unit.digest(KEY) for name, unit in wanted.units.items()}
    for edge in wanted.edges.values():
        unit = render.edge_unit(edge.name, edge.host)
        files[unit], programs[unit], loaded[unit] = edge.files, edge.programs, edge.certificates(KEY)
    units = {
        name: UnitState(
            files={path: file.digest(KEY) for path, file in files[name].items()},
            supervised=True,
            running={program.name: 100 for program in programs[name]},
            loaded=loaded[name],
            supervision=files[name][SUPERVISION].digest(b""),
        )
        for name in files
    }
    return Observed(
        secrets={name: frozenset(s.name for s in file.secrets) for name, file in wanted.secrets.items()},
        environments={host: frozenset(wanted.environments) for host in wanted.hosts},
        units=units,
        databases={
            name: DatabaseState(True, True, False, database.heads, bootstrapped=True)
            for name, database in wanted.databases.items()
        },
        edges={
            edge.name: EdgeState(
                edge.structure,
                {(f.service, s.name): ServerState(s.weight, False, True) for f in edge.frontends for s in f.servers},
            )
            for edge in wanted.edges.values()
        },
        identity=IdentityState(
            services=frozenset(entries.type for entries in wanted.identity.values()),
            endpoints={(e.type, i): url for e in wanted.identity.values() for i, url in e.endpoints.items()},
            users={e.user: frozenset(e.roles) for e in wanted.identity.values() if e.user},
        ),
        applied=applied(wanted, KEY),
    )


def with_unit(observed: Observed, unit: str, **changed: Any) -> Observed:
    """The same world, but for one unit."""
    return replace(observed, units={**observed.units, unit: replace(observed.units[unit], **changed)})


def with_database(observed: Observed, service: str, **changed: Any) -> Observed:
    """The same world, but for one database."""
    there = {**observed.databases, service: replace(observed.databases[service], **changed)}
    return replace(observed, databases=there)


def with_server(observed: Observed, edge: str, place: tuple[str, str], **changed: Any) -> Observed:
    """The same world, but for one server of a running edge."""
    running = observed.edges[edge]
    servers = {**running.servers, place: replace(running.servers[place], **changed)}
    return replace(observed, edges={**observed.edges, edge: replace(running, servers=servers)})


def planned(wanted: Desired, observed: Observed, **options: Any) -> Plan:
    """The plan."""
    return build(wanted, observed, KEY, **options)


def order(plan: Plan, *chosen: Kind) -> list[Kind]:
    """Those of the chosen kinds, in the plan's order."""
    return [k for k in kinds(plan) if k in chosen]


def refused(wanted: Desired, observed: Observed) -> list[str]:
    """The codes with which the world forbids a plan."""
    with pytest.raises(PlaneshiftError) as caught:
        planned(wanted, observed)
    return [p.code for p in caught.value.problems]


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Keystone's schema differ between its releases."""
    real = catalog.facts
    monkeypatch.setattr(catalog, "facts", lambda name, release: {**real(name, release), **SCHEMAS[release]})


# --- the two ends


def test_from_nothing_everything_is_made_in_the_order_of_its_needs() -> None:
    plan = planned(desired(KEYSTONE), NOTHING)
    assert kinds(plan) == [
        Kind.MAKE_SECRETS,
        Kind.INSTALL,
        Kind.LAY_OUT,
        Kind.LAY_OUT,
        Kind.START_EDGE,
        Kind.PREPARE_DATABASE,
        Kind.MIGRATE,
        *order(plan, Kind.BOOTSTRAP, Kind.START),
        Kind.ENSURE_IDENTITY,
    ]
    assert set(order(plan, Kind.BOOTSTRAP, Kind.START)) == {Kind.BOOTSTRAP, Kind.START}
    assert {o.mark for o in plan.operations} == {Mark.ADD}
    assert not any(o.drift for o in plan.operations)
    assert any("Back up secrets/keystone.yaml" in note for note in plan.notes)


def test_from_nothing_four_services_share_nothing_but_keystone_and_the_edge() -> None:
    plan = planned(desired(FOUR), NOTHING)
    by_id = {o.id: o for o in plan.operations}
    for service in ("glance", "placement", "barbican"):
        needs, todo = set[str](), [f"start:here/{service}/vms"]
        while todo:
            found = by_id[todo.pop()]
            needs.add(found.id)
            todo += found.needs - needs
        assert not [i for i in needs if "keystone" in i], f"{service} need not wait for Keystone to start"
        assert "bootstrap:keystone" in by_id[f"ensure-identity:{service}"].needs


def test_a_world_as_it_should_be_needs_nothing() -> None:
    for spec in (KEYSTONE, FOUR, TWO_BACKENDS, "endpoints: {public: {tls: {trial: true}}}\n" + FOUR):
        wanted = desired(spec)
        assert ids(planned(wanted, settled(wanted))) == []


# --- files and processes


def test_a_changed_file_is_laid_out_and_reloaded() -> None:
    before = settled(desired(KEYSTONE))
    plan = planned(desired(KEYSTONE, {"config/keystone/policy.yaml": b"{}"}), before)
    assert ids(plan) == [f"lay-out:{UNIT}", f"reload:{UNIT}"]
    assert plan.operations[0].detail == ("+ home/.keystone/policy.yaml",)
    assert plan.operations[1].needs == {f"lay-out:{UNIT}"}


def test_files_that_were_laid_out_but_not_read_are_reloaded() -> None:
    wanted = desired(KEYSTONE)
    assert ids(planned(wanted, with_unit(settled(wanted), UNIT, loaded="older"))) == [f"reload:{UNIT}"]


def test_changed_programs_are_restarted_and_not_reloaded() -> None:
    wanted = desired(KEYSTONE)
    files = {**settled(wanted).units[UNIT].files, SUPERVISION: "older"}
    plan = planned(wanted, with_unit(settled(wanted), UNIT, files=files))
    assert ids(plan) == [f"lay-out:{UNIT}", f"restart:{UNIT}"]
    assert "it serves alone" in plan.operations[1].summary


def test_a_supervisor_that_has_not_read_its_file_is_restarted() -> None:
    wanted = desired(KEYSTONE)
    assert ids(planned(wanted, with_unit(settled(wanted), UNIT, supervision="older"))) == [f"restart:{UNIT}"]


def test_a_dead_worker_is_started() -> None:
    wanted = desired(KEYSTONE)
    plan = planned(wanted, with_unit(settled(wanted), UNIT, running={}))
    assert ids(plan) == [f"start:{UNIT}"]
    assert plan.operations[0].mark is Mark.CHANGE


def test_a_dead_supervisor_is_started() -> None:
    wanted = desired(KEYSTONE)
    assert ids(planned(wanted, with_unit(settled(wanted), UNIT, supervised=False, running={}))) == [f"start:{UNIT}"]


def test_orphans_that_serve_alone_are_ended_and_started_anew() -> None:
    wanted, orphan = desired(KEYSTONE), Process(7, 70, "keystone-api")
    plan = planned(wanted, with_unit(settled(wanted), UNIT, supervised=False, running={}, orphans=(orphan,)))
    assert ids(plan) == [f"end-orphans:{UNIT}", f"start:{UNIT}"]
    assert plan.operations[1].needs == {f"end-orphans:{UNIT}"}


def test_orphans_beside_another_server_are_taken_out_of_the_edge_first() -> None:
    wanted, orphan = desired(TWO_BACKENDS), Process(7, 70, "keystone-api")
    plan = planned(wanted, with_unit(settled(wanted), ONE, supervised=False, running={}, orphans=(orphan,)))
    assert ids(plan)[:3] == [f"withhold:{ONE}", f"end-orphans:{ONE}", f"start:{ONE}"]
    assert any("take traffic again" in line for o in plan.operations for line in o.detail) or "admit" in ids(plan)[-1]


def test_orphans_of_haproxy_are_ended_before_it_is_started() -> None:
    wanted = desired(KEYSTONE)
    seen = with_unit(settled(wanted), EDGE, supervised=False, running={}, orphans=(Process(7, 70, "haproxy"),))
    assert ids(planned(wanted, seen)) == [f"end-orphans:{EDGE}", "start-edge:edge"]


def test_a_foreign_listener_where_a_service_or_the_edge_must_start_is_refused_by_name() -> None:
    wanted = desired(KEYSTONE)
    listeners = {("127.0.0.1", 15000): "nginx (pid 9)", ("127.0.0.1", 5000): "nginx (pid 9)"}
    assert refused(wanted, replace(NOTHING, listeners=listeners)) == ["PS601", "PS601"]


def test_a_foreign_listener_beside_what_runs_already_is_nobodys_business() -> None:
    wanted = desired(KEYSTONE)
    listeners = {("127.0.0.1", 15000): "nginx (pid 9)", ("127.0.0.1", 5000): "nginx (pid 9)"}
    assert ids(planned(wanted, replace(settled(wanted), listeners=listeners))) == []


# --- backends, releases, weights


def test_a_release_that_changes_in_place_is_installed_before_the_restart() -> None:
    plan = planned(desired(KEYSTONE), replace(settled(desired(OLD + KEYSTONE)), environments={}))
    assert order(plan, Kind.INSTALL, Kind.LAY_OUT, Kind.RESTART) == [Kind.INSTALL, Kind.LAY_OUT, Kind.RESTART]
    assert order(plan, Kind.MIGRATE, Kind.BACK_UP) == [], "the two releases have one schema"


def test_a_backend_more_starts_before_the_edge_sends_it_anything() -> None:
    one = TWO_BACKENDS.replace("{one: {hosts: [a], weight: 90}, two: {hosts: [b], weight: 10}}", "{one: {hosts: [a]}}")
    plan = planned(desired(TWO_BACKENDS), settled(desired(one)))
    reload = next(o for o in plan.operations if o.kind is Kind.RELOAD_EDGE)
    assert f"start:{TWO}" in reload.needs
    assert reload.detail == ("+ keystone two-b",)
    assert Kind.STOP not in kinds(plan)


def test_a_backend_less_leaves_the_edge_before_it_stops() -> None:
    one = TWO_BACKENDS.replace("{one: {hosts: [a], weight: 90}, two: {hosts: [b], weight: 10}}", "{one: {hosts: [a]}}")
    plan = planned(desired(one), settled(desired(TWO_BACKENDS)))
    assert ids(plan)[-3:] == ["reload-edge:edge", f"stop:{TWO}", f"remove:{TWO}"]
    stop, remove = plan.operations[-2:]
    assert "reload-edge:edge" in stop.needs
    assert stop.id in remove.needs
    assert {stop.mark, remove.mark} == {Mark.REMOVE}


def test_what_leaves_but_holds_the_place_of_what_comes_stops_first() -> None:
    seen = replace(settled(desired(KEYSTONE)), listeners={("127.0.0.1", 15000): ""})
    plan = planned(desired(KEYSTONE.replace("vms", "pods")), seen)
    start = next(o for o in plan.operations if o.kind is Kind.START)
    assert f"stop:{UNIT}" in start.needs
    assert ids(plan)[-1] == f"remove:{UNIT}"


def test_a_weight_that_changes_is_set_without_a_reload() -> None:
    changed = TWO_BACKENDS.replace("90", "50").replace("10}", "50}")
    plan = planned(desired(changed), settled(desired(TWO_BACKENDS)))
    assert ids(plan) == ["lay-out:a/edge/edge", "set-weights:edge"]
    assert plan.operations[1].detail == ("keystone two-b: 28 -> 256 of 256",)


def test_a_server_that_somebody_withheld_takes_traffic_again() -> None:
    wanted = desired(KEYSTONE)
    plan = planned(wanted, with_server(settled(wanted), "edge", ("keystone", "vms-here"), withheld=True))
    assert ids(plan) == ["set-weights:edge"]


def test_haproxy_that_runs_an_older_structure_is_reloaded() -> None:
    wanted = desired(KEYSTONE)
    seen = settled(wanted)
    seen = replace(seen, edges={"edge": replace(seen.edges["edge"], structure="older")})
    assert ids(planned(wanted, seen)) == ["reload-edge:edge"]


def test_haproxy_that_does_not_run_is_started() -> None:
    wanted = desired(KEYSTONE)
    seen = with_unit(replace(settled(wanted), edges={}), EDGE, supervised=False, running={})
    assert ids(planned(wanted, seen)) == ["start-edge:edge"]


# --- what Keystone holds


def test_what_keystone_holds_is_unknown_while_it_does_not_answer_and_is_checked_later() -> None:
    wanted = desired(FOUR)
    plan = planned(wanted, replace(settled(wanted), identity=None))
    assert set(kinds(plan)) == {Kind.ENSURE_IDENTITY}
    assert all("once Keystone answers" in o.summary for o in plan.operations)


def test_one_missing_endpoint_or_role_is_made_and_no_more() -> None:
    wanted = desired(FOUR)
    seen = settled(wanted)
    assert seen.identity is not None
    endpoints = {place: url for place, url in seen.identity.endpoints.items() if place != ("image", "public")}
    users = {**seen.identity.users, "placement": frozenset[str]()}
    plan = planned(wanted, replace(seen, identity=replace(seen.identity, endpoints=endpoints, users=users)))
    assert {o.id: len(o.detail) for o in plan.operations} == {
        "ensure-identity:glance": 1,
        "ensure-identity:placement": 1,
    }


def test_an_endpoint_that_somebody_else_made_is_left_and_told() -> None:
    wanted = desired(KEYSTONE)
    seen = settled(wanted)
    assert seen.identity is not None
    endpoints = {**seen.identity.endpoints, ("identity", "public"): "https://theirs"}
    plan = planned(wanted, replace(seen, identity=replace(seen.identity, endpoints=endpoints)))
    assert plan.operations == ()
    assert "https://theirs" in plan.notes[0]


ELSEWHERE = """
hosts: [{name: here, via: local}]
services: {keystone: {endpoint: "https://id.example.org/v3"}, glance: {backends: {vms: {hosts: [here]}}}}
"""


def test_somebody_elses_keystone_is_used_and_never_run() -> None:
    wanted = desired(ELSEWHERE)
    plan = planned(wanted, replace(NOTHING, secrets={"keystone": frozenset({"admin_password"})}))
    assert not [i for i in ids(plan) if "keystone" in i]
    assert "ensure-identity:glance" in ids(plan)


def test_a_secret_that_only_the_operator_has_is_asked_for() -> None:
    assert refused(desired(ELSEWHERE), NOTHING) == ["PS502"]
    mysql = KEYSTONE + "databases: {main: {engine: mysql, host: db}}"
    assert refused(desired(mysql), NOTHING) == ["PS502"]


# --- databases


def test_a_database_server_that_cannot_be_used_is_a_problem_and_nothing_is_planned() -> None:
    wanted = desired(KEYSTONE + "databases: {main: {engine: mysql, host: db}}")
    seen = replace(settled(wanted), databases={"keystone": DatabaseState(problem="db:3306 does not answer")})
    assert refused(wanted, seen) == ["PS501"]


def test_another_database_gets_an_empty_schema_and_a_word_about_the_old_one() -> None:
    moved = desired(KEYSTONE + "databases: {main: {engine: mysql, host: db}}")
    empty = {"keystone": DatabaseState(True, True)}
    [note] = planned(moved, replace(settled(desired(KEYSTONE)), databases=empty, secrets=settled(moved).secrets)).notes
    assert "kept elsewhere is not copied" in note
    fresh = replace(settled(moved), databases=empty, units={})
    assert not any("not copied" in note for note in planned(moved, fresh).notes)


def test_other_names_want_another_trial_certificate() -> None:
    first = desired("endpoints: {public: {host: one.example, tls: {trial: true}}}\n" + KEYSTONE)
    second = desired("endpoints: {public: {host: two.example, tls: {trial: true}}}\n" + KEYSTONE)
    plan = planned(second, replace(settled(first), listeners={}))
    assert "make-secrets:edge" in ids(plan)


@pytest.mark.usefixtures("schemas")
def test_a_newer_release_is_expanded_after_a_backup_and_before_its_code_runs() -> None:
    plan = planned(desired(KEYSTONE), settled(desired(OLD + KEYSTONE)))
    chosen = order(plan, Kind.BACK_UP, Kind.MIGRATE, Kind.RESTART)
    assert chosen == [Kind.BACK_UP, Kind.MIGRATE, Kind.RESTART]
    migrate, restart = (next(o for o in plan.operations if o.kind is k) for k in (Kind.MIGRATE, Kind.RESTART))
    assert migrate.argument == "expand"
    assert migrate.id in restart.needs
    assert "back-up:keystone" in migrate.needs


@pytest.mark.usefixtures("schemas")
def test_a_schema_is_contracted_only_when_asked_to_and_when_no_older_release_uses_it() -> None:
    wanted = desired(KEYSTONE)
    seen = with_database(settled(wanted), "keystone", heads=frozenset({"middle"}))
    assert "planeshift up --contract keystone" in planned(wanted, seen).later[0]
    assert planned(wanted, seen).operations == ()
    assert ids(planned(wanted, seen, contract=["keystone"])) == ["back-up:keystone", "migrate:keystone:contract"]
    both = desired(TWO_BACKENDS.replace("weight: 10", 'weight: 10, release: "2026.1"'))
    seen = with_database(settled(both), "keystone", heads=frozenset({"middle"}))
    assert "waits for the last backend of 2026.1" in planned(both, seen, contract=["keystone"]).later[0]
    assert planned(both, seen, contract=["keystone"]).operations == ()


@pytest.mark.usefixtures("schemas")
def test_a_database_newer_than_the_release_is_refused() -> None:
    wanted = desired(OLD + KEYSTONE)
    assert refused(wanted, with_database(settled(wanted), "keystone", heads=frozenset({"new"}))) == ["PS505"]


@pytest.mark.usefixtures("schemas")
def test_after_an_expansion_the_older_release_never_migrates() -> None:
    wanted = desired(OLD + KEYSTONE)
    plan = planned(wanted, with_database(settled(wanted), "keystone", heads=frozenset({"middle"})))
    assert Kind.MIGRATE not in kinds(plan)


@pytest.mark.usefixtures("schemas")
@pytest.mark.parametrize("heads", ["old", "middle"])
def test_an_expansion_that_was_cut_off_is_done_again_whatever_it_left(heads: str) -> None:
    wanted = desired(KEYSTONE)
    seen = with_database(settled(wanted), "keystone", heads=frozenset({heads}), interrupted="expand")
    plan = planned(wanted, seen)
    assert ids(plan) == ["back-up:keystone", "migrate:keystone:expand"]
    assert "was interrupted" in plan.notes[0]


def test_a_creation_that_was_cut_off_is_done_again_without_a_backup_of_nothing() -> None:
    wanted = desired(KEYSTONE)
    seen = with_database(settled(wanted), "keystone", empty=True, interrupted="create", bootstrapped=False)
    assert ids(planned(wanted, seen)) == ["clear:keystone", "migrate:keystone:create", "bootstrap:keystone"]


# --- drift


def test_what_the_world_changed_is_drift() -> None:
    wanted = desired(KEYSTONE)
    for seen in (
        with_unit(settled(wanted), UNIT, running={}),
        with_unit(settled(wanted), UNIT, files={}),
        with_unit(replace(settled(wanted), edges={}), EDGE, supervised=False),
        replace(settled(wanted), identity=IdentityState()),
    ):
        plan = planned(wanted, seen)
        assert plan.operations
        assert all(o.drift for o in plan.operations), ids(plan)


def test_what_the_file_changed_is_no_drift() -> None:
    for after in (KEYSTONE + "caches: {main: {hosts: ['m:11211']}}", FOUR, KEYSTONE.replace("vms", "pods")):
        plan = planned(desired(after), settled(desired(KEYSTONE)))
        assert plan.operations
        assert not any(o.drift for o in plan.operations), [o.id for o in plan.operations if o.drift]


# --- plans as such

texts = st.text(max_size=20)
operations = st.builds(
    Operation,
    kind=st.sampled_from(Kind),
    subject=texts,
    service=texts,
    mark=st.sampled_from(Mark),
    summary=texts,
    needs=st.frozensets(texts, max_size=3),
    detail=st.lists(texts, max_size=3).map(tuple),
    argument=texts,
    drift=st.booleans(),
)


@given(st.lists(operations, max_size=5))
def test_a_plan_reads_back_as_it_was_written_and_its_digest_does_not_follow_the_listing(found: list[Operation]) -> None:
    plan = Plan("c", "r", tuple(found), ("note",), ("later",), {"a": "b"})
    assert from_json(to_json(plan)) == plan
    assert replace(plan, operations=tuple(reversed(found))).digest == plan.digest


@pytest.mark.parametrize("field", ["kind", "subject", "argument", "needs", "summary"])
def test_a_saved_plan_that_was_changed_is_refused(field: str) -> None:
    body = json.loads(to_json(planned(desired(KEYSTONE), NOTHING)))
    body["operations"][1][field] = ["x"] if field == "needs" else "stop"
    with pytest.raises(ValueError, match="changed after it was saved"):
        from_json(json.dumps(body))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '"x"', '{"format": "planeshift/plan/2"}', "not JSON"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_operations_that_wait_for_one_another_are_a_bug() -> None:
    ring = [Operation(Kind.START, a, "s", Mark.ADD, "", frozenset({f"start:{b}"})) for a, b in ("xy", "yx")]
    with pytest.raises(ValueError, match="wait for one another"):
        in_order(ring)


@given(st.permutations(range(6)))
def test_an_order_respects_all_needs_and_keeps_the_listing_otherwise(numbers: list[int]) -> None:
    chain = {n: Operation(Kind.START, str(n), "", Mark.ADD, "", frozenset({f"start:{n - 2}"})) for n in numbers}
    found = [int(o.subject) for o in in_order(chain[n] for n in numbers)]
    assert all(found.index(n - 2) < found.index(n) for n in numbers if n > 1)
    free = [Operation(Kind.START, str(n), "", Mark.ADD, "") for n in numbers]
    assert in_order(free) == free


def test_secret_files_are_told_apart_by_a_keyed_digest_alone() -> None:
    secret, plain = File(b"password", 0o600, secret=True), File(b"password", 0o600)
    assert secret.digest(b"one") != secret.digest(b"two")
    assert plain.digest(b"one") == plain.digest(b"two")
    assert secret.digest(b"one") != plain.digest(b"one")


def test_no_secret_stands_in_a_plan() -> None:
    text = to_json(planned(desired(FOUR), NOTHING))
    assert "secret admin_password" not in text
    assert "secret service_password" not in text
