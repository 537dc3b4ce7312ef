"""Cells as operations of a plan: state in, operations out; and a cloud of CERN's size, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worlds import Operator, cloud, ids

from planeshift import catalog
from planeshift.app.site import open_site
from planeshift.engine import actions
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.build import build as plan_build
from planeshift.plan.cells import state_of
from planeshift.plan.observed import BusState, CellState, DatabaseState, Observed
from planeshift.plan.operations import Kind, Plan
from planeshift.render.build import build
from planeshift.render.desired import Desired, HostPaths

PATHS = HostPaths(runtime="/run/t", state="/var/t")
CELLS = """
hosts: [{name: here, via: local}, {name: c1, via: local, address: 127.0.0.2}, {name: n1, via: local, address: 127.0.0.3}]
databases: {main: {engine: mysql, manage: true, host: here}}
messaging: {main: {manage: true, host: here}}
cells: [{name: c1, database: main, messaging: main}]
services:
  keystone: {backends: {vms: {hosts: [here]}}}
  glance: {backends: {vms: {hosts: [here]}}}
  placement: {backends: {vms: {hosts: [here]}}}
  neutron: {backends: {vms: {hosts: [here]}}}
  nova:
    backends:
      vms: {hosts: [here]}
      c1: {hosts: [c1], cell: c1, components: {nova-conductor: {}}}
      n1: {hosts: [n1], cell: c1, components: {nova-compute: {}}}
