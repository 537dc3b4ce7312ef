"""The lab's network: a bridge for each zone, all joined by a core bridge, in a network namespace of the lab's own.

The machine sees one interface of it. All ends with the namespace: nothing else has to be removed.

    machine ps<id> ──── uplink ┐
                               core ── u0 ── d0 ─ z0 (zone) ── h0 ── eth0 of a host
                                    └─ u1 ── d1 ─ z1 (zone) ── h1 ── eth0 of another
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from typing import Any

from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab.shell import run
from planeshift.lab.topology import Host, Topology, Zone

IFACE = "eth0"


def batch(lines: Iterable[str], pid: int = 0) -> None:
    """Carry out `ip` commands, in the network namespace of a process (0: here). Raises PlaneshiftError (PS442)."""
    run([*_inside(pid), "ip", "-batch", "-"], text="\n".join(lines) + "\n")


def links(pid: int = 0) -> dict[str, dict[str, Any]]:
    """The interfaces of a network namespace, by name."""
    found = json.loads(run([*_inside(pid), "ip", "-json", "link"]) or "[]")
    return {link["ifname"]: link for link in found}


def refuse_overlap(lab: Topology) -> None:
    """Raise PlaneshiftError (PS443) where the machine uses one of the lab's networks already."""
    taken: list[tuple[ipaddress.IPv4Network, str]] = []
    for address in json.loads(run(["ip", "-json", "-4", "addr"]) or "[]"):
        for entry in address.get("addr_info", []):
            text = f"{entry['local']}/{entry['prefixlen']}"
            taken.append((ipaddress.IPv4Network(text, strict=False), address["ifname"]))
    for route in json.loads(run(["ip", "-json", "-4", "route"]) or "[]"):
        if route["dst"] != "default":
            taken.append((ipaddress.IPv4Network(route["dst"], strict=False), route.get("dev", "")))
    for key, text in (("network", lab.network), ("pods", lab.pods)):
        wanted = ipaddress.IPv4Network(text)
        for network, interface in taken:
            if interface != lab.interface and network.prefixlen and network.overlaps(wanted):
                hint = f"Give the lab another `{key}`, or take the other lab down."
                message = f"the lab's {key} {text} overlaps {network} of {interface}"
                raise PlaneshiftError(Problem("PS443", message, hint=hint))


def make(lab: Topology, pid: int) -> None:
    """Make what is missing of the lab's network; `pid` is the lab's first process."""
    here = links()
    if lab.interface not in here:
        batch([f"link add {lab.interface} type veth peer name uplink netns {pid}"])
    there = links(pid)
    lines = []
    if "core" not in there:
        lines.append("link add core type bridge")
    lines += ["link set uplink master core up", "link set core up"]
    for zone in lab.zones:
        if zone.bridge not in there:
            lines += [f"link add {zone.bridge} type bridge"]
        if zone.uplink not in there:
            lines += [f"link add {zone.uplink} type veth peer name {zone.downlink}"]
            lines += [f"link set {zone.uplink} up"]
        lines += [f"link set {zone.uplink} master core", f"link set {zone.downlink} master {zone.bridge} up"]
        lines += [f"link set {zone.bridge} up"]
    batch(lines, pid)
    lines = [f"addr replace {lab.gateway}/{lab.prefix} dev {lab.interface}", f"link set {lab.interface} up"]
    lines += [f"route replace {h.pods} via {h.address} dev {lab.interface}" for h in lab.hosts if h.pods]
    batch(lines)


def complete(lab: Topology, pid: int) -> bool:
    """Whether nothing of the lab's network is missing."""
    here = links()
    if lab.interface not in here:
        return False
    there = links(pid)
    wanted = {"core", *(n for z in lab.zones for n in (z.bridge, z.uplink, z.downlink))}
    routes = run(["ip", "-4", "route", "show", "dev", lab.interface])
    return wanted <= set(there) and all(h.pods in routes for h in lab.hosts if h.pods)


