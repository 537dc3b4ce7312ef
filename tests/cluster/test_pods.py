"""The four services as pods of a real cluster: made, proved, changed, rolled back, scaled, edited by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from podsrig import SERVICES, Cloud

pytestmark = pytest.mark.xdist_group("pods")


def test_four_services_come_up_as_pods_and_are_proved(pods: Cloud) -> None:
    pods.mends()
    pods.run("verify")
    rows = json.loads(pods.run("status", "-o", "json").stdout)
    assert {(r["service"], r["host"], r["health"]) for r in rows if r["service"] != "edge"} == {
        (name, "k1", "up") for name in SERVICES
    }
    assert "keystone-pods" in pods.run("logs", "keystone").stdout


def test_no_secret_is_in_values_config_maps_or_jobs(pods: Cloud) -> None:
    directory = pods.rig.directory / "secrets"
    words = {str(v) for p in directory.glob("*.yaml") for v in _texts(yaml.safe_load(p.read_text())) if len(v) > 12}
    shown = "".join(pods.helm("get", "all", f"{name}-pods") for name in ("keystone", "glance", "barbican"))
    shown += pods.kubectl("get", "configmaps,jobs,pods,deployments,events,leases", "-o", "json")
    assert words and [w for w in words if w in shown] == []


def _texts(value: Any) -> Iterator[str]:
    for inner in value.values() if isinstance(value, dict) else [value]:
        if isinstance(inner, dict):
            yield from _texts(inner)
        else:
            yield str(inner)


def test_the_namespace_lets_only_restricted_pods_in(pods: Cloud) -> None:
    labels = json.loads(pods.rig.kubectl("get", "namespace", "openstack", "-o", "json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_changed_file_rolls_the_pods_that_have_it_and_no_others_and_a_rollback_brings_it_back(pods: Cloud) -> None:
    before = {name: pods.pods(name) for name in ("keystone", "glance")}
    pods.glance.write_text(pods.glance.read_text() + "[image_format]\ncontainer_formats = bare\n")
    assert "release:k1/glance/pods" in pods.operations()
    lost = pods.lost(9292, "/healthcheck", pods.mends)
    after = {name: pods.pods(name) for name in ("keystone", "glance")}
    assert before["keystone"] == after["keystone"] and before["glance"].keys().isdisjoint(after["glance"])
    assert lost == []
    pods.helm("rollback", "glance-pods", "--wait", "--timeout", "3m")
    assert set(pods.pods("glance").values()) == set(before["glance"].values())
    assert "release:k1/glance/pods" in pods.operations()
    pods.mends()
    assert set(pods.pods("glance").values()) == set(after["glance"].values())


def test_more_pods_are_asked_for_and_come_without_a_restart(pods: Cloud) -> None:
    before = pods.pods("placement")
    with pods.edited() as spec:
        spec["services"]["placement"]["backends"]["pods"]["replicas"] = 2
    assert "no pod restarts" in pods.summaries()
    pods.mends()
    assert before.keys() < pods.pods("placement").keys() and len(pods.pods("placement")) == 2


def test_what_somebody_changed_by_hand_is_told_and_goes_back(pods: Cloud) -> None:
    pods.kubectl("scale", "deployment/placement-pods", "--replicas=1")
    assert "1 pods instead of 2" in pods.summaries()
    pods.mends()
    assert len(pods.pods("placement")) == 2
    pods.kubectl("delete", "deployment/placement-pods")
    assert "its Deployment is gone" in pods.summaries()
    pods.mends()
    assert len(pods.pods("placement")) == 2
