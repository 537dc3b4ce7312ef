"""Measure how a CERN-sized cloud's pods are scheduled, what a lost zone does to them, and what emptying one does.

    python benchmarks/scheduling.py [--at-once] [--raised] [--record]      # tools are made first

The cloud is examples/cern-scale as pods, as many of each as it has hosts, in a cluster of two zones.
The product's own driver lays out the files and releases each backend by helm, as many side by side, as `up` does.
`--at-once`: every object of `helm template` is made in one go, so that the scheduler has all pods before it. Real programs
work on it: kube-apiserver, kube-controller-manager, kube-scheduler, with etcd on memory. Nodes, and the pods' running, are
kwok's, a process a zone: no container starts. The programs have the limits of requests a second that are their own, and
kubeadm's; `--raised`: none that matters. `--record` writes the figures into benchmarks/README.md. Everything stays on
loopback and below /dev/shm, and is removed at the end.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import secrets
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube import codecs
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget
from run import BIN, README, ROOT, machine

from planeshift import catalog, tools
from planeshift.catalog.spec import Secret
from planeshift.drivers.kubernetes import pods as of_cluster
from planeshift.drivers.kubernetes.cluster import KubernetesCluster
from planeshift.drivers.kubernetes.rollout import Rollout
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.drivers.maker import RandomMaker
from planeshift.engine.run import WORKERS
from planeshift.model.cloud import Backend, Cloud
from planeshift.model.load import load
from planeshift.render import rules
from planeshift.render.build import build
from planeshift.render.chart import chart
from planeshift.render.desired import DesiredPods, HostPaths
from planeshift.render.pods import release_values
from planeshift.topology.whatif import without

EXAMPLE = ROOT / "examples" / "cern-scale"
ZONES = ("A", "B")
NODES = 20  # a zone
CORES, MEMORY = 8, 16  # of a node
NAMESPACE, KEY, ZONE = "openstack", b"benchmark", "topology.kubernetes.io/zone"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "helm")
RAISED = 1000  # requests a second of a program; kube-scheduler's own limit is 50, kube-controller-manager's 20
Row = tuple[str, str, str]  # what, found, aim
PATIENCE = 150.0
METADATA, FIRST_PORT = "nova-metadata", 31_000  # asked at ports of the nodes, each cell's at one of its own
STAGES = Path(__file__).parent / "kwok.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--at-once", "--raised", "--record"):
        parser.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended then, too
    subprocess.run([BIN / "planeshift", "tools", "build", *PROGRAMS], check=True)
    rows = measure(at_once=arguments.at_once, raised=arguments.raised)
    table = "\n".join(["| what | found | aim |", "|---|---|---|", *(f"| {' | '.join(r)} |" for r in rows)])
    said = machine(" ".join(["scheduling.py", *(a for a in sys.argv[1:] if a != "--record")]))
    print(f"\n{said}\n\n{table}")
    if arguments.record:
        text, begin, end = README.read_text(), "<!-- scheduling -->\n", "<!-- end of scheduling -->"
        README.write_text(f"{text.split(begin)[0]}{begin}{said}\n\n{table}\n{end}{text.split(end)[1]}")


def measure(*, at_once: bool, raised: bool) -> list[Row]:
    cloud, tree = as_pods()
    hosts = {h.name: HostPaths("/run/x", "/srv/x") for h in cloud.spec.hosts}
    desired = list(build(cloud, tree, {}, hosts).pods.values())
    declared = {name: replicas for name, (_, replicas) in deployments(desired).items()}
    with control_plane(raised) as cluster:
        for zone in ZONES:
            cluster.power(zone)
        cluster.make_nodes(cloud)
        pods = Pods(cluster.talk)
        apply = made_at_once if at_once else released
        rows = schedule(cluster, pods, lambda: apply(cluster, desired), declared)
        rows += cut(cluster, pods, cloud, desired, declared)
        rows += drain(cluster, pods, declared)
    return rows


# --- what is applied


def as_pods() -> tuple[Cloud, dict[str, bytes]]:
    """The example with pods for hosts, and the operator's files."""
    text = (EXAMPLE / "cloud.yaml").read_text()
    whole = yaml.safe_load(text)
    nodes = [{"name": f"node-{z.lower()}{{01..{NODES}}}", "zone": z, "cores": CORES, "memory": MEMORY} for z in ZONES]
    whole["spec"]["clusters"] = [{"name": "k1", "registry": "registry.example.org/site", "nodes": nodes}]
    ports = itertools.count(FIRST_PORT)
    for name, service in load(text, "cloud.yaml").cloud.spec.services.items():
        whole["spec"]["services"][name]["backends"] = {b: _moved(found, ports) for b, found in service.backends.items()}
    loaded = load(yaml.safe_dump(whole, sort_keys=False), "cloud.yaml")
    if problems := rules.check(loaded):
        raise SystemExit("\n".join(map(str, problems)))
    tree = {str(p.relative_to(EXAMPLE)): p.read_bytes() for p in (EXAMPLE / "config").rglob("*") if p.is_file()}
    return loaded.cloud, tree


