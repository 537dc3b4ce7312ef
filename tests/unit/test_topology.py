"""Cold starts, losses and capacity: of small clouds by hand, of any by properties."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from planeshift.app.site import open_site
from planeshift.cli.root import cli
from planeshift.errors import PlaneshiftError
from planeshift.model import cloud as model
from planeshift.model.load import Loaded, load
from planeshift.render import rules
from planeshift.topology import coldstart, whatif
from planeshift.topology.capacity import Assumptions, amount, capacity, fits, mebibytes
from planeshift.topology.coldstart import cold_start
from planeshift.topology.machines import Machine, groups, machines, servers
from planeshift.topology.needs import Need, needs

HEAD = "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: test}\nspec:\n"
# Keystone runs as pods on servers of the one cell that it must be there for; its database is on a bare host.
LOOP = """
zones: [A, B]
hosts:
- {name: here, via: local, address: 192.0.2.1, zone: A}
- {name: "db{1..3}", via: external, address: "192.0.2.{11..13}", zone: B}
edges: [{name: lb, address: 192.0.2.1}]
databases: {main: {engine: mysql, host: 192.0.2.10, nodes: ["db{1..3}"]}}
messaging: {main: {hosts: ["db{1..3}:5672"]}}
caches: {tokens: {hosts: ["192.0.2.11:11211", "192.0.2.1:11211"]}}
cells: [{name: cell1, database: main, messaging: main, zone: A, computes: 20}]
clusters:
- name: k1
  registry: registry.example.org
  nodes:
  - {name: "ctl{1..3}", zone: B, cell: cell1, control: true, cores: 4, memory: 8}
  - {name: "n{1..4}", zone: B, cell: cell1, cores: 4, memory: 8}
services:
  keystone: {backends: {pods: {cluster: k1, replicas: 3}}}
  glance: {backends: {vms: {hosts: [here]}}}
"""


def file_of(spec: str) -> Loaded:
    loaded = load(HEAD + "".join(f"  {line}\n" for line in spec.strip("\n").split("\n")), "cloud.yaml")
    problems = [p for p in rules.check(loaded) if not p.warning]
    assert not problems, problems
    return loaded


def cloud_of(spec: str) -> model.Cloud:
    return file_of(spec).cloud


# --- cold starts


def test_keystone_on_servers_of_a_cell_that_needs_keystone_is_a_loop_that_is_warned_of() -> None:
    (problem,) = coldstart.check(file_of(LOOP))
    assert (problem.code, problem.warning) == ("PS226", True)
    assert problem.where and "ctl{1..3}" in problem.where.text
    assert "cell cell1 ← service" not in problem.why
    assert "by hand, on the hypervisor: node k1/ctl1, node k1/ctl2, node k1/n1" in problem.why
    lines = problem.why.splitlines()
    assert {"cell cell1", "keystone", "cluster k1"} <= set(lines[0].split(" ← "))


def test_after_the_hand_all_else_starts_by_itself() -> None:
    found = cold_start(needs(cloud_of(LOOP)))
    assert not found.never
    assert found.by_hand == ("node:k1/ctl1", "node:k1/ctl2", "node:k1/n1")
    order = [t for step in found.steps for t in step.things]
    assert order.index("service:keystone") < order.index("cell:cell1") < order.index("node:k1/n4")


def test_a_backend_on_a_bare_host_breaks_the_loop() -> None:
    broken = LOOP.replace(
        "pods: {cluster: k1, replicas: 3}",
        "pods: {cluster: k1, replicas: 3, weight: 90}, vms: {hosts: [here], weight: 10}",
    )
    assert coldstart.check(file_of(broken)) == []
    without_traffic = broken.replace("weight: 90", "weight: 100").replace("weight: 10}", "weight: 0}")
    assert [p.code for p in coldstart.check(file_of(without_traffic))] == ["PS226"]


@pytest.mark.parametrize("what", ['zone: A}\n- {name: "db', "zone: B}\nedges"])
def test_databases_buses_and_edges_on_servers_of_the_cloud_are_loops_too(what: str) -> None:
    """The edge's host first, then the hosts of the database and the message bus."""
    spec = LOOP.replace(", cell: cell1", "")
    assert coldstart.check(file_of(spec)) == []
    assert [p.code for p in coldstart.check(file_of(spec.replace(what, what.replace("}", ", cell: cell1}", 1))))] == [
        "PS226"
    ]


