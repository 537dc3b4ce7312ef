"""Users of a MariaDB or MySQL schema, made and removed as its administrator. Implements `ports.CredentialUsers`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pymysql

from planeshift.drivers.databases.mysql import dial
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.desired import DesiredDatabase


class MysqlUsers:
    """`admin` holds `user` and `password` of who may make users; it may be empty, and then only `works` is of use."""

    def __init__(self, database: DesiredDatabase, admin: Mapping[str, str]) -> None:
        parts = urlsplit(database.url)
        self.place = f"{parts.hostname}:{parts.port or 3306}"
        self.database, self.schema, self.admin = database, parts.path.strip("/"), admin

    def works(self, user: str, password: str) -> bool:
        """Whether a user can use the schema with this password."""
        try:
            with self._connect(user, password, self.schema) as cursor:
                cursor.execute("SHOW TABLES")
                return True
        except PlaneshiftError:
            return False

    def copy(self, old: str, new: str, password: str) -> None:
        """Make `new` be a user with this password and all the rights of `old`, from the same hosts."""
        with self._as_admin() as cursor:
            cursor.execute("SELECT Host FROM mysql.user WHERE User = %s", (old,))
            hosts = [host for (host,) in cursor.fetchall()]
            if not hosts:
                raise PlaneshiftError(Problem("PS1022", f"the database server knows no user {old}"))
            for host in hosts:
                cursor.execute("CREATE USER IF NOT EXISTS %s@%s", (new, host))
                cursor.execute("ALTER USER %s@%s IDENTIFIED BY %s", (new, host, password))
                cursor.execute("SHOW GRANTS FOR %s@%s", (old, host))
                for (grant,) in cursor.fetchall():
                    statement = _for(grant, old, new)
                    if statement:
                        cursor.execute(statement.replace("%", "%%"), ())

    def connections(self, user: str) -> int:
        """How many connections a user has open."""
        with self._as_admin() as cursor:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s", (user,))
            return int(cursor.fetchone()[0])

    def remove(self, user: str) -> None:
        """Remove a user, from wherever it could connect."""
        with self._as_admin() as cursor:
            cursor.execute("SELECT Host FROM mysql.user WHERE User = %s", (user,))
            for (host,) in cursor.fetchall():
                cursor.execute("DROP USER IF EXISTS %s@%s", (user, host))

    @contextmanager
    def _as_admin(self) -> Iterator[Any]:
        with self._connect(self.admin["user"], self.admin["password"], None) as cursor:
            yield cursor

    @contextmanager
    def _connect(self, user: str, password: str, schema: str | None) -> Iterator[Any]:
        try:
            connection = dial(self.database, user, password, schema)
            connection.autocommit(True)
            with connection, connection.cursor() as cursor:
                yield cursor
        except pymysql.Error as error:
            code = error.args[0] if error.args else 0  # its words may hold a statement, and that a password
            what = f"the database at {self.place} refuses {user} ({type(error).__name__} {code})"
            hint = "secrets/databases.yaml names who may make users: `NAME: {user: …, password: …}`."
            raise PlaneshiftError(Problem("PS1022", what, hint=hint)) from None


def _for(grant: str, old: str, new: str) -> str:
    """A grant of one user as a grant of another; empty for the one that grants nothing."""
    if re.match(r"GRANT USAGE ON \*\.\*", grant):
        return ""
    quoted = new.replace("`", "``")
    pattern = r" TO [`']" + re.escape(old) + r"[`']@"
    return re.sub(pattern, lambda _: f" TO `{quoted}`@", grant, count=1)
