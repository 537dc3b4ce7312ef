"""Message buses in memory. Implements `ports.Buses`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from planeshift import catalog
from planeshift.drivers.memory import processes
from planeshift.drivers.memory.data import ProcessData
from planeshift.drivers.memory.faults import Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import BusState, QueueState
from planeshift.render.desired import DesiredBus


class MemoryBuses(Port):
    """Vhosts of others are there, or not, as the world has them; ours come into being by `prepare`."""

    role = "buses"

    @port(changes=False)
    def state(self, bus: DesiredBus, password: str) -> BusState:
        if bus.server and not processes.supervised(self.data, bus.server):
            return BusState(problem=f"{bus.server} does not answer")
        there = self.data.vhosts.get((_place(bus), bus.user)) or self._users(bus).get(bus.user)
        if there is None:
            return BusState(problem=f"{_place(bus)} has no vhost for {bus.user}")
        return BusState(works=True) if there == password else BusState(problem=f"{bus.user}: wrong password")

    @port(changes=False)
    def queues(self, bus: DesiredBus, password: str, names: Iterable[str]) -> Mapping[str, QueueState]:
        state = self.state(bus, password)
        if not state.works:
            raise PlaneshiftError(Problem("PS508", state.problem))
        topics = {c.name: c.topic for c in catalog.service(bus.service).components if c.topic}
        there = [p for p in self.data.processes.values() if p.program in topics and _reads(p, bus)]
        found: dict[str, QueueState] = {}
        for name in names:
            takers = sum(topics[p.program] == name and p.unit not in self.data.deaf for p in there)
            if takers or name in self.data.waiting:
                found[name] = QueueState(self.data.waiting.get(name, 0), takers)
        return found

    @port(changes=True)
    def prepare(self, bus: DesiredBus, password: str, admin: str) -> None:
        if not processes.supervised(self.data, bus.server):
            raise PlaneshiftError(Problem("PS508", f"{bus.server} does not run"))
        self.data.vhosts[_place(bus), bus.user] = self._users(bus)[bus.user] = password

    def _users(self, bus: DesiredBus) -> dict[str, str]:
        """The users of the whole server, those that are copies of others included."""
        host, port_ = bus.hosts[0]
        return self.data.users.setdefault(f"//{host}:{port_}", {})


def _reads(process: ProcessData, bus: DesiredBus) -> bool:
    """Whether a process has read that its bus is this one."""
    url = processes.option(process.read, bus.service, "DEFAULT", "transport_url")
    return url.rpartition("@")[2] == _place(bus)


def _place(bus: DesiredBus) -> str:
    host, port_ = bus.hosts[0]
    return f"{host}:{port_}/{bus.vhost}"
