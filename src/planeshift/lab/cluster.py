"""A cluster of the lab: made by real kubeadm on hosts that run containerd and kubelet."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import math
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from planeshift.drivers import files
from planeshift.drivers.local.command import run as run_long
from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import cgroups, disk, host, images, kubernetes, processes
from planeshift.lab.processes import Init
from planeshift.lab.shell import run
from planeshift.lab.site import ClusterSeen, Site
from planeshift.lab.topology import Host
from planeshift.ports import Say
from planeshift.tools import find, pins

TOOLS = ("kubeadm", "kubelet", "kubectl", *images.CONTROL_PLANE, *images.NODE)
PATIENCE = 300.0
_SILENCE = 25.0  # kubelet says that it lives every ten seconds
_NEEDED = ("kube-system/coredns", "local-path-storage/local-path-provisioner")


def inside(site: Site, machine: Host, init: Init, argv: Sequence[str], say: Say) -> None:
    """Run a command in a host, its output a line at a time to `say`. Raises PlaneshiftError with its last lines."""
    run_long(host.entering(site.state, site.lab, machine, init, argv), host.ENVIRONMENT, "/", say)


def root(init: Init) -> Path:
    """A host's files, as the machine can reach them."""
    return Path(f"/proc/{init.pid}/root")


def import_images(site: Site, machine: Host, init: Init, archive: Path) -> None:
    """Import an archive of images into a node's containerd. Raises PlaneshiftError (PS446)."""
    _wait_containerd(machine, init)
    argv = ["ctr", "-a", kubernetes.SOCKET, "-n", "k8s.io", "images", "import", "-"]
    try:
        with archive.open("rb") as source:
            done = subprocess.run(
                host.entering(site.state, site.lab, machine, init, argv),
                stdin=source,
                capture_output=True,
                text=True,
                check=False,
                env=host.ENVIRONMENT,
            )
    except OSError as error:
        raise PlaneshiftError(Problem("PS446", f"{archive} cannot be read: {error.strerror}")) from error
    if done.returncode:
        why = (done.stderr or done.stdout).strip()[-1000:]
        raise PlaneshiftError(Problem("PS446", f"{machine.name} does not take the images of {archive.name}", why=why))


def has_image(site: Site, machine: Host, init: Init, name: str) -> bool:
    """Whether a node's containerd has an image of this name."""
    argv = ["ctr", "-a", kubernetes.SOCKET, "-n", "k8s.io", "images", "list", "-q", f"name=={name}"]
    entered = host.entering(site.state, site.lab, machine, init, argv)
    done = subprocess.run(entered, capture_output=True, text=True, check=False, env=host.ENVIRONMENT)
    return name in done.stdout.split()


def _wait_containerd(machine: Host, init: Init) -> None:
    socket = root(init) / kubernetes.SOCKET.lstrip("/")
    deadline = time.monotonic() + 60
    while not socket.exists():
        if time.monotonic() > deadline:
            why = tail(init, "containerd")
            raise PlaneshiftError(Problem("PS446", f"containerd of {machine.name} does not start", why=why))
        time.sleep(0.05)


def tail(init: Init, name: str, lines: int = 15) -> str:
    """The last lines of a program's log on a node."""
    with contextlib.suppress(OSError):
        return "\n".join((root(init) / f"var/log/{name}.log").read_text(errors="replace").splitlines()[-lines:])
    return ""


def make(site: Site, machine: Host, init: Init, say: Say) -> None:
    """`kubeadm init`, and keep what the others need to join. Raises PlaneshiftError (PS447)."""
    versions = {name: tool.version for name, tool in pins().items()}
    cgroup = cgroups.path(site.lab.id, machine.name)
    _write(init, "etc/kubernetes/kubeadm.yaml", kubernetes.init(site.lab, machine, cgroup, versions, token(site)))
    for name, content in kubernetes.patches().items():
        files.write(root(init) / kubernetes.PATCHES.lstrip("/") / name, content.encode())
    argv = ["kubeadm", "init", "--config", "/etc/kubernetes/kubeadm.yaml"]
    argv += ["--skip-phases", "preflight,show-join-command"]
    _kubeadm(site, machine, init, argv, say)
    finish(site, machine, init)


