"""Programs that no edge sends anything, as pods: those of a cell that are asked at a port of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver import Api, Handler, api, says
from test_consumers import PODS
from worlds import Operator, assert_serves, cloud, ids

from planeshift.app.fleet import fleet
from planeshift.app.site import Site
from planeshift.app.status import status
from planeshift.drivers.kubernetes import KubernetesCluster
from planeshift.engine.observe import observe
from planeshift.model.load import load
from planeshift.render import rules
from planeshift.render.build import build
from planeshift.render.desired import HostPaths
from planeshift.topology.machines import groups

SPEC = PODS.replace("OLD", "100").replace("NEW", "0").replace("TOP", "100").replace("REST", "0")
SIDE = (
    "      side: {cluster: k1, cell: c1, components: {nova-metadata: {workers: 3}, nova-novncproxy: {port: 31080}}}\n"
)


def values(spec: str, backend: str = "side") -> Mapping[str, Any]:
    found = build(cloud(spec), {}, {}, {n: HostPaths("/run/t", "/var/t") for n in ("here", "c1", "c2", "c3", "n1")})
    return found.pods[f"k1/nova/{backend}"].values


def problems(spec: str) -> list[tuple[str, str]]:
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": yaml.safe_load(spec)}
    return [(p.code, p.message) for p in rules.check(load(yaml.safe_dump(whole, sort_keys=False), "cloud.yaml"))]


def test_each_has_pods_and_a_port_of_the_nodes_and_the_edge_knows_nothing_of_them() -> None:
    operator = Operator(SPEC + SIDE)
    planned = {o.id: o for o in operator.plan().operations}
    assert planned["release:k1/nova/side"].summary.endswith("install nova-side, 4 pods")
    assert planned["set-weights:lb"].detail == ("nodes of k1/nova/pods: by their ready pods",)
    operator.up()
    world = operator.next()
    found = world.desired.pods["k1/nova/side"].values
    assert found["serve"] is False and found["service"] == {"type": "ClusterIP"} and "takers" not in found
    assert found["others"] == {
        "nova-metadata": {
            "replicas": 2,
            "workers": 3,
            "threads": 4,
            "service": {"type": "NodePort", "nodePort": 30471},
        },
        "nova-novncproxy": {"replicas": 2, "service": {"type": "NodePort", "nodePort": 31080}},
    }
    assert not {s.backend for f in world.desired.edges["lb"].frontends for s in f.servers} & {"side"}
    programs = sorted(p.program for p in operator.data.processes.values() if p.unit == "k1/nova/side")
    assert programs == ["nova-metadata"] * 2 + ["nova-novncproxy"] * 2
    assert ids(operator.plan()) == []
    assert_serves(operator)


def test_they_are_changed_one_by_one_and_go_when_nobody_names_them() -> None:
    spec = SPEC + SIDE
    operator = Operator(spec)
    operator.up()
    for change, how in (
        (("port: 31080", "port: 31081"), "no pod restarts"),
        (("workers: 3", "workers: 2"), "its pods in turn"),
        (("nova-metadata: {workers: 2}, ", ""), "its pods in turn"),
    ):
        spec = spec.replace(*change)
        operator.edit(spec)
        [operation] = operator.plan().operations
        assert (operation.id, operation.summary.partition(", ")[2]) == ("release:k1/nova/side", how)
        operator.up()
    programs = [p.program for p in operator.data.processes.values() if p.unit == "k1/nova/side"]
    assert programs == ["nova-novncproxy"] * 2


def test_pods_of_what_takes_messages_are_judged_alone_so_these_have_a_backend_of_their_own() -> None:
    both = SPEC.replace(
        "cell: c1, weight: 0}", "cell: c1, weight: 0, components: {nova-conductor: {}, nova-metadata: {}}}"
    )
    what = "nova-metadata in pods of the release of what takes messages is not yet supported"
    assert problems(both) == [("PS110", what)]


def test_status_counts_them_and_an_api_that_was_heard_of_once_is_well() -> None:
    operator = Operator(SPEC + SIDE)
    operator.up()
    world = operator.next()
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}}
    text = yaml.safe_dump(whole | {"spec": yaml.safe_load(SPEC + SIDE)})
    rows = {r.backend: r for r in status(Site(Path("cloud.yaml"), load(text, "cloud.yaml"), {}), world)}
    assert (rows["side"].health, rows["side"].detail, rows["side"].weight) == ("up", "4 of 4 pods", "")
    lines = {line.name: line for line in fleet(world, observe(world))}
    assert [(name, line.health) for name, line in lines.items()] == [("cell0", "up"), ("c1", "up")]
    assert lines["c1"].detail.startswith("compute 1/1 up, conductor 1/1 up, 0 queued")
    assert len(world.clusters["k1"].tail("k1/nova/side", 10)) == 4


def test_what_belongs_on_compute_nodes_is_refused_and_so_are_ports_that_clash_or_cannot_be() -> None:
    compute = SIDE.replace("nova-novncproxy: {port: 31080}", "nova-compute: {}")
    assert problems(SPEC + compute) == [("PS110", "nova-compute as pods is not yet supported")]
    again = SIDE.replace("side:", "again:").replace("port: 31080", "port: 31081")
    want = "nova-metadata of nova/again and nova-metadata of nova/side both want k1's nodes:30471"
    assert problems(SPEC + SIDE + again) == [("PS203", want)]
    assert problems(SPEC + SIDE + again.replace("workers: 3", "port: 31001")) == []
    last = "a port of a cluster's nodes is one of 30000 to 32767"
    assert problems(SPEC + SIDE.replace("31080", "6080")) == [("PS203", last)]
    balanced = SPEC.replace("{name: k1, ", "{name: k1, expose: loadbalancer, ")
    assert problems(balanced + SIDE + again) == []
    assert values(balanced + SIDE)["others"]["nova-novncproxy"]["service"] == {"type": "LoadBalancer"}


def test_names_that_make_a_service_s_too_long_are_refused() -> None:
    name = "s" * 46  # with nova- 51 of the 53 for Helm
    [(code, message)] = problems(
        SPEC + SIDE.replace("side:", f"{name}:").replace(", nova-novncproxy: {port: 31080}", "")
    )
    assert code == "PS218" and message == f"the Service `nova-{name}-nova-metadata` has 65 letters of 63"


def test_behind_an_ingress_controller_they_keep_their_ports() -> None:
    found = values(SPEC.replace("{name: k1, ", "{name: k1, expose: ingress, ingress: {address: 192.0.2.7}, ") + SIDE)
    assert found["others"]["nova-metadata"]["service"]["type"] == "NodePort" and "ingress" not in found


def test_a_proxy_of_consoles_reaches_compute_nodes_that_nobody_named() -> None:
    everywhere = {"port": 1024, "endPort": 65535, "protocol": "TCP"}
    alone = SPEC + SIDE.replace(", nova-novncproxy: {port: 31080}", "")
    for spec, there in ((SPEC + SIDE, True), (alone, False)):
        assert any(everywhere in rule["ports"] for rule in values(spec)["networkPolicy"]["egress"]) is there


def test_capacity_counts_them_and_a_weight_is_no_matter_of_theirs() -> None:
    mixed = SPEC.replace(
        "weight: 0}\n      old", "weight: 0, components: {nova-api: {}, nova-metadata: {port: 31000}}}\n      old"
    )
    found = {(g.backend, g.component): g for g in groups(cloud(mixed + SIDE))}
    assert found["side", "nova-metadata"].replicas == 2 and found["side", "nova-metadata"].workers == 3
    assert not found["pods", "nova-api"].serving and found["pods", "nova-metadata"].serving


# --- what a cluster shows

ITEMS: dict[str, list[dict[str, Any]]] = {}


def answer(handler: Handler) -> None:
    """Lists of what there is."""
    what = handler.path.partition("?")[0].rpartition("/")[2]
    kind = {"nodes": "NodeList", "pods": "PodList", "services": "ServiceList"}[what]
    says(200, {"kind": kind, "apiVersion": "v1", "metadata": {}, "items": ITEMS.get(what, [])})(handler)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Api]:
    with api(tmp_path, answer) as made:
        yield made
    ITEMS.clear()


def test_neither_their_pods_nor_their_balancer_is_the_edge_s(server: Api) -> None:
    def pod(name: str, **more: str) -> dict[str, Any]:
        labels = {"app.kubernetes.io/instance": "nova-pods", "app.kubernetes.io/component": name, **more}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": "n1", "containers": []},
            "status": status,
        }

    def service(name: str, address: str, **more: str) -> dict[str, Any]:
        labels = {"app.kubernetes.io/instance": "nova-pods", **more}
        return {
            "metadata": {"name": name, "labels": labels},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
        }

    takes = {"planeshift.dev/takes": "requests"}
    ITEMS["pods"] = [pod("nova-api"), pod("nova-metadata", **takes)]
    ITEMS["services"] = [service("nova-pods", "192.0.2.5"), service("nova-pods-nova-metadata", "192.0.2.6", **takes)]
    view = KubernetesCluster("k1", "test", server.kubeconfig, "", "openstack", str, None).view()
    assert (view.problem, view.ready, view.balancers) == ("", {"nova-pods": {"n1": 1}}, {"nova-pods": "192.0.2.5"})
