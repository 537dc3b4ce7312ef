"""Pods that lie together although a node is back: which of them, and an end to it. On a cluster: test_pods_broken.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node, Pod
from worlds import PODS, Operator, ids

from planeshift.drivers.kubernetes.spread import seats, uneven
from planeshift.plan.operations import Kind

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def at(minute: int) -> str:
    return f"2026-11-30T12:{minute:02}:00Z"


def node(name: str, zone: str, since: int, **spec: Any) -> Any:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": at(since)}
    metadata = {"name": name, "labels": {HOST: name} | ({ZONE: zone} if zone else {})}
    return Node.from_dict({"metadata": metadata, "spec": spec, "status": {"conditions": [ready]}})


def pod(on: str, made: int, app: str = "api", **more: str) -> Any:
    metadata = {"name": f"{on}-{made}", "labels": {"app": app}, "creationTimestamp": at(made), **more}
    return Pod.from_dict({"metadata": metadata, "spec": {"nodeName": on, "containers": []}})


def workload(*keys: str, skew: int = 1) -> Any:
    asked = [{"maxSkew": skew, "topologyKey": k, "whenUnsatisfiable": "ScheduleAnyway"} for k in keys]
    template = {"spec": {"containers": [], "topologySpreadConstraints": asked}}
    spec = {"selector": {"matchLabels": {"app": "api"}}, "template": template}
    return Deployment(spec=DeploymentSpec.from_dict(spec))


class Client:
    """A cluster that has these nodes."""

    def __init__(self, *nodes: Any) -> None:
        self.nodes = nodes

    def list(self, kind: type) -> list[Any]:
        return list(self.nodes)


def found(nodes: list[Any], pods: list[Any], *keys: str, skew: int = 1) -> str:
    return uneven(workload(*(keys or (ZONE, HOST)), skew=skew), pods, seats(Client(*nodes)))


A_IS_BACK = [node("n1", "A", 9), node("n2", "B", 0)]


@pytest.mark.parametrize(
    "nodes, pods, told",
    [
        (A_IS_BACK, [pod("n2", 1), pod("n2", 5)], "2 pods in B, none in A, which is back"),
        (A_IS_BACK, [pod("n2", 1), pod("n2", 5), pod("n2", 6), pod("n1", 9)], "3 pods in B, 1 in A, which is back"),
        (A_IS_BACK, [pod("n2", 1), pod("n2", 10)], ""),  # made since: it lies where the scheduler wanted it
        (A_IS_BACK, [pod("n2", 1), pod("n1", 1)], ""),
        (A_IS_BACK, [pod("n2", 1), pod("n2", 2, deletionTimestamp=at(10)), pod("n1", 10)], ""),
        (A_IS_BACK, [pod("n2", 1)], ""),
        (A_IS_BACK, [pod("n2", 1), pod("n2", 2, app="other")], ""),
        ([node("n1", "A", 9, unschedulable=True), node("n2", "B", 0)], [pod("n2", 1), pod("n2", 2)], ""),
        (
            [node("n1", "A", 9, taints=[{"key": "down", "effect": "NoExecute"}]), node("n2", "B", 0)],
            [pod("n2", 1), pod("n2", 2)],
            "",
        ),
        (
            [node("n1", "", 9), node("n2", "", 0)],
            [pod("n2", 1), pod("n2", 2)],
            "2 pods on n2, none on n1, which is back",
        ),
        ([node("n2", "B", 0)], [pod("n2", 1), pod("n2", 2)], ""),
        ([], [pod("n2", 1), pod("n2", 2)], ""),
    ],
)
def test_only_what_making_anew_would_mend_is_uneven(nodes: list[Any], pods: list[Any], told: str) -> None:
    assert found(nodes, pods) == told


def test_what_asks_for_no_spread_or_for_less_has_none() -> None:
    pods = [pod("n2", 1), pod("n2", 2)]
    assert found(A_IS_BACK, pods, "no.such/label") == ""
    assert uneven(workload(), pods, seats(Client(*A_IS_BACK))) == ""
    assert found(A_IS_BACK, pods, ZONE, skew=2) == ""


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 20)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), max_size=6),
)
def test_once_all_pods_were_made_anew_nothing_is_uneven_wherever_they_came(
    nodes: list[tuple[str, int]], pods: list[tuple[int, int]]
) -> None:
    there = [node(f"n{n}", zone, since) for n, (zone, since) in enumerate(nodes)]
    assert found(there, [pod(f"n{n % len(nodes)}", 21) for n, _ in pods]) == ""
    told = found(there, [pod(f"n{n % len(nodes)}", made) for n, made in pods])
    assert told == "" or told.endswith(", which is back")


def test_the_plan_says_how_they_lie_and_the_next_run_spreads_them() -> None:
    operator = Operator(PODS)
    operator.up()
    release = operator.data.clusters["k1"].releases["k1/keystone/pods"][-1]
    release.pods = {"n1": 3}
    [planned] = [o for o in operator.plan().operations if o.kind is Kind.RELEASE]
    assert planned.summary.endswith("spread again, its pods in turn: 3 pods on n1, none on n2, which is back")
    assert planned.detail == () and planned.drift  # of the world, not of the file
    operator.up()
    assert operator.data.clusters["k1"].releases["k1/keystone/pods"][-1].pods == {"n1": 2, "n2": 1}
    assert ids(operator.plan()) == []
