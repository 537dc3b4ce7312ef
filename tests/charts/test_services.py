"""The charts of the services, as helm and the field's own judges see them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from planeshift import catalog, tools
from planeshift.errors import PlaneshiftError
from planeshift.render.chart import chart, environment
from planeshift.render.pods import key

ALL = {
    "image": "registry.example.org/image:1",
    "autoscaling": {"enabled": True},
    "ingress": {"enabled": True, "host": "cloud.example.org", "tlsSecret": "tls", "annotations": {"a": "b"}},
    "service": {"type": "NodePort", "nodePort": 30001},
    "config": {"main.conf": "[DEFAULT]\na = {{ not a template }}\n", "deep/er.yaml": "x"},
    "secret": {"project.conf.d/90-secrets.conf": "[DEFAULT]\npassword = p\n"},
}


def tool(name: str) -> str:
    try:
        return str(tools.find(name))
    except PlaneshiftError as error:
        pytest.skip(f"{error.problems[0].message}: {error.problems[0].hint}")


@pytest.fixture(params=catalog.names())
def service(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A service's name and the directory of its chart."""
    for path, content in chart(catalog.service(request.param)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return request.param, tmp_path


def template(directory: Path, values: dict[str, Any], *flags: str) -> subprocess.CompletedProcess[str]:
    argv = [tool("helm"), "template", "one", str(directory), "--kube-version", "1.35.0", "--values", "-", *flags]
    return subprocess.run(argv, input=json.dumps(values), capture_output=True, text=True, check=False)


def objects(directory: Path, values: dict[str, Any], *flags: str) -> list[dict[str, Any]]:
    done = template(directory, values, *flags)
    assert done.returncode == 0, done.stderr
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def test_helm_lint_has_nothing_against_it(service: tuple[str, Path]) -> None:
    done = subprocess.run(
        [tool("helm"), "lint", "--strict", "--kube-version", "1.35.0", str(service[1]), "--set", "image=a:b"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "0 chart(s) failed" in done.stdout, done.stdout + done.stderr


def test_values_are_short_and_what_the_schema_does_not_know_is_refused(service: tuple[str, Path]) -> None:
    name, directory = service
    assert len((directory / "values.yaml").read_text().splitlines()) <= 60
    for wrong in ({"replica": 3}, {"image": "a", "replicas": 0}, {"image": "a", "service": {"type": "Nodeport"}}):
        assert template(directory, wrong).returncode != 0, f"{name} takes {wrong}"
    done = template(directory, {})
    assert done.returncode != 0 and "image" in done.stderr


def test_pods_keep_to_the_restricted_standard(service: tuple[str, Path]) -> None:
    done = template(service[1], ALL)
    judged = subprocess.run(
        [tool("pod-security"), "restricted"], input=done.stdout, capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stdout) == (0, ""), judged.stdout + judged.stderr
    loose = done.stdout.replace("runAsNonRoot: true", "runAsNonRoot: false")
    assert subprocess.run([tool("pod-security")], input=loose, capture_output=True, text=True, check=False).returncode


def test_kube_score_finds_nothing_critical(service: tuple[str, Path], tmp_path: Path) -> None:
    rendered = tmp_path / "rendered"
    rendered.write_text(template(service[1], ALL).stdout)
    done = subprocess.run([tool("kube-score"), "score", str(rendered)], capture_output=True, text=True, check=False)
    assert "[CRITICAL]" not in done.stdout, done.stdout
    assert "apps/v1/Deployment one" in done.stdout


def test_files_reach_the_pod_under_their_own_paths_and_no_secret_is_elsewhere(service: tuple[str, Path]) -> None:
    name, directory = service
    found = objects(directory, ALL)
    spec = catalog.service(name)
    [deployment] = [o for o in found if o["kind"] == "Deployment"]
    [files] = [v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "files"]
    places = {
        i["path"] for source in files["projected"]["sources"] for s in source.values() for i in s.get("items", [])
    }
    config = f"home/.{spec.layout.project}"
    assert places == {f"{config}/main.conf", f"{config}/deep/er.yaml", f"{config}/project.conf.d/90-secrets.conf"}
    [held] = [o for o in found if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "one-config"]
    assert held["data"] == {key(path): text for path, text in ALL["config"].items()}  # type: ignore[attr-defined]
    assert "password = p" not in str([o for o in found if o["kind"] != "Secret"])
    variables = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment(spec).items() <= variables.items()


def test_pods_roll_when_and_only_when_their_files_change(service: tuple[str, Path]) -> None:
    _, directory = service

    def pod(values: dict[str, Any]) -> Any:
        return next(o for o in objects(directory, values) if o["kind"] == "Deployment")["spec"]["template"]

    same = {**ALL, "replicas": 7, "service": {"type": "ClusterIP"}, "networkPolicy": {"enabled": False}, "cloud": "x"}
    assert pod(same) == pod(ALL)
    assert pod({**ALL, "config": {"main.conf": "other"}}) != pod(ALL)
    assert pod({**ALL, "secret": {"project.conf.d/90-secrets.conf": "other"}}) != pod(ALL)


def test_a_job_is_all_there_is_where_one_is_asked_for_and_the_hook_comes_before_all_else(
    service: tuple[str, Path],
) -> None:
    _, directory = service
    asked = {**ALL, "job": {"name": "one-job", "argv": ["/bin/true"], "environmentFrom": "variables"}}
    [job] = objects(directory, asked, "--show-only", "templates/job.yaml")
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["/bin/true"]
    assert container["envFrom"] == [{"secretRef": {"name": "variables"}}]
    hooks = [o for o in objects(directory, ALL) if "helm.sh/hook" in (o["metadata"].get("annotations") or {})]
    assert [o["kind"] for o in hooks].count("Job") == 1 and len(hooks) == 3
    weights = {o["kind"]: int(o["metadata"]["annotations"].get("helm.sh/hook-weight", 0)) for o in hooks}
    assert weights["Job"] > max(weights["ConfigMap"], weights["Secret"])  # what the hook reads is there before it
    assert not any("helm.sh/hook" in str(o) for o in objects(directory, {**ALL, "migrate": {"enabled": False}}))


def test_what_takes_messages_has_pods_of_its_own_and_nobody_sends_it_anything(tmp_path: Path) -> None:
    for path, content in chart(catalog.service("nova")).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    values = {"image": "a:b", "takers": {"nova-conductor": 2}, "buses": [5671, 5672]}
    cell = objects(tmp_path, {**values, "serve": False, "autoscaling": {"enabled": True}, "ingress": ALL["ingress"]})
    kinds = [(o["kind"], o["metadata"]["name"]) for o in cell]
    assert ("Deployment", "one-nova-conductor") in kinds and ("PodDisruptionBudget", "one-nova-conductor") in kinds
    assert not {"Service", "Ingress", "HorizontalPodAutoscaler"} & {kind for kind, _ in kinds}
    assert ("Deployment", "one") not in kinds
    found = next(o for o in cell if o["kind"] == "Deployment")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (found["spec"]["replicas"], container["command"]) == (2, ["/var/lib/openstack/bin/nova-conductor"])
    assert ":(1627|1628) 01 " in container["readinessProbe"]["exec"]["command"][-1]
    assert "ports" not in container and "livenessProbe" not in container and "lifecycle" not in container
    whole = {(o["kind"], o["metadata"]["name"]) for o in objects(tmp_path, values)}
    assert {("Service", "one"), ("Deployment", "one"), ("Deployment", "one-nova-conductor")} <= whole