def join(site: Site, machine: Host, init: Init, leader: Init, say: Say) -> None:
    """`kubeadm join`. Raises PlaneshiftError (PS447)."""
    authority = base64.b64encode((root(leader) / "etc/kubernetes/pki/ca.crt").read_bytes()).decode()
    leading = site.lab.leader(machine.cluster)
    _write(init, "etc/kubernetes/discovery.conf", [kubernetes.discovery(leading, authority)])
    cgroup = cgroups.path(site.lab.id, machine.name)
    _write(init, "etc/kubernetes/kubeadm.yaml", kubernetes.join(machine, cgroup, leading, token(site)))
    argv = ["kubeadm", "join", "--config", "/etc/kubernetes/kubeadm.yaml", "--skip-phases", "preflight"]
    _kubeadm(site, machine, init, argv, say)
    files.write(disk.directory(site.state, machine) / "ready", identity(leader).encode())


def finish(site: Site, machine: Host, init: Init) -> None:
    """Keep the administrator's kubeconfig, and note that the control plane is whole."""
    configs: dict[str, Mapping[str, Any]] = {}
    with contextlib.suppress(OSError):
        old = yaml.safe_load(site.kubeconfig.read_text())
        for context in old["contexts"]:
            name = context["name"]
            configs[name] = {
                "clusters": [c for c in old["clusters"] if c["name"] == name],
                "users": [u for u in old["users"] if u["name"] == f"{name}-admin"],
            }
    configs[machine.cluster] = yaml.safe_load((root(init) / "etc/kubernetes/admin.conf").read_text())
    ordered = {name: configs[name] for name in site.lab.clusters if name in configs}
    files.write(site.kubeconfig, json.dumps(kubernetes.merged(ordered), indent=1).encode(), 0o600)
    files.write(disk.directory(site.state, machine) / "ready", identity(init).encode())


def identity(init: Init) -> str:
    """What tells this cluster from an earlier one of its name: its certificate authority."""
    return hashlib.sha256((root(init) / "etc/kubernetes/pki/ca.crt").read_bytes()).hexdigest()[:16]


def token(site: Site) -> str:
    """The secret that nodes join with: made once, kept with the lab's state."""
    path = site.state / "token"
    if not path.exists():
        files.write(path, f"{secrets.token_hex(3)}.{secrets.token_hex(8)}".encode(), 0o600)
    return path.read_text()


def _write(init: Init, path: str, found: list[dict[str, Any]]) -> None:
    files.write(root(init) / path, kubernetes.documents(found).encode(), 0o600)


def _kubeadm(site: Site, machine: Host, init: Init, argv: Sequence[str], say: Say) -> None:
    try:
        inside(site, machine, init, argv, say)
    except PlaneshiftError as error:
        why = f"{error.problems[0].why}\n\nkubelet of {machine.name}:\n{tail(init, 'kubelet', 8)}"
        hint = f"planeshift lab logs {machine.name}"
        message = f"{' '.join(argv[:2])} failed on {machine.name}"
        raise PlaneshiftError(Problem("PS447", message, why=why, hint=hint)) from error


def kubectl(site: Site, cluster: str, *arguments: str, text: str = "", timeout: float = 30) -> str:
    """Ask a cluster, as its administrator. Raises PlaneshiftError (PS448)."""
    argv = [str(find("kubectl")), "--kubeconfig", str(site.kubeconfig), "--context", cluster, *arguments]
    return run(argv, text=text, timeout=timeout, code="PS448")


