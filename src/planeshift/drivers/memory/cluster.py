"""A Kubernetes cluster in memory, and images. Implements `ports.Cluster` and `ports.Images`.

A pod is a process of its node: it listens there, on the release's port, and has read the files of its objects. One that
no edge sends anything listens nowhere.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from planeshift import catalog
from planeshift.drivers.memory import commands, processes
from planeshift.drivers.memory.data import ClusterData, Command, Data, ProcessData, ReleaseData
from planeshift.drivers.memory.faults import Faults, Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import PodsState
from planeshift.ports import Archive, LeaseRecord, Say
from planeshift.render.chart import PROGRAMS
from planeshift.render.desired import ChartSource, ChartView, ClusterView, DesiredPods, Environment, File, digest
from planeshift.render.pods import beside, chart_digest, release_values


class MemoryLease(Port):
    """A cluster's lease. To take it is no change of the world, as with that of control."""

    role = "lease"

    def __init__(self, data: Callable[[], Data], faults: Faults, name: str) -> None:
        super().__init__(data, faults)
        self.name = name

    @property
    def _there(self) -> ClusterData:
        there = self.data.clusters.setdefault(self.name, ClusterData())
        if there.problem:
            raise PlaneshiftError(Problem("PS711", f"{self.name} does not answer", why=there.problem))
        return there

    @port(changes=False)
    def read(self) -> LeaseRecord | None:
        return self._there.lease

    @port(changes=False)
    def write(self, wanted: LeaseRecord, seen: LeaseRecord | None) -> LeaseRecord | None:
        there = self._there
        if there.lease != seen:
            return None
        there.leased += 1
        there.lease = replace(wanted, version=str(there.leased))
        return there.lease