"""

ABOVE = "nova:\n    backends:\n      vms: {cluster: k1}"


@pytest.fixture
def desired() -> Desired:
    declared = cloud(CELLS)
    return build(declared, {}, {}, {h.name: PATHS for h in declared.spec.hosts})


def seen(desired: Desired, **changes: object) -> Observed:
    """A world in which every database and bus is as it should be, and the cells are mapped; with changes."""
    there = {n: DatabaseState(True, True, False, d.heads, True) for n, d in desired.databases.items()}
    base = Observed(
        databases=there,
        buses={name: BusState(works=True) for name in desired.buses},
        cells={"nova": tuple(mapped(desired))},
        secrets={name: frozenset(s.name for s in f.secrets) for name, f in desired.secrets.items()},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def mapped(desired: Desired) -> list[CellState]:
    return [
        CellState(f"uuid-{c.name}", c.name, c.transport, c.mapped, hosts=frozenset(c.computes))
        for c in desired.cells.values()
    ]


def of(plan: Plan, *kinds: Kind) -> list[str]:
    return [o.id for o in plan.operations if o.kind in kinds]


CELL_KINDS = (Kind.MAP_CELL, Kind.REMOVE_CELL, Kind.DISCOVER)


def test_from_nothing_every_cell_is_mapped_after_its_schema_and_before_what_reads_it(desired: Desired) -> None:
    plan = plan_build(desired, Observed())
    assert of(plan, *CELL_KINDS) == ["map-cell:nova@cell0", "map-cell:nova@c1", "discover:nova@c1"]
    by_id = {o.id: o for o in plan.operations}
    assert {"migrate:nova:found", "migrate:nova@c1:found"} <= by_id["map-cell:nova@c1"].needs
    assert {"map-cell:nova@cell0", "map-cell:nova@c1"} <= by_id["start:here/nova/vms"].needs
    assert "map-cell:nova@c1" not in by_id["start:c1/nova/c1"].needs
    assert {"start:n1/nova/n1", "start:c1/nova/c1", "map-cell:nova@c1"} <= by_id["discover:nova@c1"].needs


def test_what_is_mapped_and_discovered_is_left_alone(desired: Desired) -> None:
    assert of(plan_build(desired, seen(desired)), *CELL_KINDS) == []


def test_a_database_of_ours_that_does_not_answer_is_never_taken_for_empty(desired: Desired) -> None:
    plan = plan_build(desired, Observed())
    steps = {o.argument for o in plan.operations if o.kind == Kind.MIGRATE}
    assert steps == {"found"}
    names = {o.subject for o in plan.operations if o.kind == Kind.PREPARE_DATABASE}
    assert names == set(desired.databases)


def test_a_password_that_changed_reaches_the_mapping(desired: Desired) -> None:
    zero, first = mapped(desired)
    other = replace(first, connection=first.connection.replace("nova_c1:@", "nova_c1:another@"))
    assert other != first
    plan = plan_build(desired, seen(desired, cells={"nova": (zero, other)}))
    assert [o.summary for o in plan.operations if o.kind == Kind.MAP_CELL] == ["cell       c1: another password"]
    top = next(o for o in plan.operations if o.id == "start:here/nova/vms")
    assert "map-cell:nova@c1" in top.needs


def test_who_asks_all_cells_does_not_wait_long_for_one_and_its_migration_does(desired: Desired) -> None:
    zero, first = mapped(desired)
    assert first.connection == f"{desired.cells['nova@c1'].connection}&read_timeout=20"
    recorded = replace(first, connection=desired.cells["nova@c1"].connection)
    plan = plan_build(desired, seen(desired, cells={"nova": (zero, recorded)}))
    said = [o.summary for o in plan.operations if o.kind == Kind.MAP_CELL]
    assert said == ["cell       c1: other words to its database"]


def test_a_cell_that_is_renamed_keeps_its_mapping(desired: Desired) -> None:
    zero, first = mapped(desired)
    plan = plan_build(desired, seen(desired, cells={"nova": (zero, replace(first, name="old"))}))
    assert [o.summary for o in plan.operations if o.kind == Kind.MAP_CELL] == ["cell       c1: it was called old"]
    assert of(plan, Kind.REMOVE_CELL) == []


@pytest.mark.parametrize("changed", ["name", "connection", "transport"])
def test_a_cell_that_is_mapped_twice_is_refused(desired: Desired, changed: str) -> None:
    zero, first = mapped(desired)
    apart = {"name": "x", "connection": "mysql+pymysql://u@db/x", "transport": "rabbit://u@mq/x"}
    del apart[changed]
    other = replace(first, uuid="other", **apart)
    with pytest.raises(PlaneshiftError) as caught:
        plan_build(desired, seen(desired, cells={"nova": (zero, first, other)}))
    assert {p.code for p in caught.value.problems} == {"PS509"}


def test_a_compute_node_that_is_mapped_to_another_cell_is_refused(desired: Desired) -> None:
    zero, first = mapped(desired)
    stray = CellState("u", "stray", "rabbit://u@mq/s", "mysql+pymysql://u@db/s", hosts=frozenset({"n1"}))
    with pytest.raises(PlaneshiftError) as caught:
        plan_build(desired, seen(desired, cells={"nova": (zero, replace(first, hosts=frozenset()), stray)}))
    assert {p.code for p in caught.value.problems} == {"PS509"}


def test_compute_nodes_of_others_are_mapped_once_they_are_there(desired: Desired) -> None:
    plan = plan_build(desired, seen(desired, members={"nova@c1": frozenset({"n1", "theirs"})}))
    found = next(o for o in plan.operations if o.kind == Kind.DISCOVER)
    assert found.summary == "computes   c1: map theirs"


def test_a_cell_that_was_ours_and_is_no_longer_declared_goes_when_it_is_empty(desired: Desired) -> None:
    old = CellState("u-old", "old", "rabbit://u@mq/old", "mysql+pymysql://u@db/old")
    cells = {"nova": (*mapped(desired), old)}
    strange = plan_build(desired, seen(desired, cells=cells))
    assert of(strange, Kind.REMOVE_CELL) == [] and any("a cell old" in note for note in strange.notes)
    ours = {"cell nova@old": "True"}
    empty = plan_build(desired, seen(desired, cells=cells, applied=ours))
    assert of(empty, Kind.REMOVE_CELL) == ["remove-cell:nova@old:u-old"]
    full = replace(old, servers=3)
    used = plan_build(desired, seen(desired, cells={"nova": (*mapped(desired), full)}, applied=ours))
    assert [o.summary for o in used.operations if o.kind == Kind.REMOVE_CELL] == [
        "cell       old: no new servers; 3 are in it still"
    ]
    off = replace(full, disabled=True)
    waits = plan_build(desired, seen(desired, cells={"nova": (*mapped(desired), off)}, applied=ours))
    assert of(waits, Kind.REMOVE_CELL) == [] and waits.later == (
        "remove the cell old: waits for the last of its 3 servers",
    )


def test_a_cell_can_be_closed_to_new_servers() -> None:
    declared = cloud(CELLS.replace("{name: c1, database", "{name: c1, enabled: false, database"))
    desired = build(declared, {}, {}, {h.name: PATHS for h in declared.spec.hosts})
    plan = plan_build(desired, seen(desired))
    assert [o.summary for o in plan.operations if o.kind == Kind.MAP_CELL] == [
        "cell       c1: no new servers are sent to it"
    ]


@pytest.mark.parametrize("database", ["nova", "nova@cell0", "nova@c1"])
def test_a_schema_that_no_release_knows_is_refused_before_anything_changes(desired: Desired, database: str) -> None:
    there = dict(seen(desired).databases)
    there[database] = replace(there[database], heads=frozenset({"feedbeef"}))
    with pytest.raises(PlaneshiftError) as caught:
        plan_build(desired, seen(desired, databases=there))
    assert [(p.code, "feedbeef" in p.message) for p in caught.value.problems] == [("PS505", True)]


def test_a_cells_schema_of_a_later_release_is_refused_and_of_an_earlier_one_brought_up_to_date() -> None:
    old, new = (catalog.facts("nova", release) for release in ("2026.1", "2026.2"))
    for release, heads, code in (("2026.1", new["cell_heads"], "PS505"), ("2026.2", old["cell_revisions"][:1], "")):
        declared = cloud("release: '" + release + "'\n" + CELLS)
        desired = build(declared, {}, {}, {h.name: PATHS for h in declared.spec.hosts})
        there = dict(seen(desired).databases)
        there["nova@c1"] = replace(there["nova@c1"], heads=frozenset(heads))
        world = seen(desired, databases=there)
        if code:
            with pytest.raises(PlaneshiftError) as caught:
                plan_build(desired, world)
            assert {p.code for p in caught.value.problems} == {code}
        else:
            assert of(plan_build(desired, world), Kind.BACK_UP, Kind.MIGRATE) == [
                "back-up:nova@c1",
                "migrate:nova@c1:upgrade",
            ]


def test_a_bus_of_somebody_elses_that_refuses_the_user_is_refused_before_anything_changes() -> None:
    theirs = CELLS.replace("{manage: true, host: here}", '{hosts: ["mq:5672"], vhost: v}')
    theirs = theirs.replace("vhost: v}}", 'vhost: v}, c: {hosts: ["mq:5672"], vhost: c}}')
    declared = cloud(theirs.replace("messaging: main}]", "messaging: c}]"))
    desired = build(declared, {}, {}, {h.name: PATHS for h in declared.spec.hosts})
    refused = {"nova@c1": BusState(problem="mq:5672 has no vhost c, or not for nova")}
    with pytest.raises(PlaneshiftError) as caught:
        plan_build(desired, seen(desired, buses=refused))
    assert {p.code for p in caught.value.problems} == {"PS508"}


def test_what_runs_above_the_cells_is_started_anew_when_one_of_them_changes(desired: Desired) -> None:
    declared = cloud(CELLS.replace("{name: c1, database", "{name: c1, enabled: false, database"))
    other = build(declared, {}, {}, {h.name: PATHS for h in declared.spec.hosts})
    changed = {name for name, unit in desired.units.items() if unit.files != other.units[name].files}
    assert changed == {"here/nova/vms", "here/nova/vms.consumers"}


def test_a_cell_is_known_by_its_name_else_by_its_database(desired: Desired) -> None:
    cell, states = desired.cells["nova@c1"], tuple(mapped(desired))
    assert state_of(cell, states) == states[1]
    renamed = replace(states[1], name="x")
    assert state_of(cell, (states[0], renamed)) == renamed
    assert state_of(cell, states[:1]) is None


def test_a_cloud_of_cerns_size_is_planned_whole() -> None:
    site = open_site(str(Path(__file__).parents[2] / "examples" / "cern-scale" / "cloud.yaml"))
    desired = build(site.cloud, site.tree, {}, {h.name: PATHS for h in site.cloud.spec.hosts})
    assert (len(desired.cells), sum(c.computes.expected for c in site.cloud.spec.cells)) == (81, 15_920)
    given = {n: frozenset(s.name for s in f.secrets if s.kind == "given") for n, f in desired.secrets.items()}
    counted = Counter(o.kind for o in plan_build(desired, Observed(secrets=given)).operations)
    assert (counted[Kind.MAP_CELL], counted[Kind.START]) == (81, 248)


# --- another release


def upgraded(monkeypatch: pytest.MonkeyPatch, failing: int) -> tuple[Operator, list[str]]:
    """The cloud in 2026.1, to be of 2026.2; so many times its cell's data cannot be moved for a moment."""
    operator, asked, real = Operator(f"release: '2026.1'\n{CELLS}"), list[str](), actions.run
    operator.up()

    def run(world: World, place: Any, command: tuple[str, ...], *rest: Any) -> None:
        asked.append(" ".join(command))
        if command[-1] == "online_data_migrations" and asked.count(asked[-1]) <= failing:
            raise PlaneshiftError(Problem("PS603", "Deadlock found when trying to get lock"))
        real(world, place, command, *rest)

    monkeypatch.setattr(actions, "run", run)
    operator.edit(f"release: '2026.2'\n{CELLS}")
    return operator, asked