def _moved(backend: Backend, ports: Iterator[int]) -> dict[str, Any]:
    said = backend.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if METADATA in backend.components:
        said["components"][METADATA] = {"port": next(ports)}
    return said | {"cluster": "k1", "replicas": len(said.pop("hosts"))}


def released(cluster: Cluster, desired: Sequence[DesiredPods]) -> str:
    """Lay out the files of each backend, and release it, until its pods are ready, as `up` does."""
    driver = cluster.driver()

    def one(pods: DesiredPods) -> None:
        driver.lay_out(pods, KEY, lambda _: None)
        driver.release(pods, KEY, lambda _: None)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, desired))
    return f"{len(desired)} Helm releases, {WORKERS} side by side"


def made_at_once(cluster: Cluster, desired: Sequence[DesiredPods]) -> str:
    """Make every object in one go, by requests alone."""
    with ThreadPoolExecutor(2) as pool:
        objects = [o for found in pool.map(rendered, desired) for o in found]
    driver, began = cluster.driver(), time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda one: driver.lay_out(one, KEY, lambda _: None), desired))
        list(pool.map(lambda o: cluster.talk.create(codecs.from_dict(o)), objects))
    return f"{len(objects)} objects and {2 * len(desired)} of files, made in {time.monotonic() - began:.1f} s"


def rendered(pods: DesiredPods) -> list[dict[str, Any]]:
    """The objects of a backend's release."""
    with tempfile.TemporaryDirectory(prefix="planeshift-bench-") as name:
        for path, content in chart(catalog.service(pods.pods.service)).items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_bytes(content)
        argv = [str(tools.find("helm")), "template", pods.pods.name, name, "--namespace", NAMESPACE]
        argv += ["--values", "-", "--kube-version", "1.35.0"]
        text = json.dumps(release_values(pods, KEY)).encode()
        done = subprocess.run(argv, input=text, capture_output=True, check=True)
    found = [o for o in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if o]
    return [o | {"metadata": o["metadata"] | {"namespace": NAMESPACE}} for o in found]


# --- the programs


