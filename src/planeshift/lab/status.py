"""What a person asks of a lab: how its hosts are, and what their programs said last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planeshift.errors import control_free
from planeshift.lab import disk, processes
from planeshift.lab.observe import observe
from planeshift.lab.site import ClusterSeen, HostSeen, Seen, Site
from planeshift.lab.topology import Host


@dataclass(frozen=True)
class Row:
    """A host: `state` is running, ready (a node), not ready, paused, slow, disk full, not connected or down."""

    name: str
    zone: str
    address: str
    cluster: str
    state: str
    pid: int


@dataclass(frozen=True)
class Status:
    """A lab as it is. `kubeconfig` is empty where it has no cluster."""

    name: str
    kubeconfig: str
    state: str
    hosts: tuple[Row, ...]
    zones: Mapping[str, bool]

    @property
    def well(self) -> bool:
        """Whether all is as declared."""
        return all(r.state in ("running", "ready") for r in self.hosts) and not any(self.zones.values())

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        zones = [{"name": name, "cut": cut} for name, cut in self.zones.items()]
        return {**asdict(self), "hosts": [asdict(r) for r in self.hosts], "zones": zones, "well": self.well}


def status(site: Site) -> Status:
    """Look at a lab."""
    seen = observe(site)
    rows = tuple(_row(host, seen) for host in site.lab.hosts)
    zones = {z.name: bool(seen.zones.get(z.name)) for z in site.lab.zones}
    kubeconfig = str(site.kubeconfig) if site.lab.clusters else ""
    return Status(site.lab.name, kubeconfig, str(site.state), rows, zones)


def _row(host: Host, seen: Seen) -> Row:
    found = seen.hosts.get(host.name, HostSeen())
    cluster = seen.clusters.get(host.cluster, ClusterSeen())
    return Row(host.name, host.zone, host.address, host.cluster, _state(host, found, cluster), found.pid)


def _state(host: Host, seen: HostSeen, cluster: ClusterSeen) -> str:
    if not seen.pid:
        return "down"
    faults = {"paused": seen.paused, "disk full": seen.filled, "slow": seen.slow, "not connected": not seen.connected}
    found = [name for name, there in faults.items() if there]
    if found:
        return ", ".join(found)
    if not host.cluster:
        return "running"
    if not cluster.answers:
        return "API does not answer"
    return "ready" if cluster.nodes.get(host.name) else "not ready"


def logs(site: Site, host: Host, lines: int) -> Iterator[tuple[str, list[str]]]:
    """The last lines of each log of a host; of one that is down, of its boot alone."""
    found = {"boot": disk.directory(site.state, host) / "log" / "boot.log"}
    init = processes.inits(site.state).get(host.name)
    if init and host.cluster:
        found |= {n: Path(f"/proc/{init.pid}/root/var/log/{n}.log") for n in ("containerd", "kubelet")}
    for name, path in found.items():
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        yield name, [control_free(line) for line in text.splitlines()[-lines:]]
