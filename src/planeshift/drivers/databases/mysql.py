"""MariaDB and MySQL: looked at, backed up, migrated; on a server of ours schemas and users are made. Never dropped."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pymysql
from pymysql.constants import CR, ER

from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import DatabaseState
from planeshift.ports import Say
from planeshift.render.desired import DesiredDatabase
from planeshift.render.servers import ADMINISTRATOR

TRIAL = "_planeshift_trial"
# What services and their migrations need, and a backup: no more, and nothing of other schemas.
_RIGHTS = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, LOCK TABLES, TRIGGER, "
    "CREATE TEMPORARY TABLES, CREATE VIEW, SHOW VIEW"
)
# What a server of ours says that is down, or is still to be told of a schema and its user.
_NOT_YET = {
    *(ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR),
    *(CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST, CR.CR_CONNECTION_ERROR),
}


class Mysql:
    """One schema a database. Its user needs the rights that the service needs, and no more."""

    def state(self, database: DesiredDatabase, password: str, exists: str) -> DatabaseState:
        try:
            with _connect(database, password) as cursor:
                cursor.execute("SHOW TABLES")
                tables = {name for (name,) in cursor.fetchall()}
                heads: set[str] = set()
                if "alembic_version" in tables:
                    cursor.execute("SELECT version_num FROM alembic_version")
                    heads = {h for (h,) in cursor.fetchall()}
                done = bool(heads and exists and cursor.execute(exists))
        except pymysql.Error as error:
            if database.server and error.args and error.args[0] in _NOT_YET:
                return DatabaseState()
            return DatabaseState(problem=_reason(error, database))
        return DatabaseState(True, True, not tables - {"alembic_version"}, frozenset(heads), done)

    def prepare(self, database: DesiredDatabase, password: str, admin: str) -> None:
        """A schema and its user on a server of ours; otherwise nothing: it is its owner's to make."""
        if not database.server:
            return
        _, user, host, port, name = _place(database)
        trial = _trial(name)
        statements: list[tuple[str, tuple[str, ...]]] = [
            (f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4", ()),
            ("CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY %s", (user, password)),
            ("ALTER USER %s@'%%' IDENTIFIED BY %s", (user, password)),
            *((f"GRANT {_RIGHTS} ON `{_literal(schema)}`.* TO %s@'%%'", (user,)) for schema in (name, trial)),
        ]
        try:
            with _connection(database, ADMINISTRATOR, admin) as cursor:
                for statement, values in statements:
                    cursor.execute(statement, values)
        except pymysql.Error as error:
            code = error.args[0] if error.args else 0  # its words may hold a statement, and that a password
            what = f"{host}:{port} does not let {ADMINISTRATOR} make the schema {name} ({type(error).__name__} {code})"
            raise PlaneshiftError(Problem("PS501", what)) from None

    def rows(self, database: DesiredDatabase, password: str, query: str) -> list[tuple[Any, ...]]:
        try:
            with _connect(database, password) as cursor:
                cursor.execute(query)
                return [tuple(row) for row in cursor.fetchall()]
        except pymysql.Error as error:
            raise PlaneshiftError(Problem("PS501", _reason(error, database))) from None

    def back_up(self, database: DesiredDatabase, password: str, target: Path, say: Say) -> None:
        partial = target.with_suffix(".partial")
        _, _, _, _, name = _place(database)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            flags = ["--single-transaction", "--routines", "--triggers", "--no-tablespaces"]
            _client(("mariadb-dump", "mysqldump"), [*flags, name], database, password, stdout=file)
        self._try(database, password, partial, say)
        partial.replace(target)

    def _try(self, database: DesiredDatabase, password: str, source: Path, say: Say) -> None:
        """Restore into a schema of its own, where the user may make one; otherwise say that it was not tried."""
        _, _, _, _, name = _place(database)
        trial = _trial(name)
        try:
            with _connect(database, password) as cursor:
                cursor.execute(f"CREATE DATABASE `{trial}`")
        except pymysql.Error as error:
            say(f"the restore was not tested: the user may not make the schema {trial} ({error.args[0]})")
            return
        try:
            say(f"restoring the backup into {trial}, as a test")
            self._load(database, password, source, trial)
            with _connect(database, password) as cursor:
                counts = [_count(cursor, schema) for schema in (name, trial)]
            if counts[0] != counts[1]:
                raise PlaneshiftError(Problem("PS506", f"the backup of {database.service} cannot be restored"))
        finally:
            with _connect(database, password) as cursor:
                cursor.execute(f"DROP DATABASE `{trial}`")

    def _load(self, database: DesiredDatabase, password: str, source: Path, schema: str) -> None:
        with source.open("rb") as file:
            _client(("mariadb", "mysql"), [schema], database, password, stdin=file)

    def clear(self, database: DesiredDatabase, password: str) -> None:
        with _connect(database, password) as cursor:
            cursor.execute("SHOW TABLES")
            tables = [name for (name,) in cursor.fetchall()]
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            for table in tables:
                cursor.execute(f"DROP TABLE `{table}`")


def _count(cursor: Any, schema: str) -> int:
    cursor.execute("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s", (schema,))
    return int(cursor.fetchone()[0])


def _place(database: DesiredDatabase) -> tuple[str, str, str, int, str]:
    """Scheme, user, host, port and schema of a database's URL (it holds no password)."""
    from urllib.parse import urlsplit

    parts = urlsplit(database.url)
    return parts.scheme, parts.username or "", parts.hostname or "", parts.port or 3306, parts.path.strip("/")


def _trial(name: str) -> str:
    """The schema that backups are restored into, as a test."""
    return name[: 64 - len(TRIAL)] + TRIAL


def _literal(schema: str) -> str:
    """A schema's name in a GRANT, where `_` would stand for any character."""
    return schema.replace("_", r"\_")


@contextlib.contextmanager
def _connect(database: DesiredDatabase, password: str) -> Iterator[Any]:
    _, user, _, _, name = _place(database)
    with _connection(database, user, password, name) as cursor:
        yield cursor


@contextlib.contextmanager
def _connection(database: DesiredDatabase, user: str, password: str, schema: str | None = None) -> Iterator[Any]:
    connection = dial(database, user, password, schema)
    with connection, connection.cursor() as cursor:
        yield cursor


def dial(database: DesiredDatabase, user: str, password: str, schema: str | None) -> Any:
    """A connection to a database's server; by TLS, with its certificate and name checked, where it has authorities."""
    _, _, host, port, _ = _place(database)
    tls = ssl.create_default_context(cadata=database.ca) if database.ca else None
    return pymysql.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        database=schema,
        connect_timeout=5,
        read_timeout=60,
        ssl=tls,
    )


