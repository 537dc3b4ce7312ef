"""The lab file, its topology, what Kubernetes is told, and the plan: what is seen in, steps out."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace

import pytest

from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import kubernetes
from planeshift.lab.model import Lab, load
from planeshift.lab.plan import Step, plan
from planeshift.lab.site import ClusterSeen, HostSeen, Seen
from planeshift.lab.topology import Topology, topology

HEAD = "apiVersion: planeshift/v1\nkind: Lab\nmetadata: {name: test}\nspec:\n"
FIVE = """
  zones: [a, b]
  hosts:
    - {name: "node{1..3}", zone: a, cluster: k1}
    - {name: vm1, zone: b, disk: 2GiB}
"""


def lab(spec: str = FIVE) -> Lab:
    return load(HEAD + spec.lstrip("\n"), "lab.yaml")


def complete(spec: str = FIVE) -> Topology:
    return topology(lab(spec), "/somewhere")


def problem(spec: str) -> Problem:
    with pytest.raises(PlaneshiftError) as caught:
        lab(spec)
    (found,) = caught.value.problems
    return found


def test_zones_are_named_as_in_a_cloud_file() -> None:
    found = complete("  zones: [A, nova.B_2]\n  hosts: [{name: a, zone: nova.B_2}]\n")
    assert [z.name for z in found.zones] == ["A", "nova.B_2"] and found.hosts[0].zone == "nova.B_2"


@pytest.mark.parametrize(
    ("spec", "code", "line"),
    [
        ("  zones: [a]\n", "PS108", 5),
        ("  hosts: []\n", "PS107", 5),
        ("  hosts: [{name: a}, {name: a}]\n", "PS208", 5),
        ("  hosts: [{name: 'a{1..2}'}, {name: a2}]\n", "PS208", 5),
        ("  zones: [a]\n  hosts: [{name: a, zone: b}]\n", "PS207", 6),
        ("  zones: [-a]\n  hosts: [{name: a}]\n", "PS107", 5),
        ("  zones: [a, a]\n  hosts: [{name: a}]\n", "PS208", 5),
        ("  hosts: [{name: a, disc: 1GiB}]\n", "PS106", 5),
        ("  hosts: [{name: a, disk: 1TB}]\n", "PS107", 5),
        ("  hosts: [{name: ../../etc}]\n", "PS107", 5),
        ("  hosts: [{name: 'a;reboot'}]\n", "PS107", 5),
        ("  hosts: [{name: 'a{3..1}'}]\n", "PS109", 5),
        ("  hosts: [{name: 'a{1..101}'}]\n", "PS107", 5),
        ("  network: 8.8.8.0/24\n  hosts: [{name: a}]\n", "PS107", 5),
        ("  network: 10.0.0.1/24\n  hosts: [{name: a}]\n", "PS107", 5),
        ("  network: 10.0.0.0/25\n  pods: 10.0.0.0/16\n  hosts: [{name: a}]\n", "PS107", 6),
    ],
)
def test_mistakes_are_told_at_their_place(spec: str, code: str, line: int) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        lab(spec)
    assert (code, line) in [(p.code, p.where.line if p.where else 0) for p in caught.value.problems]


def test_a_misspelt_key_is_helped_with() -> None:
    assert problem("  hosts: [{name: a, clustre: k}]\n").hint == "Did you mean `cluster`?"


def test_addresses_are_all_different_and_the_machines_is_none_of_them() -> None:
    found = complete()
    addresses = [h.address for h in found.hosts]
    assert addresses == ["172.30.0.2", "172.30.0.3", "172.30.0.4", "172.30.0.5"]
    assert found.gateway == "172.30.0.1"
    assert [h.pods for h in found.hosts] == ["10.212.0.0/24", "10.212.1.0/24", "10.212.2.0/24", ""]
    assert [h.name for h in found.hosts if h.leads] == ["node1"]
    assert found.hosts[3].disk == 2 * 2**30


def test_names_of_interfaces_fit_the_kernel_and_tell_labs_apart() -> None:
    one, other = complete(), topology(lab(), "/elsewhere")
    assert one.interface != other.interface
    assert len(one.interface) < 16


def test_several_clusters_have_control_planes_of_their_own() -> None:
    found = complete("  hosts: [{name: 'a{1..2}', cluster: k1}, {name: 'b{1..2}', cluster: k2}]\n")
    assert found.clusters == ("k1", "k2")
    assert [found.leader(c).name for c in found.clusters] == ["a1", "b1"]
    assert len({h.pods for h in found.hosts}) == 4


def test_kubeadm_is_told_the_pinned_versions_and_the_labs_networks() -> None:
    found = complete()
    versions = {"kubelet": "1.35.4", "etcd": "3.6.16", "coredns": "1.14.7"}
    first, cluster, kubelet, proxy = kubernetes.init(found, found.hosts[0], "/planeshift/x/node1", versions, "t.o")
    assert first["localAPIEndpoint"]["advertiseAddress"] == "172.30.0.2"
    assert cluster["kubernetesVersion"] == "v1.35.4"
    assert ipaddress.IPv4Address(kubelet["clusterDNS"][0]) in ipaddress.IPv4Network(found.services)
    assert proxy["mode"] == "nftables"
    stream = kubernetes.documents([first, cluster])
    assert stream.count("---\n") == 2 and json.loads(stream.split("---\n")[1]) == first


def test_a_kubeconfig_has_a_context_for_each_cluster() -> None:
    def admin(n: str) -> dict[str, object]:
        return {"clusters": [{"cluster": {"server": n}}], "users": [{"user": {"token": n}}]}

    found = kubernetes.merged({"k1": admin("1"), "k2": admin("2")})
    assert [c["name"] for c in found["contexts"]] == ["k1", "k2"]
    assert found["current-context"] == "k1"
    assert found["users"][1] == {"name": "k2-admin", "user": {"token": "2"}}


# --- the plan


def whole(found: Topology) -> Seen:
    """What is seen of a lab that is as declared."""
    hosts = {
        h.name: HostSeen(
            pid=9, connected=True, disk=True, images="I" if h.cluster else "", ready="ca" if h.cluster else ""
        )
        for h in found.hosts
    }
    clusters = {
        c: ClusterSeen(answers=True, nodes={n.name: True for n in found.nodes(c)}, storage=True) for c in found.clusters
    }
    zones = {z.name: False for z in found.zones}
    return Seen(pid=1, network=True, images="I", hosts=hosts, zones=zones, clusters=clusters)


def ids(steps: list[Step]) -> list[str]:
    return [s.id for s in steps]


def changed(seen: Seen, name: str, **changes: object) -> Seen:
    return replace(seen, hosts={**seen.hosts, name: replace(seen.hosts[name], **changes)})  # type: ignore[arg-type]


def test_from_nothing() -> None:
    steps = plan(complete(), Seen(tools=("etcd",)), "I")
    assert ids(steps)[:4] == ["tools", "images", "lab", "network"]
    assert ids(steps)[-5:] == ["init k1", "join node2", "join node3", "storage k1", "wait k1"]
    by_id = {s.id: s for s in steps}
    assert set(by_id["join node2"].needs) >= {"init k1", "import node2", "connect node2"}
    for step in steps:  # each need is there, and before
        assert all(n in ids(steps)[: steps.index(step)] for n in step.needs)


def test_a_second_time_there_is_nothing_to_do() -> None:
    found = complete()
    assert plan(found, whole(found), "I") == []


def test_a_lab_without_clusters_needs_no_tools() -> None:
    steps = plan(complete("  hosts: [{name: vm1}]\n"), Seen(), "")
    assert ids(steps) == ["lab", "network", "boot vm1", "connect vm1"]


def test_a_dead_node_is_booted_and_waited_for_and_keeps_what_it_is() -> None:
    found = complete()
    seen = changed(whole(found), "node2", pid=0, connected=False)
    assert ids(plan(found, seen, "I")) == ["boot node2", "connect node2", "wait k1"]


def test_a_node_that_was_left_half_made_is_made_anew() -> None:
    found = complete()
    seen = changed(whole(found), "node2", ready="")
    expected = ["erase node2", "boot node2", "connect node2", "import node2", "join node2", "wait k1"]
    assert ids(plan(found, seen, "I")) == expected


def test_with_a_new_control_plane_every_node_joins_anew() -> None:
    found = complete()
    seen = changed(whole(found), "node1", ready="")
    got = ids(plan(found, seen, "I"))
    assert {"erase node1", "erase node2", "erase node3", "init k1", "join node2", "join node3"} <= set(got)
    assert "erase vm1" not in got


def test_after_a_reboot_of_the_machine_all_boots_and_nothing_is_erased() -> None:
    found = complete()
    seen = whole(found)
    hosts = {n: replace(h, pid=0, connected=False) for n, h in seen.hosts.items()}
    got = ids(plan(found, replace(seen, pid=0, network=False, hosts=hosts, clusters={}, zones={}), "I"))
    assert not [s for s in got if s.startswith(("erase", "init", "join"))]
    assert {"lab", "network", "boot node1", "boot vm1", "wait k1"} <= set(got)


def test_faults_are_ended() -> None:
    found = complete()
    seen = changed(changed(whole(found), "vm1", paused=True, slow=True, filled=True), "node3", connected=False)
    seen = replace(seen, zones={"a": False, "b": True})
    expected = ["mend b", "connect node3", "resume vm1", "hasten vm1", "empty vm1", "wait k1"]
    assert ids(plan(found, seen, "I")) == expected


def test_what_is_no_longer_declared_goes() -> None:
    found = complete()
    assert ids(plan(found, replace(whole(found), others=("old",)), "I"))[0] == "remove old"


def test_new_images_are_imported_into_every_node() -> None:
    found = complete()
    got = ids(plan(found, whole(found), "J"))
    assert [s for s in got if s.startswith("import")] == ["import node1", "import node2", "import node3"]
    assert got[0] == "images"
