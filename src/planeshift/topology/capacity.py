"""What a control plane asks for as one virtual machine a component, and as pods: cores, memory, machines. Pure.

Use is what the catalogue has measured of each component (`catalog.spec.Use`), or what a running cloud says. A virtual
machine must be as large as its component at its busiest, and comes in sizes; pods share their nodes, so that what counts
is what all need at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from planeshift import catalog
from planeshift.catalog.spec import Use
from planeshift.model import cloud as model
from planeshift.render.chart import REQUESTS
from planeshift.topology.machines import Group, Machine, groups

GIB = 1024  # MiB
_UNITS = {"": 1 / 2**20, "k": 1e3 / 2**20, "M": 1e6 / 2**20, "G": 1e9 / 2**20, "Ki": 1 / 1024, "Mi": 1.0, "Gi": 1024.0}
_QUANTITY = re.compile(r"^([0-9.]+)(m|k|M|G|Ki|Mi|Gi)?$")


@dataclass(frozen=True)
class Assumptions:
    """What is not measured but chosen; each is an option of the command. Memory in MiB."""

    system: int = 512  # a virtual machine's own: kernel, daemons, agents
    node: int = 1024  # a node's own: the same, with kubelet and container runtime
    node_cores: float = 0.5
    size: tuple[int, int] = (8, 16)  # cores and GiB of a node, where the file does not say
    load: int = 25  # percent of their busiest that all components use at once


@dataclass(frozen=True)
class Ask:
    """Of one component: how many of it there are, and what each asks for in both forms."""

    service: str
    component: str
    count: int
    workers: int
    vm_cores: int
    vm_memory: int  # MiB, a size
    pod_cores: float
    pod_memory: int  # MiB
    measured: str  # how; empty where nobody has


@dataclass(frozen=True)
class Total:
    """Of a whole control plane in one form."""

    machines: int
    cores: int
    memory: int  # MiB
    used_cores: float  # what of it is used, at the assumed load
    used_memory: int


@dataclass(frozen=True)
class Capacity:
    """Both forms side by side."""

    asks: tuple[Ask, ...]
    vms: Total
    pods: Total
    unmeasured: tuple[str, ...]  # components that nobody measured: they are left out


def capacity(
    cloud: model.Cloud, assumed: Assumptions | None = None, measured: Mapping[tuple[str, str], Use] | None = None
) -> Capacity:
    """Compare. `measured` goes before the catalogue's figures: (service, component) → use."""
    chosen, asks, unmeasured = assumed or Assumptions(), list[Ask](), dict[str, None]()
    for service, component, workers, count in _counted(groups(cloud)):
        spec = next(c for c in catalog.service(service).components if c.name == component)
        use = (measured or {}).get((service, component)) or spec.use
        if use is None:
            unmeasured[component] = None
        else:
            asks.append(_ask(service, component, workers, count, use, chosen))
    return Capacity(tuple(asks), _vms(asks, chosen), _pods(cloud, asks, chosen), tuple(unmeasured))


def _counted(found: Iterable[Group]) -> Iterator[tuple[str, str, int, int]]:
    """Components that are alike, and how many there are."""
    counts: dict[tuple[str, str, int], int] = {}
    for group in found:
        key = (group.service, group.component, group.workers)
        counts[key] = counts.get(key, 0) + group.replicas
    for (service, component, workers), count in counts.items():
        yield service, component, workers, count


def _ask(service: str, component: str, workers: int, count: int, use: Use, chosen: Assumptions) -> Ask:
    memory = use.base + workers * use.worker
    busiest = workers * use.busy
    return Ask(
        service=service,
        component=component,
        count=count,
        workers=workers,
        vm_cores=max(1, math.ceil(busiest)),
        vm_memory=_size(memory + chosen.system),
        pod_cores=round(max(0.01, busiest * chosen.load / 100), 3),
        pod_memory=memory,
        measured=use.measured,
    )


def _size(memory: int) -> int:
    """The next size of a virtual machine: a power of two of GiB."""
    return int(GIB * 2 ** max(0, math.ceil(math.log2(max(memory, 1) / GIB))))


def _vms(asks: Sequence[Ask], chosen: Assumptions) -> Total:
    return Total(
        machines=sum(a.count for a in asks),
        cores=sum(a.count * a.vm_cores for a in asks),
        memory=sum(a.count * a.vm_memory for a in asks),
        used_cores=round(sum(a.count * a.pod_cores for a in asks), 1),
        used_memory=sum(a.count * (a.pod_memory + chosen.system) for a in asks),
    )


def _pods(cloud: model.Cloud, asks: Sequence[Ask], chosen: Assumptions) -> Total:
    """Nodes of one size, as many as hold all pods, in each zone as many as in the others."""
    sizes = [(n.cores, n.memory) for c in cloud.spec.clusters for n in c.nodes if n.cores and n.memory]
    cores, memory = (min(c for c, _ in sizes if c), min(m for _, m in sizes if m)) if sizes else chosen.size
    room = (cores - chosen.node_cores, memory * GIB - chosen.node)
    pods = [(a.pod_cores, float(a.pod_memory)) for a in asks for _ in range(a.count)]
    nodes = _packed(pods, room)
    zones = max(1, len(cloud.spec.zones))
    nodes = math.ceil(nodes / zones) * zones
    return Total(
        machines=nodes,
        cores=nodes * cores,
        memory=nodes * memory * GIB,
        used_cores=round(sum(c for c, _ in pods) + nodes * chosen.node_cores, 1),
        used_memory=round(sum(m for _, m in pods)) + nodes * chosen.node,
    )


def _packed(pods: Sequence[tuple[float, float]], room: tuple[float, float]) -> int:
    """How many nodes hold these pods, the largest put first, each where it still fits. A pod that fits none has one."""
    free: list[list[float]] = []
    for cores, memory in sorted(pods, key=lambda p: -max(p[0] / room[0], p[1] / room[1])):
        node = next((n for n in free if n[0] >= cores and n[1] >= memory), None)
        if node is None:
            node = list(room)
            free.append(node)
        node[0] -= cores
        node[1] -= memory
    return len(free)


# --- whether what is left of a cluster holds its pods


def fits(nodes: Sequence[Machine], asked: Iterable[tuple[Mapping[str, str], int]]) -> bool:
    """Whether so many pods of each of these requests have room on these nodes; true where a node's size is unknown."""
    if not nodes or any(n.cores is None or n.memory is None for n in nodes):
        return bool(nodes)
    free = [[float(n.cores or 0), float((n.memory or 0) * GIB)] for n in nodes]
    pods = [
        (amount(requests.get("cpu", REQUESTS["cpu"])), mebibytes(requests.get("memory", REQUESTS["memory"])))
        for requests, count in asked
        for _ in range(count)
    ]
    for cores, memory in sorted(pods, reverse=True):
        node = next((n for n in free if n[0] >= cores and n[1] >= memory), None)
        if node is None:
            return False
        node[0] -= cores
        node[1] -= memory
    return True


def amount(quantity: str) -> float:
    """Cores of a quantity of Kubernetes' (`250m`, `2`); 0 for what is none."""
    found = _QUANTITY.match(quantity)
    return float(found[1]) / (1000 if found[2] == "m" else 1) if found else 0.0


def mebibytes(quantity: str) -> float:
    """MiB of a quantity of Kubernetes' (`256Mi`, `1G`); 0 for what is none."""
    found = _QUANTITY.match(quantity)
    return float(found[1]) * _UNITS.get(found[2] or "", 0.0) if found else 0.0
