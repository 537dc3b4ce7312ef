"""Which pods of a release are made anew, as the API tells of them; in a real cluster: tests/cluster/test_pods_broken.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver import Api, Handler, api, says

from planeshift.drivers.kubernetes import pods
from planeshift.drivers.kubernetes.rollout import Rollout
from planeshift.drivers.kubernetes.talk import Talk

PODS: dict[str, dict[str, Any]] = {}
NODES = {"n1": "True", "n2": "Unknown", "n3": "False"}


def answer(handler: Handler) -> None:
    """Lists of nodes and pods; whatever else is asked for is done."""
    what = handler.path.partition("?")[0].rpartition("/")[2]
    if what == "nodes":
        items = [{"metadata": {"name": n}, "status": {"conditions": [_ready(s)]}} for n, s in NODES.items()]
    else:
        items = [{"metadata": {"name": n} | p.get("metadata", {}), **p["rest"]} for n, p in PODS.items()]
    kind = {"nodes": "NodeList", "pods": "PodList"}.get(what, "Status")
    says(200, {"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items})(handler)


def _ready(status: str) -> dict[str, str]:
    return {"type": "Ready", "status": status}


def pod(node: str, ready: str = "False", waiting: str = "", restarts: int = 0, **metadata: str) -> dict[str, Any]:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    container = {"name": "api", "image": "i", "imageID": "i", "ready": ready == "True", "restartCount": restarts}
    status = {"conditions": [_ready(ready)], "containerStatuses": [{**container, "state": state}]}
    return {"metadata": metadata, "rest": {"spec": {"nodeName": node, "containers": []}, "status": status}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Api]:
    with api(tmp_path, answer) as made:
        yield made
    PODS.clear()


def test_those_that_do_not_come_up_by_waiting_are_made_anew_and_no_others(server: Api) -> None:
    talk, said = Talk("k1", server.kubeconfig, "", "openstack"), list[str]()
    rollout = Rollout(talk)
    going = {"deletionTimestamp": "2026-11-29T12:00:00Z"}
    PODS.update(
        {
            "serves": pod("n1", "True"),
            "starts": pod("n1"),
            "pulls": pod("n1", waiting="ContainerCreating"),
            "no-image": pod("n1", waiting="ImagePullBackOff"),
            "crashes": pod("n1", waiting="CrashLoopBackOff", restarts=5),
            "crashed-once": pod("n1", waiting="CrashLoopBackOff", restarts=1),
            "lost": pod("n2"),
            "serves-at-a-lost-node": pod("n2", "True"),  # as it seems for a while
            "at-a-sick-node": pod("n3"),  # which says itself that it is not ready
            "going": pod("n2", waiting="ImagePullBackOff", **going),
        }
    )
    broken = rollout.broken("glance-pods")
    assert {p.metadata.name for p in broken} == {"no-image", "crashes", "lost"}
    # Those fail a release at once; one that goes already does not.
    assert {p.metadata.name for p in pods.of(talk.client, "x") if pods.hopeless(p)} == {"no-image", "crashes"}
    server.asked.clear()
    rollout.begin_anew(broken, said.append)
    removed = {ask.rpartition("/")[2] for ask in server.asked if ask.startswith("DELETE")}
    assert removed == {"no-image", "crashes", "lost"}
    assert "lost is made anew: its node n2 does not answer" in said
    assert "no-image is made anew: ImagePullBackOff" in said


def test_where_all_serve_no_node_is_asked_for(server: Api) -> None:
    PODS["serves"] = pod("n1", "True")
    rollout = Rollout(Talk("k1", server.kubeconfig, "", "openstack"))
    assert rollout.broken("glance-pods") == []
    assert not any("/nodes" in ask for ask in server.asked)
    rollout.begin_anew([], lambda line: None)


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"it has begun\nunable to go on\n", ["it has begun", "unable to go on"]),
        (b"unable to retrieve container logs for containerd://13a7", []),  # who asked before has more than that
        (b"", []),
    ],
)
def test_kubelets_word_that_there_is_no_log_is_no_line_of_it(server: Api, body: bytes, lines: list[str]) -> None:
    def log(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.answers.append(log)
    assert pods.tail(Talk("k1", server.kubeconfig, "", "openstack").client, "job-1", 15) == lines
