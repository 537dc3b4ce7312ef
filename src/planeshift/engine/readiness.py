"""Whether the side that gets more traffic is ready, by its hosts' and clusters' own word, while a shift goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError
from planeshift.ports import Probe

EVERY = 3.0  # seconds from one look to the next


class Readiness:
    """Looks beside the shift, so that an API that hangs holds no verdict up.

    What is not ready counts when the next look finds it so, too: a server that is started again at once is no reason. A
    place that cannot be looked at says nothing: its servers' checks, and round trips, do.
    """

    def __init__(self, world: World, service: str, backends: Collection[str]) -> None:
        self.world, self.service, self.backends = world, service, backends
        self.looking: Probe | None = None
        self.began = world.clock.monotonic()
        self.before: Mapping[str, str] = {}
        self.found: Mapping[str, str] = {}

    def look(self) -> Mapping[str, str]:
        """What is not ready, by the name of its unit or pods."""
        if self.looking and (found := self.looking.result()) is not None:
            self.looking, self.before, self.found = None, self.found, found
        now = self.world.clock.monotonic()
        if self.looking is None and now - self.began >= EVERY:
            self.began = now
            self.looking = self.world.prober.beside(self._unready)
        return {name: why for name, why in self.found.items() if name in self.before}

    def _unready(self) -> dict[str, str]:
        return self._of_hosts() | self._of_clusters()

    def _of_hosts(self) -> dict[str, str]:
        world, found = self.world, dict[str, str]()
        units = {n: u for n, u in world.desired.units.items() if self._is_ours(u.unit.service, u.unit.backend)}
        units = {n: u for n, u in units.items() if n not in world.desired.idle}
        for name in {u.unit.host for u in units.values()}:
            try:
                seen = world.hosts[name].units(world.control.key())
            except PlaneshiftError:
                continue
            for unit in (n for n, u in units.items() if u.unit.host == name):
                state = seen.get(unit)
                gone = {p.name for p in units[unit].programs} - (state.running.keys() if state else set())
                if gone:
                    why = state.problem if state and state.problem else ""
                    found[unit] = f"{', '.join(sorted(gone))} does not run{f': {why}' if why else ''}"
        return found

    def _of_clusters(self) -> dict[str, str]:
        world, found = self.world, dict[str, str]()
        pods = {n: p.pods for n, p in world.desired.pods.items() if self._is_ours(p.pods.service, p.pods.backend)}
        for name in {p.cluster for p in pods.values()}:
            view = world.clusters[name].view()
            for place, wanted in pods.items() if not view.problem else ():
                ready = sum(view.ready.get(wanted.name, {}).values())
                if wanted.cluster == name and ready < wanted.replicas:
                    found[place] = f"{ready} of {wanted.replicas} pods are ready"
        return found

    def _is_ours(self, service: str, backend: str) -> bool:
        return service == self.service and backend in self.backends
