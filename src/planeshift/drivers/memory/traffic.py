"""Requests at the edges in memory. Implements `ports.Traffic`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from planeshift.drivers.memory import processes
from planeshift.drivers.memory.data import TrafficData
from planeshift.drivers.memory.faults import Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.traffic.gates import Counters
from planeshift.traffic.lines import Request


class MemoryTraffic(Port):
    """What the edges of a world have served, as `mishaps` and the rigs of tests have it."""

    role = "traffic"

    @contextlib.contextmanager
    def collect(self, unit: str) -> Iterator[MemoryCollector]:
        self._begin(unit)
        yield MemoryCollector(self, unit)

    @port(changes=False)
    def _begin(self, unit: str) -> None:
        if not self.answers(unit):
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} cannot be reached"))

    def answers(self, unit: str) -> bool:
        """Whether an edge can be asked."""
        return any(p.edge is not None for p in processes.of(self.data, unit))

    @port(changes=False)
    def traffic(self, unit: str) -> TrafficData:
        """What an edge has served."""
        return self.data.traffic.setdefault(unit, TrafficData())


class MemoryCollector:
    """Of one edge, since it was made."""

    def __init__(self, port: MemoryTraffic, unit: str) -> None:
        self._port, self._unit = port, unit
        began = port.traffic(unit)
        self._taken, self._lost, self._counted = len(began.lines), began.lost, dict(began.counters)

    def take(self) -> list[Request]:
        lines = self._port.traffic(self._unit).lines
        found, self._taken = lines[self._taken :], len(lines)
        return list(found)

    def lost(self) -> int:
        return self._port.traffic(self._unit).lost - self._lost

    def counters(self) -> Mapping[tuple[str, str], Counters] | None:
        if not self._port.answers(self._unit):
            return None
        return {name: self._since(name, now) for name, now in self._port.traffic(self._unit).counters.items()}

    def _since(self, name: tuple[str, str], now: Counters) -> Counters:
        before = self._counted.get(name, Counters())
        return replace(now, requests=now.requests - before.requests, failed=now.failed - before.failed)