class Cluster:
    """A control plane, and who plays its nodes, a process a zone."""

    def __init__(self, kubeconfig: Path, talk: Talk, start: Callable[..., Any]) -> None:
        self.talk, self.kubeconfig, self._start = talk, kubeconfig, start
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, name: str, program: str, *flags: str) -> None:
        self.running[name] = self._start(name, program, *flags)

    def power(self, zone: str) -> None:
        label = f"--manage-nodes-with-label-selector={ZONE}={zone}"
        flags = [
            f"--kubeconfig={self.kubeconfig}",
            f"--config={STAGES}",
            "--node-lease-duration-seconds=40",
            "--v=WARN",
        ]
        self.begin(f"kwok {zone}", "kwok", *flags, label)

    def cut(self, zone: str) -> None:
        found = self.running.pop(f"kwok {zone}")
        found.kill()
        found.wait()

    def make_nodes(self, cloud: Cloud) -> None:
        room = {"cpu": str(CORES), "memory": f"{MEMORY}Gi", "ephemeral-storage": "100Gi", "pods": "110"}
        for node in cloud.spec.clusters[0].nodes:
            labels = {ZONE: node.zone, "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"}
            address = {"type": "InternalIP", "address": "192.0.2.1"}
            status = {"allocatable": room, "capacity": room, "addresses": [address]}
            self.talk.create(Node.from_dict({"metadata": {"name": node.name, "labels": labels}, "status": status}))
        self.await_nodes(len(ZONES) * NODES)

    def await_nodes(self, count: int) -> float:
        """Wait until so many nodes take pods; the seconds that it took."""
        return self.until(lambda: len([n for n in self.talk.client.list(Node) if not n.spec.taints]) == count, "nodes")

    def until(self, there: Callable[[], bool], what: str) -> float:
        """Wait for something, while all programs run; the seconds that it took."""
        began = time.monotonic()
        while not there():
            ended = [name for name, process in self.running.items() if process.poll() is not None]
            if ended or time.monotonic() - began > PATIENCE:
                why = "; ".join({of_cluster.reason(p) for p in self.talk.client.list(Pod)}) if not ended else ""
                raise SystemExit(f"{what}: not there after {time.monotonic() - began:.0f} s; ended: {ended}; {why}")
            time.sleep(0.1)
        return time.monotonic() - began

    def driver(self) -> KubernetesCluster:
        """The product's own way to this cluster."""
        helm = str(tools.find("helm"))
        return KubernetesCluster("k1", "cern-scale", str(self.kubeconfig), "", NAMESPACE, lambda: helm, None)

    def used(self) -> dict[str, float]:
        """Seconds of processors that each program has used by now."""
        return {name: _seconds(found.pid) for name, found in self.running.items()} | {"this and helm": _own()}


