"""Every port in memory, over one world of plain data, with faults to inject. No I/O.

What it does is what the real drivers do, as far as plan and engine can tell: a host without files does not start
anything, a migration changes heads, a running process goes on with the files that it has read. `Memory` holds the
ports, `Memory.data` the world, `Memory.faults` what shall go wrong, `Memory.mishaps` what happens by itself.
"""

from __future__ import annotations

from planeshift.drivers.memory.data import Data
from planeshift.drivers.memory.faults import Call, Faults, Killed
from planeshift.drivers.memory.memory import Memory
from planeshift.drivers.memory.mishaps import Mishaps

__all__ = ["Call", "Data", "Faults", "Killed", "Memory", "Mishaps"]
