"""All ports over one world."""

from __future__ import annotations

import copy

from planeshift.drivers.memory.buses import MemoryBuses
from planeshift.drivers.memory.cluster import MemoryCharts, MemoryCluster, MemoryImages
from planeshift.drivers.memory.data import Data
from planeshift.drivers.memory.databases import MemoryDatabases
from planeshift.drivers.memory.edge import MemoryEdge
from planeshift.drivers.memory.faults import Faults
from planeshift.drivers.memory.host import MemoryHost
from planeshift.drivers.memory.identity import MemoryIdentity
from planeshift.drivers.memory.keep import MemoryClock, MemoryControl, MemoryMaker, MemorySecrets
from planeshift.drivers.memory.mishaps import Mishaps
from planeshift.drivers.memory.prober import MemoryProber
from planeshift.drivers.memory.traffic import MemoryTraffic
from planeshift.drivers.memory.users import MemoryUsers
from planeshift.render.desired import HostPaths


class Memory:
    """The ports by role, the world that they share, and what shall go wrong."""

    def __init__(self, data: Data | None = None) -> None:
        self.data = data or Data()
        self.faults = Faults()
        self.images = MemoryImages(self._data, self.faults)
        self.charts = MemoryCharts(self._data, self.faults)
        self.databases = MemoryDatabases(self._data, self.faults)
        self.buses = MemoryBuses(self._data, self.faults)
        self.edge = MemoryEdge(self._data, self.faults)
        self.traffic = MemoryTraffic(self._data, self.faults)
        self.identity = MemoryIdentity(self._data, self.faults)
        self.secrets = MemorySecrets(self._data, self.faults)
        self.maker = MemoryMaker(self._data, self.faults)
        self.prober = MemoryProber(self._data, self.faults)
        self.control = MemoryControl(self._data, self.faults)
        self.clock = MemoryClock(self._data, self.faults)

    def _data(self) -> Data:
        return self.data

    def host(self, name: str, paths: HostPaths) -> MemoryHost:
        """The host of this name."""
        return MemoryHost(self._data, self.faults, name, paths)

    def users(self, place: str) -> MemoryUsers:
        """The users at a place."""
        return MemoryUsers(self._data, self.faults, place)

    def cluster(self, name: str) -> MemoryCluster:
        """The cluster of this name."""
        return MemoryCluster(self._data, self.faults, name)

    @property
    def mishaps(self) -> Mishaps:
        """What may happen to the world."""
        return Mishaps(self.data)

    def revive(self) -> Memory:
        """The next process: the world goes on as it is, and what a killed one held is free."""
        self.data.holder = ""
        return Memory(self.data)

    def copy(self) -> Data:
        """The world as it stands now, on its own."""
        return copy.deepcopy(self.data)
