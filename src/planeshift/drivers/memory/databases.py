"""Databases in memory. Implements `ports.Databases`."""

from __future__ import annotations

import copy
from typing import Any

from planeshift.drivers.memory import cells, processes
from planeshift.drivers.memory.data import DatabaseData, NoteData
from planeshift.drivers.memory.faults import Port, port
from planeshift.drivers.memory.processes import without_credentials
from planeshift.drivers.memory.users import credentials, may_use
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import DatabaseState
from planeshift.ports import Say
from planeshift.render.desired import DesiredDatabase


class MemoryDatabases(Port):
    """SQLite files come into being by `prepare`; schemas of a MySQL are there, or not, as the world has them."""

    role = "databases"

    @port(changes=False)
    def state(self, database: DesiredDatabase, password: str, exists: str) -> DatabaseState:
        there = self.data.databases.get(_place(database))
        if database.server and (there is None or not processes.supervised(self.data, database.server)):
            return DatabaseState()
        if there is None:
            sqlite = database.engine == "sqlite"
            return DatabaseState(reachable=sqlite, problem="" if sqlite else f"{_place(database)} does not exist")
        if not may_use(self.data, _place(database), credentials(database.url)[0], password):
            return DatabaseState(problem=f"{_place(database)} does not take the password")
        note = self.data.notes.get(database.name)
        return DatabaseState(
            reachable=True,
            exists=True,
            empty=not there.tables or bool(note and note.was_empty),
            heads=there.heads,
            bootstrapped=bool(exists and there.heads and "admin" in there.keystone.passwords),
            interrupted=note.step if note else "",
        )

    @port(changes=True)
    def prepare(self, database: DesiredDatabase, password: str, admin: str) -> None:
        if database.engine == "sqlite":
            self.data.databases.setdefault(_place(database), DatabaseData())
        elif database.server:
            self._reach(database)
            self.data.databases.setdefault(_place(database), DatabaseData())
            self.data.users.setdefault(_place(database), {})[credentials(database.url)[0]] = password

    @port(changes=False)
    def rows(self, database: DesiredDatabase, password: str, query: str) -> list[tuple[Any, ...]]:
        self._reach(database)
        found = cells.rows(self.data, database.service, _place(database), query)
        return list(self._there(database).rows.get(query, ())) if found is None else found

    def _reach(self, database: DesiredDatabase) -> None:
        if database.server and not processes.supervised(self.data, database.server):
            raise PlaneshiftError(Problem("PS501", f"{database.server} does not run"))

    @port(changes=True)
    def back_up(self, database: DesiredDatabase, password: str, say: Say) -> str:
        self.faults.tear()
        kept = self.data.backups.setdefault(database.name, [])
        kept.append(copy.deepcopy(self._there(database)))
        return f"backup {len(kept)} of {database.name}"

    @port(changes=True)
    def clear(self, database: DesiredDatabase, password: str, say: Say) -> None:
        note, there = self.data.notes.get(database.name), self._there(database)
        if note is None or not note.was_empty:
            return
        before = DatabaseData()
        there.heads, there.tables, there.keystone = before.heads, before.tables, before.keystone
        self.faults.tear()
        del self.data.notes[database.name]

    @port(changes=True)
    def migrating(self, name: str, step: str) -> None:
        if step:
            self.data.notes[name] = NoteData(step, step == "create")
        else:
            self.data.notes.pop(name, None)

    def _there(self, database: DesiredDatabase) -> DatabaseData:
        there = self.data.databases.get(_place(database))
        if there is None:
            raise PlaneshiftError(Problem("PS506", f"there is no database {_place(database)}"))
        return there


def _place(database: DesiredDatabase) -> str:
    return without_credentials(database.url)
