"""What services need and somebody else runs in earnest: a database, a cache, a store of images, on a host of the lab.

Their passwords are the services' own: they are read from the secret files beside the lab file, `secrets/SERVICE.yaml`,
and made there where they are missing, as `planeshift up` makes the others.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from planeshift.catalog.spec import SecretValue
from planeshift.drivers import files
from planeshift.drivers.secretfiles import SecretFiles
from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import disk, host
from planeshift.lab.processes import Init
from planeshift.lab.shell import run
from planeshift.lab.site import Site
from planeshift.lab.topology import REGISTRY_PORT, Host

PATIENCE = 60.0
PROGRAMS = {  # name → program, Debian package
    "mariadb": ("mariadbd", "mariadb-server"),
    "memcached": ("memcached", "memcached"),
    "registry": ("docker-registry", "docker-registry"),
    "sshd": ("/usr/sbin/sshd", "openssh-server"),
}
S3_PORT = 7070
_keys_lock = threading.Lock()


def prepare(site: Site, machine: Host, init: Init, say: Callable[[str], None]) -> None:
    """Make the databases, users and keys that a host's servers are for. Raises PlaneshiftError (PS452)."""
    secret_files = SecretFiles(site.path.resolve().parent)
    runs = machine.runs
    if runs.s3:
        _keys(secret_files, runs.s3.service, runs.s3.store, init)
    if runs.mariadb:
        _wait(site, machine, init, ["mariadb-admin", "--no-defaults", "--socket=/run/mariadb.sock", "ping"], "mariadb")
        statements = []
        for name in runs.mariadb.databases:
            user, password = _credentials(secret_files, name)
            statements += _user(name, user, password)
            say(f"database {name}, of the user {user}")
        _sql(site, machine, init, "".join(statements))
    if runs.sshd:
        _ssh(site, machine, init)
    for name, port in (("s3", S3_PORT), ("registry", REGISTRY_PORT), ("sshd", 22)):
        if name in runs.names:
            _wait(site, machine, init, ["bash", "-c", f": </dev/tcp/127.0.0.1/{port}"], name)


def _credentials(held: SecretFiles, service: str) -> tuple[str, str]:
    """The user and password of a service's database: of the service's name, unless they were rotated."""
    path = f"secrets/{service}.yaml"
    held.add(path, {"database_password": secrets.token_urlsafe(24)})
    found = held.read(path)
    return str(found.get("database_user", service)), str(found["database_password"])


def _keys(held: SecretFiles, service: str, store: str, init: Init) -> None:
    """The keys of the store, as options of the service that uses it; the server finds them on its memory."""
    path = f"secrets/{service}.yaml"
    made: Mapping[str, str] = {"s3_store_access_key": "planeshift", "s3_store_secret_key": secrets.token_urlsafe(24)}
    options: SecretValue = {store: made}  # type: ignore[dict-item]
    held.add(path, {"options": options})
    found = held.read(path)["options"]
    keys: object = found.get(store, {}) if isinstance(found, dict) else {}
    if not isinstance(keys, dict) or not {"s3_store_access_key", "s3_store_secret_key"} <= keys.keys():
        hint = "Add them below `options:`, or remove `options:` to have them made."
        raise PlaneshiftError(Problem("PS452", f"{path} has options, but not the keys of [{store}]", hint=hint))
    lines = f"export ROOT_ACCESS_KEY='{keys['s3_store_access_key']}' ROOT_SECRET_KEY='{keys['s3_store_secret_key']}'\n"
    target = Path(f"/proc/{init.pid}/root/run/s3.env")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(lines)


def _ssh(site: Site, machine: Host, init: Init) -> None:
    """The host's own key, which stays with its disk, and the lab's, whose owner may enter."""
    client, own = site.state / "ssh" / "key", disk.directory(site.state, machine) / "ssh_host_key"
    files.private(client.parent)
    with _keys_lock:  # hosts are made ready side by side
        for key in (client, own):
            if not key.exists():
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)])
        known = [h for h in site.lab.hosts if (disk.directory(site.state, h) / "ssh_host_key.pub").exists()]
        lines = [f"{h.address} {(disk.directory(site.state, h) / 'ssh_host_key.pub').read_text()}" for h in known]
        files.write(client.parent / "known_hosts", "".join(lines).encode())
    place = Path(f"/proc/{init.pid}/root/run/lab-sshd")
    place.mkdir(mode=0o755, exist_ok=True)
    files.write(place / "authorized_keys", client.with_suffix(".pub").read_bytes())
    files.write(place / "host_key", own.read_bytes(), 0o600)


def _user(name: str, user: str, password: str) -> list[str]:
    quoted = "'" + password.replace("\\", "\\\\").replace("'", "''") + "'"
    return [
        f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;\n",
        f"CREATE USER IF NOT EXISTS `{user}`@'%' IDENTIFIED BY {quoted};\n",
        f"ALTER USER `{user}`@'%' IDENTIFIED BY {quoted};\n",
        f"GRANT ALL ON `{name}`.* TO `{user}`@'%';\n",
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