def test_conductors_take_the_new_release_first_those_of_cells_before_those_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator, _ = upgraded(monkeypatch, failing=0)
    needs = {o.id: o.needs for o in operator.plan().operations}
    cell, above, api, node = (
        f"restart:{u}" for u in ("c1/nova/c1", "here/nova/vms.consumers", "here/nova/vms", "n1/nova/n1")
    )
    turns = {cell, above, api, node}
    assert {i: needs[i] & turns for i in turns} == {cell: set(), above: {cell}, api: {cell, above}, node: {cell}}
    operator.up()
    assert ids(operator.plan()) == []


def test_an_api_serves_until_its_turn_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    two = CELLS.replace("vms: {hosts: [here]}\n      c1", "vms: {hosts: [here, c1]}\n      c1")
    operator = Operator(f"release: '2026.1'\n{two}")
    operator.up()
    operator.edit(f"release: '2026.2'\n{two}")
    needs = {o.id: o.needs for o in operator.plan().operations}
    waits = {"restart:c1/nova/c1", "restart:here/nova/vms.consumers", "restart:c1/nova/vms.consumers"}
    assert all(waits <= needs[f"withhold:{host}/nova/vms"] for host in ("here", "c1"))
    operator.up()
    assert ids(operator.plan()) == []


def test_pods_take_it_in_the_same_order() -> None:
    pods = CELLS.replace("via: local}, {name: c1", "via: local, address: 192.0.2.1}, {name: c1")
    pods = pods.replace("c1: {hosts: [c1]", "c1: {cluster: k1").replace(
        "nova:\n    backends:\n      vms: {hosts: [here]}", ABOVE
    )
    pods += "clusters: [{name: k1, registry: registry.example.org}]\nedges: [{name: lb, address: 192.0.2.1}]\n"
    operator = Operator(f"release: '2026.1'\n{pods}")
    operator.up()
    operator.edit(f"release: '2026.2'\n{pods}")
    needs = {o.id: o.needs for o in operator.plan().operations}
    assert "release:k1/nova/c1" in needs["release:k1/nova/vms"]
    assert "release:k1/nova/vms" not in needs["release:k1/nova/c1"]
    assert "release:k1/nova/c1" in needs["restart:n1/nova/n1"]
    operator.up()
    assert ids(operator.plan()) == []


def test_data_that_cannot_be_moved_for_a_moment_are_moved_by_the_next_try(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, asked = upgraded(monkeypatch, failing=2)
    operator.up()
    assert asked.count("nova-manage db online_data_migrations") == 2 + len(("cell0", "c1"))
    assert asked.count("nova-manage db sync --local_cell") == len(("cell0", "c1"))
    assert ids(operator.plan()) == []


def test_data_that_can_never_be_moved_stop_the_run_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, _ = upgraded(monkeypatch, failing=99)
    with pytest.raises(PlaneshiftError, match="Deadlock found"):
        operator.up()


def test_the_release_whose_programs_sleep_when_they_stop_sleeps_no_longer_than_needed() -> None:
    def options(release: str) -> str:
        declared = cloud(f"release: '{release}'\n{CELLS}")
        unit = build(declared, {}, {}, {h.name: PATHS for h in declared.spec.hosts}).units["c1/nova/c1"]
        return b"\n".join(f.content for f in unit.files.values()).decode()

    assert "manager_shutdown_timeout = 20" in options("2026.1")
    assert "manager_shutdown_timeout" not in options("2026.2")