def test_a_service_that_waits_for_what_is_nowhere_never_starts() -> None:
    found = cold_start({"service:a": (Need(1, ("service:b",)),), "service:b": (Need(1, ("service:a",)),)})
    assert found.never == ("service:a", "service:b")
    assert found.loop == ("service:a", "service:b", "service:a")


@st.composite
def webs(draw: st.DrawFn) -> dict[str, tuple[Need, ...]]:
    """Machines, some of them servers of cells; cells and services that need one another and machines."""
    count, cell_count = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    hosts = [f"host:h{n}" for n in range(count)]
    cell_names = [f"cell:c{n}" for n in range(cell_count)]
    wanted: dict[str, tuple[Need, ...]] = {}
    for host in hosts:
        cell = draw(st.sampled_from(["", *cell_names]))
        wanted[host] = (Need(1, (cell,)),) if cell else ()
    services = [f"service:s{n}" for n in range(draw(st.integers(1, 4)))]
    for index, thing in enumerate([*services, *cell_names]):
        found = []
        for _ in range(draw(st.integers(1, 2))):
            some = tuple(draw(st.lists(st.sampled_from(hosts), min_size=1, unique=True)))
            found.append(Need(draw(st.integers(1, len(some))), some))
        if index:
            found.append(Need(1, (services[draw(st.integers(0, min(index, len(services)) - 1))],)))
        wanted[thing] = tuple(found)
    return wanted


@given(webs())
@settings(max_examples=300, deadline=None)
def test_whatever_is_declared_the_order_holds_and_reaches_everything(wanted: dict[str, tuple[Need, ...]]) -> None:
    found = cold_start(wanted)
    assert not found.never
    assert bool(found.loop) == bool(found.by_hand)
    started: set[str] = set()
    for step in found.steps:
        for thing in step.things:
            if not step.by_hand:
                assert all(sum(t in started for t in need.things) >= need.count for need in wanted[thing])
        started |= set(step.things)
    assert started == set(wanted)
    if found.loop:
        assert found.loop[0] == found.loop[-1]
        for thing, cause in zip(found.loop, found.loop[1:], strict=False):
            assert any(cause in need.things for need in wanted[thing])


# --- losses


def test_without_a_zone_quorum_is_counted_and_what_needs_it_is_down() -> None:
    found = whatif.without(cloud_of(LOOP), ["zone:B"])
    assert (found.row("database:main").verdict, found.row("messaging:main").verdict) == ("down", "down")
    assert found.row("etcd:k1").verdict == "down"
    assert found.row("service:keystone").verdict == "down"
    assert "service:keystone is down" in found.row("service:glance").why
    assert len(found.machines) == 10


def test_one_host_of_three_leaves_the_quorum_and_two_do_not() -> None:
    one, two = (whatif.without(cloud_of(LOOP), [f"host:db{n}" for n in range(1, many + 1)]) for many in (1, 2))
    assert (one.row("database:main").verdict, one.row("service:keystone").verdict) == ("fewer", "as before")
    assert (two.row("database:main").verdict, two.row("service:keystone").verdict) == ("no quorum", "down")
    assert "2 of 3 are needed" in two.row("database:main").why
    assert two.row("cache:tokens").verdict == "fewer"


