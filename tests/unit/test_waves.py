"""Consumers of several cells that move: in waves, one that fails alone, one that is paused, resumed, sent back."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click import BadParameter
from test_consumers import takes
from worlds import Operator, assert_serves, ids

from planeshift.app import change, shifting
from planeshift.app.site import open_site
from planeshift.cli.shift import share
from planeshift.drivers.control import LocalControl
from planeshift.drivers.memory import Memory
from planeshift.drivers.memory.data import Data
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.model.load import Loaded, load
from planeshift.plan.observed import Pause
from planeshift.plan.operations import Kind
from planeshift.render import rules

FLEET = """
hosts:
- {name: here, via: local}
- {name: "old{1..4}", via: local, address: "127.0.1.{1..4}"}
- {name: "new{1..4}", via: local, address: "127.0.2.{1..4}"}
- {name: "n{1..4}", via: local, address: "127.0.3.{1..4}"}
databases: {main: {engine: mysql, manage: true, host: here}}
messaging: {main: {manage: true, host: here}}
cells: [{name: "c{1..4}", database: main, messaging: main}]
services:
  keystone: {backends: {vms: {hosts: [here]}}}
  glance: {backends: {vms: {hosts: [here]}}}
  placement: {backends: {vms: {hosts: [here]}}}
  neutron: {backends: {vms: {hosts: [here]}}}
  nova:
    shift: {time: 2, waves: WAVES}
    backends:
      vms: {hosts: [here]}
      "old{1..4}": {hosts: ["old{}"], cell: "c{}", weight: OLD}
      "new{1..4}": {hosts: ["new{}"], cell: "c{}", weight: NEW}
      "n{1..4}": {hosts: ["n{}"], cell: "c{}", components: {nova-compute: {}}}
