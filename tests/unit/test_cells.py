"""Cells in the cloud file: ranges and what refines them, and rules of databases and message buses that they use."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from planeshift.errors import PlaneshiftError
from planeshift.model.load import Loaded, load
from planeshift.render import rules

HEAD = (
    "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: test}\nspec:\n  hosts: [{name: here}]\n  zones: [A, B]\n"
)
TAIL = "  services: {keystone: {backends: {vms: {hosts: [here]}}}}\n"
FLEET = """
databases: {"cell{01..80}": {engine: mysql, host: "db{}.example.org"}}
messaging: {"cell{01..80}": {hosts: ["mq{}-{1..3}.example.org:5672"]}}
cells:
- {name: "cell{01..80}", database: "cell{}", messaging: "cell{}", zone: A, computes: 200}
"""
MARK = "▶"


def cloud_of(spec: str) -> Loaded:
    return load(HEAD + "".join(f"  {line}\n" for line in spec.strip("\n").split("\n")) + TAIL, "cloud.yaml")


def test_eighty_cells_are_said_in_a_few_lines() -> None:
    loaded = cloud_of(FLEET)
    assert rules.check(loaded) == []
    spec = loaded.cloud.spec
    assert [c.name for c in spec.cells] == [f"cell{n:02}" for n in range(1, 81)]
    assert sum(c.computes.expected for c in spec.cells) == 16_000
    assert all(c.database == c.messaging == c.name for c in spec.cells)
    assert spec.databases["cell07"].host == "db07.example.org"
    assert spec.messaging["cell07"].hosts == [f"mq07-{n}.example.org:5672" for n in (1, 2, 3)]


def test_one_cell_differs_by_a_later_entry_which_leaves_it_the_rest() -> None:
    loaded = cloud_of(FLEET + "- {name: cell07, zone: B}\n")
    seventh = loaded.cloud.spec.cells[6]
    assert (len(loaded.cloud.spec.cells), seventh.zone, seventh.database) == (80, "B", "cell07")
    assert seventh.computes.expected == 200


def test_one_database_of_a_range_differs_by_a_later_key() -> None:
    loaded = cloud_of('databases:\n  "cell{1..3}": {engine: mysql, host: "db{}"}\n  cell2: {port: 3307}')
    found = loaded.cloud.spec.databases
    assert [(d.host, d.port) for d in found.values()] == [("db1", 3306), ("db2", 3307), ("db3", 3306)]


def test_a_key_before_the_range_that_has_it_stands_twice() -> None:
    with pytest.raises(PlaneshiftError) as caught:
        cloud_of('databases:\n  cell2: {engine: sqlite}\n  "cell{1..3}": {engine: mysql, host: "db{}"}')
    assert {p.code for p in caught.value.problems} == {"PS208"}


def test_computes_are_counted_or_named_cell_by_cell() -> None:
    spec = FLEET.replace("computes: 200", 'computes: {hosts: ["c{}-{001..020}"]}')
    found = cloud_of(spec).cloud.spec.cells[6].computes
    assert (found.expected, found.hosts[0], found.hosts[-1]) == (20, "c07-001", "c07-020")


@given(st.integers(1, 60), st.integers(0, 59), st.integers(0, 500))
def test_whatever_is_refined_the_others_stay_as_they_were(count: int, which: int, computes: int) -> None:
    number = which % count + 1
    spec = FLEET.replace("80", f"{count:02}") + f"- {{name: cell{number:02}, computes: {computes}}}\n"
    found = cloud_of(spec).cloud.spec.cells
    assert [c.computes.expected for c in found] == [computes if n == number else 200 for n in range(1, count + 1)]


@pytest.mark.parametrize(
    "code, marked",
    [
        ("PS209", FLEET.replace('database: "cell{}"', "database: ▶cel01")),
        ("PS209", FLEET.replace('messaging: "cell{}"', "messaging: ▶rabbit")),
        ("PS207", FLEET.replace("zone: A", "zone: ▶C")),
        ("PS208", "cells:\n- &c {name: one, database: d, messaging: m}\n- {name: ▶one, database: d, messaging: m}"),
        ("PS208", "cells:\n- {name: ▶cell0, database: d, messaging: m}"),
        ("PS209", FLEET + "- {name: cell07, database: ▶cell99}"),
        ("PS207", FLEET + "- {name: cell07, zone: ▶C}"),
        ("PS221", "messaging: {▶main: {}}"),
        ("PS221", "databases: {▶main: {engine: mysql, manage: true}}"),
        ("PS221", "messaging: {main: {host: here, manage: true, ▶hosts: ['a:1']}}"),
        ("PS201", "messaging: {main: {host: ▶there, manage: true}}"),
        ("PS222", "clusters: [{name: k1, nodes: [{name: n1, cell: ▶cell1}]}]"),
        ("PS207", "clusters: [{name: k1, nodes: [{name: n1, zone: ▶C}]}]"),
        ("PS208", "clusters: [{name: k1, nodes: [{name: n1}, {name: ▶n1}]}]"),
        (
            "PS224",
            FLEET.replace('host: "db{}.example.org"', "host: db, name: nova").replace('"cell{}", m', '▶"cell{}", m'),
        ),
        ("PS225", FLEET.replace('"mq{}-{1..3}.example.org:5672"', '"mq:5672"').replace('g: "', 'g: ▶"')),
        ("PS223", FLEET.replace("computes: 200", 'computes: {hosts: [▶"c{1..3}"]}')),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(code: str, marked: str) -> None:
    marked = marked.strip("\n")
    if "database: d" in marked:
        marked = "databases: {d: {engine: mysql, host: x}}\nmessaging: {m: {hosts: ['a:1']}}\n" + marked
    found = rules.check(cloud_of(marked.replace(MARK, "")))
    before = marked[: marked.index(MARK)]
    line, column = HEAD.count("\n") + before.count("\n") + 1, len(before.rsplit("\n", 1)[-1]) + 3
    first = next(p for p in found if p.where and (p.where.line, p.where.column) == (line, column))
    assert first.code == code
    assert {p.code for p in found} <= {code, "PS225"}


def test_two_cells_may_share_a_server_not_a_schema() -> None:
    shared = """
