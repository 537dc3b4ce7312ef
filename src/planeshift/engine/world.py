"""The world that the engine acts on: every port it has, and the desired state as it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from planeshift.catalog.spec import SecretValue
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import Foreign, PodsState, UnitState
from planeshift.plan.shifts import present
from planeshift.ports import (
    Buses,
    Charts,
    Clock,
    Cluster,
    Control,
    Databases,
    Edge,
    Host,
    Identity,
    Images,
    Maker,
    Prober,
    Say,
    Secrets,
    Traffic,
    quiet,
)
from planeshift.render import servers
from planeshift.render.consumers import of_pods
from planeshift.render.desired import ClusterView, Desired, DesiredUnit, SecretValues
from planeshift.render.weights import Shares
from planeshift.traffic.events import Event

PATIENCE = 120.0  # seconds for which a cluster that does not answer is asked again, in the midst of a plan


class Keep(Protocol):
    """A check that the leases are kept. Raises PlaneshiftError (PS802) where one is lost."""

    def __call__(self, *, wait: bool = True) -> None:
        """`wait`: renew what is due, and wait for a cluster that does not answer (PS711 where it stays away).

        Otherwise nobody is asked: what was found in the background is told.
        """


def unleased(*, wait: bool = True) -> None:
    """Nothing is kept, so nothing can be lost."""


def unseen(views: Mapping[str, ClusterView]) -> list[Problem]:
    """The clusters that could not be looked at, each a problem (PS711)."""
    return [
        Problem("PS711", f"the cluster {name} cannot be looked at", why=view.problem)
        for name, view in views.items()
        if view.problem
    ]


@dataclass
class World:
    """Ports by role, and `render`, which makes the desired state from what the secret files hold and clusters show."""

    hosts: Mapping[str, Host]
    clusters: Mapping[str, Cluster]
    images: Images
    charts: Charts
    databases: Databases
    buses: Buses
    edge: Edge
    identity: Identity
    secrets: Secrets
    maker: Maker
    control: Control
    clock: Clock
    traffic: Traffic
    prober: Prober
    render: Callable[[SecretValues, Mapping[str, ClusterView], Mapping[str, Shares]], Desired]
    watch: Callable[[Event], None] = lambda event: None  # is told what a shift does
    foreign: Callable[[Collection[str]], Mapping[tuple[str, str], Foreign]] = lambda services: {}  # of hosts of others
    keep: Keep = unleased
    stopping: threading.Event = field(default_factory=threading.Event)  # set: long operations end where they are
    unanswered: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)  # when it was asked who takes messages
    _desired: Desired | None = None
    _values: SecretValues = field(default_factory=dict)
    _views: Mapping[str, ClusterView] | None = None
    _shares: dict[str, Mapping[str, float]] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def desired(self) -> Desired:
        """The desired state; rendered once, and again after secrets were made or clusters looked at."""
        with self._lock:
            if self._desired is None:
                self.refresh()
            assert self._desired is not None  # noqa: S101 - refresh sets it
            return self._desired

    def refresh(self) -> None:
        """Read the secret files, and render anew."""
        with self._lock:
            if self._views is None:
                self._views = self._look()
            first = self._desired or self.render({}, self._views, {})
            self._values = {name: self.secrets.read(file.path) for name, file in first.secrets.items()}
            if self._shares is None:
                self._shares = self._present(self.render(self._values, self._views, {}))
            self._desired = self.render(self._values, self._views, self._shares)

    def _present(self, desired: Desired) -> dict[str, Mapping[str, float]]:
        """Where the traffic of services is that is not where the file wants it."""
        edges = {name: self.edge.state(unit) for name, (unit, _) in desired.fronts.items()}
        running = {name: state for name, state in edges.items() if state}
        control = self.control
        wanted = {i for c in desired.consumers.values() for those in c.units.values() for i in those}
        units, self.unanswered = self._consuming(wanted)
        return dict(present(desired, running, control.standing(), control.applied(), control.key(), units))

    def consuming(self, wanted: Collection[str]) -> dict[str, UnitState]:
        """Units by id, and pods that take messages, each as if it were a unit: those that their release asks for run.

        Those of a host, or a cluster, that does not answer are away.
        """
        return self._consuming(wanted)[0]

    def _consuming(self, wanted: Collection[str]) -> tuple[dict[str, UnitState], dict[str, tuple[Problem, ...]]]:
        """The same, and what does not answer."""
        places, key = {i.split("/", 1)[0] for i in wanted}, self.control.key()
        found: dict[str, UnitState] = {}
        released: dict[str, PodsState] = {}
        unanswered: dict[str, tuple[Problem, ...]] = {}
        with ThreadPoolExecutor(16) as pool:
            hosts = {name: pool.submit(host.units, key) for name, host in self.hosts.items() if name in places}
            clusters = {name: pool.submit(c.pods, key) for name, c in self.clusters.items() if name in places}
            for name in [*hosts, *clusters]:
                try:
                    found |= hosts[name].result() if name in hosts else {}
                    released |= clusters[name].result() if name in clusters else {}
                except PlaneshiftError as error:
                    unanswered[name] = error.problems
                    state = UnitState(away=True, problem="; ".join(p.message for p in error.problems))
                    found |= {i: state for i in wanted if i.split("/", 1)[0] == name}
        for unit in wanted:
            pods = released.get(of_pods(unit))
            if pods and (asked := pods.values.get("takers")):
                running = dict.fromkeys(asked, 0) if pods.status == "deployed" and pods.ready >= pods.wanted else {}
                if int(unit.partition("#")[2]) < max(asked.values()):
                    found[unit] = UnitState(supervised=True, running=running, problem=pods.problem)
        return {i: state for i, state in found.items() if i in wanted}, unanswered

    def move(self, service: str, shares: Mapping[str, float], *, look: bool = True) -> None:
        """Render the edges anew, with other shares of a service's traffic; with what clusters show now, if `look`.

        Raises PlaneshiftError (PS711) where a cluster cannot be looked at: nothing is rendered then.
        """
        with self._lock:
            if look and self.clusters:
                views = self._look()
                if problems := unseen(views):
                    raise PlaneshiftError(problems)
                self._views = views
            self._shares = {**(self._shares or {}), service: shares}
            self.refresh()

    def _look(self) -> dict[str, ClusterView]:
        with ThreadPoolExecutor() as pool:
            return dict(zip(self.clusters, pool.map(lambda c: c.view(), self.clusters.values()), strict=True))

    def look_again(self, say: Say = quiet) -> None:
        """Look at the clusters anew: pods came or went. One that does not answer is waited for, for a bounded time.

        Raises PlaneshiftError (PS711) where one cannot be looked at: nothing is rendered then.
        """
        began = self.clock.monotonic()
        while problems := unseen(views := self._look()):
            if self.clock.monotonic() - began > PATIENCE:
                raise PlaneshiftError(problems)
            say(f"waiting for the API: {problems[0].why}")
            self.clock.sleep(1)
        with self._lock:
            self._views = views
            self.refresh()

    def add_secrets(self, service: str, made: Mapping[str, SecretValue]) -> None:
        """Add made secrets to a service's file, and render anew."""
        with self._lock:
            self.secrets.add(self.desired.secrets[service].path, made)
            self.refresh()

    def secret(self, service: str, name: str) -> str:
        """A secret that is text, empty where there is none."""
        with self._lock:
            value = self._read().get(service, {}).get(name, "")
        return value if isinstance(value, str) else ""

    def administrator(self, server: str) -> str:
        """The password of the administrator of a database server or message bus of ours, by its unit's id."""
        _, kind, name = server.split("/")
        return self.secret(kind, servers.secret(name).name)

    def secret_names(self, service: str) -> frozenset[str]:
        """The names that a service's secret file holds."""
        with self._lock:
            return frozenset(name for name, value in self._read().get(service, {}).items() if value)

    def _read(self) -> SecretValues:
        if self._desired is None:
            self.refresh()
        return self._values

    def host_of(self, unit: str) -> Host:
        """The host of a unit, by the unit's id."""
        return self.hosts[unit.split("/", 1)[0]]

    def cluster_of(self, pods: str) -> Cluster:
        """The cluster of pods, by their id."""
        return self.clusters[pods.split("/", 1)[0]]

    def unit(self, unit: str) -> DesiredUnit:
        """A desired unit by its id."""
        return self.desired.units[unit]
