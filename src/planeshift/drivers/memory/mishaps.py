"""What happens to a world by itself: processes die, files change, machines go down."""

from __future__ import annotations

from dataclasses import replace

from planeshift.drivers.memory import processes
from planeshift.drivers.memory.data import Data, EdgeData, Place, TrafficData
from planeshift.render.desired import File
from planeshift.traffic.gates import Counters
from planeshift.traffic.lines import Request


class Mishaps:
    """Each does one thing to the world, behind the back of who looks after it."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def worker_dies(self, unit: str, program: str = "") -> None:
        """A program ends, and its supervisor has given it up."""
        for name, process in processes.supervised(self.data, unit).items():
            if program in ("", name):
                processes.kill(self.data, process)
                supervisor = self.data.units[unit].supervisor
                assert supervisor is not None  # noqa: S101 - it has supervised the process
                supervisor.down.add(name)

    def supervisor_dies(self, unit: str) -> None:
        """A supervisor is killed; what it ran goes on without it."""
        for process in processes.supervised(self.data, unit).values():
            process.parent = 0
        self.data.units[unit].supervisor = None

    def everything_of_dies(self, unit: str) -> None:
        """A supervisor and all that it ran are killed."""
        self.data.units[unit].supervisor = None
        processes.kill(self.data, *processes.of(self.data, unit))

    def reboots(self) -> None:
        """The machine goes down and comes up: no process is left, and what lay in memory is gone."""
        self.data.processes.clear()
        self.data.units.clear()
        self.data.commands.clear()

    def listens(self, place: Place, who: str) -> None:
        """A program of somebody else's takes a place."""
        self.data.foreign[place] = who

    def drifts(self, unit: str, path: str, content: bytes) -> None:
        """Somebody edits a file on the host."""
        files = self.data.units[unit].files
        files[path] = replace(files.get(path, File()), content=content)

    def loses(self, unit: str, path: str) -> None:
        """Somebody removes a file on the host."""
        del self.data.units[unit].files[path]

    def is_withheld(self, unit: str, frontend: str, server: str) -> None:
        """Somebody takes a server out by hand."""
        self._edge(unit).servers[frontend, server].withheld = True

    def is_weighted(self, unit: str, frontend: str, server: str, weight: int) -> None:
        """Somebody sets a weight by hand."""
        self._edge(unit).servers[frontend, server].weight = weight

    def is_served(self, unit: str, *requests: Request, silent: bool = False) -> None:
        """Requests end at an edge; `silent` is a log that says nothing of them, while the edge has counted them."""
        traffic = self.data.traffic.setdefault(unit, TrafficData())
        for request in requests:
            name = (request.service, request.server)
            counted = traffic.counters.get(name, Counters())
            traffic.counters[name] = Counters(counted.requests + 1, counted.failed + request.failed)
            if not silent:
                traffic.lines.append(request)

    def loses_lines(self, unit: str, count: int) -> None:
        """Lines of an edge's log are dropped."""
        self.data.traffic.setdefault(unit, TrafficData()).lost += count

    def lease_is_taken_away(self) -> None:
        """Control's directory is replaced while a plan is carried out."""
        self.data.lease += 1

    def _edge(self, unit: str) -> EdgeData:
        return next(p.edge for p in processes.of(self.data, unit) if p.edge is not None)