@contextlib.contextmanager
def control_plane(raised: bool) -> Iterator[Cluster]:
    """etcd, the API, controllers and scheduler, as plain processes; ended, each by its pid, whatever comes."""
    with (
        tempfile.TemporaryDirectory(prefix="planeshift-bench-", dir="/dev/shm") as name,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(name)

        def start(what: str, program: str, *flags: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((directory / f"{what}.log").open("ab"))
            found = subprocess.Popen([tools.find(program), *flags], stdout=log, stderr=log, cwd=directory)
            stack.callback(_end, found)
            return found

        made = RandomMaker().make(Secret("trial_tls", "trial-tls", ""), ["127.0.0.1"])
        assert isinstance(made, dict)
        for part, text in made.items():
            (directory / f"{part}.pem").write_text(str(text))
        store, peers, api = (f"127.0.0.1:{port}" for port in _ports(3))
        kubeconfig = directory / "kubeconfig"
        token = secrets.token_hex(16)
        (directory / "tokens.csv").write_text(f'{token},admin,1,"system:masters"\n')
        kubeconfig.write_text(_kubeconfig(api, str(made["ca_certificate"]), token))
        cluster = Cluster(kubeconfig, Talk("k1", str(kubeconfig), "", NAMESPACE), start)
        try:
            _begin(cluster, directory, store, peers, api, raised)
            yield cluster
        except BaseException:
            for log in directory.glob("*.log"):
                lines = log.read_text(errors="replace").splitlines()[-5:]
                print(f"--- {log.stem}", *(line[:300] for line in lines), sep="\n", file=sys.stderr)
            raise


def _begin(cluster: Cluster, directory: Path, store: str, peers: str, api: str, raised: bool) -> None:
    flags = [f"--data-dir={directory}/etcd", f"--listen-peer-urls=http://{peers}", "--unsafe-no-fsync", "--name=one"]
    flags += [f"--initial-advertise-peer-urls=http://{peers}", f"--initial-cluster=one=http://{peers}"]
    flags += [f"--listen-client-urls=http://{store}", f"--advertise-client-urls=http://{store}"]
    cluster.begin("etcd", "etcd", *flags)
    host, _, port = api.partition(":")
    key, certificate = f"{directory}/key.pem", f"{directory}/certificate.pem"
    flags = [f"--etcd-servers=http://{store}", f"--bind-address={host}", f"--advertise-address={host}"]
    flags += [f"--secure-port={port}", f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"]
    flags += ["--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={certificate}"]
    flags += [f"--service-account-signing-key-file={key}", f"--token-auth-file={directory}/tokens.csv"]
    flags += ["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none"]
    cluster.begin("kube-apiserver", "kube-apiserver", *flags)
    cluster.until(lambda: _ready(api, directory), "the API")
    shared = [f"--kubeconfig={cluster.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
    limits = [f"--kube-api-qps={RAISED}", f"--kube-api-burst={2 * RAISED}"] if raised else []
    own = [f"--service-account-private-key-file={key}", f"--root-ca-file={directory}/ca_certificate.pem"]
    cluster.begin("kube-controller-manager", "kube-controller-manager", *shared, *limits, *own)
    scheduler = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
    talks = {"kubeconfig": str(cluster.kubeconfig)} | ({"qps": RAISED, "burst": 2 * RAISED} if raised else {})
    whole = {**scheduler, "clientConnection": talks, "leaderElection": {"leaderElect": False}}
    (directory / "scheduler.yaml").write_text(json.dumps(whole))
    cluster.begin("kube-scheduler", "kube-scheduler", f"--config={directory}/scheduler.yaml", "--secure-port=0")


def _kubeconfig(api: str, authority: str, token: str) -> str:
    cluster = {"server": f"https://{api}", "certificate-authority-data": base64.b64encode(authority.encode()).decode()}
    whole: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": "k1"}
    whole |= {
        "clusters": [{"name": "k1", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token}}],
    }
    return json.dumps(whole | {"contexts": [{"name": "k1", "context": {"cluster": "k1", "user": "me"}}]})


def _ready(api: str, directory: Path) -> bool:
    context = ssl.create_default_context(cafile=str(directory / "ca_certificate.pem"))
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"https://{api}/readyz", verify=context, trust_env=False).status_code == 200
    return False


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in found]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _own() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the pods, as the API tells of them


class Pods:
    """Follows all pods by a watch: what of each Deployment is ready, and the least that ever was."""

    def __init__(self, talk: Talk) -> None:
        self._talk, self._lock = talk, threading.Lock()
        self.zones: dict[str, str] = {n.metadata.name: n.metadata.labels[ZONE] for n in talk.client.list(Node)}
        self.there: dict[str, tuple[str, str, bool]] = {}  # pod → its Deployment, its node, whether it is ready
        self.made: dict[str, float] = {}  # pod → when it was first seen
        self.bound: dict[str, float] = {}
        self.started: dict[str, float] = {}
        self.dead, self.least = "", dict[str, int]()

        threading.Thread(target=self._follow, daemon=True).start()  # until the API goes

    def _follow(self) -> None:
        with contextlib.suppress(ApiError, httpx2.HTTPError), self._talk.connect() as client:
            for event, pod in client.watch(Pod):
                self._note(event, pod, time.monotonic())

    def _note(self, event: str, pod: Any, now: float) -> None:
        name, node = pod.metadata.name, (pod.spec and pod.spec.nodeName) or ""
        labels = pod.metadata.labels
        suffix = f"-{labels[of_cluster.COMPONENT]}" if of_cluster.TAKES in labels else ""
        with self._lock:
            self.made.setdefault(name, now)
            if event == "DELETED":
                self.there.pop(name, None)
            else:
                self.there[name] = (labels[of_cluster.INSTANCE] + suffix, node, of_cluster.ready(pod))
            if node:
                self.bound.setdefault(name, now)
            if of_cluster.ready(pod):
                self.started.setdefault(name, now)
            self._count()

    def _count(self) -> dict[str, Counter[str]]:
        """Ready pods by Deployment and zone; without those of the zone that is dead, whatever the API says of them."""
        found: dict[str, Counter[str]] = {}
        for deployment, node, ready in self.there.values():
            zone = self.zones.get(node, "")
            found.setdefault(deployment, Counter())[zone] += int(ready and zone != self.dead)
        for deployment, ready_ones in found.items():
            self.least[deployment] = min(self.least.get(deployment, 10**6), ready_ones.total())
        return found

    def count(self) -> dict[str, Counter[str]]:
        with self._lock:
            return self._count()

    def begin(self, dead: str = "") -> None:
        """Count the least anew; `dead` is the zone that is off."""
        with self._lock:
            self.dead, self.least = dead, {}
            self._count()

    def complete(self, declared: Mapping[str, int]) -> bool:
        found = self.count()
        return all(found.get(name, Counter()).total() >= count for name, count in declared.items())

    def dead_are_known(self) -> bool:
        """Whether the API, too, calls no pod of the dead zone ready."""
        with self._lock:
            return not any(ready for _, node, ready in self.there.values() if self.zones.get(node) == self.dead)

    def nodes(self) -> Counter[tuple[str, str]]:
        """Ready pods by Deployment and node."""
        with self._lock:
            return Counter((deployment, node) for deployment, node, ready in self.there.values() if ready)


# --- what is measured


def schedule(cluster: Cluster, pods: Pods, apply: Callable[[], str], declared: Mapping[str, int]) -> list[Row]:
    """All of it: from nothing until every pod is ready."""
    before, began = cluster.used(), time.monotonic()
    how = apply()
    cluster.until(lambda: pods.complete(declared), "all pods")
    took, after = time.monotonic() - began, cluster.used()
    found, waits = pods.count(), [pods.bound[n] - pods.made[n] for n in pods.started]
    most = max(pods.bound.values()) - began
    used = ", ".join(f"{n} {s - before[n]:.1f}" for n, s in sorted(after.items(), key=lambda i: before[i[0]] - i[1]))
    skewed = [n for n, c in found.items() if max(c[z] for z in ZONES) - min(c[z] for z in ZONES) > 1]
    split = [n for n, count in declared.items() if count > 1]
    crowded = [n for n, _ in (pair for pair, count in pods.nodes().items() if count > 1)]
    total = Counter[str]()
    for counted in found.values():
        total += counted
    what = f"{total.total()} pods of {len(declared)} Deployments on {len(ZONES) * NODES} nodes of {len(ZONES)} zones"
    waited = f"median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s"
    return [
        (f"{what}; {how}: all bound", f"{most:.1f} s", "90 s"),
        ("… and ready", f"{took:.1f} s", ""),
        ("… from a pod's making to its binding", waited, ""),
        ("… seconds of processors used", used, ""),
        ("pods in each zone", ", ".join(f"{z} {total[z]}" for z in ZONES), ""),
        (f"of {len(split)} Deployments of several pods: zones that differ by more than one pod", _few(skewed), "0"),
        ("… two pods on one node", _few(sorted(set(crowded))), "0"),
    ]


def cut(
    cluster: Cluster, pods: Pods, cloud: Cloud, desired: Sequence[DesiredPods], declared: Mapping[str, int]
) -> list[Row]:
    """A zone's nodes fall silent; once the cluster says so, the product has their pods made anew, as `up` does."""
    zone = ZONES[0]
    expected = {r.thing: r.after for r in without(cloud, [f"zone:{zone}"]).of("run")}
    floor = budgets(cluster)
    cluster.cut(zone)
    pods.begin(dead=zone)
    began, rollout = time.monotonic(), Rollout(cluster.talk)
    cluster.until(lambda: len(of_cluster.lost_nodes(cluster.talk.client)) == NODES, "the cluster's notice")
    cluster.until(pods.dead_are_known, "the cluster's word on the pods")
    noticed = time.monotonic() - began
    names = [p.pods.name for p in desired]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: rollout.begin_anew(rollout.broken(name), lambda _: None), names))
    cluster.until(lambda: pods.complete(declared), "pods made anew")
    back, least = time.monotonic() - began - noticed, dict(pods.least)
    below = [n for n, (run, _) in deployments(desired).items() if least[n] < expected[run]]
    gone = [n for n, count in declared.items() if count > 1 and not least[n]]
    struck = str(sum(least[n] < floor[n] for n, count in declared.items() if count > 1))
    alone = [n for n, count in declared.items() if count == 1 and not least[n]]
    cluster.until(lambda: not unmet(cluster), "the budgets")
    return [
        (f"zone {zone} cut, its nodes silent: known to the cluster", f"{noticed:.1f} s", ""),
        ("… then, by what `up` does, until all pods are ready elsewhere", f"{back:.1f} s", ""),
        ("… Deployments with fewer ready pods, at the worst moment, than `whatif` says", _few(below), "0"),
        ("… Deployments of several pods below their disruption budget, which binds evictions alone", struck, ""),
        ("… Deployments of several pods with none ready, at the worst moment", _few(gone), "0"),
        ("… Deployments of one pod, which was in the zone: none until it was made anew", str(len(alone)), ""),
        ("… Deployments below their count, or their disruption budget, after it", "0", "0"),
    ]


