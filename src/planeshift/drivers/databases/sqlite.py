"""SQLite files on this machine."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from planeshift.drivers import files
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import DatabaseState
from planeshift.ports import Say
from planeshift.render.desired import DesiredDatabase

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


class Sqlite:
    """One file a database."""

    def state(self, database: DesiredDatabase, password: str, exists: str) -> DatabaseState:
        path = Path(database.path)
        if not path.exists():
            return DatabaseState(reachable=True)
        try:
            with _open(path, "ro") as connection:
                tables = {name for (name,) in connection.execute(_TABLES)}
                query = "SELECT version_num FROM alembic_version"
                heads = {h for (h,) in connection.execute(query)} if "alembic_version" in tables else set()
                done = bool(heads and exists and connection.execute(exists).fetchone())
        except sqlite3.Error as error:
            return DatabaseState(reachable=False, exists=True, problem=f"{path}: {error}")
        return DatabaseState(True, True, not tables - {"alembic_version"}, frozenset(heads), done)

    def prepare(self, database: DesiredDatabase, password: str, admin: str) -> None:
        path = Path(database.path)
        files.private(path.parent)
        try:
            with _open(path, "rwc") as connection:
                # Readers do not wait for a writer then; the mode stays with the file.
                connection.execute("PRAGMA journal_mode = WAL")
            path.chmod(0o600)
        except sqlite3.Error as error:
            raise PlaneshiftError(Problem("PS501", f"{path} cannot be made: {error}")) from error

    def back_up(self, database: DesiredDatabase, password: str, target: Path, say: Say) -> None:
        partial, trial = target.with_suffix(".partial"), target.with_suffix(".trial")
        try:
            _copy(Path(database.path), partial)
            say("restoring the backup into a copy, as a test")
            _copy(partial, trial)
            with _open(trial, "ro") as copy, _open(Path(database.path), "ro") as original:
                intact = copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                names = [n for (n,) in original.execute(_TABLES)] == [n for (n,) in copy.execute(_TABLES)]
            if not (intact and names):
                raise PlaneshiftError(Problem("PS506", f"the backup of {database.service} cannot be restored"))
            partial.replace(target)
        except sqlite3.Error as error:
            raise PlaneshiftError(Problem("PS506", f"no backup of {database.path}: {error}")) from error
        finally:
            _remove(partial)
            _remove(trial)

    def clear(self, database: DesiredDatabase, password: str) -> None:
        _remove(Path(database.path))
        self.prepare(database, password, "")

    def rows(self, database: DesiredDatabase, password: str, query: str) -> list[tuple[Any, ...]]:
        try:
            with _open(Path(database.path), "ro") as connection:
                return [tuple(row) for row in connection.execute(query)]
        except sqlite3.Error as error:
            raise PlaneshiftError(Problem("PS501", f"{database.path}: {error}")) from error


def _copy(source: Path, target: Path) -> None:
    """SQLite's own online copy, which sees one state of the database."""
    with _open(source, "ro") as reading, _open(target, "rwc") as writing:
        reading.backup(writing)
    target.chmod(0o600)


def _remove(path: Path) -> None:
    """Remove a database with what SQLite keeps beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@contextlib.contextmanager
def _open(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, timeout=30)
    try:
        if mode == "ro":
            _recover(path, connection)
        yield connection
        connection.commit()
    finally:
        connection.close()


def _recover(path: Path, reader: sqlite3.Connection) -> None:
    """Let SQLite take back what a writer that was killed had not finished: nobody can read before, and no reader may."""
    try:
        reader.execute(_TABLES).fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
            raise
        with _open(path, "rw") as writer:
            writer.execute(_TABLES).fetchall()
