"""Keystone's content in memory. Implements `ports.Identity`."""

from __future__ import annotations

from collections.abc import Iterable

from planeshift.drivers.memory import processes
from planeshift.drivers.memory.data import KeystoneData
from planeshift.drivers.memory.faults import Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import IdentityState
from planeshift.render.desired import IdentityEntries


class MemoryIdentity(Port):
    """It answers while a Keystone does at the URL; its content lies in that Keystone's database."""

    role = "identity"

    @port(changes=False)
    def state(self, url: str, password: str, ca: str, entries: Iterable[IdentityEntries]) -> IdentityState | None:
        there = self._logged_in(url, password, ca) if url and password else None
        if there is None:
            return None
        users = [e.user for e in entries if e.user in there.passwords]
        return IdentityState(
            services=frozenset(there.services),
            endpoints=dict(there.endpoints),
            users={user: frozenset(there.roles.get(user, ())) for user in users},
        )

    @port(changes=True)
    def ensure(self, url: str, password: str, ca: str, entries: IdentityEntries, service_password: str) -> list[str]:
        there = self._logged_in(url, password, ca)
        if there is None:
            raise PlaneshiftError(Problem("PS702", f"Keystone does not answer at {url}"))
        said: list[str] = []
        if entries.user:
            said += self._user(there, entries, service_password)
        if entries.type not in there.services:
            there.services[entries.type] = entries.service
            said.append(f"service {entries.type} made")
        for interface, endpoint in entries.endpoints.items():
            if (entries.type, interface) not in there.endpoints:
                there.endpoints[entries.type, interface] = endpoint
                said.append(f"endpoint {interface} {endpoint} made")
                self.faults.tear()
        return said

    @port(changes=True)
    def remove(self, url: str, password: str, ca: str, user: str) -> None:
        there = self._logged_in(url, password, ca)
        if there is None:
            raise PlaneshiftError(Problem("PS702", f"Keystone does not answer at {url}"))
        there.passwords.pop(user, None)
        there.roles.pop(user, None)

    def _user(self, there: KeystoneData, entries: IdentityEntries, password: str) -> list[str]:
        said = []
        if entries.user not in there.passwords:
            there.passwords[entries.user] = password
            said.append(f"user {entries.user} made")
        elif there.passwords[entries.user] != password:
            raise PlaneshiftError(Problem("PS703", f"the user {entries.user} exists in Keystone with another password"))
        self.faults.tear()
        there.roles.setdefault(entries.user, set()).update(entries.roles)
        return said

    def _logged_in(self, url: str, password: str, ca: str) -> KeystoneData | None:
        there = processes.keystone(self.data, url, ca)
        if there is not None and there.passwords.get("admin") != password:
            raise PlaneshiftError(Problem("PS701", f"Keystone at {url} does not take the password of admin"))
        return there