def drain(cluster: Cluster, pods: Pods, declared: Mapping[str, int]) -> list[Row]:
    """The zone is there again, and the other one is emptied by evictions, which the budgets hold back."""
    pods.begin()
    cluster.power(ZONES[0])
    returned = cluster.await_nodes(len(ZONES) * NODES)
    for node, zone in pods.zones.items():
        if zone == ZONES[1]:
            cluster.talk.client.patch(Node, node, {"spec": {"unschedulable": True}})
    cluster.until(lambda: not unmet(cluster), "the budgets")
    pods.begin()
    floor = budgets(cluster)
    began, refused = time.monotonic(), 0
    while left := [n for n, (_, node, _) in pods.there.copy().items() if pods.zones.get(node) == ZONES[1]]:
        for name in left:
            refused += not evicted(cluster, name)
        time.sleep(0.05)
    cluster.until(lambda: pods.complete(declared), "pods made anew")
    below = [n for n in declared if pods.least[n] < floor[n]]
    what = f"zone {ZONES[0]} back ({returned:.0f} s), zone {ZONES[1]} emptied by evictions"
    return [
        (what, f"{time.monotonic() - began:.1f} s, {refused} refused by budgets, and asked again", ""),
        ("… Deployments below their disruption budget, at any moment", _few(below), "0"),
    ]


