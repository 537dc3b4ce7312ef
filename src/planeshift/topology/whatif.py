"""What is left of a cloud without a zone, a host, a cell, …: replicas, quorum, capacity. Pure.

Pods are spread over zones and nodes as the scheduler does it (topology/spread.py). Where a loss can meet more or fewer of
them, the worse is said. What a cluster's control plane still moves elsewhere comes back: `later`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from planeshift.errors import Exit, PlaneshiftError, Problem, few
from planeshift.model import cloud as model
from planeshift.model.load import nearest
from planeshift.render import topology
from planeshift.topology import spread
from planeshift.topology.capacity import fits
from planeshift.topology.machines import Group, Machine, Server, bus, groups, machines, servers, workers

Verdict = Literal["as before", "fewer", "impaired", "no quorum", "down"]
SERVER_KINDS = ("database", "messaging", "cache", "etcd", "edge")


@dataclass(frozen=True)
class Row:
    """One thing: how many of it there are before, right after the loss, and once clusters have moved pods."""

    thing: str  # KIND:NAME, as in `needs`
    verdict: Verdict
    before: int
    after: int
    later: int
    why: str = ""


@dataclass(frozen=True)
class Loss:
    """What a loss takes: a row for each server, component, cell and service."""

    without: tuple[str, ...]
    machines: tuple[str, ...]  # that are gone
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def row(self, thing: str) -> Row:
        """The row of a thing."""
        return next(r for r in self.rows if r.thing == thing)

    def of(self, kind: str) -> list[Row]:
        """The rows of one kind."""
        return [r for r in self.rows if r.thing.startswith(f"{kind}:")]


def without(cloud: model.Cloud, lost: Sequence[str]) -> Loss:
    """What a cloud is without these (`zone:A`, `host:x`, …). Raises PlaneshiftError (PS227) for names it has not."""
    _refuse_unknown(cloud, lost)
    return _Without(cloud, lost).loss()


def names(cloud: model.Cloud) -> list[str]:
    """Everything that can be lost, as `--without` takes it."""
    spec = cloud.spec
    kinds: Mapping[str, Iterable[str]] = {
        "zone": spec.zones,
        "cell": [c.name for c in spec.cells],
        "cluster": [c.name for c in spec.clusters],
    }
    found = [f"{kind}:{name}" for kind, known in kinds.items() for name in known]
    return [*found, *machines(cloud), *(s for s in servers(cloud) if not s.startswith("etcd:"))]


def _refuse_unknown(cloud: model.Cloud, lost: Sequence[str]) -> None:
    known = names(cloud)
    problems = []
    for name in lost:
        if name not in known:
            hint = nearest(name, known) or f"There are {', '.join(known[:8])}{', …' if len(known) > 8 else ''}."
            problems.append(Problem("PS227", f"the cloud has no `{name[:80]}`", hint=hint))
    if problems:
        raise PlaneshiftError(problems, exit_code=Exit.USAGE)


class _Without:
    def __init__(self, cloud: model.Cloud, lost: Sequence[str]) -> None:
        self.cloud, self.lost = cloud, set(lost)
        self.machines, self.servers, self.groups = machines(cloud), servers(cloud), groups(cloud)
        self.gone = {m.id: why for m in self.machines.values() if (why := self._gone(m))}
        self.rows: dict[str, Row] = {}

    def _gone(self, machine: Machine) -> str:
        """Why a machine is gone; empty where it stays. A cell's servers go with the cell."""
        parts = [machine.id, f"zone:{machine.zone}", f"cell:{machine.cell}", f"cluster:{machine.cluster}"]
        zones = {f"zone:{c.zone}" for c in self.cloud.spec.cells if machine.cell and c.name == machine.cell}
        return next((p for p in (*parts, *zones) if p in self.lost), "")

    def loss(self) -> Loss:
        for server in self.servers.values():
            self._add(self._server(server))
        for row in self._components():
            self._add(row)
        for service in self._ordered():
            self._add(self._service(service))
        for cell in self.cloud.spec.cells:
            self._add(self._cell(cell))
        order = [*SERVER_KINDS, "run", "component", "cell", "service"]
        rows = sorted(self.rows.values(), key=lambda r: order.index(r.thing.partition(":")[0]))
        return Loss(tuple(sorted(self.lost)), tuple(self.gone), tuple(rows), tuple(self._notes()))

    def _add(self, row: Row) -> None:
        self.rows[row.thing] = row

    def _up(self, thing: str) -> bool:
        """Whether a server or service serves; what the file does not know is taken to."""
        return thing not in self.rows or self.rows[thing].verdict not in ("down", "no quorum")

    # --- servers

    def _server(self, server: Server) -> Row:
        gone = [m for m in server.members if m in self.gone]
        left = 0 if server.id in self.lost else server.size - len(gone)
        why = f"{server.id} itself is gone" if server.id in self.lost else ", ".join(f"{m} is gone" for m in gone[:3])
        verdict: Verdict = "as before" if left == server.size else "fewer"
        if left < server.least:
            verdict = "no quorum" if left else "down"
            why += f"; {server.least} of {server.size} are needed" if left else ""
        return Row(server.id, verdict, server.size, left, left if left >= server.least else 0, why)

    # --- processes

    def _components(self) -> Iterator[Row]:
        """A row for each component of each backend, and one for each component."""
        rooms = {c.name: self._room(c) for c in self.cloud.spec.clusters}
        runs: dict[str, Row] = {}
        for group in self.groups:
            runs[group.id] = self._group(group, rooms)
            yield runs[group.id]
        for service, component, cell in dict.fromkeys((g.service, g.component, g.cell) for g in self.groups):
            same = [g for g in self.groups if (g.service, g.component, g.cell) == (service, component, cell)]
            useful = [runs[g.id] for g in same if g.serving]
            before, after, later = (sum(getattr(r, key) for r in useful) for key in ("before", "after", "later"))
            idle = sum(runs[g.id].later for g in same if not g.serving)
            why = "; ".join(dict.fromkeys(r.why for r in useful if r.why))
            if not after and idle:
                why += f"; {idle} more are there, whose weight is 0"
            verdict: Verdict = "as before" if after >= before else "fewer" if after else "down"
            yield Row(
                f"component:{service}/{component}{f'@{cell}' if cell else ''}", verdict, before, after, later, why
            )

    def _group(self, group: Group, rooms: Mapping[str, str]) -> Row:
        before, name = group.replicas, f"run:{group.id}"
        if group.cell and f"cell:{group.cell}" in self.lost:
            return Row(name, "down", before, 0, 0, f"cell:{group.cell} is gone")
        if group.cluster and f"cluster:{group.cluster}" in self.lost:
            return Row(name, "down", before, 0, 0, f"cluster:{group.cluster} is gone")
        gone = [m for m in group.machines if m in self.gone]
        if not gone:
            return Row(name, "as before", before, before, before)
        causes = dict.fromkeys(self.gone[m] for m in gone)
        why = ", ".join(f"{c} is gone" for c in causes)
        if not group.cluster:
            after = later = before - len(gone)
        else:
            after = before - spread.most(before, self._zones(group.machines))
            stays = rooms[group.cluster]
            later = before if not stays and len(gone) < len(group.machines) else after
            why += f"; {stays}" if stays else ""
        return Row(name, "as before" if after == before else "fewer" if after else "down", before, after, later, why)

    def _zones(self, nodes: Sequence[str]) -> list[spread.Zone]:
        """The nodes that a group's pods may run on, by zone."""
        zones: dict[str, list[str]] = {}
        for node in nodes:
            zones.setdefault(self.machines[node].zone, []).append(node)
        return [spread.Zone(len(found), sum(n in self.gone for n in found)) for found in zones.values()]

    def _room(self, cluster: model.Cluster) -> str:
        """Why a cluster cannot start lost pods elsewhere; empty where it can."""
        if not self._up(f"etcd:{cluster.name}"):
            return f"{cluster.name} moves no pods, since its etcd has no quorum"
        nodes = [self.machines[f"node:{cluster.name}/{n.name}"] for n in workers(cluster)]
        left = [m for m in nodes if m.id not in self.gone]
        pods = [(self.cloud.spec.services[g.service].backends[g.backend], g) for g in self.groups]
        asked = [(b.resources.get("requests", {}), g.replicas) for b, g in pods if g.cluster == cluster.name]
        return "" if fits(left, asked) else f"{cluster.name} has no room left for all pods"

    # --- services and cells

    def _ordered(self) -> Iterator[str]:
        """Services after those that they need."""
        known, seen = topology.ours(self.cloud), set[str]()

        def visit(name: str) -> Iterator[str]:
            if name in seen or name not in known:
                return
            seen.add(name)
            for need in known[name].needs:
                yield from visit(need)
            yield name

        for name in known:
            yield from visit(name)

    def _service(self, service: str) -> Row:
        spec, declared = topology.ours(self.cloud)[service], self.cloud.spec.services[service]
        own = [r for r in self.rows.values() if r.thing.startswith(f"component:{service}/") and "@" not in r.thing]
        main = next((r for r in own if r.thing == f"component:{service}/{spec.components[0].name}"), None)
        leans = [f"service:{need}" for need in spec.needs]
        databases = list(declared.database.values()) or [topology.database_name(self.cloud, service)]
        leans += [f"database:{name}" for name in databases]
        leans += [f"messaging:{bus(self.cloud, service)}"]
        down = [f"{t} is {_word(self.rows[t])}" for t in leans if not self._up(t)]
        edges = [self.rows[f"edge:{e.name}"] for e in topology.edges(self.cloud)]
        if edges and all(r.verdict == "down" for r in edges):
            down.append("no edge is left")
        before, after, later = (main.before, main.after, main.later) if main else (0, 0, 0)
        if main and main.verdict == "down":
            down.insert(0, main.why)
        if down:
            stays = any(not self._up(t) and not self.rows[t].later for t in leans) or "no edge is left" in down
            return Row(f"service:{service}", "down", before, 0, 0 if stays else later, "; ".join(down))
        lost = [r for r in own if r is not main and r.verdict == "down"]
        if lost:
            why = ", ".join(f"no {r.thing.partition('/')[2]} is left" for r in lost)
            return Row(f"service:{service}", "impaired", before, after, later, why)
        less = [r for r in (*own, *edges) if r.verdict == "fewer"]
        why = "; ".join(dict.fromkeys(r.why for r in less))
        return Row(f"service:{service}", "fewer" if less else "as before", before, after, later, why)

    def _cell(self, cell: model.Cell) -> Row:
        name = f"cell:{cell.name}"
        own = [r for r in self.rows.values() if r.thing.startswith("component:") and r.thing.endswith(f"@{cell.name}")]
        before, after, later = self._computes(cell, own)
        leans = [f"database:{cell.database}", f"messaging:{cell.messaging}"]
        down = [f"{t} is {_word(self.rows[t])}" for t in leans if not self._up(t)]
        down += [f"no {r.thing.partition('/')[2].partition('@')[0]} is left" for r in own if r.verdict == "down"]
        here = {name, f"zone:{cell.zone}"} & self.lost
        if here:
            why = f"{here.pop()} is gone, and its compute nodes with it"
            return Row(name, "down", before, 0, 0, "; ".join([why, *down]))
        if down:
            return Row(name, "down", before, after, later, "; ".join(down))
        less = [r for r in own if r.verdict == "fewer"]
        why = "; ".join(dict.fromkeys(r.why for r in less))
        return Row(name, "fewer" if less else "as before", before, after, later, why)

    def _computes(self, cell: model.Cell, own: Sequence[Row]) -> tuple[int, int, int]:
        """How many compute nodes a cell has, and keeps: those that it says it has, else those that we run."""
        if cell.computes.expected:
            return (cell.computes.expected,) * 3
        programs = {spec.cells.compute for spec in topology.ours(self.cloud).values() if spec.cells}
        ours = [r for r in own if r.thing.partition("/")[2].partition("@")[0] in programs]
        return sum(r.before for r in ours), sum(r.after for r in ours), sum(r.later for r in ours)

    def _notes(self) -> Iterator[str]:
        outside = [s.id for s in self.servers.values() if s.outside]
        if outside:
            yield f"where {few(outside, 5)} lie is not in the file, so they are taken to stay"
        bare = [c.name for c in self.cloud.spec.clusters if not c.nodes]
        if bare:
            yield f"the nodes of {', '.join(bare)} are not in the file, so its pods are taken to stay"
        lying = [m.id for m in self.machines.values() if not m.zone]
        if lying and any(name.startswith("zone:") for name in self.lost):
            yield f"{few(lying, 5)} are in no zone, so they are taken to stay"


def _word(row: Row) -> str:
    return "without quorum" if row.verdict == "no quorum" else "down"
