"""The shared lab: a real cluster and a plain host, what they give, and faults with their ends."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from labrig import Rig

from planeshift.images import Config, Entry, Store
from planeshift.lab import import_image, machine
from planeshift.lab.images import HELPER, closure

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: IMAGE
      command: [/bin/sh, -c, "mkdir /kept/here && COMMAND"]
      volumeMounts: [{name: kept, mountPath: /kept}]
  volumes: [{name: kept, persistentVolumeClaim: {claimName: kept}}]
"""


def until(condition: Callable[[], bool], patience: float = 60) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def reaches(lab: Rig, source: str, address: str) -> bool:
    """Whether a host (or, with an empty name, this machine) can open a connection to port 22222 of an address."""
    probe = f"exec 3<>/dev/tcp/{address}/22222"
    argv = ["timeout", "2", "bash", "-c", probe]
    if source:
        argv = machine(lab.site, source).command(argv)
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def listen(lab: Rig, host: str) -> subprocess.Popen[bytes]:
    """A listener on port 22222 of a host."""
    script = "import socket,time; s=socket.create_server(('', 22222)); print(1, flush=True); time.sleep(600)"
    argv = machine(lab.site, host).command(["/usr/bin/python3", "-c", script])
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    return process


def test_a_second_up_finds_nothing_to_do(lab: Rig) -> None:
    assert "Nothing to do" in lab.up()
    assert lab.status()["well"] is True


def test_it_is_a_real_cluster_of_the_pinned_version(lab: Rig) -> None:
    (node,) = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.35.4"
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "a"
    pods = json.loads(lab.kubectl("get", "pods", "-A", "-o", "json"))["items"]
    assert all(c["image"].startswith("localhost/planeshift/") for p in pods for c in p["spec"]["containers"])


def test_hosts_are_apart_and_know_each_other(lab: Rig) -> None:
    assert lab.inside("vm1", "hostname").strip() == "vm1"
    addresses = {h["name"]: h["address"] for h in lab.status()["hosts"]}
    assert addresses["node1"] in lab.inside("vm1", "getent", "hosts", "node1")
    lab.inside("vm1", "sh", "-c", "echo mine >/etc/of-vm1")
    assert not Path("/etc/of-vm1").exists()
    assert lab.inside("node1", "ls", "/etc/of-vm1", check=False) == ""
    assert "containerd" not in lab.inside("vm1", "ps", "ax")
    assert lab.run("exec", "vm1", "--", "sh", "-c", "exit 7", check=False).returncode == 7


