"""Look at the world: what is there of a lab."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from planeshift.lab import cgroups, cluster, disk, faults, images, network, processes
from planeshift.lab.site import ClusterSeen, HostSeen, Seen, Site
from planeshift.lab.topology import Host, Topology
from planeshift.tools import pins
from planeshift.tools.places import built, locate


def observe(site: Site) -> Seen:
    """All of a lab that is there; changes nothing. Raises PlaneshiftError where a command of the system fails."""
    lab = site.lab
    found = processes.inits(site.state)
    first = found.get("")
    with ThreadPoolExecutor(8) as pool:
        clusters = {}
        if first:
            leaders = {name: lab.leader(name).name for name in lab.clusters}
            asked = [name for name, leader in leaders.items() if leader in found and site.kubeconfig.exists()]
            clusters = dict(zip(asked, pool.map(lambda name: cluster.seen(site, name), asked), strict=True))
        hosts = pool.map(lambda host: _host(site, host, found), lab.hosts)
        return Seen(
            pid=first.pid if first else 0,
            network=network.complete(lab, first.pid) if first else False,
            tools=missing_tools(lab),
            images=images.key() if lab.clusters and images.made() else "",
            hosts=dict(zip((h.name for h in lab.hosts), hosts, strict=True)),
            zones={z.name: network.is_cut(z, first.pid) for z in lab.zones} if first else {},
            clusters={name: clusters.get(name, ClusterSeen()) for name in lab.clusters},
            others=_others(site, found),
        )


def missing_tools(lab: Topology) -> tuple[str, ...]:
    """The lab's tools that have to be built."""
    wanted = list(cluster.TOOLS) if lab.clusters else []
    wanted += ["versitygw"] if any(h.runs.s3 for h in lab.hosts) else []
    return tuple(
        name
        for name in wanted
        if (locate(pins()[name]) is None if name == "kubectl" else not built(pins()[name]).exists())
    )


def _host(site: Site, host: Host, found: dict[str, processes.Init]) -> HostSeen:
    home = disk.directory(site.state, host)
    init, first = found.get(host.name), found.get("")
    alive = init is not None and first is not None
    return HostSeen(
        pid=init.pid if init else 0,
        connected=alive and network.connected(site.lab, host, init.pid) if init else False,
        paused=cgroups.frozen(site.lab.id, host.name) if init else False,
        slow=network.is_slow(host, first.pid) if first and alive else False,
        filled=faults.filled(init) if init else False,
        disk=home.exists(),
        images=_text(home / "images"),
        ready=_text(home / "ready"),
        served=_text(home / "served"),
    )


def _others(site: Site, found: dict[str, processes.Init]) -> tuple[str, ...]:
    """Hosts that run or have a disk, but are not declared (any more)."""
    names = {name for name in found if name}
    top = site.state / "hosts"
    if top.is_dir():
        names |= {p.name for p in top.iterdir()}
    return tuple(sorted(names - {h.name for h in site.lab.hosts}))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
