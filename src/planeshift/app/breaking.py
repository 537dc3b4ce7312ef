"""What a rehearsal breaks in its lab, for real, and how it sees that it came back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from planeshift.app.compose import world as compose
from planeshift.app.site import Site, open_site, runtime
from planeshift.drivers.local.processes import Marked, marked
from planeshift.errors import PlaneshiftError
from planeshift.lab import faults as lab_faults
from planeshift.lab import open_lab
from planeshift.lab import run as lab_run
from planeshift.rehearsal.faults import Fault
from planeshift.rehearsal.scale import CLOUD, LAB
from planeshift.render import topology
from planeshift.render.build import edge_unit
from planeshift.tools import find

LOOK = 0.1  # seconds between two looks
PATIENCE = 120.0  # seconds in which something has to come back
DOWN, CUT, HUNG = 10.0, 5.0, 10.0  # seconds that a host is down, a zone cut off, a database hangs


class Breaker:
    """Breaks things of the lab and the cloud in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lab = open_lab(str(root / LAB))

    def __call__(self, fault: Fault) -> tuple[str, float | None]:
        """Break it, and wait until it is back: how it came back, and after how many seconds (None: it did not).

        Raises PlaneshiftError where it cannot be broken.
        """
        broken: Callable[[Fault], tuple[str, Callable[[], bool]]] = getattr(self, f"_{fault.kind}")
        began = time.monotonic()
        how, back = broken(fault)
        while not back():
            if time.monotonic() - began > PATIENCE:
                return f"not within {PATIENCE:.0f} s", None
            time.sleep(LOOK)
        return how, round(time.monotonic() - began, 1)

    # --- each breaks something, and says who brings it back, and whether it is back

    def _worker(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        before = self._workers(fault)
        os.kill(before[0].pid, signal.SIGKILL)
        gone = before[0].pid

        def back() -> bool:
            now = [p.pid for p in self._workers(fault)]
            return gone not in now and len(now) >= len(before)

        return "its parent process began another", back

    def _haproxy(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        site = self._site()
        here = next(h.name for h in site.cloud.spec.hosts if h.via == "local")
        unit = edge_unit(fault.target, here)
        for process in self._of(unit):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        edge = compose(site).edge
        return "its supervisor started it with the weights of the step", lambda: edge.state(unit) is not None

    def _pod(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        release = f"{fault.service}-{fault.backend}"
        before = self._ready(fault.target, release)
        name = next(iter(before), "")
        if name:
            self._kubectl(fault.target, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false")

        def back() -> bool:
            now = self._ready(fault.target, release)
            return name not in now and len(now) >= len(before)

        return "Kubernetes started another", back

    def _host(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        lab_faults.kill(self.lab, self.lab.host(fault.target))
        time.sleep(DOWN)
        self.mend()
        return "it was booted again; `up` starts what ran on it", lambda: True

    def _node(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        lab_faults.kill(self.lab, self.lab.host(fault.target))
        time.sleep(DOWN)
        self.mend()
        return "it was booted again, and Kubernetes started its pods", self._serving

    def _zone(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        lab_faults.cut(self.lab, fault.target)
        time.sleep(CUT)
        lab_faults.mend(self.lab, fault.target)
        return "it was joined again", self._serving

    def _database(self, fault: Fault) -> tuple[str, Callable[[], bool]]:
        machine = self.lab.host(fault.target)
        lab_faults.pause(self.lab, machine)
        time.sleep(HUNG)
        lab_faults.resume(self.lab, machine)
        return "it went on", self._serving

    # --- what is looked at

    def mend(self) -> None:
        """Boot what is down, and end what faults have left."""
        with lab_run.lease(self.lab):
            lab_run.up(self.lab, lab_run.look(self.lab), lambda event: None)

    def _site(self) -> Site:
        return open_site(str(self.root / CLOUD))

    def _of(self, unit: str) -> list[Marked]:
        place = f"{runtime(self.root / CLOUD)}/{unit}"
        return [p for p in marked(place) if p.place == place and p.program != "supervisord"]

    def _workers(self, fault: Fault) -> list[Marked]:
        """Those of the unit's processes that have a parent among them."""
        found = self._of(f"{fault.target}/{fault.service}/{fault.backend}")
        pids = {p.pid for p in found}
        return [p for p in found if p.parent in pids]

    def _ready(self, cluster: str, release: str) -> set[str]:
        """The names of a release's pods that are ready."""
        form = "{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=='Ready')].status}{'\\n'}{end}"
        label = f"app.kubernetes.io/instance={release}"
        lines = self._kubectl(cluster, "get", "pods", "-l", label, "-o", f"jsonpath={form}").splitlines()
        return {line.split()[0] for line in lines if line.endswith(" True")}

    def _kubectl(self, cluster: str, *arguments: str) -> str:
        namespace = topology.cluster(self._site().cloud, cluster).namespace
        argv = [str(find("kubectl")), "--kubeconfig", str(self.lab.kubeconfig), "--context", cluster]
        argv += ["-n", namespace, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
        return done.stdout

    def _serving(self) -> bool:
        """Whether the edge finds every server up that has traffic."""
        site = self._site()
        try:
            world = compose(site)
            states = [world.edge.state(edge_unit(name, edge.host)) for name, edge in world.desired.edges.items()]
        except PlaneshiftError:
            return False
        return all(state and all(s.up or not s.weight for s in state.servers.values()) for state in states)