class MemoryCluster(Port):
    """A cluster of the world, with its nodes."""

    role = "cluster"

    def __init__(self, data: Callable[[], Data], faults: Faults, name: str) -> None:
        super().__init__(data, faults)
        self.name = name
        self.lease = MemoryLease(data, faults, name)

    @property
    def _there(self) -> ClusterData:
        return self.data.clusters.setdefault(self.name, ClusterData())

    # --- looking

    @port(changes=False)
    def view(self) -> ClusterView:
        there = self._there
        if there.problem:
            return ClusterView(problem=there.problem)
        ready: dict[str, dict[str, int]] = {}
        for unit, releases in there.releases.items():
            addresses = {p.listens[0][0] for p in self._running(unit)}
            pods = {n: releases[-1].pods.get(n, 0) for n, address in there.nodes.items() if address in addresses}
            ready[unit.replace("/", "-").removeprefix(f"{self.name}-")] = pods
        return ClusterView(nodes=dict(there.nodes), ready=ready)

    @port(changes=False)
    def pods(self, key: bytes) -> Mapping[str, PodsState]:
        self._reachable()
        return {unit: self._state(unit, found[-1], key) for unit, found in self._there.releases.items()}

    def _state(self, unit: str, release: ReleaseData, key: bytes) -> PodsState:
        files = {path: file for name in release.objects for path, file in self._there.objects.get(name, {}).items()}
        wanted = sum(release.pods.values()) + sum(beside(release.values).values())
        alive = {p.listens[0][0] for p in self._running(unit)}
        ready = sum(count for node, count in release.pods.items() if self._there.nodes.get(node) in alive)
        ready += sum(not p.listens for p in processes.of(self.data, unit))
        return PodsState(
            files={p: digest(f.content, f.mode, key if f.secret else b"") for p, f in files.items()},
            status=release.status,
            values=release.values,
            chart=release.chart,
            chart_name=release.chart_name,
            wanted=wanted,
            ready=ready,
            drift=("its Deployment is gone",) if release.gone else (),
            uneven=self._uneven(release),
        )

    def _uneven(self, release: ReleaseData) -> str:
        """As a node that is back finds the pods."""
        lying = sorted((release.pods.get(node, 0), node) for node in self._there.nodes)
        (few, empty), (many, full) = lying[0], lying[-1]
        return f"{many} pods on {full}, {few or 'none'} on {empty}, which is back" if many - few > 1 else ""

    def _running(self, unit: str) -> list[ProcessData]:
        return [p for p in processes.of(self.data, unit) if p.listens and processes.up(self.data, p.listens[0])]

    def _reachable(self) -> None:
        if self._there.problem:
            raise PlaneshiftError(Problem("PS711", f"{self.name} does not answer", why=self._there.problem))

    @port(changes=False)
    def tail(self, unit: str, lines: int) -> list[str]:
        return [f"{p.program}: a line of its log" for p in processes.of(self.data, unit)][-lines:]

    # --- images

    @port(changes=False)
    def has(self, image: str) -> bool:
        return image in self._there.images

    @port(changes=True)
    def bring(self, image: str, archive: Archive, say: Say) -> None:
        self._reachable()
        with archive():
            self.faults.tear()  # an image is there as a whole, or not at all
        self._there.images.add(image)

    # --- files and commands

    @port(changes=True)
    def lay_out(self, desired: DesiredPods, key: bytes, say: Say) -> None:
        self._reachable()
        for secret in (False, True):
            held = {path: file for path, file in desired.files.items() if file.secret is secret}
            self._there.objects[desired.object_name(key, secret=secret)] = held
            self.faults.tear()

    @port(changes=False)
    def settle(self, say: Say) -> None:
        for command in [c for c in self.data.commands if c.host == self.name]:
            self.data.commands.remove(command)
            say(f"waiting for {command.argv[0].rsplit('/', 1)[-1]}, which an interrupted run had begun")
            commands.perform(self.data, command)

    @port(changes=True)
    def run(
        self, desired: DesiredPods, key: bytes, argv: Sequence[str], environment: Mapping[str, str], say: Say
    ) -> None:
        self._reachable()
        self._startable(desired)
        files = self._files(desired, key)
        words = (f"{PROGRAMS}/bin/{argv[0]}", *argv[1:])
        place = (desired.pods.service, desired.pods.release)
        command = Command(self.name, words, dict(environment), "", place, files)
        self.data.commands.append(command)
        commands.half(self.data, command)
        self.faults.tear()
        self.data.commands.remove(command)
        commands.perform(self.data, command)

    def _files(self, desired: DesiredPods, key: bytes) -> dict[str, File]:
        """What a pod would find: nothing where the objects were not made."""
        names = [desired.object_name(key, secret=secret) for secret in (False, True)]
        if not all(name in self._there.objects for name in names):
            raise PlaneshiftError(Problem("PS718", f"{desired.pods.name}: an object of {', '.join(names)} is missing"))
        return {path: file for name in names for path, file in self._there.objects[name].items()}

    def _startable(self, desired: DesiredPods) -> None:
        if desired.pods.built and desired.pods.image not in self._there.images:
            raise PlaneshiftError(Problem("PS718", f"{desired.pods.name}: ErrImagePull: {desired.pods.image}"))

    # --- releases

    @port(changes=True)
    def release(self, desired: DesiredPods, key: bytes, say: Say) -> None:
        self._reachable()
        there, unit = self._there, desired.pods.id
        history = there.releases.setdefault(unit, [])
        history[:] = [r for r in history if not r.status.startswith("pending-")]
        wanted = (release_values(desired, key), chart_digest(desired))
        if (
            not history
            or (history[-1].values, history[-1].chart) != wanted
            or history[-1].status != "deployed"
            or history[-1].gone
        ):
            history.append(self._revision(desired, key))
            self.faults.tear()
            history[-1].status = "deployed"
            del history[:-10]
        if self._uneven(history[-1]):
            history[-1].pods = self._spread(desired)
        self._replace(desired, key, history[-1])
        used = {name for found in there.releases.values() for r in found for name in r.objects}
        mine = f"{desired.pods.name}-"
        for name in [n for n in there.objects if n.startswith(mine) and n not in used]:
            del there.objects[name]

    def _revision(self, desired: DesiredPods, key: bytes) -> ReleaseData:
        values = release_values(desired, key)
        objects = tuple(desired.object_name(key, secret=secret) for secret in (False, True))
        return ReleaseData(
            "pending-upgrade",
            values,
            chart_digest(desired),
            desired.chart.source.name if desired.chart else desired.pods.service,
            objects,
            self._spread(desired),
        )

    def _spread(self, desired: DesiredPods) -> dict[str, int]:
        nodes, replicas = sorted(self._there.nodes), int(desired.values.get("replicas", 2))
        replicas = replicas if desired.values.get("serve", True) else 0
        pods = {node: len(range(index, replicas, len(nodes))) for index, node in enumerate(nodes)}
        return {n: c for n, c in pods.items() if c}

    def _replace(self, desired: DesiredPods, key: bytes, release: ReleaseData) -> None:
        """Pods of the newest revision, one node after the other."""
        self._startable(desired)
        files, unit = self._files(desired, key), desired.pods.id
        self.data.environments.setdefault(self.name, {})[desired.pods.environment] = (
            desired.pods.service,
            desired.pods.release,
        )
        for node, address in self._there.nodes.items():
            mine = [p for p in processes.of(self.data, unit) if p.listens and p.listens[0][0] == address]
            if node in release.pods and mine and mine[0].read == files:
                continue
            processes.kill(self.data, *mine)
            if node in release.pods:
                pid, place = self.data.pid(), (address, desired.pods.port)
                name = catalog.service(desired.pods.service).components[0].name
                self.data.processes[pid] = ProcessData(
                    pid, pid * 10, unit, name, 1, (place,), desired.pods.environment, files
                )
        self._beside(desired, files)
        if len(self._running(unit)) < len(release.pods):
            raise PlaneshiftError(Problem("PS718", f"the pods of {desired.pods.name} are not ready after 600 s"))

    def _beside(self, desired: DesiredPods, files: dict[str, File]) -> None:
        """As many pods of each program besides the first as the values say."""
        pods, programs = desired.pods, beside(desired.values)
        there = processes.of(self.data, pods.id)
        processes.kill(self.data, *[p for p in there if not p.listens and p.program not in programs])
        for name, wanted in programs.items():
            mine = [p for p in processes.of(self.data, pods.id) if p.program == name]
            processes.kill(self.data, *[p for p in mine if p.read != files], *mine[wanted:])
            for _ in range(wanted - sum(p.program == name for p in processes.of(self.data, pods.id))):
                pid = self.data.pid()
                self.data.processes[pid] = ProcessData(pid, pid * 10, pods.id, name, 1, (), pods.environment, files)

    @port(changes=True)
    def remove(self, unit: str, say: Say) -> None:
        self._reachable()
        processes.kill(self.data, *processes.of(self.data, unit))
        self.faults.tear()
        name = unit.replace("/", "-").removeprefix(f"{self.name}-")
        for held in [n for n in self._there.objects if n.startswith((f"{name}-config-", f"{name}-secret-"))]:
            del self._there.objects[held]
        self._there.releases.pop(unit, None)


