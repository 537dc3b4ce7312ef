"""Users of databases and message buses in memory. Implements `ports.CredentialUsers`."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

from planeshift.drivers.memory.data import Data
from planeshift.drivers.memory.faults import Faults, Port, port
from planeshift.errors import PlaneshiftError, Problem


class MemoryUsers(Port):
    """Users at a place: a database's URL without credentials, or a message bus's `//host:port`."""

    role = "users"

    def __init__(self, data: Callable[[], Data], faults: Faults, place: str) -> None:
        super().__init__(data, faults)
        self.place = place

    @property
    def _there(self) -> dict[str, str]:
        return self.data.users.setdefault(self.place, {})

    @port(changes=False)
    def works(self, user: str, password: str) -> bool:
        return self._there.get(user) == password

    @port(changes=True)
    def copy(self, old: str, new: str, password: str) -> None:
        if old not in self._there:
            raise PlaneshiftError(Problem("PS1022", f"{self.place} knows no user {old}"))
        self._there[new] = password

    @port(changes=False)
    def connections(self, user: str) -> int:
        shown = re.compile(rf"//{re.escape(quote(user))}:[^@\n]*@{re.escape(urlsplit(self.place).netloc)}\b".encode())
        return sum(any(shown.search(f.content) for f in p.read.values()) for p in self.data.processes.values())

    @port(changes=True)
    def remove(self, user: str) -> None:
        self._there.pop(user, None)


def credentials(url: str) -> tuple[str, str]:
    """The user and password of a URL, empty where it has none."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def may_use(data: Data, place: str, user: str, password: str) -> bool:
    """Whether a user can log in at a place; where nobody is known, everybody can."""
    known = data.users.get(place)
    return known is None or (user in known and known[user] == password)