databases: {shared: {engine: mysql, host: db}}
messaging: {"cell{1..2}": {hosts: ["mq:5672"], vhost: "cell{}"}}
cells: [{name: "cell{1..2}", database: shared, messaging: "cell{}"}]
"""
    assert rules.check(cloud_of(shared)) == []
    found = rules.check(cloud_of(shared.replace("host: db", "host: db, name: nova")))
    assert [(p.code, p.message) for p in found] == [
        ("PS224", "the cell cell1 and the cell cell2 are on one schema, nova at db")
    ]


NOVA = """
hosts: [{name: here, via: local}]
databases: {main: {engine: mysql, host: db}, other: {engine: mysql, host: db, NAMED}}
messaging: {main: {hosts: ["mq:5672"]}, other: {hosts: ["mq:5672"], vhost: c1}}
cells: [{name: c1, database: other, messaging: other}]
services:
  keystone: {backends: {vms: {hosts: [here]}}}
  glance: {backends: {vms: {hosts: [here]}}}
  placement: {backends: {vms: {hosts: [here]}}}
  neutron: {backends: {vms: {hosts: [here]}}}
  nova: {USED backends: {vms: {hosts: [here]}, c1: {hosts: [here], cell: c1}}}
"""


@pytest.mark.parametrize(
    "named, used, users",
    [
        ("name: nova_api", "", "nova and the cell c1"),
        ("name: nova_cell0", "", "cell0 of nova and the cell c1"),
        ("name: glance", "", "glance and the cell c1"),
        ("name: x", "database: {api: other, cell0: other}, ", "nova and cell0 of nova"),
        ("", "", ""),
    ],
)
def test_what_is_above_the_cells_is_on_no_cells_schema_and_not_on_one_with_another(
    named: str, used: str, users: str
) -> None:
    head = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}}
    body = yaml.safe_load(NOVA.replace(", NAMED", f", {named}" if named else "").replace("USED ", used))
    found = rules.check(load(yaml.safe_dump({**head, "spec": body}), "cloud.yaml"))
    assert [p.message.partition(" are on one schema")[0] for p in found if p.code == "PS224"][:1] == [users] * bool(
        users
    )


def test_two_clusters_of_message_buses_that_share_a_node_are_one() -> None:
    spec = """
databases: {shared: {engine: mysql, host: db}}
messaging: {a: {hosts: ["mq1:5672", "mq2:5672"]}, b: {hosts: ["mq3:5672", "mq2:5672"]}}
cells: [{name: c1, database: shared, messaging: a}, {name: c2, database: shared, messaging: b}]
"""
    assert [p.code for p in rules.check(cloud_of(spec))] == ["PS225"]
    ours = spec.replace('hosts: ["mq1:5672", "mq2:5672"]', "host: here, manage: true")
    assert rules.check(cloud_of(ours)) == []