def test_pods_of_a_lost_node_come_back_where_there_is_room_and_a_control_plane() -> None:
    spec = LOOP.replace(", cell: cell1", "")
    lost = whatif.without(cloud_of(spec), ["node:k1/n1", "node:k1/n2"]).row("service:keystone")
    assert (lost.verdict, lost.before, lost.after, lost.later) == ("fewer", 3, 1, 3)
    headless = whatif.without(cloud_of(spec), ["node:k1/n1", "node:k1/ctl1", "node:k1/ctl2"]).row("service:keystone")
    assert (headless.after, headless.later) == (2, 2)
    assert "etcd has no quorum" in headless.why
    narrow = spec.replace("replicas: 3", "replicas: 3, resources: {requests: {cpu: '3'}}")
    full = whatif.without(cloud_of(narrow), ["node:k1/n1", "node:k1/n2"]).row("service:keystone")
    assert (full.later, "no room" in full.why) == (1, True)


def test_a_backend_without_traffic_does_not_help_and_is_named() -> None:
    spec = LOOP.replace(
        "pods: {cluster: k1, replicas: 3}",
        "pods: {cluster: k1, replicas: 3, weight: 100}, vms: {hosts: [here], weight: 0}",
    )
    row = whatif.without(cloud_of(spec), ["cluster:k1"]).row("service:keystone")
    assert (row.verdict, "1 more are there, whose weight is 0" in row.why) == ("down", True)


def test_a_cell_goes_with_its_zone_and_its_servers_with_the_cell() -> None:
    found = whatif.without(cloud_of(LOOP), ["cell:cell1"])
    assert (found.row("cell:cell1").verdict, found.row("cell:cell1").after) == ("down", 0)
    assert found.row("service:keystone").verdict == "down"
    assert whatif.without(cloud_of(LOOP), ["zone:A"]).row("cell:cell1").after == 0


def test_without_its_database_a_cells_servers_run_on_and_nobody_reaches_them() -> None:
    row = whatif.without(cloud_of(LOOP), ["messaging:main"]).row("cell:cell1")
    assert (row.verdict, row.after, row.why) == ("down", 20, "messaging:main is down")


def test_where_a_cell_does_not_say_how_many_compute_nodes_it_has_those_that_we_run_count() -> None:
    cloud = open_site(str(Path(__file__).parents[2] / "examples/cells/cloud.yaml")).cloud
    row = whatif.without(cloud, ["host:compute3b"]).row("cell:cell3")
    assert (row.verdict, row.before, row.after, row.later) == ("fewer", 2, 1, 1)
    assert whatif.without(cloud, ["messaging:cell3"]).row("cell:cell3").after == 2


def test_without_the_only_edge_no_client_reaches_anything() -> None:
    row = whatif.without(cloud_of(LOOP), ["edge:lb"]).row("service:glance")
    assert (row.verdict, row.later, "no edge is left" in row.why) == ("down", 0, True)


def test_what_needs_a_service_whose_pods_come_back_comes_back_with_it() -> None:
    spec = LOOP.replace("replicas: 3", "replicas: 1").replace(", cell: cell1", "")
    row = whatif.without(cloud_of(spec), ["node:k1/n1"]).row("service:glance")
    assert (row.verdict, row.after, row.later) == ("down", 0, 1)


def test_what_cannot_be_lost_is_refused_with_what_was_meant() -> None:
    with pytest.raises(PlaneshiftError) as caught:
        whatif.without(cloud_of(LOOP), ["zone:C", "hots:db1"])
    assert [p.code for p in caught.value.problems] == ["PS227", "PS227"]
    assert caught.value.problems[1].hint == "Did you mean `host:db1`?"


def over_zones(zones: str, replicas: int) -> model.Cloud:
    """So many pods of Keystone in a cluster with a node for each letter, in the zone that it names."""
    nodes = "".join(f"\n  - {{name: n{i}, zone: {zone}}}" for i, zone in enumerate(zones))
    return cloud_of(f"""
zones: [A, B, C]
hosts: [{{name: here, via: local, address: 192.0.2.1}}]
edges: [{{name: lb, address: 192.0.2.1}}]
databases: {{main: {{engine: mysql, host: 192.0.2.9}}}}
clusters:
- name: k1
  registry: registry.example.org
  nodes:{nodes}
services:
  keystone: {{backends: {{pods: {{cluster: k1, replicas: {replicas}}}}}}}
""")


