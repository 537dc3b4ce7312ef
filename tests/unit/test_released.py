"""Backends whose Helm release is of a chart that is not ours: values, plan, engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_engine import assert_survives_every_kill
from worlds import PODS, Operator, assert_serves, cloud, ids

from planeshift.app.site import open_site
from planeshift.errors import PlaneshiftError
from planeshift.model.load import load
from planeshift.plan.operations import Kind
from planeshift.render import adapter, rules
from planeshift.render.build import build
from planeshift.render.desired import ChartSource, HostPaths
from planeshift.render.pods import own_values, release_values

REPOSITORY = "charts: {repository: 'https://charts.example.org/site'}\n"
STOCK = "chart: {name: web, version: 1.2.3, values: charts/keystone.yaml}"
SPEC = REPOSITORY + PODS.replace("replicas: 3", f"replicas: 3, {STOCK}")
SOURCE = ChartSource("https://charts.example.org/site", "web", "1.2.3")
VALUES = b"replicaCount: 1\nimage: {tag: latest, pullPolicy: Always}\ncommand: [gunicorn]\n"


def operator(spec: str = SPEC) -> Operator:
    found = Operator(spec)
    found.tree["charts/keystone.yaml"] = VALUES
    found.data.charts[SOURCE] = b"the archive"
    return found


def values(spec: str, file: bytes = VALUES) -> tuple[dict[str, Any], Any]:
    desired = build(cloud(spec), {"charts/keystone.yaml": file}, {}, {"here": HostPaths("/run/t", "/var/t")})
    return release_values(desired.pods["k1/keystone/pods"], b""), desired


def test_the_operator_s_values_stand_and_what_only_we_know_is_put_into_them() -> None:
    found, desired = values(SPEC)
    own = own_values(desired.pods["k1/keystone/pods"], b"")
    image = desired.pods["k1/keystone/pods"].pods.image
    assert found["command"] == ["gunicorn"] and found["image"]["pullPolicy"] == "Always"
    assert found["replicaCount"] == 3 and f"{found['image']['repository']}:{found['image']['tag']}" == image
    assert found["service"] == {"type": "NodePort", "nodePort": 32232}
    sources = found["volumes"][0]["projected"]["sources"]
    assert sources == [{"configMap": own["existingConfig"]}, {"secret": own["existingSecret"]}]
    assert found["volumeMounts"][0]["mountPath"] == "/etc/planeshift"


def test_the_plan_says_which_of_the_operator_s_values_are_overridden() -> None:
    notes = "\n".join(operator().plan().notes)
    assert "replicaCount of charts/keystone.yaml (keystone) is overridden" in notes and "image.tag of" in notes
    assert "pullPolicy" not in notes and "command" not in notes


def test_an_adapter_of_one_s_own_has_numbers_lists_and_texts() -> None:
    own = "{pods: '{replicas}', of: 'https://{cloud}/{image}', files: ['{config.items}', 7], up: true}"
    found, _ = values(SPEC.replace("version: 1.2.3", f"version: 1.2.3, adapter: {own}"), b"")
    assert found["pods"] == 3 and found["files"][1] == 7 and found["up"] is True
    assert found["of"].startswith("https://test/registry.example.org/site/keystone:")
    assert {"key", "path"} == set(found["files"][0][0])


def test_a_cluster_is_told_of_as_it_exposes_pods() -> None:
    balanced, _ = values(SPEC.replace("{name: k1, ", "{name: k1, expose: loadbalancer, pull-secrets: [site], "))
    assert balanced["service"] == {"type": "LoadBalancer", "port": 5000} and "ingress" not in balanced
    assert balanced["imagePullSecrets"] == [{"name": "site"}]
    controller = "expose: ingress, ingress: {address: 192.0.2.7, class-name: web, annotations: {a: b}}"
    behind, _ = values(SPEC.replace("{name: k1, ", f"{{name: k1, {controller}, "))
    [host] = behind["ingress"].pop("hosts")
    assert behind["service"] == {"type": "ClusterIP"} and host["host"] == "keystone-pods.openstack.k1.internal"
    assert behind["ingress"] == {"enabled": True, "className": "web", "annotations": {"a": "b"}}
    assert "imagePullSecrets" not in behind


def test_every_placeholder_stands_for_something() -> None:
    every = {name: f"{{{name}}}" for name in adapter.FACTS}
    found, _ = values(SPEC.replace("version: 1.2.3", f"version: 1.2.3, adapter: {json.dumps(every)}"), b"")
    assert found.keys() == adapter.FACTS.keys() and not [v for v in found.values() if str(v).startswith("{ingress")]


def test_a_chart_like_ours_is_given_the_values_of_ours() -> None:
    found, desired = values(SPEC.replace("version: 1.2.3", "version: 1.2.3, adapter: planeshift"), b"tier: gold\n")
    assert found == {"tier": "gold", **own_values(desired.pods["k1/keystone/pods"], b"")}


@pytest.mark.parametrize(
    "image, parts",
    [
        ("r.example.org:5000/a/b:1.0", ("r.example.org:5000/a/b", "1.0")),
        ("r.example.org:5000/a/b", ("r.example.org:5000/a/b", "latest")),
        ("r/a@sha256:abc", ("r/a@sha256", "abc")),
    ],
)
def test_an_image_is_split_so_that_charts_put_it_together_again(image: str, parts: tuple[str, str]) -> None:
    assert adapter.split(image) == parts


@pytest.mark.parametrize(
    "wrong, code, words",
    [
        (SPEC.replace(REPOSITORY, ""), "PS228", "no repository"),
        (SPEC.replace("version: 1.2.3", "version: 1.2.3, adapter: {a: ['{imege}']}"), "PS228", "{imege}"),
        (SPEC.replace("replicas: 3", "resources: {limits: {cpu: '1'}}"), "PS218", "`resources`"),
        (SPEC.replace("replicas: 3", "autoscale: {min: 2, max: 3}"), "PS218", "`autoscale`"),
        (
            SPEC.replace("vms: {hosts: [here]", "vms: {hosts: [here], chart: {name: a, version: 1.0.0}"),
            "PS218",
            "hosts",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(wrong: str, code: str, words: str) -> None:
    body = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "t"}, "spec": yaml.safe_load(wrong)}
    [problem] = rules.check(load(yaml.safe_dump(body), "cloud.yaml"))
    assert problem.code == code and words in problem.message and problem.where and problem.where.line


@pytest.mark.parametrize("version", ["^1.2", "1", "latest", "1.2.x"])
def test_only_one_exact_version_is_taken(version: str) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        cloud(SPEC.replace("1.2.3", f"'{version}'"))
    assert "one exact version" in caught.value.problems[0].message


def site(directory: Path, text: str | None) -> Any:
    body = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "t"}, "spec": yaml.safe_load(SPEC)}
    (directory / "cloud.yaml").write_text(yaml.safe_dump(body))
    (directory / "charts").mkdir()
    if text is not None:
        (directory / "charts/keystone.yaml").write_text(text)
    return open_site(str(directory / "cloud.yaml"))


@pytest.mark.parametrize("text, code", [(None, "PS215"), ("[1]", "PS107"), ("a: [", "PS101")])
def test_a_values_file_that_is_none_is_refused(tmp_path: Path, text: str | None, code: str) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        site(tmp_path, text)
    assert [p.code for p in caught.value.problems if not p.warning] == [code]


def test_a_secret_among_the_values_is_told_and_not_shown(tmp_path: Path) -> None:
    found = site(tmp_path, "db: {password: hush, passwordSecret: name, list: [{token: ''}]}\n")
    [warning] = [p for p in found.warnings if p.code == "PS307"]
    assert "db.password" in warning.message and "hush" not in str(warning) + warning.where.text


def test_it_is_released_recorded_and_then_nothing_is_left_to_do() -> None:
    someone = operator()
    plan = someone.plan()
    assert any("of the chart web 1.2.3, 3 pods" in o.summary for o in plan.operations)
    someone.up()
    assert_serves(someone)
    released = someone.data.clusters["k1"].releases["k1/keystone/pods"][-1].chart
    assert someone.data.recorded.keys() == {SOURCE} and someone.data.recorded[SOURCE].startswith(released)
    assert ids(someone.plan()) == []


def test_other_bytes_under_the_same_version_are_refused_and_what_runs_stays() -> None:
    someone = operator()
    someone.up()
    someone.data.charts[SOURCE] = b"other bytes"
    assert ids(someone.plan()) == [], "nothing has to be released"
    someone.tree["charts/keystone.yaml"] = VALUES + b"more: 1\n"
    with pytest.raises(PlaneshiftError) as caught:
        someone.up()
    assert [p.code for p in caught.value.problems] == ["PS438"]
    del someone.data.recorded[SOURCE]
    assert f"{Kind.RELEASE}:k1/keystone/pods" in ids(someone.plan())
    someone.up()
    assert_serves(someone)


def test_a_repository_that_is_away_stands_in_the_way_of_releases_alone() -> None:
    someone = operator()
    archive = someone.data.charts.pop(SOURCE)
    with pytest.raises(PlaneshiftError) as caught:
        someone.plan()
    assert [p.code for p in caught.value.problems] == ["PS434"]
    someone.data.charts[SOURCE] = archive
    someone.up()
    someone.data.charts.clear()
    assert ids(someone.plan()) == []


def test_a_backend_keeps_its_chart_and_another_one_takes_over() -> None:
    someone = operator()
    someone.up()
    ours = SPEC.replace(f", {STOCK}", "")
    someone.edit(ours)
    with pytest.raises(PlaneshiftError) as caught:
        someone.plan()
    assert [p.code for p in caught.value.problems] == ["PS229"]
    both = SPEC.replace(
        "{pods: {cluster: k1, replicas: 3, ",
        "{new: {cluster: k1, weight: 50, port: 31000}, pods: {weight: 50, cluster: k1, ",
    )
    for spec in (both, SPEC.replace(f"pods: {{cluster: k1, replicas: 3, {STOCK}}}", "new: {cluster: k1, port: 31000}")):
        someone.edit(spec)
        someone.up()
        assert_serves(someone)


def test_another_version_is_an_upgrade_that_says_so() -> None:
    someone = operator()
    someone.up()
    someone.data.charts[ChartSource(SOURCE.repository, "web", "1.3.0")] = b"newer"
    someone.edit(SPEC.replace("1.2.3", "1.3.0"))
    [release] = [o for o in someone.plan().operations if o.kind == Kind.RELEASE]
    assert "upgrade to the chart web 1.3.0" in release.summary
    someone.up()
    assert_serves(someone)
    assert len(someone.data.recorded) == 2


def test_killed_at_any_port_call_the_next_up_goes_on() -> None:
    assert_survives_every_kill(operator())
