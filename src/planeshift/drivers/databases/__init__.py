"""Databases by engine. Implements `ports.Databases`; `sqlite` and `mysql` hold what differs between the two."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from planeshift.drivers import files
from planeshift.plan.observed import DatabaseState
from planeshift.ports import Say
from planeshift.render.desired import DesiredDatabase


class Engine(Protocol):
    """One kind of database."""

    def state(self, database: DesiredDatabase, password: str, exists: str) -> DatabaseState:
        """What is there; `problem` says why it cannot be seen."""

    def prepare(self, database: DesiredDatabase, password: str, admin: str) -> None:
        """Make it, where that is ours to do; `admin` is the password of its server's administrator."""

    def rows(self, database: DesiredDatabase, password: str, query: str) -> list[tuple[Any, ...]]:
        """What a query finds. Raises PlaneshiftError (PS501)."""

    def back_up(self, database: DesiredDatabase, password: str, target: Path, say: Say) -> None:
        """Write a backup to `target` and prove that it can be restored."""

    def clear(self, database: DesiredDatabase, password: str) -> None:
        """Remove all tables of a database that was empty before we began."""


class LocalDatabases:
    """Backups and the notes of running migrations are kept below `state`."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def state(self, database: DesiredDatabase, password: str, exists: str) -> DatabaseState:
        found = _engine(database).state(database, password, exists)
        note = self._note(database.name)
        if not note:
            return found
        return replace(found, interrupted=str(note["step"]), empty=found.empty or bool(note["was_empty"]))

    def prepare(self, database: DesiredDatabase, password: str, admin: str) -> None:
        _engine(database).prepare(database, password, admin)

    def rows(self, database: DesiredDatabase, password: str, query: str) -> list[tuple[Any, ...]]:
        return _engine(database).rows(database, password, query)

    def back_up(self, database: DesiredDatabase, password: str, say: Say) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        directory = self._state / "backups"
        files.private(directory)
        for half in (p for kind in ("partial", "trial") for p in directory.glob(f"{database.name}-*.{kind}*")):
            half.unlink(missing_ok=True)  # of a run that was killed
        suffix = "sqlite" if database.engine == "sqlite" else "sql"
        names = (f"{database.name}-{stamp}{f'-{n}' if n else ''}.{suffix}" for n in itertools.count())
        target = next(path for path in (directory / name for name in names) if not path.exists())  # clocks jump back
        _engine(database).back_up(database, password, target, say)
        return str(target)

    def clear(self, database: DesiredDatabase, password: str, say: Say) -> None:
        note = self._note(database.name)
        if not note.get("was_empty"):
            return
        say("the database was empty before: its half-made tables are removed")
        _engine(database).clear(database, password)
        self.migrating(database.name, "")

    def migrating(self, name: str, step: str) -> None:
        path = self._state / "migrating" / name
        if not step:
            path.unlink(missing_ok=True)
            return
        files.private(path.parent)
        note = {"step": step, "was_empty": step == "create"}
        files.write(path, json.dumps(note).encode(), 0o600)

    def _note(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._state / "migrating" / name).read_text("utf-8"))
            return found
        except (OSError, ValueError):
            return {}


def _engine(database: DesiredDatabase) -> Engine:
    if database.engine == "sqlite":
        from planeshift.drivers.databases.sqlite import Sqlite

        return Sqlite()
    from planeshift.drivers.databases.mysql import Mysql

    return Mysql()