"""
WAVES = '[["c4"], ["c{1..2}"]]'
ALL = {f"new{n}/nova/new{n}" for n in range(1, 5)}


def spec(new: int, waves: str = WAVES) -> str:
    return FLEET.replace("OLD", str(100 - new)).replace("NEW", str(new)).replace("WAVES", waves)


def read(body: str) -> Loaded:
    head = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}}
    return load(yaml.safe_dump({**head, "spec": yaml.safe_load(body)}, sort_keys=False), "cloud.yaml")


def id_of(cell: int) -> str:
    return f"{Kind.SHIFT}:nova@c{cell}"


@pytest.fixture(scope="module")
def settled() -> Data:
    found = Operator(spec(0))
    found.up()
    return found.data


@pytest.fixture
def operator(settled: Data) -> Operator:
    """A fleet that is to move from `old` to `new`."""
    return Operator(spec(100), copy.deepcopy(settled))


# --- waves


def test_cells_of_a_wave_move_at_once_and_each_wave_waits_for_the_one_before(operator: Operator) -> None:
    needs = {o.id: {n for n in o.needs if n.startswith(f"{Kind.SHIFT}:")} for o in operator.plan().operations}
    assert needs == {
        id_of(4): set(),
        id_of(1): {id_of(4)},
        id_of(2): {id_of(4)},
        id_of(3): {id_of(n) for n in (4, 1, 2)},
    }


def test_without_waves_cells_move_one_after_the_other(settled: Data) -> None:
    plan = Operator(spec(100, "[]"), copy.deepcopy(settled)).plan()
    assert ids(plan) == [id_of(n) for n in (1, 2, 3, 4)]
    assert [len([n for n in o.needs if n.startswith(f"{Kind.SHIFT}:")]) for o in plan.operations] == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [1, 6])
def test_the_whole_fleet_moves(operator: Operator, workers: int) -> None:
    operator.up(workers=workers)
    assert takes(operator) == ALL
    assert ids(operator.plan()) == [] and not operator.data.standing
    assert_serves(operator)


@pytest.mark.parametrize(
    "waves, code, words",
    [
        ('[["c1"], ["c9"]]', "PS222", "no cell is called `c9`"),
        ('[["c{1..3}"], ["c3"]]', "PS208", "`c3` stands twice in the waves of nova"),
    ],
)
def test_waves_of_no_cell_and_a_cell_in_two_waves_are_refused(waves: str, code: str, words: str) -> None:
    found = [p for p in rules.check(read(spec(0, waves))) if not p.warning]
    assert [(p.code, p.message) for p in found] == [(code, words)]


@pytest.mark.parametrize("workers", [1, 6])
def test_a_cell_that_fails_goes_back_alone_and_later_waves_are_not_begun(operator: Operator, workers: int) -> None:
    operator.data.deaf.add("new2/nova/new2")
    with pytest.raises(PlaneshiftError) as caught:
        operator.up(workers=workers)
    assert [p.code for p in caught.value.problems] == ["PS610"]
    moved = takes(operator)
    assert {"new4/nova/new4", "new1/nova/new1", "old2/nova/old2", "old3/nova/old3"} == moved
    assert ids(operator.plan()) == [id_of(3)] and any("nova@c2 is held" in n for n in operator.plan().notes)
    operator.data.deaf.clear()
    shifting.lifted(operator.next(), ["nova@c2"], holds=True)()
    operator.up()
    assert takes(operator) == ALL
    assert_serves(operator)


# --- paused


def paused(operator: Operator, cell: int, *, at: str = "control.shift_log") -> None:
    """`up`, with one cell paused by somebody else once that call was made for it."""
    name = f"nova@c{cell}"

    def prepare(memory: Memory, world: World) -> None:
        def look(call: object, moment: str) -> None:
            if (getattr(call, "name", ""), getattr(call, "subject", ""), moment) == (at, name, "after"):
                memory.data.paused[name] = Pause("now", "ben")

        memory.faults.watch = look

    operator.up(prepare=prepare)


def test_a_cell_that_is_paused_stays_where_it_is_and_the_others_go_on(operator: Operator) -> None:
    paused(operator, 1)
    assert takes(operator) == (ALL - {"new1/nova/new1"}) | {"old1/nova/old1"}
    plan = operator.plan()
    assert ids(plan) == []
    assert [n for n in plan.notes if n.startswith("nova@c1 is paused at new1 0 %, old1 100 % by ben since now")]
    operator.up()
    assert "old1/nova/old1" in takes(operator)
    shifting.lifted(operator.next(), ["nova@c1"], holds=True)()
    operator.up()
    assert takes(operator) == ALL
    assert_serves(operator)


def test_a_cell_that_is_paused_while_both_sides_run_goes_back_or_on(operator: Operator) -> None:
    paused(operator, 1, at="control.stand")
    both = {"old1/nova/old1", "new1/nova/new1"}
    assert takes(operator) & both
    before = copy.deepcopy(operator.data)
    assert [n for n in operator.plan().notes if "nova@c1 is paused" in n] and ids(operator.plan()) == []
    shifting.lifted(operator.next(), ["nova@c1"], holds=False)()
    operator.up()
    assert takes(operator) == ALL
    back = Operator(read(spec(100) + "      old1: {weight: 100}\n      new1: {weight: 0}\n").cloud, before)
    shifting.lifted(back.next(), ["nova@c1"], holds=False)()
    back.up()
    assert takes(back) == (ALL - {"new1/nova/new1"}) | {"old1/nova/old1"}
    assert_serves(back)


def test_a_pause_is_not_heard_while_a_cell_goes_back(operator: Operator) -> None:
    def prepare(memory: Memory, world: World) -> None:
        def look(call: object, moment: str) -> None:
            record = memory.data.standing.get("nova@c4")
            if "old4/nova/old4" not in takes(operator):
                memory.data.sick["127.0.0.1", 8774] = "a server in ERROR"
            if record and record.hold:
                memory.data.paused["nova@c4"] = Pause("now", "ben")
                memory.data.deaf.add("old4/nova/old4")  # which is waited for

        memory.faults.watch = look

    with pytest.raises(PlaneshiftError, match="sent back"):
        operator.up(prepare=prepare)
    assert takes(operator) & {"old4/nova/old4", "new4/nova/new4"} == {"old4/nova/old4"}


def test_a_hold_is_lifted_for_the_plan_and_at_control_once_somebody_has_agreed(operator: Operator) -> None:
    operator.data.deaf.add("new2/nova/new2")
    with pytest.raises(PlaneshiftError):
        operator.up()
    operator.data.deaf.clear()
    world = operator.next()
    lift = shifting.lifted(world, ["nova@c2"], holds=True)
    assert id_of(2) in ids(change.plan(world))
    assert id_of(2) not in ids(operator.plan()) and any("nova@c2 is held" in n for n in operator.plan().notes)
    lift()
    assert id_of(2) in ids(operator.plan())


def test_what_is_paused_or_held_after_somebody_has_agreed_stays_so(operator: Operator) -> None:
    paused(operator, 1)
    world = operator.next()
    lift = shifting.lifted(world, ["nova@c1"], holds=False)
    assert not world.control.paused()
    world.control.pause("nova@c1", Pause("later", "ada"))
    lift()
    assert world.control.paused() == {"nova@c1": Pause("later", "ada")}
    shifting.lifted(world, ["nova@c1"], holds=False)()
    assert not world.control.paused()
    world.control.pause("nova@c1", Pause("now", "ben"))
    assert world.control.paused()


def test_a_cloud_file_that_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "examples/first-cloud", tmp_path / "cloud")
    site = open_site(str(tmp_path / "cloud/cloud.yaml"))
    was = site.path.read_text()
    shifting.write(site, was + "# one\n", was)
    with pytest.raises(PlaneshiftError, match="was changed meanwhile"):
        shifting.write(site, was + "# two\n", was)
    assert site.path.read_text() == was + "# one\n"


def test_what_is_neither_paused_nor_held_cannot_be_resumed(operator: Operator) -> None:
    with pytest.raises(PlaneshiftError, match="neither paused nor held"):
        shifting.lifted(operator.next(), ["nova@c1"], holds=True)()


# --- several at once


def test_ranges_stand_for_several_cells_and_their_backends() -> None:
    assert shifting.named("nova@cell{01..02}", {"cell{}-b": 100}) == {
        "nova@cell01": {"cell01-b": 100},
        "nova@cell02": {"cell02-b": 100},
    }
    assert shifting.named("glance", {"pods": 10}) == {"glance": {"pods": 10}}
    with pytest.raises(PlaneshiftError, match="counts down"):
        shifting.named("nova@c{2..1}", {})
    assert share("cell{}-b=100") == ("cell{}-b", 100)
    with pytest.raises(BadParameter):
        share("cell_b=100")


def test_a_pause_is_noted_beside_the_cloud_file_and_changes_nothing_else(tmp_path: Path) -> None:
    head = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}}
    text = yaml.safe_dump({**head, "spec": yaml.safe_load(spec(100))}, sort_keys=False)
    (tmp_path / "cloud.yaml").write_text(text)
    argv = [sys.executable, "-m", "planeshift", "shift", "nova@c{1..2}", "--pause", "-f", str(tmp_path / "cloud.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "nova@c2 stays where it is. On: planeshift shift nova@c2 --resume" in done.stdout + done.stderr
    assert set(LocalControl(tmp_path / ".planeshift").paused()) == {"nova@c1", "nova@c2"}
    assert (tmp_path / "cloud.yaml").read_text() == text
    argv[4] = "nova@c9"
    refused = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (refused.returncode, "PS205" in refused.stderr) == (1, True), refused.stderr
