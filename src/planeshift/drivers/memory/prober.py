"""Round trips in memory. Implements `ports.Prober`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from planeshift.drivers.memory import processes
from planeshift.drivers.memory.faults import Port, port


@dataclass(frozen=True)
class Done:
    """Round trips that came to their end at once."""

    found: Mapping[str, str]

    def result(self) -> Mapping[str, str] | None:
        return self.found


class MemoryProber(Port):
    """What listens answers well, unless it is sick."""

    role = "prober"

    @port(changes=False)
    def start(self, service: str, urls: Mapping[str, str], password: str, only: Collection[str] = ()) -> Done:
        return Done({name: self._probe(url) for name, url in urls.items()})

    def beside(self, work: Callable[[], Mapping[str, str]]) -> Done:
        return Done(work())

    def _probe(self, url: str) -> str:
        place = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        return self.data.sick.get(place) or ("" if processes.up(self.data, place) else "nobody listens there")