@st.composite
def clusters(draw: st.DrawFn) -> tuple[model.Cloud, list[str]]:
    """A cluster over zones with pods of Keystone, and what of it is lost."""
    nodes = "".join(draw(st.lists(st.sampled_from("ABC"), min_size=1, max_size=9)))
    cloud = over_zones(nodes, draw(st.integers(1, 12)))
    lost = draw(
        st.lists(st.sampled_from(["zone:A", "zone:B", "zone:C", *(f"node:k1/n{i}" for i in range(len(nodes)))]))
    )
    return cloud, lost


@given(clusters(), st.randoms())
@settings(max_examples=200, deadline=None)
def test_a_loss_takes_no_fewer_pods_than_any_even_spread_has_there(
    pair: tuple[model.Cloud, list[str]], random: object
) -> None:
    """Pods dealt out one by one to the emptiest zone, and there to the emptiest node; ties by chance."""
    cloud, lost = pair
    row = whatif.without(cloud, lost).row("run:keystone/pods/keystone-api") if lost else None
    if row is None:
        return
    nodes = {n.name: n.zone for n in cloud.spec.clusters[0].nodes}
    on: dict[str, int] = dict.fromkeys(nodes, 0)
    for _ in range(row.before):
        zones = {z: sum(on[n] for n in on if nodes[n] == z) for z in nodes.values()}
        zone = min(zones, key=lambda z: (zones[z], random.random()))  # type: ignore[attr-defined]
        node = min((n for n in nodes if nodes[n] == zone), key=lambda n: (on[n], random.random()))  # type: ignore[attr-defined]
        on[node] += 1
    gone = {n for n in nodes if f"node:k1/{n}" in lost or f"zone:{nodes[n]}" in lost}
    assert 0 <= row.after <= row.before - sum(on[n] for n in gone)
    assert row.later == (row.before if len(gone) < len(nodes) else 0)


@given(clusters(), st.randoms())
@settings(max_examples=200, deadline=None)
def test_a_loss_takes_no_fewer_pods_than_the_schedulers_scores_put_there(
    pair: tuple[model.Cloud, list[str]], random: object
) -> None:
    """Each pod goes to a node of the lowest score, ties by chance; scores as kube-scheduler counts them."""
    cloud, lost = pair
    nodes = {n.name: n.zone for n in cloud.spec.clusters[0].nodes}
    on: dict[str, int] = dict.fromkeys(nodes, 0)
    replicas = cloud.spec.services["keystone"].backends["pods"].replicas or 0
    for _ in range(replicas):
        in_zone = {n: sum(on[m] for m in on if nodes[m] == nodes[n]) for n in on}
        weights = math.log(len({*nodes.values()}) + 2), math.log(len(nodes) + 2)
        score = {n: round(in_zone[n] * weights[0] + on[n] * weights[1]) for n in on}
        on[min(on, key=lambda n: (score[n], random.random()))] += 1  # type: ignore[attr-defined]
    gone = [n for n in nodes if f"node:k1/{n}" in lost or f"zone:{nodes[n]}" in lost]
    if gone:
        row = whatif.without(cloud, lost).row("run:keystone/pods/keystone-api")
        assert row.after <= replicas - sum(on[n] for n in gone)


@pytest.mark.parametrize(
    "zones, replicas, lost, left",
    [
        ("ABBB", 4, "B", 1),  # not two: a node of its own does not get half of them
        ("ABBB", 4, "A", 2),
        ("ABBB", 2, "B", 1),
        ("AABB", 3, "A", 1),
        ("ABBBB", 5, "B", 2),
        ("ABC", 2, "A", 1),
    ],
)
def test_zones_of_unequal_size_lose_unequal_shares(zones: str, replicas: int, lost: str, left: int) -> None:
    cloud = over_zones(zones, replicas)
    assert whatif.without(cloud, [f"zone:{lost}"]).row("run:keystone/pods/keystone-api").after == left