class MemoryImages(Port):
    """Images of this machine."""

    role = "images"

    @port(changes=False)
    def built(self) -> frozenset[str]:
        return frozenset(self.data.images)

    @port(changes=True)
    def build(self, environment: Environment, image: str, say: Say) -> None:
        self.faults.tear()
        self.data.images.add(environment.id)

    @contextlib.contextmanager
    def archive(self, environment: str, image: str) -> Iterator[str]:
        if environment not in self.data.images:
            raise PlaneshiftError(Problem("PS423", f"there is no image of {environment}"))
        yield f"/images/{environment}.tar"


class MemoryCharts(Port):
    """Charts of a repository, by source, and the digests that were recorded."""

    role = "charts"

    @port(changes=False)
    def views(self, sources: Iterable[ChartSource]) -> Mapping[ChartSource, ChartView]:
        return {source: self._view(source) for source in sources}

    def _view(self, source: ChartSource) -> ChartView:
        archive, recorded = self.data.charts.get(source, b""), self.data.recorded.get(source, "")
        digest = hashlib.sha256(archive).hexdigest()
        if not archive:
            return ChartView(recorded, problems=(Problem("PS434", f"there is no chart {source}"),))
        if recorded not in ("", digest):
            return ChartView(recorded, problems=(Problem("PS438", f"the chart {source} is not what it was"),))
        return ChartView(digest, archive)

    @port(changes=True)
    def record(self, source: ChartSource) -> None:
        self.data.recorded.setdefault(source, hashlib.sha256(self.data.charts[source]).hexdigest())
