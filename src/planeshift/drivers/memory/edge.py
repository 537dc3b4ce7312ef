"""HAProxy in memory. Implements `ports.Edge`."""

from __future__ import annotations

from collections.abc import Mapping

from planeshift.drivers.memory import haproxycfg, processes
from planeshift.drivers.memory.data import EdgeData, ServerData
from planeshift.drivers.memory.faults import Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import EdgeState, ServerState
from planeshift.ports import Say


class MemoryEdge(Port):
    """The HAProxys that run as programs of units, orphaned or not."""

    role = "edge"

    @port(changes=False)
    def state(self, unit: str) -> EdgeState | None:
        running = self._running(unit)
        if running is None:
            return None
        return EdgeState(running.structure, {name: self._server(s) for name, s in running.servers.items()})

    @port(changes=False)
    def check(self, unit: str) -> None:
        there = self.data.units.get(unit)
        files = there.files if there else {}
        program = processes.programs(files[processes.SUPERVISION].content.decode()) if files else {}
        try:
            haproxycfg.read(files, program["haproxy"].directory if program else "")
        except (ValueError, IndexError) as error:
            raise PlaneshiftError(
                Problem("PS606", f"HAProxy refuses the configuration of {unit}", why=str(error))
            ) from error

    @port(changes=False)
    def wait(self, unit: str, structure: str, say: Say) -> None:
        running = self._running(unit)
        if running is None or running.structure != structure:
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} did not take the new configuration within 30 s"))

    @port(changes=False)
    def settle(self, unit: str, say: Say) -> None:
        """Nothing of before a reload lives on here."""

    @port(changes=True)
    def set_weights(self, unit: str, weights: Mapping[tuple[str, str], int]) -> None:
        ordered = {place: self._ordered(unit, *place) for place in weights}
        for place, server in ordered.items():
            server.weight = weights[place]

    @port(changes=True)
    def withhold(self, unit: str, frontend: str, server: str, say: Say) -> None:
        if self._running(unit) is not None:
            self._ordered(unit, frontend, server).withheld = True

    @port(changes=True)
    def admit(self, unit: str, frontend: str, server: str) -> None:
        if self._running(unit) is not None:
            self._ordered(unit, frontend, server).withheld = False

    @port(changes=False)
    def wait_up(self, unit: str, frontend: str, server: str, say: Say) -> None:
        state = self.state(unit)
        if state and (frontend, server) in state.servers and not state.servers[frontend, server].up:
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} does not find {frontend}/{server} up"))

    def _running(self, unit: str) -> EdgeData | None:
        return next((p.edge for p in processes.of(self.data, unit) if p.edge is not None), None)

    def _ordered(self, unit: str, frontend: str, server: str) -> ServerData:
        running = self._running(unit)
        if running is None:
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} cannot be reached"))
        if (frontend, server) not in running.servers:
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} refused an order", why="No such server."))
        return running.servers[frontend, server]

    def _server(self, server: ServerData) -> ServerState:
        up = processes.up(self.data, (server.address, server.port))
        check = "UP" if up else "DOWN"
        return ServerState(server.weight, server.withheld, up, check, f"{server.address}:{server.port}")