@given(clusters())
@settings(max_examples=100, deadline=None)
def test_whoever_loses_more_has_no_more(pair: tuple[model.Cloud, list[str]]) -> None:
    cloud, lost = pair
    after = [whatif.without(cloud, lost[:n]).row("service:keystone").after for n in range(1, len(lost) + 1)]
    assert after == sorted(after, reverse=True)


# --- capacity


def test_pods_share_what_machines_have_each_alone() -> None:
    found = capacity(cloud_of(LOOP))
    assert [(a.component, a.count) for a in found.asks] == [("keystone-api", 3), ("glance-api", 1)]
    assert found.vms.machines == 4
    assert (found.pods.machines, found.pods.cores) == (2, 8)  # one a zone, of the size that the file gives
    assert all(a.measured for a in found.asks)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 100))
@settings(deadline=None)
def test_nodes_have_room_for_all_that_is_asked_of_them(keystone: int, workers: int, load: int) -> None:
    spec = LOOP.replace("replicas: 3", f"replicas: {keystone}, components: {{keystone-api: {{workers: {workers}}}}}")
    chosen = Assumptions(load=load, size=(64, 256))
    found = capacity(cloud_of(spec.replace(", cores: 4, memory: 8", "")), chosen)
    assert found.pods.machines % 2 == 0
    assert found.pods.used_memory <= found.pods.memory
    assert found.pods.used_cores <= found.pods.cores + 0.1
    assert found.vms.used_memory <= found.vms.memory


@pytest.mark.parametrize(
    "text, cores, memory", [("250m", 0.25, 0), ("2", 2.0, 2 / 2**20), ("256Mi", 256, 256.0), ("1Gi", 1, 1024.0)]
)
def test_quantities_are_those_of_kubernetes(text: str, cores: float, memory: float) -> None:
    assert text[-1] == "i" or amount(text) == cores
    assert text[-1] == "m" or mebibytes(text) == pytest.approx(memory)


def test_room_is_counted_node_by_node() -> None:
    node = Machine("node:k/n", "", "", "k", False, 2, 4, ())
    assert fits([node, node], [({"cpu": "1500m"}, 2)])
    assert not fits([node, node], [({"cpu": "1500m"}, 3)])
    assert not fits([], [({}, 1)])


# --- the file and the command line


def test_what_lies_where_follows_from_names_and_addresses() -> None:
    cloud = cloud_of(LOOP)
    found = servers(cloud)
    assert found["database:main"].members == ("host:db1", "host:db2", "host:db3")
    assert found["cache:tokens"].members == ("host:db1", "host:here")
    assert (found["etcd:k1"].size, found["etcd:k1"].least) == (3, 2)
    assert {m.zone for m in machines(cloud).values() if m.cell} == {"B"}
    assert [g.machines[0] for g in groups(cloud)] == ["node:k1/n1", "host:here"]


def test_the_commands_say_it_as_tables_and_as_json(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(HEAD + "".join(f"  {line}\n" for line in LOOP.strip("\n").split("\n")))
    run = CliRunner()
    lost = run.invoke(cli, ["whatif", "-f", str(file), "--without", "zone:B"], standalone_mode=False)
    assert "Without zone:B: 10 machines gone." in lost.output
    plain = run.invoke(cli, ["whatif", "-f", str(file), "--without", "zone:B", "-o", "json"], standalone_mode=False)
    assert {"thing", "verdict", "before", "after", "later", "why"} == set(json.loads(plain.output)["rows"][0])
    power = run.invoke(cli, ["whatif", "-f", str(file), "--without", "power"], standalone_mode=False)
    assert "by hand, on the hypervisor: node k1/ctl1, node k1/ctl2, node k1/n1" in power.output
    both = run.invoke(cli, ["capacity", "-f", str(file)], standalone_mode=False)
    assert "one VM a component" in both.output
    assert json.loads(run.invoke(cli, ["capacity", "-f", str(file), "-o", "json"], standalone_mode=False).output)["vms"]
    assert yaml.safe_load(file.read_text())["spec"]["zones"] == ["A", "B"]