def deployments(desired: Sequence[DesiredPods]) -> dict[str, tuple[str, int]]:
    """What `whatif` calls the pods of each Deployment, and how many they are."""
    found: dict[str, tuple[str, int]] = {}
    for name, pods in ((p.pods.name, p.pods) for p in desired):
        named = {f"{name}-{c.name}": c for c in (*pods.takers, *pods.others)} | (
            {name: pods.component} if pods.port else {}
        )
        found |= {n: (f"run:{pods.service}/{pods.backend}/{c.name}", pods.replicas) for n, c in named.items()}
    return found


def budgets(cluster: Cluster) -> dict[str, int]:
    """The pods that each Deployment's disruption budget, which has its name, wants to be ready."""
    return {b.metadata.name: int(b.status.desiredHealthy) for b in cluster.talk.client.list(PodDisruptionBudget)}


def unmet(cluster: Cluster) -> list[str]:
    """The disruption budgets that fewer pods are healthy of than they want, or that are not up to date."""
    found = [(b.metadata.name, b.status, b.metadata.generation) for b in cluster.talk.client.list(PodDisruptionBudget)]
    return [n for n, s, g in found if s.observedGeneration != g or (s.currentHealthy or 0) < (s.expectedPods or 0)]


def evicted(cluster: Cluster, name: str) -> bool:
    """Evict a pod; false where its budget does not let it go now."""
    try:
        cluster.talk.client.create(Pod.Eviction(metadata=ObjectMeta(name=name, namespace=NAMESPACE)), name)
    except ApiError as error:
        if error.status.code not in (404, 429):
            raise
        return error.status.code == 404
    return True


def _few(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])})" if names else "0"


if __name__ == "__main__":
    main()
