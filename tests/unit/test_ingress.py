"""`expose: ingress`: what a cluster, its chart and the edge are told."""

from __future__ import annotations

import pytest
import yaml
from worlds import PODS, cloud, paths

from planeshift.model.load import load
from planeshift.plan.build import build as plan_build
from planeshift.plan.observed import Observed
from planeshift.render import rules
from planeshift.render.build import build
from planeshift.render.desired import Desired, Hop

SPEC = PODS.replace(
    "{name: k1, ",
    "{name: k1, expose: ingress, ingress: {address: 192.0.2.7, class-name: web, annotations: {a: b}}, ",
)


def desired(spec: str) -> Desired:
    return build(cloud(spec), {}, {}, {"here": paths()})


def test_the_chart_makes_an_ingress_under_a_name_of_the_edges_own() -> None:
    values = desired(SPEC).pods["k1/keystone/pods"].values
    assert values["service"] == {"type": "ClusterIP"}
    assert values["ingress"] == {
        "enabled": True,
        "host": "keystone-pods.openstack.k1.internal",
        "className": "web",
        "annotations": {"a": "b"},
    }


def test_the_edge_sends_one_server_through_a_hop_that_names_the_pods() -> None:
    edge = desired(SPEC).edges["lb"]
    servers = {(f.service, s.name): s for f in edge.frontends for s in f.servers}
    pods = servers["placement", "pods-k1"]
    assert (pods.address, pods.weight) == ("127.0.0.1", servers["placement", "vms-here"].weight)
    assert pods.hop == Hop("placement-pods.openstack.k1.internal", "192.0.2.7", 80)
    assert servers["placement", "vms-here"].hop is None
    text = edge.files["haproxy.cfg"].content.decode()
    assert f"server pods-k1 127.0.0.1:{pods.port} maxconn {pods.at_once} weight" in text
    hop = text.split("listen placement-pods-k1\n")[1].split("\n\n")[0]
    assert "http-request set-header Host placement-pods.openstack.k1.internal" in hop
    assert "server ingress 192.0.2.7:80" in hop


def test_a_hops_place_that_somebody_else_has_is_told_before_the_edge_starts() -> None:
    wanted = desired(SPEC)
    port = next(s.port for f in wanted.edges["lb"].frontends for s in f.servers if s.hop)
    given = {n: frozenset(s.name for s in f.secrets) for n, f in wanted.secrets.items()}
    with pytest.raises(Exception, match=f"127.0.0.1:{port}: somebody is there"):
        plan_build(wanted, Observed(secrets=given, listeners={("127.0.0.1", port): "somebody"}))


@pytest.mark.parametrize(
    ("spec", "code", "line"),
    [
        (SPEC.replace("ingress: {address: 192.0.2.7, class-name: web, annotations: {a: b}}, ", ""), "PS108", 4),
        (SPEC.replace("expose: ingress, ", ""), "PS107", 4),
        (SPEC.replace("replicas: 3}", "replicas: 3, weight: 50}, more: {cluster: k1, weight: 50}"), "PS203", 7),
    ],
)
def test_what_does_not_fit_together_is_told_at_its_place(spec: str, code: str, line: int) -> None:
    head = "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: test}\nspec:\n"
    whole = head + "\n".join(f"  {row}" for row in spec.strip("\n").splitlines())
    assert yaml.safe_load(whole)
    (found,) = rules.check(load(whole, "cloud.yaml"))
    assert found.code == code and found.where is not None and found.where.line == line + 3