def test_a_hosts_programs_get_nothing_of_the_machines_environment(lab: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_PASSWORD", "hush")
    assert "hush" not in lab.inside("vm1", "env")


def test_a_claim_gets_a_volume_and_a_pod_its_names(lab: Rig) -> None:
    """The default StorageClass, CoreDNS, kube-proxy's rules: an image of ours, loaded, asks the API by its name."""
    store = Store(lab.directory / "store")
    programs = list(closure(["/bin/sh", "/bin/mkdir", "/usr/bin/getent", "/usr/bin/bash", "/usr/bin/timeout"]))
    # getent asks DNS through libraries that it loads by itself
    for library in ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"):
        path = next(p for p in Path("/lib").glob(f"*-linux-gnu/{library}"))
        name = str(path).lstrip("/")
        if name not in {e.name for e in programs}:
            programs.append(Entry(name, mode=0o755, content=path.resolve(), size=path.resolve().stat().st_size))
    image = store.add_image([store.add_layer(programs)], Config(), name="localhost/test/probe:1")
    archive = lab.directory / "probe.tar"
    store.export([image.name], archive)
    assert import_image(lab.site, archive) == ["node1"]
    command = "getent hosts kubernetes.default.svc.cluster.local"
    command += " && timeout 5 bash -c 'exec 3<>/dev/tcp/kubernetes.default/443'"
    lab.kubectl("apply", "-f", "-", text=CLAIM.replace("IMAGE", image.name).replace("COMMAND", command))
    try:
        done = until(lambda: '"Succeeded"' in lab.kubectl("get", "pod", "user", "-o", "jsonpath={.status}"))
        assert done, lab.kubectl("describe", "pod", "user") + lab.kubectl("logs", "user")
        assert "Bound" in lab.kubectl("get", "pvc", "kept")
    finally:
        lab.kubectl("delete", "pod/user", "pvc/kept", "--grace-period=1")
        for path in (archive, store.directory):
            subprocess.run(["rm", "-rf", str(path)], check=True)
    assert until(lambda: not lab.inside("node1", "ls", "/var/lib/planeshift/volumes", check=False).strip())


def test_an_archive_that_is_none_is_refused_with_containerds_words(lab: Rig, tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"nothing")
    done = lab.run("load", str(tmp_path / "no.tar"), check=False)
    assert done.returncode == 1 and "PS446" in done.stderr


def test_the_helper_image_is_not_pulled_from_anywhere(lab: Rig) -> None:
    assert HELPER in lab.inside("node1", "ctr", "-n", "k8s.io", "images", "ls", "-q")


def test_a_cut_zone_is_reached_by_nobody_until_it_is_mended(breakable: Rig) -> None:
    address = {h["name"]: h["address"] for h in breakable.status()["hosts"]}["vm1"]
    listener = listen(breakable, "vm1")
    try:
        assert reaches(breakable, "", address) and reaches(breakable, "node1", address)
        breakable.fault("cut", "b")
        assert not reaches(breakable, "", address) and not reaches(breakable, "node1", address)
        assert breakable.status()["zones"][1] == {"name": "b", "cut": True}
        breakable.fault("mend", "b")
        assert until(lambda: reaches(breakable, "node1", address), 10)
    finally:
        listener.kill()
        listener.wait()


def test_a_killed_node_comes_back_with_its_pods(breakable: Rig) -> None:
    breakable.kubectl("create", "configmap", "remember", "--from-literal=a=b")
    before = breakable.kubectl("get", "node", "node1", "-o", "jsonpath={.metadata.uid}")
    breakable.fault("kill", "node1")
    assert breakable.states() == {"node1": "down", "vm1": "running"}
    assert breakable.fault("kill", "node1", check=False).returncode == 1
    assert "boot again" in breakable.up()
    assert breakable.kubectl("get", "node", "node1", "-o", "jsonpath={.metadata.uid}") == before
    assert "b" in breakable.kubectl("get", "configmap", "remember", "-o", "jsonpath={.data.a}")
    breakable.kubectl("delete", "configmap", "remember")


def test_a_paused_host_does_nothing_until_it_goes_on(breakable: Rig) -> None:
    breakable.inside("vm1", "sh", "-c", "(while :; do date +%s%N >/var/tmp/tick; sleep 0.05; done) >/dev/null 2>&1 &")
    tick = machine(breakable.site, "vm1").root / "var/tmp/tick"
    assert until(tick.exists, 5)
    breakable.fault("pause", "vm1")
    assert breakable.states()["vm1"] == "paused"
    time.sleep(0.2)
    held = tick.read_text()
    time.sleep(0.3)
    assert tick.read_text() == held
    breakable.fault("resume", "vm1")
    assert until(lambda: tick.read_text() not in ("", held), 5)


def test_a_paused_host_can_be_killed(breakable: Rig) -> None:
    breakable.fault("pause", "vm1")
    breakable.fault("kill", "vm1")
    assert breakable.states()["vm1"] == "down"


def test_a_full_disk_is_the_hosts_alone(breakable: Rig) -> None:
    breakable.fault("fill", "vm1")
    assert breakable.states()["vm1"] == "disk full"
    write = ("dd", "if=/dev/zero", "of=/var/tmp/more", "bs=1k", "count=4")
    done = breakable.run("exec", "vm1", "--", *write, check=False)
    assert done.returncode != 0 and "No space left" in done.stderr
    breakable.fault("empty", "vm1")
    breakable.inside("vm1", *write)
    refused = breakable.fault("fill", "node1", check=False)
    assert refused.returncode == 1 and "PS444" in refused.stderr


def test_a_slow_link_is_slow_until_it_is_hastened(breakable: Rig) -> None:
    breakable.fault("slow", "vm1", "--rate", "1mbit")
    assert breakable.states()["vm1"] == "slow"
    assert breakable.fault("slow", "vm1", "--rate", "nonsense", check=False).returncode == 1
    breakable.fault("slow", "vm1", "--rate", "2mbit")
    breakable.fault("hasten", "vm1")
    assert breakable.states()["vm1"] == "running"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("exec", "nobody", "--", "true"), "PS445"),
        (("fault", "kill", "nobody"), "PS445"),
        (("fault", "cut", "z"), "PS445"),
    ],
)
def test_what_is_not_there_is_named(lab: Rig, arguments: tuple[str, ...], code: str) -> None:
    verb, *rest = arguments
    run = lab.fault if verb == "fault" else lab.run
    done = run(rest[0], *rest[1:], check=False) if verb == "fault" else run(verb, *rest, check=False)
    assert done.returncode == 1 and code in done.stderr


def test_two_at_once_the_second_is_refused(lab: Rig) -> None:
    from planeshift.lab import run

    with run.lease(lab.site):
        done = lab.run("down", "--yes", check=False)
    assert done.returncode == 1 and "PS449" in done.stderr
    assert lab.status()["well"] is True


def test_networks_that_are_taken_are_refused_before_anything_is_made(lab: Rig, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(lab.file.read_text())
    done = lab.planeshift("lab", "up", "-f", str(tmp_path / "lab.yaml"), "--yes", check=False)
    assert done.returncode == 1 and "PS443" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["lab.yaml"]


def test_nothing_is_done_unasked(lab: Rig) -> None:
    done = lab.run("down", check=False)
    assert done.returncode == 1 and "PS805" in done.stderr