def storage(site: Site, cluster: str, say: Say) -> None:
    """Apply the default StorageClass, as soon as the API answers. Raises PlaneshiftError (PS448)."""
    started = time.monotonic()
    while not seen(site, cluster).answers:
        if time.monotonic() - started > PATIENCE:
            raise PlaneshiftError(Problem("PS448", f"the API of {cluster} does not answer since {PATIENCE:.0f} s"))
        say("waiting for the API")
        time.sleep(0.5)
    text = (Path(__file__).parent / "local-path.yaml").read_text()
    text = text.replace("PROVISIONER_IMAGE", images.reference("local-path-provisioner"))
    text = text.replace("HELPER_IMAGE", images.HELPER)
    argv = ("apply", "--server-side", "--force-conflicts", "--field-manager=planeshift-lab", "-f", "-")
    kubectl(site, cluster, *argv, text=text)


def seen(site: Site, cluster: str) -> ClusterSeen:
    """Look at a cluster, as far as it answers.

    A node is ready if the cluster says so and has heard from its kubelet since the host booted, and lately: the cluster
    itself takes forty seconds to notice that a node is gone.
    """
    kinds = "nodes,leases.coordination.k8s.io,deployments.apps"
    try:
        text = kubectl(site, cluster, "get", kinds, "-A", "-o", "json", "--request-timeout=3s")
    except PlaneshiftError:
        return ClusterSeen()
    found = json.loads(text)["items"]
    by_kind = {kind: [i for i in found if i["kind"] == kind] for kind in ("Node", "Lease", "Deployment")}
    leases = by_kind["Lease"]
    heard = {i["metadata"]["name"]: i for i in leases if i["metadata"]["namespace"] == "kube-node-lease"}
    running = processes.inits(site.state)
    nodes = {}
    for node in by_kind["Node"]:
        name = node["metadata"]["name"]
        since = max(processes.since(running[name]), time.time() - _SILENCE) if name in running else math.inf
        nodes[name] = _condition(node, "Ready") and _renewed(heard.get(name)) >= since
    good = {
        f"{d['metadata']['namespace']}/{d['metadata']['name']}"
        for d in by_kind["Deployment"]
        if _condition(d, "Available")
    }
    return ClusterSeen(answers=True, nodes=nodes, storage=set(_NEEDED) <= good)


def _renewed(lease: Mapping[str, Any] | None) -> float:
    text = (lease or {}).get("spec", {}).get("renewTime")
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0


def _condition(thing: Mapping[str, Any], kind: str) -> bool:
    conditions = thing.get("status", {}).get("conditions", [])
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def wait(site: Site, cluster: str, say: Say) -> None:
    """Wait until the nodes are ready and what Kubernetes itself needs is available. Raises PlaneshiftError (PS448)."""
    started = time.monotonic()
    wanted = {h.name for h in site.lab.nodes(cluster)}
    while True:
        now = seen(site, cluster)
        missing = sorted(n for n in wanted if not now.nodes.get(n))
        if not missing and now.storage:
            return
        what = f"nodes {', '.join(missing)}" if missing else "CoreDNS and the default storage"
        if not now.answers:
            what = "the API"
        if time.monotonic() - started > PATIENCE:
            why = _pods(site, cluster)
            raise PlaneshiftError(Problem("PS448", f"{cluster}: {what} not ready after {PATIENCE:.0f} s", why=why))
        say(f"waiting for {what}")
        time.sleep(0.3)


def _pods(site: Site, cluster: str) -> str:
    try:
        return kubectl(site, cluster, "get", "pods", "-A", "-o", "wide", "--request-timeout=5s")[-2000:]
    except PlaneshiftError as error:
        return str(error)


def forget(site: Site, machine: Host) -> None:
    """Remove a node's object, where the cluster answers."""
    with contextlib.suppress(PlaneshiftError):
        kubectl(site, machine.cluster, "delete", "node", machine.name, "--ignore-not-found", "--wait=false")