def _client(
    names: Sequence[str],
    arguments: Sequence[str],
    database: DesiredDatabase,
    password: str,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> None:
    """Run a client program. The password reaches it through memory: a file descriptor that has no name."""
    program = next((found for found in map(shutil.which, names) if found), None)
    if program is None:
        hint = "apt-get install mariadb-client"
        raise PlaneshiftError(Problem("PS507", f"{names[0]} is not installed, so there is no backup", hint=hint))
    _, user, host, port, _ = _place(database)
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    options = f'[client]\nhost={host}\nport={port}\nuser={user}\npassword="{quoted}"\nprotocol=tcp\n'
    memory, authorities = os.memfd_create("options"), os.memfd_create("authorities")
    if database.ca:  # `loose`: MySQL's clients know only the second of the two, MariaDB's only the first
        options += f"ssl-ca=/proc/self/fd/{authorities}\n"
        options += "loose-ssl-verify-server-cert\nloose-ssl-mode=VERIFY_IDENTITY\n"
    try:
        os.fchmod(memory, 0o600)  # the clients ignore options that others could write
        os.write(memory, options.encode())
        os.write(authorities, database.ca.encode())
        done = subprocess.run(
            [program, f"--defaults-file=/proc/self/fd/{memory}", *arguments],
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(memory, authorities),
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(memory)
        os.close(authorities)
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()[-1000:]
        raise PlaneshiftError(Problem("PS506", f"{names[0]} of the database of {database.service} failed", why=words))


def _reason(error: pymysql.Error, database: DesiredDatabase) -> str:
    _, user, host, port, name = _place(database)
    code = error.args[0] if error.args else 0
    if code == ER.ACCESS_DENIED_ERROR:
        return f"{host}:{port} does not take the password of {user} (`database_password` of the secret file)"
    if code == ER.DBACCESS_DENIED_ERROR:
        return f"{user} may not use the schema {name} at {host}:{port}"
    if code == ER.BAD_DB_ERROR:
        return f"the schema {name} does not exist at {host}:{port}; CREATE DATABASE {name} CHARACTER SET utf8mb4"
    if isinstance(cause := getattr(error, "original_exception", None), ssl.SSLCertVerificationError):
        return f"the certificate of {host}:{port} is not by `trust`, or not for {host}: {cause.verify_message}"
    if code in (CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST, CR.CR_UNKNOWN_HOST):
        return f"{host}:{port} does not answer"
    return f"{host}:{port}: {error.args[1] if len(error.args) > 1 else error}"
