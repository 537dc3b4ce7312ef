"""The world that the engine acts on: every port it has, and the desired state as it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from planeshift.catalog.spec import SecretValue
from planeshift.ports import Clock, Control, Databases, Edge, Host, Identity, Maker, Secrets
from planeshift.render.desired import Desired, DesiredUnit, SecretValues


@dataclass
class World:
    """Ports by role, and `render`, which makes the desired state from what the secret files hold by now."""

    hosts: Mapping[str, Host]
    databases: Databases
    edge: Edge
    identity: Identity
    secrets: Secrets
    maker: Maker
    control: Control
    clock: Clock
    render: Callable[[SecretValues], Desired]
    _desired: Desired | None = None
    _values: SecretValues = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def desired(self) -> Desired:
        """The desired state; rendered once, and again after secrets were made."""
        with self._lock:
            if self._desired is None:
                self.refresh()
            assert self._desired is not None  # noqa: S101 - refresh sets it
            return self._desired

    def refresh(self) -> None:
        """Read the secret files, and render anew."""
        with self._lock:
            first = self._desired or self.render({})
            self._values = {name: self.secrets.read(file.path) for name, file in first.secrets.items()}
            self._desired = self.render(self._values)

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

    def unit(self, unit: str) -> DesiredUnit:
        """A desired unit by its id."""
        return self.desired.units[unit]
