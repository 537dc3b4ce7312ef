"""The world that the engine acts on: every port it has, and the desired state as it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from planeshift.catalog.spec import SecretValue
from planeshift.ports import Clock, Cluster, Control, Databases, Edge, Host, Identity, Images, Maker, Secrets
from planeshift.render.desired import ClusterView, Desired, DesiredUnit, SecretValues


@dataclass
class World:
    """Ports by role, and `render`, which makes the desired state from what the secret files hold and clusters show."""

    hosts: Mapping[str, Host]
    clusters: Mapping[str, Cluster]
    images: Images
    databases: Databases
    edge: Edge
    identity: Identity
    secrets: Secrets
    maker: Maker
    control: Control
    clock: Clock
    render: Callable[[SecretValues, Mapping[str, ClusterView]], Desired]
    _desired: Desired | None = None
    _values: SecretValues = field(default_factory=dict)
    _views: Mapping[str, ClusterView] | None = None
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
                with ThreadPoolExecutor() as pool:
                    self._views = dict(
                        zip(self.clusters, pool.map(lambda c: c.view(), self.clusters.values()), strict=True)
                    )
            first = self._desired or self.render({}, self._views)
            self._values = {name: self.secrets.read(file.path) for name, file in first.secrets.items()}
            self._desired = self.render(self._values, self._views)

    def look_again(self) -> None:
        """Look at the clusters anew: pods came or went."""
        with self._lock:
            self._views = None
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