def connect(lab: Topology, host: Host, pid: int, host_pid: int) -> None:
    """Give a host its interface, address and routes, as far as they are missing."""
    bridge = next(z.bridge for z in lab.zones if z.name == host.zone)
    if IFACE not in links(host_pid):
        if host.port in links(pid):  # the other end is in a host that died
            batch([f"link del {host.port}"], pid)
        # A machine's hardware address is the same after it died: others find it at once, who know it by that.
        hardware = ":".join(f"{part:02x}" for part in (2, 0, *ipaddress.IPv4Address(host.address).packed))
        batch([f"link add {host.port} type veth peer name {IFACE} address {hardware} netns {host_pid}"], pid)
    batch([f"link set {host.port} master {bridge} up"], pid)
    lines = [f"addr replace {host.address}/{lab.prefix} dev {IFACE}", f"link set {IFACE} up", "link set lo up"]
    lines += [f"route replace default via {lab.gateway}"]
    lines += [f"route replace {h.pods} via {h.address}" for h in lab.hosts if h.pods and h.name != host.name]
    batch(lines, host_pid)


def connected(lab: Topology, host: Host, host_pid: int) -> bool:
    """Whether a host has its address and its routes."""
    text = run([*_inside(host_pid), "ip", "-4", "addr", "show"])
    routes = run([*_inside(host_pid), "ip", "-4", "route"])
    others = [h.pods for h in lab.hosts if h.pods and h.name != host.name]
    return f"{host.address}/{lab.prefix}" in text and "default" in routes and all(p in routes for p in others)


def cut(zone: Zone, pid: int) -> None:
    """Let nothing in or out of a zone; its hosts still reach each other."""
    batch([f"link set {zone.uplink} down"], pid)


def mend(zone: Zone, pid: int) -> None:
    """Join a zone to the others again."""
    batch([f"link set {zone.uplink} up"], pid)


def is_cut(zone: Zone, pid: int) -> bool:
    """Whether a zone is cut."""
    link = links(pid).get(zone.uplink)
    return bool(link) and "UP" not in link["flags"] if link else False


def slow(host: Host, pid: int, *, rate: str, delay: str, loss: str) -> None:
    """Make a host's link slow, both ways of it seen from the host: what it is sent. Raises PlaneshiftError (PS444).

    `rate` is by the kernel's token bucket; `delay` and `loss` need its netem, which not every kernel has.
    """
    fast(host, pid)
    if delay or loss:
        words = [
            *(["delay", delay] if delay else []),
            *(["loss", loss] if loss else []),
            *(["rate", rate] if rate else []),
        ]
        line = ["tc", "qdisc", "add", "dev", host.port, "root", "netem", *words]
        try:
            run([*_inside(pid), *line])
        except PlaneshiftError as error:
            why = error.problems[0].why
            hint = "Use --rate, or a kernel with sch_netem." if "unknown" in why else ""
            message = f"the link of {host.name} cannot be made slow"
            raise PlaneshiftError(Problem("PS444", message, why=why, hint=hint)) from error
    else:
        run(
            [
                *_inside(pid),
                "tc",
                "qdisc",
                "add",
                "dev",
                host.port,
                "root",
                "tbf",
                "rate",
                rate,
                "burst",
                "32kb",
                "latency",
                "400ms",
            ]
        )


def fast(host: Host, pid: int) -> None:
    """Make a host's link what it was."""
    if is_slow(host, pid):
        run([*_inside(pid), "tc", "qdisc", "del", "dev", host.port, "root"])


def is_slow(host: Host, pid: int) -> bool:
    """Whether a host's link was made slow."""
    found = json.loads(run([*_inside(pid), "tc", "-json", "qdisc", "show"]) or "[]")
    return any(q["kind"] in ("netem", "tbf") and q.get("dev") == host.port for q in found)


def remove(lab: Topology) -> None:
    """Remove the machine's end of the network, which an interrupted start can leave."""
    if lab.interface not in links():
        return
    try:
        batch([f"link del {lab.interface}"])
    except PlaneshiftError:
        if lab.interface in links():  # the kernel, which ends it with its other end, was not quicker
            raise


def _inside(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--"] if pid else []
