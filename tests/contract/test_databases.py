"""What databases do, in memory and for real (SQLite)."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from planeshift.drivers.databases import LocalDatabases
from planeshift.drivers.memory import Memory
from planeshift.errors import PlaneshiftError
from planeshift.plan.observed import DatabaseState
from planeshift.ports import Databases, quiet
from planeshift.render.desired import DesiredDatabase

EXISTS = "SELECT 1 FROM local_user WHERE name = 'admin'"


class Rig:
    """Databases, and a service's own programs, which migrate and write."""

    def __init__(
        self, port: Databases, path: Path, migrate: Callable[[str], None], user: Callable[[str], None]
    ) -> None:
        self.port, self.migrate, self.user = port, migrate, user
        self.database = DesiredDatabase(
            "keystone",
            "sqlite",
            f"sqlite:///{path}",
            str(path),
            "here",
            "here/keystone/vms",
            "2026.2",
            frozenset({"new"}),
        )

    def state(self, exists: str = EXISTS) -> DatabaseState:
        return self.port.state(self.database, "", exists)


@pytest.fixture
def databases(kind: str, tmp_path: Path) -> Rig:
    path = tmp_path / "data" / "keystone.sqlite"
    if kind == "memory":
        memory = Memory()

        def migrate(head: str) -> None:
            there = memory.data.databases[f"sqlite:///{path}"]
            there.tables, there.heads = True, frozenset({head} if head else ())

        def user(name: str) -> None:
            memory.data.databases[f"sqlite:///{path}"].keystone.passwords[name] = "x"

        return Rig(memory.databases, path, migrate, user)

    def write(*statements: str) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def migrate_(head: str) -> None:
        write(
            "CREATE TABLE IF NOT EXISTS local_user (name TEXT)",
            "CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT)",
            "DELETE FROM alembic_version",
        )
        if head:
            write(f"INSERT INTO alembic_version VALUES ('{head}')")

    return Rig(
        LocalDatabases(tmp_path / "state"),
        path,
        migrate_,
        lambda name: write(f"INSERT INTO local_user VALUES ('{name}')"),
    )


def test_what_is_not_there_can_be_made(databases: Rig) -> None:
    assert databases.state() == DatabaseState(reachable=True, exists=False, empty=True)
    for _ in range(2):
        databases.port.prepare(databases.database, "", "")
        assert databases.state() == DatabaseState(reachable=True, exists=True, empty=True)


def test_making_it_again_loses_nothing(databases: Rig) -> None:
    databases.port.prepare(databases.database, "", "")
    databases.migrate("old")
    databases.port.prepare(databases.database, "", "")
    assert databases.state().heads == {"old"}


def test_heads_and_the_first_content_are_seen(databases: Rig) -> None:
    databases.port.prepare(databases.database, "", "")
    databases.migrate("old")
    state = databases.state()
    assert (state.empty, state.heads, state.bootstrapped) == (False, {"old"}, False)
    databases.user("admin")
    assert databases.state().bootstrapped
    assert not databases.state(exists="").bootstrapped


def test_tables_without_heads_are_not_empty(databases: Rig) -> None:
    databases.port.prepare(databases.database, "", "")
    databases.migrate("")
    state = databases.state()
    assert (state.empty, state.heads) == (False, frozenset())


def test_a_step_that_began_is_told_until_it_ends(databases: Rig) -> None:
    databases.port.prepare(databases.database, "", "")
    for step in ("create", "expand"):
        databases.port.migrating("keystone", step)
        assert databases.state().interrupted == step
    for _ in range(2):
        databases.port.migrating("keystone", "")
        assert databases.state().interrupted == ""


def test_a_creation_that_was_cut_off_counts_as_empty_and_is_cleared(databases: Rig) -> None:
    databases.port.prepare(databases.database, "", "")
    databases.port.migrating("keystone", "create")
    databases.migrate("old")
    assert databases.state().empty
    for _ in range(2):
        databases.port.clear(databases.database, "", quiet)
        assert databases.state() == DatabaseState(reachable=True, exists=True, empty=True)


@pytest.mark.parametrize("step", ["expand", "upgrade", "contract", ""])
def test_nothing_is_cleared_that_was_there_before(databases: Rig, step: str) -> None:
    databases.port.prepare(databases.database, "", "")
    databases.migrate("old")
    databases.user("admin")
    if step:
        databases.port.migrating("keystone", step)
    before = databases.state()
    databases.port.clear(databases.database, "", quiet)
    assert databases.state() == before
    assert before.interrupted == step


def test_a_backup_changes_nothing(databases: Rig) -> None:
    databases.port.prepare(databases.database, "", "")
    databases.migrate("old")
    before = databases.state()
    databases.port.back_up(databases.database, "", quiet)
    assert databases.state() == before


def test_a_backup_is_never_written_over_another_whatever_the_clock_says(
    databases: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "19700101T000000Z")
    databases.port.prepare(databases.database, "", "")
    databases.migrate("old")
    made = [databases.port.back_up(databases.database, "", quiet) for _ in range(3)]
    assert len(set(made)) == 3


def test_what_a_killed_backup_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    path = str(tmp_path / "k.sqlite")
    database = DesiredDatabase("keystone", "sqlite", "sqlite://", path, "here", "u", "2026.2", frozenset())
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    half = [tmp_path / f"backups/keystone-1.{end}" for end in ("partial", "partial-journal", "trial", "trial-wal")]
    other = tmp_path / "backups/glance-1.partial"
    other.parent.mkdir(mode=0o700)
    for path in (*half, other):
        path.write_text("half")
    made = LocalDatabases(tmp_path).back_up(database, "", quiet)
    assert sorted(other.parent.iterdir()) == sorted([other, Path(made)])


# Pages of a transaction that was not ended are in the file already, and those of before in a journal beside it.
KILLED = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("CREATE TABLE alembic_version (version_num)")
connection.execute("INSERT INTO alembic_version VALUES ('one')")
connection.execute("BEGIN")
connection.execute("UPDATE alembic_version SET version_num = 'two'")
connection.execute("CREATE TABLE t (x)")
connection.executemany("INSERT INTO t VALUES (?)", [("x" * 4000,)] * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_had_not_finished_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "k.sqlite"
    database = DesiredDatabase("keystone", "sqlite", "sqlite://", str(path), "here", "u", "2026.2", frozenset())
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert (tmp_path / "k.sqlite-journal").stat().st_size
    state = LocalDatabases(tmp_path).state(database, "", "")
    assert (state.reachable, state.heads, state.problem) == (True, frozenset({"one"}), ""), state
    assert not (tmp_path / "k.sqlite-journal").exists()


def test_there_is_no_backup_of_what_is_not_there(databases: Rig) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        databases.port.back_up(databases.database, "", quiet)
    assert caught.value.problems[0].code == "PS506"
    assert not databases.state().exists
