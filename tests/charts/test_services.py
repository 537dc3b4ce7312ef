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
SIDE: dict[str, dict[str, Any]] = {
    "nova-metadata": {"replicas": 3, "workers": 5, "service": {"type": "NodePort", "nodePort": 30471}},
    "nova-novncproxy": {"replicas": 2},
}


def everything(name: str) -> dict[str, Any]:
    """Values that make all that a service's chart knows."""
    return ALL | ({"others": SIDE, "takers": {"nova-conductor": 1}} if name == "nova" else {})


def tool(name: str) -> str:
    try:
        return str(tools.find(name))
    except PlaneshiftError as error:
        pytest.skip(f"{error.problems[0].message}: {error.problems[0].hint}")


@pytest.fixture(params=catalog.names())
def service(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A service's name and the directory of its chart."""
    lay(tmp_path, request.param)
    return request.param, tmp_path


def lay(directory: Path, name: str = "nova") -> None:
    """Write a service's chart."""
    for path, content in chart(catalog.service(name)).items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)


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
    done = template(service[1], everything(service[0]))
    judged = subprocess.run(
        [tool("pod-security"), "restricted"], input=done.stdout, capture_output=True, text=True, check=False
    )
    assert (judged.returncode, judged.stdout) == (0, ""), judged.stdout + judged.stderr
    loose = done.stdout.replace("runAsNonRoot: true", "runAsNonRoot: false")
    assert subprocess.run([tool("pod-security")], input=loose, capture_output=True, text=True, check=False).returncode


def test_kube_score_finds_nothing_critical(service: tuple[str, Path], tmp_path: Path) -> None:
    rendered = tmp_path / "rendered"
    rendered.write_text(template(service[1], everything(service[0])).stdout)
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
    lay(tmp_path)
    values = {"image": "a:b", "takers": {"nova-conductor": 2}, "buses": [5671, 5672]}
    cell = objects(tmp_path, {**values, "serve": False, "autoscaling": {"enabled": True}, "ingress": ALL["ingress"]})
    kinds = [(o["kind"], o["metadata"]["name"]) for o in cell]
    assert ("Deployment", "one-nova-conductor") in kinds and ("PodDisruptionBudget", "one-nova-conductor") in kinds
    assert not {"Service", "Ingress", "HorizontalPodAutoscaler"} & {kind for kind, _ in kinds}
    assert ("Deployment", "one") not in kinds
    found = next(o for o in cell if o["kind"] == "Deployment")
    container = found["spec"]["template"]["spec"]["containers"][0]
    [conductor] = [c.command for c in catalog.service("nova").components if c.name == "nova-conductor"]
    argv = [f"/var/lib/openstack/bin/{conductor[0]}", *conductor[1:]]
    assert (found["spec"]["replicas"], container["command"], argv[-1]) == (2, argv, "nova-conductor")
    assert ":(1627|1628) 01 " in container["readinessProbe"]["exec"]["command"][-1]
    assert "ports" not in container and "livenessProbe" not in container and "lifecycle" not in container
    whole = {(o["kind"], o["metadata"]["name"]) for o in objects(tmp_path, values)}
    assert {("Service", "one"), ("Deployment", "one"), ("Deployment", "one-nova-conductor")} <= whole


def test_what_is_asked_at_a_port_of_its_own_has_pods_a_service_and_probes_of_its_own(tmp_path: Path) -> None:
    lay(tmp_path)
    found = {(o["kind"], o["metadata"]["name"]): o for o in objects(tmp_path, ALL | {"serve": False, "others": SIDE})}
    assert not {("Deployment", "one"), ("Service", "one")} & found.keys() and "Ingress" not in {k for k, _ in found}
    pods = {}
    for name, port in (("nova-metadata", 8775), ("nova-novncproxy", 6080)):
        deployment, entry = found["Deployment", f"one-{name}"], found["Service", f"one-{name}"]
        assert ("PodDisruptionBudget", f"one-{name}") in found
        template = deployment["spec"]["template"]
        labels, [container] = template["metadata"]["labels"], template["spec"]["containers"]
        assert deployment["spec"]["selector"]["matchLabels"] == entry["spec"]["selector"]
        assert labels.items() >= entry["spec"]["selector"].items() and labels["planeshift.dev/takes"] == "requests"
        assert entry["metadata"]["labels"]["planeshift.dev/takes"] == "requests"
        assert deployment["spec"]["replicas"] == SIDE[name]["replicas"]
        assert container["ports"] == [{"name": "http", "containerPort": port}] and "lifecycle" in container
        assert template["spec"]["terminationGracePeriodSeconds"] == 80
        pods[name] = container
    [metadata, proxy] = pods.values()
    assert metadata["readinessProbe"]["httpGet"] == metadata["startupProbe"]["httpGet"] == {"path": "/", "port": "http"}
    assert proxy["readinessProbe"]["tcpSocket"] == proxy["startupProbe"]["tcpSocket"] == {"port": "http"}
    assert "livenessProbe" in metadata and "livenessProbe" not in proxy  # it would ask what readiness does
    [arguments] = [e["value"] for e in metadata["env"] if e["name"] == "GUNICORN_CMD_ARGS"]
    assert arguments == "--config=nova-metadata.conf.py --bind=0.0.0.0:8775 --workers=5 --threads=4"
    settings = found["ConfigMap", "one-server"]["data"]["nova-metadata.conf.py"]
    assert "wsgi_app = 'nova.wsgi.metadata:application'" in settings
    assert metadata["command"] == ["/var/lib/openstack/bin/gunicorn"]
    assert proxy["command"][0] == "/var/lib/openstack/bin/nova-novncproxy" and "GUNICORN" not in str(proxy["env"])
    assert proxy["command"][1:] == ["--vnc-novncproxy_host=0.0.0.0", "--vnc-novncproxy_port=6080"]
    nodes = found["Service", "one-nova-metadata"]["spec"]
    assert nodes["type"] == "NodePort" and nodes["ports"][0]["nodePort"] == 30471
    assert "externalTrafficPolicy" not in nodes  # every node answers: nobody is told which of them have pods
    assert found["Service", "one-nova-novncproxy"]["spec"]["type"] == "ClusterIP"
    [ingress] = found["NetworkPolicy", "one"]["spec"]["ingress"]
    assert [p["port"] for p in ingress["ports"]] == [8775, 6080]
    beside = {(o["kind"], o["metadata"]["name"]): o for o in objects(tmp_path, ALL | {"others": SIDE})}
    assert {("Deployment", "one"), ("Service", "one"), ("Deployment", "one-nova-metadata")} <= beside.keys()
    assert [p["port"] for p in beside["NetworkPolicy", "one"]["spec"]["ingress"][0]["ports"]] == [8774, 8775, 6080]


def test_only_a_chart_whose_service_has_such_programs_knows_of_them(service: tuple[str, Path]) -> None:
    name, directory = service
    known = template(directory, {"image": "a:b", "others": {"nova-metadata": {"replicas": 1}}}).returncode == 0
    assert known == bool(catalog.service(name).others) == ("others" in (directory / "values.yaml").read_text())
    assert known == (directory / "templates/others.yaml").exists()
    for wrong in (
        {"nova-compute": {"replicas": 1}},
        {"nova-metadata": {}},
        {"nova-novncproxy": {"replicas": 1, "workers": 1}},
    ):
        assert template(directory, {"image": "a:b", "others": wrong}).returncode != 0
