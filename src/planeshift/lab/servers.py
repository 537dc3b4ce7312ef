"""What services need and somebody else runs in earnest: a database, a cache, a store of images, on a host of the lab.

Their passwords are the services' own: they are read from the secret files beside the lab file, `secrets/SERVICE.yaml`,
and made there where they are missing, as `planeshift up` makes the others.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from planeshift.catalog.spec import SecretValue
from planeshift.drivers.secretfiles import SecretFiles
from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import host
from planeshift.lab.processes import Init
from planeshift.lab.site import Site
from planeshift.lab.topology import Host

PATIENCE = 60.0
PROGRAMS = {"mariadb": ("mariadbd", "mariadb-server"), "memcached": ("memcached", "memcached")}
S3_PORT = 7070


def prepare(site: Site, machine: Host, init: Init, say: Callable[[str], None]) -> None:
    """Make the databases, users and keys that a host's servers are for. Raises PlaneshiftError (PS452)."""
    files = SecretFiles(site.path.resolve().parent)
    runs = machine.runs
    if runs.s3:
        _keys(files, runs.s3.service, runs.s3.store, init)
    if runs.mariadb:
        _wait(site, machine, init, ["mariadb-admin", "--no-defaults", "--socket=/run/mariadb.sock", "ping"], "mariadb")
        statements = []
        for name in runs.mariadb.databases:
            password = _password(files, name)
            statements += _user(name, password)
            say(f"database {name}, of the user {name}")
        _sql(site, machine, init, "".join(statements))
    if runs.s3:
        _wait(site, machine, init, ["bash", "-c", f": </dev/tcp/127.0.0.1/{S3_PORT}"], "s3")


def _password(files: SecretFiles, service: str) -> str:
    path = f"secrets/{service}.yaml"
    files.add(path, {"database_password": secrets.token_urlsafe(24)})
    return str(files.read(path)["database_password"])


def _keys(files: SecretFiles, service: str, store: str, init: Init) -> None:
    """The keys of the store, as options of the service that uses it; the server finds them on its memory."""
    path = f"secrets/{service}.yaml"
    made: Mapping[str, str] = {"s3_store_access_key": "planeshift", "s3_store_secret_key": secrets.token_urlsafe(24)}
    options: SecretValue = {store: made}  # type: ignore[dict-item]
    files.add(path, {"options": options})
    found = files.read(path)["options"]
    keys: object = found.get(store, {}) if isinstance(found, dict) else {}
    if not isinstance(keys, dict) or not {"s3_store_access_key", "s3_store_secret_key"} <= keys.keys():
        hint = "Add them below `options:`, or remove `options:` to have them made."
        raise PlaneshiftError(Problem("PS452", f"{path} has options, but not the keys of [{store}]", hint=hint))
    lines = f"export ROOT_ACCESS_KEY='{keys['s3_store_access_key']}' ROOT_SECRET_KEY='{keys['s3_store_secret_key']}'\n"
    target = Path(f"/proc/{init.pid}/root/run/s3.env")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(lines)


def _user(name: str, password: str) -> list[str]:
    quoted = "'" + password.replace("\\", "\\\\").replace("'", "''") + "'"
    return [
        f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;\n",
        f"CREATE USER IF NOT EXISTS `{name}`@'%' IDENTIFIED BY {quoted};\n",
        f"ALTER USER `{name}`@'%' IDENTIFIED BY {quoted};\n",
        f"GRANT ALL ON `{name}`.* TO `{name}`@'%';\n",
    ]


def _sql(site: Site, machine: Host, init: Init, text: str) -> None:
    argv = ["mariadb", "--no-defaults", "--socket=/run/mariadb.sock", "--user=root"]
    done = _run(site, machine, init, argv, text)
    if done.returncode:
        raise PlaneshiftError(Problem("PS452", f"MariaDB of {machine.name} refuses", why=done.stderr.strip()[-500:]))


def _wait(site: Site, machine: Host, init: Init, argv: list[str], name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while _run(site, machine, init, argv).returncode:
        if time.monotonic() > deadline:
            log = Path(f"/proc/{init.pid}/root/var/log/{name}.log")
            words = log.read_text(errors="replace")[-1000:] if log.exists() else ""
            raise PlaneshiftError(Problem("PS452", f"{name} of {machine.name} does not answer", why=words))
        time.sleep(0.1)


def _run(site: Site, machine: Host, init: Init, argv: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    entered = host.entering(site.state, site.lab, machine, init, argv)
    return subprocess.run(entered, input=text, capture_output=True, text=True, check=False, env=host.ENVIRONMENT)
