"""The lab with every name and address filled in. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass, field

from planeshift.lab.model import Lab, Runs, size

REGISTRY_PORT = 5000  # of a host that `runs` a registry


@dataclass(frozen=True)
class Host:
    """A host of the lab. `number` counts from 0 and makes its address and interface; `disk` is in bytes, 0 for no limit."""

    name: str
    number: int
    zone: str
    address: str
    cluster: str = ""
    leads: bool = False  # runs its cluster's control plane
    pods: str = ""  # the network of its pods
    disk: int = 0
    runs: Runs = field(default_factory=Runs)

    @property
    def port(self) -> str:
        """Its interface on the zone's bridge."""
        return f"h{self.number}"


@dataclass(frozen=True)
class Zone:
    """A zone: a bridge, and the link that joins it to the others."""

    name: str
    bridge: str
    uplink: str
    downlink: str


@dataclass(frozen=True)
class Topology:
    """A lab, complete. `id` tells it from others on the machine, `interface` is the machine's end of its network."""

    name: str
    id: str
    interface: str
    gateway: str
    prefix: int
    network: str
    pods: str
    services: str
    zones: tuple[Zone, ...]
    hosts: tuple[Host, ...]

    def host(self, name: str) -> Host | None:
        """The host of this name."""
        return next((h for h in self.hosts if h.name == name), None)

    def zone(self, name: str) -> Zone | None:
        """The zone of this name."""
        return next((z for z in self.zones if z.name == name), None)

    @property
    def clusters(self) -> tuple[str, ...]:
        """The clusters' names."""
        return tuple(dict.fromkeys(h.cluster for h in self.hosts if h.cluster))

    def nodes(self, cluster: str) -> tuple[Host, ...]:
        """A cluster's nodes, the one with the control plane first."""
        return tuple(sorted((h for h in self.hosts if h.cluster == cluster), key=lambda h: not h.leads))

    def leader(self, cluster: str) -> Host:
        """The node that runs a cluster's control plane."""
        return self.nodes(cluster)[0]


def topology(lab: Lab, state: str) -> Topology:
    """Fill in a lab. `state` is its directory of state, which tells labs of one name apart."""
    spec = lab.spec
    network = ipaddress.IPv4Network(spec.network)
    pods = ipaddress.IPv4Network(spec.pods).subnets(new_prefix=24)
    zones = tuple(Zone(name, f"z{i}", f"u{i}", f"d{i}") for i, name in enumerate(spec.zones))
    led: set[str] = set()
    hosts = []
    for number, declared in enumerate(spec.hosts):
        cluster = declared.cluster or ""
        hosts.append(
            Host(
                name=declared.name,
                number=number,
                zone=declared.zone or spec.zones[0],
                address=str(network[number + 2]),
                cluster=cluster,
                leads=bool(cluster) and cluster not in led,
                pods=str(next(pods)) if cluster else "",
                disk=size(declared.disk) if declared.disk else 0,
                runs=declared.runs,
            )
        )
        led |= {cluster}
    identity = hashlib.sha256(state.encode()).hexdigest()[:8]
    return Topology(
        name=lab.metadata.name,
        id=identity,
        interface=f"ps{identity}",
        gateway=str(network[1]),
        prefix=network.prefixlen,
        network=spec.network,
        pods=spec.pods,
        services=spec.cluster_services,
        zones=zones,
        hosts=tuple(hosts),
    )
