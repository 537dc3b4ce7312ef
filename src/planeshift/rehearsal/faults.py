"""What a rehearsal breaks, and at which step. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planeshift.errors import PlaneshiftError, Problem
from planeshift.model.cloud import Shift
from planeshift.model.load import nearest
from planeshift.rehearsal.scale import Rehearsal

KINDS = {
    "worker": "a process that serves requests is killed (-9)",
    "pod": "a pod is deleted, with no time to end",
    "haproxy": "the edge's HAProxy is killed (-9)",
    "planeshift": "the run that moves the traffic is killed (-9), and begun again",
    "host": "a host loses its power, and is booted again after ten seconds",
    "node": "a node of Kubernetes loses its power, and is booted again after ten seconds",
    "zone": "a zone is cut off from the others, for five seconds",
    "database": "the database hangs for ten seconds",
}
USUAL = ("worker", "pod", "haproxy", "planeshift")  # which bound what they cost, and come back by themselves


@dataclass(frozen=True)
class Fault:
    """Something to break: `target` is a host, a zone, an edge, a cluster's pods (CLUSTER/BACKEND), by kind."""

    kind: str
    target: str
    service: str = ""
    backend: str = ""

    @property
    def what(self) -> str:
        """In a few words: what is broken."""
        return {
            "worker": f"a worker of {self.service} on {self.target}",
            "pod": f"a pod of {self.service} in {self.target}",
            "haproxy": f"HAProxy of {self.target}",
            "planeshift": "planeshift",
            "host": f"the host {self.target}",
            "node": f"the node {self.target}",
            "zone": f"the zone {self.target}",
            "database": f"the database on {self.target}",
        }[self.kind]


def faults(names: Sequence[str] | None, scaled: Rehearsal) -> tuple[Fault, ...]:
    """The faults of these kinds; without names, the usual ones that the cloud can have.

    Raises PlaneshiftError (PS822) for a kind that is not known, or that this cloud cannot have.
    """
    found, problems = [], []
    for name in USUAL if names is None else names:
        if name not in KINDS:
            hint = nearest(name, list(KINDS)) or f"There are {', '.join(KINDS)}."
            problems.append(Problem("PS822", f"there is no fault `{name}`", hint=hint))
            continue
        fault = _TARGETS[name](scaled)
        if fault:
            found.append(fault)
        elif names is not None:
            problems.append(Problem("PS822", f"the fault `{name}` has nothing to break here", why=_WHY[name]))
    if problems:
        raise PlaneshiftError(problems)
    return tuple(found)


def schedule(found: Sequence[Fault], steps: int) -> dict[int, list[Fault]]:
    """At which of all steps of the change, from 1, each is broken: spread evenly, in their order."""
    at: dict[int, list[Fault]] = {}
    for number, fault in enumerate(found):
        at.setdefault(1 + number * steps // max(len(found), 1), []).append(fault)
    return at


def steps(scaled: Rehearsal) -> int:
    """How many steps the change has, over all services whose weights differ."""
    return sum(len(_steps(scaled, service)) for service in scaled.moved if _shifts(scaled, service))


def _steps(scaled: Rehearsal, service: str) -> Sequence[int]:
    found: Sequence[int] = scaled.after["spec"]["services"][service].get("shift", {}).get("steps", Shift().steps)
    return found


def _shifts(scaled: Rehearsal, service: str) -> bool:
    before, after = (
        {name: b.get("weight") for name, b in cloud["spec"]["services"].get(service, {}).get("backends", {}).items()}
        for cloud in (scaled.before, scaled.after)
    )
    return bool(before) and {n: w for n, w in before.items() if w} != {n: w for n, w in after.items() if w}


# --- targets


def _backends(scaled: Rehearsal, key: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Backends of moved services, after the change, that have hosts or a cluster; what keeps traffic first."""
    return [
        (service, name, backend)
        for service in scaled.moved
        for name, backend in scaled.after["spec"]["services"][service]["backends"].items()
        if backend.get(key)
    ]


def _worker(scaled: Rehearsal) -> Fault | None:
    return next((Fault("worker", b["hosts"][0], s, n) for s, n, b in _backends(scaled, "hosts")), None)


def _pod(scaled: Rehearsal) -> Fault | None:
    return next((Fault("pod", b["cluster"], s, n) for s, n, b in _backends(scaled, "cluster")), None)


def _host(scaled: Rehearsal) -> Fault | None:
    """The last host of the largest backend, so that others carry on where there are others."""
    backends = sorted(_backends(scaled, "hosts"), key=lambda found: -len(found[2]["hosts"]))
    return next((Fault("host", b["hosts"][-1], s, n) for s, n, b in backends), None)


def _node(scaled: Rehearsal) -> Fault | None:
    """One that does not run the control plane, so that Kubernetes itself goes on."""
    used = {b["cluster"] for _, _, b in _backends(scaled, "cluster")}
    nodes = [h for h in scaled.lab["spec"]["hosts"] if h.get("cluster") in used]
    first = {h["cluster"]: h["name"] for h in reversed(nodes)}
    return next((Fault("node", h["name"]) for h in nodes if h["name"] not in first.values()), None)


def _zone(scaled: Rehearsal) -> Fault | None:
    """One that has not the database, which all services need."""
    hosts = scaled.lab["spec"]["hosts"]
    stores = next(h["zone"] for h in hosts if h.get("runs"))
    used = {name for _, _, b in _backends(scaled, "hosts") for name in b["hosts"]}
    return next((Fault("zone", h["zone"]) for h in hosts if h["name"] in used and h["zone"] != stores), None)


def _database(scaled: Rehearsal) -> Fault | None:
    return Fault("database", next(h["name"] for h in scaled.lab["spec"]["hosts"] if h.get("runs")))


_TARGETS: dict[str, Callable[[Rehearsal], Fault | None]] = {
    "worker": _worker,
    "pod": _pod,
    "haproxy": lambda scaled: Fault("haproxy", scaled.after["spec"]["edges"][0]["name"]),
    "planeshift": lambda scaled: Fault("planeshift", ""),
    "host": _host,
    "node": _node,
    "zone": _zone,
    "database": _database,
}
_WHY = {
    "worker": "No service that the change touches runs on hosts.",
    "pod": "No service that the change touches runs as pods.",
    "host": "No service that the change touches runs on hosts.",
    "node": "It takes a cluster of two nodes: declare them, `nodes: [{name: …, control: true}, {name: …}]`.",
    "zone": "It takes a host in a zone of its own: the first zone has the database.",
    "haproxy": "",
    "planeshift": "",
    "database": "",
}
