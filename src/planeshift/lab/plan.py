"""What has to be done so that a lab is as declared. Pure: the lab and what is seen of it in, steps out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planeshift.lab.site import ClusterSeen, HostSeen, Seen
from planeshift.lab.topology import Host, Topology

Kind = Literal[
    "tools", "images", "lab", "network", "remove", "erase", "boot", "connect", "resume", "hasten", "empty", "mend",
    "import", "init", "join", "storage", "serve", "wait",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing to do, to `subject`: a host, zone or cluster. `needs` are the ids of what has to be done before."""

    kind: Kind
    subject: str
    summary: str
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name in the plan."""
        return f"{self.kind} {self.subject}".strip()


def plan(lab: Topology, seen: Seen, images: str) -> list[Step]:
    """The steps, in an order in which they can be done; nothing where all is as declared. `images` is the key wanted."""
    draft = _Draft(lab, seen, images)
    draft.machine()
    for host in lab.hosts:
        draft.host(host)
    for cluster in lab.clusters:
        draft.cluster(cluster)
    return draft.steps


class _Draft:
    def __init__(self, lab: Topology, seen: Seen, images: str) -> None:
        self.lab, self.seen, self.images = lab, seen, images
        self.steps: list[Step] = []

    def add(self, kind: Kind, subject: str, summary: str, *needs: str) -> None:
        planned = {step.id for step in self.steps}
        self.steps.append(Step(kind, subject, summary, tuple(n for n in needs if n in planned)))

    def machine(self) -> None:
        seen, lab = self.seen, self.lab
        if seen.tools:
            self.add("tools", "", f"build {', '.join(seen.tools)}; once on this machine")
        if lab.clusters and seen.images != self.images:
            self.add("images", "", "make the cluster's images, once on this machine", "tools")
        if not seen.pid:
            self.add("lab", "", "make the lab's namespaces", "tools")
        if not seen.pid or not seen.network:
            self.add("network", "", f"{lab.network}: {len(lab.zones)} zones on {lab.interface}", "lab")
        for name in seen.others:
            self.add("remove", name, f"{name}: no longer declared")
        for zone in lab.zones:
            if seen.zones.get(zone.name):
                self.add("mend", zone.name, f"zone {zone.name}: joined again")

    def host(self, host: Host) -> None:
        seen = self.seen.hosts.get(host.name, HostSeen())
        alive = bool(seen.pid)
        if self.spoilt(host, seen):
            self.add("erase", host.name, f"{host.name}: erase what is not whole")
            alive, seen = False, HostSeen()
        if not alive:
            what = f"node of {host.cluster}" if host.cluster else "host"
            again = " again" if seen.disk else ""
            self.add(
                "boot",
                host.name,
                f"{host.name}: boot{again}, a {what} in zone {host.zone}",
                f"erase {host.name}",
                "network",
            )
        if not alive or not seen.connected:
            self.add("connect", host.name, f"{host.name}: {host.address}", f"boot {host.name}", "network")
        if alive and seen.paused:
            self.add("resume", host.name, f"{host.name}: goes on")
        if alive and seen.slow:
            self.add("hasten", host.name, f"{host.name}: its link as fast as it was")
        if alive and seen.filled:
            self.add("empty", host.name, f"{host.name}: its disk emptied of what filled it")
        if host.runs.names and (not alive or seen.served != " ".join(host.runs.names)):
            what = f"{host.name}: {', '.join(host.runs.names)}"
            self.add("serve", host.name, what, f"boot {host.name}", f"connect {host.name}")
        if host.cluster and seen.images != self.images:
            self.add("import", host.name, f"{host.name}: import the cluster's images", f"boot {host.name}", "images")

    def spoilt(self, host: Host, seen: HostSeen) -> bool:
        """Whether a node was left half-made, or belongs to a cluster that is no more."""
        if not host.cluster or not seen.disk:
            return False
        leader = self.seen.hosts.get(self.lab.leader(host.cluster).name, HostSeen())
        return not seen.ready or seen.ready != leader.ready

    def cluster(self, name: str) -> None:
        seen = self.seen.clusters.get(name, ClusterSeen())
        leader = self.lab.leader(name)
        erased = {step.subject for step in self.steps if step.kind == "erase"}
        ready = {
            h.name
            for h in self.lab.nodes(name)
            if h.name not in erased and self.seen.hosts.get(h.name, HostSeen()).ready
        }
        before = (f"import {leader.name}", f"connect {leader.name}")
        if leader.name not in ready:
            self.add("init", name, f"{name}: kubeadm init on {leader.name}", *before)
        for host in self.lab.nodes(name):
            if host.name not in ready and host is not leader:
                needs = (f"init {name}", f"import {host.name}", f"connect {host.name}", *before)
                self.add("join", host.name, f"{name}: {host.name} joins", *needs)
        changed = any(s.subject in {name, *(h.name for h in self.lab.nodes(name))} for s in self.steps)
        if leader.name not in ready or not seen.storage:
            mended = [s.id for s in self.steps if s.kind in ("mend", "resume", "empty", "hasten")]
            self.add("storage", name, f"{name}: default StorageClass", f"init {name}", *before, *mended)
        whole = seen.answers and all(seen.nodes.get(h.name) for h in self.lab.nodes(name)) and seen.storage
        if changed or not whole:
            after = [s.id for s in self.steps]
            self.add("wait", name, f"{name}: all nodes ready, all of kube-system available", *after)
