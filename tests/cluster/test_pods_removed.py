"""Services as pods of a real cluster: removed, one by one and all at once."""

from __future__ import annotations

import json
import time

import pytest
from podsrig import WAIT, Cloud

pytestmark = pytest.mark.xdist_group("pods")


def test_what_is_no_longer_declared_goes_with_its_files(pods: Cloud) -> None:
    with pods.edited() as spec:
        del spec["services"]["barbican"]
    pods.mends()
    assert "barbican" not in pods.helm("list", "-q") + pods.kubectl(
        "get", "configmaps,secrets,deployments", "-o", "name"
    )
    pods.run("verify")


def test_down_leaves_nothing_of_it_in_the_cluster_and_purge_leaves_the_lab(pods: Cloud) -> None:
    pods.run("down", "--purge", "--yes")
    deadline, kinds = time.monotonic() + WAIT, "all,configmaps,secrets,networkpolicies,serviceaccounts"
    # Pods finish what they serve; all else is gone at once.
    while left := set(pods.kubectl("get", kinds, "-o", "name").split()) - {
        "configmap/kube-root-ca.crt",
        "serviceaccount/default",
    }:
        assert all(name.startswith("pod/") for name in left) and time.monotonic() < deadline, left
        time.sleep(0.5)
    lease = json.loads(pods.kubectl("get", "lease", "planeshift-test", "-o", "json"))
    assert not lease["spec"].get("holderIdentity")
    assert pods.rig.states()["node1"] == "ready"
