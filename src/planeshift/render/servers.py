"""MariaDB and RabbitMQ that we run ourselves, for a trial: the distribution's programs, each a unit on a host. Pure.

Options: https://mariadb.com/docs/server/server-management/variables-and-modes/server-system-variables,
https://www.rabbitmq.com/docs/configure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from planeshift.catalog.spec import Secret
from planeshift.model import cloud as model
from planeshift.render import supervisor, topology
from planeshift.render.desired import DesiredUnit, File, HostPaths, Program, SecretValues, Unit
from planeshift.render.stores import MARIADB, RABBITMQ
from planeshift.render.supervisor import MARKER

ADMINISTRATOR = "planeshift"
# Threads that wait by turning in circles would take a small machine's processors.
_ERL = "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Made beside and renamed, so that a half-made data directory is never taken for a whole one.
_MARIADB = """\
set -e
if [ ! -d "{data}" ]; then
  rm -rf "{data}.new"
  mkdir -p "{data}.new"
  mariadb-install-db --no-defaults --datadir="{data}.new" --user="$(id -un)" --skip-test-db \\
    --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)"
  mv "{data}.new" "{data}"
fi
exec mariadbd --defaults-file="{directory}/my.cnf" --user="$(id -un)"
"""
# Read at every start, a statement a line: the administrator is who the secret file says.
_ADMINISTRATOR = """\
CREATE USER IF NOT EXISTS {user}@'%';
ALTER USER {user}@'%' IDENTIFIED BY '{password}';
GRANT ALL PRIVILEGES ON *.* TO {user}@'%' WITH GRANT OPTION;
"""


def management_port(port: int) -> int:
    """Of RabbitMQ's management, which is told who may do what."""
    return port + 10_000


def secret(server: str) -> Secret:
    """The administrator of a server of ours, by what the cloud file calls it; in the secret file of its kind."""
    return Secret(f"{server.replace('-', '_')}_password", "password", f"of the administrator of {server}")


def units(cloud: model.Cloud, paths: Mapping[str, HostPaths], secrets: SecretValues) -> Iterator[DesiredUnit]:
    """The servers that the file gives to us to run."""
    hosts = topology.hosts(cloud)
    for name, database in cloud.spec.databases.items():
        host = database.host or ""
        if database.manage and host in paths:
            password = str(secrets.get(MARIADB, {}).get(secret(name).name, ""))
            yield _mariadb(_unit(hosts[host], MARIADB, name, database.port), paths[host], password)
    for name, bus in cloud.spec.messaging.items():
        host = bus.host or ""
        if bus.manage and host in paths:
            password = str(secrets.get(RABBITMQ, {}).get(secret(name).name, ""))
            yield _rabbitmq(_unit(hosts[host], RABBITMQ, name, bus.port), paths[host], password)


def secrets_of(cloud: model.Cloud) -> dict[str, tuple[Secret, ...]]:
    """What the secret files of the servers that we run must hold, by kind of server."""
    managed = {
        MARIADB: [name for name, database in cloud.spec.databases.items() if database.manage],
        RABBITMQ: [name for name, bus in cloud.spec.messaging.items() if bus.manage],
    }
    return {kind: tuple(map(secret, names)) for kind, names in managed.items() if names}


def _unit(host: model.Host, service: str, name: str, port: int) -> Unit:
    return Unit(host.name, service, name, "", (), host.address, port, "")


def _mariadb(unit: Unit, paths: HostPaths, password: str) -> DesiredUnit:
    directory, data, log = _places(unit, paths)
    options = {
        "datadir": data,
        "bind-address": unit.address,
        "port": unit.port,
        "socket": f"{directory}/m.sock",
        "pid-file": f"{directory}/mariadbd.pid",
        "init-file": f"{directory}/administrator.sql",
        "max-connections": 1000,
        "character-set-server": "utf8mb4",
        "innodb-flush-log-at-trx-commit": 2,  # a trial: what a crash of the machine takes is a second of it
    }
    text = "\n".join(["[mariadbd]", "skip-name-resolve", "skip-log-bin", *(f"{n} = {v}" for n, v in options.items())])
    administrator = _ADMINISTRATOR.format(
        user=ADMINISTRATOR, password=password.replace("\\", "\\\\").replace("'", "''")
    )
    files = {
        "my.cnf": File(text.encode() + b"\n"),
        "start": File(_MARIADB.format(data=data, directory=directory).encode()),
        "administrator.sql": File(administrator.encode(), mode=0o600, secret=True),
    }
    program = _program(directory, "mariadbd", ("/bin/sh", f"{directory}/start"), {"HOME": directory}, log)
    return _desired(unit, paths, directory, log, files, [program], data.rpartition("/")[0])


def _rabbitmq(unit: Unit, paths: HostPaths, password: str) -> DesiredUnit:
    directory, data, log = _places(unit, paths)
    settings = {
        "listeners.tcp.1": f"{unit.address}:{unit.port}",
        "management.tcp.ip": unit.address,
        "management.tcp.port": management_port(unit.port),
        "default_user": ADMINISTRATOR,
        "default_pass": password,
        "log.console": "true",
        "log.console.level": "warning",
        "log.file": "false",
        "disk_free_limit.absolute": "200MB",
    }
    text = "\n".join(f"{name} = {value}" for name, value in settings.items())
    files = {
        "rabbitmq.conf": File(text.encode() + b"\n", mode=0o600, secret=True),
        "enabled_plugins": File(b"[rabbitmq_management].\n"),
    }
    # A port mapper of its own, which ends with it: the usual one would outlive it, and be shared with strangers. It and the
    # nodes' own port are on 127.0.0.1 whatever the address, so that their numbers must differ where addresses do.
    own = zlib.crc32(f"{unit.address}:{unit.port}".encode()) % 5000
    mapper, between = str(20_000 + own), str(25_000 + own)
    environment = {
        "HOME": data,
        "ERL_EPMD_PORT": mapper,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"{unit.backend}@localhost",
        "RABBITMQ_DIST_PORT": between,
        "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
        "RABBITMQ_MNESIA_BASE": f"{data}/nodes",
        "RABBITMQ_LOG_BASE": log,
        "RABBITMQ_PID_FILE": f"{directory}/rabbitmq.pid",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERL,
    }
    programs = [
        _program(directory, "epmd", ("epmd", "-port", mapper, "-address", "127.0.0.1"), environment, log),
        _program(directory, "rabbitmq", ("/usr/lib/rabbitmq/bin/rabbitmq-server",), environment, log),
    ]
    return _desired(unit, paths, directory, log, files, programs, data)


def _places(unit: Unit, paths: HostPaths) -> tuple[str, str, str]:
    """The unit's directory, where its data stays, and its logs."""
    data = f"{paths.state}/data/{unit.service}/{unit.backend}"
    return f"{paths.runtime}/{unit.id}", data, f"{paths.state}/logs/{unit.id}"


def _program(directory: str, name: str, argv: tuple[str, ...], environment: Mapping[str, str], log: str) -> Program:
    found = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **environment, MARKER: f"{directory}#{name}"}
    return Program(name, argv, found, f"{log}/{name}.log", reload_signal="", stop_seconds=60)


def _desired(
    unit: Unit, paths: HostPaths, directory: str, log: str, files: dict[str, File], programs: list[Program], data: str
) -> DesiredUnit:
    laid = files | supervisor.files(paths, directory, log, unit.id, programs)
    return DesiredUnit(unit, laid, tuple(programs), (data, log), f"tcp://{unit.address}:{unit.port}")
