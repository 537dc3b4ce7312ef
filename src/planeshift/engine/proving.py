"""Real round trips through the side that gets more traffic, one after the other while a shift goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from planeshift.engine.fleet import samples
from planeshift.engine.world import World
from planeshift.ports import Probe
from planeshift.render.topology import ZERO
from planeshift.traffic.gates import Probe as Trip

EVERY = 15.0  # seconds from the begin of round trips to the next ones, in a step that lasts
ENDS = 20.0  # seconds that round trips may need to clean up behind them when the shift is over
COMPARED = 10.0  # seconds that the other side's may need, before it counts as good
LOOK = 0.2


class Proving:
    """Round trips of one service through the servers of some backends; of consumers, through the edge to their cells.

    One that fails is made again before it counts, and then through the `others`, which stayed: what fails there as well is
    what both share, such as a database that is away. One that fails while an edge is away says nothing of the service.
    """

    def __init__(self, world: World, service: str, backends: Collection[str], others: Collection[str]) -> None:
        self.world, self.service, self.backends, self.others = world, service, backends, others
        self.probe: Probe | None = None
        self.began = (0, 0.0)  # the step in which the last ones began, and when
        self.doubt = ""  # why the last ones failed
        self.compared: Probe | None = None  # through the others
        self.disturbed = False  # whether an edge was away meanwhile: where tokens are issued, too

    def begin(self, step: int) -> None:
        """Begin round trips through each server that has traffic, unless some are under way."""
        if self.probe is not None:
            return
        self.probe = self._start(self._urls(self.backends, weighted=True))
        self.began = (step, self.world.clock.monotonic())
        self.disturbed = False

    def _urls(self, backends: Collection[str], *, weighted: bool = False) -> dict[str, str]:
        """Servers by name; of consumers the edge, and nothing to compare it with."""
        desired, service = self.world.desired, self.service.partition("@")[0]
        if self.service != service:
            path = desired.specs[service].path
            edge = desired.identity[service].endpoints["internal"].removesuffix(path)
            return {"edge": edge} if weighted else {}
        return {
            s.name: f"http://{_host(s.address)}:{s.port}"
            for _, frontends in list(desired.fronts.values())[:1]
            for f in frontends
            if f.service == self.service
            for s in f.servers
            if s.backend in backends and (s.weight or not weighted)
        }

    def _start(self, urls: Mapping[str, str]) -> Probe:
        service, _, cell = self.service.partition("@")
        only = samples(self.world, service, "" if cell == ZERO else cell)
        return self.world.prober.start(service, urls, self.world.secret("keystone", "admin_password"), only)

    def look(self, step: int) -> Trip | None:
        """What came of them, once they ended. Good ones that began in an earlier step prove nothing of this one."""
        if self.compared:
            return self._compare(step, self.compared)
        found = self.probe.result() if self.probe else None
        if found is None:
            if self.world.clock.monotonic() - self.began[1] > EVERY:
                self.begin(step)
            return None
        self.probe, why = None, "; ".join(f"{name}: {cause}" for name, cause in found.items() if cause)
        earlier, before = self.began[0] != step, self.doubt
        self.doubt = why if not self.disturbed else ""
        if self.doubt and before:
            self.doubt = f"{before}; and again: {why}" if before != why else f"{why}; and again"
            self.compared = self._start(self._urls(self.others))
            self.began = (step, self.world.clock.monotonic())
            return self._compare(step, self.compared)
        if why or earlier:
            self.begin(step)
            return None
        return Trip(ok=True)

    def _compare(self, step: int, others: Probe) -> Trip | None:
        """Whether what failed twice fails through the side that stayed, too."""
        found = others.result()
        if found is None and self.world.clock.monotonic() - self.began[1] < COMPARED:
            return None
        self.compared, doubt, self.doubt = None, self.doubt, ""
        if not found or not all(found.values()):
            return Trip(ok=False, why=doubt)
        self.begin(step)
        return None

    def finish(self) -> None:
        """Let those under way clean up behind them, within a bound."""
        since = self.world.clock.monotonic()
        while self.probe and self.probe.result() is None and self.world.clock.monotonic() - since < ENDS:
            self.world.clock.sleep(LOOK)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
