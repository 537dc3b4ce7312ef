"""Real drivers for a site: the only place that builds them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import cast

from planeshift.app.clusters import LocalImages, clusters
from planeshift.app.rotate import Rotation
from planeshift.app.site import Site, host_paths, runtime
from planeshift.drivers import files
from planeshift.drivers.clock import SystemClock
from planeshift.drivers.control import LocalControl
from planeshift.drivers.databases import LocalDatabases
from planeshift.drivers.haproxy import HAProxy
from planeshift.drivers.keystone import KeystoneIdentity
from planeshift.drivers.local.host import LocalHost
from planeshift.drivers.maker import RandomMaker
from planeshift.drivers.secretfiles import SecretFiles
from planeshift.engine.run import Listener
from planeshift.engine.world import World
from planeshift.ports import CredentialUsers, Host, Say
from planeshift.render import topology
from planeshift.render.build import build
from planeshift.render.desired import HostPaths

DATABASES = "secrets/databases.yaml"  # who may make users: a database's name → user and password
MESSAGING = "secrets/messaging.yaml"  # and of message buses: a host → management, user and password


def world(site: Site) -> World:
    """The world that a site's cloud file speaks of."""
    paths = host_paths(site)
    for directory in (site.state, runtime(site.path).parent, runtime(site.path)):
        if directory.is_symlink() or directory.exists():
            files.private(directory)
    acted = {name: HostPaths(runtime=str(runtime(site.path)), state=str(site.state)) for name in _left(site)} | paths
    return World(
        hosts={name: _host(site, name, p) for name, p in acted.items()},
        clusters=clusters(site),
        images=LocalImages(),
        databases=LocalDatabases(site.state),
        edge=HAProxy({name: p.runtime for name, p in paths.items()}),
        identity=KeystoneIdentity(),
        secrets=SecretFiles(site.root),
        maker=RandomMaker(),
        control=LocalControl(site.state),
        clock=SystemClock(),
        render=lambda secrets, views: build(site.cloud, site.tree, secrets, paths, views),
    )


def rotation(site: Site, listen: Listener, say: Say) -> Rotation:
    """What `rotate` works with."""

    def tries(made: World, service: str) -> CredentialUsers:
        from planeshift.drivers.databases.users import MysqlUsers

        return MysqlUsers(made.desired.databases[service], administrator(made, service))

    def administrator(made: World, service: str) -> dict[str, str]:
        name = topology.database_name(site.cloud, service)
        found = made.secrets.read(DATABASES).get(name, {})
        return dict(found) if isinstance(found, dict) and found.get("user") and found.get("password") else {}

    def users(made: World, service: str) -> CredentialUsers | None:
        return tries(made, service) if administrator(made, service) else None

    def bus_tries(made: World, host: str, port: int) -> CredentialUsers:
        from planeshift.drivers.rabbitmq import RabbitUsers

        found = made.secrets.read(MESSAGING).get(host, {})
        return RabbitUsers(host, port, found if isinstance(found, dict) else {})

    def bus_users(made: World, host: str, port: int) -> CredentialUsers | None:
        return bus_tries(made, host, port) if made.secrets.read(MESSAGING).get(host) else None

    def others(service: str) -> bool:
        known, backends = topology.hosts(site.cloud), site.cloud.spec.services[service].backends.values()
        return any(known[host].via == "external" for backend in backends for host in backend.hosts)

    return Rotation(lambda: world(site), users, bus_users, tries, bus_tries, listen, say, time.sleep, others)


def _host(site: Site, name: str, paths: HostPaths) -> Host:
    declared = topology.hosts(site.cloud).get(name)
    if declared is None or not declared.lab:
        return LocalHost(name, paths, os.environ)
    from planeshift import lab
    from planeshift.drivers.labhost import LabHost

    where = site.root / declared.lab

    def command(argv: Sequence[str]) -> list[str]:
        return lab.machine(lab.open_lab(str(where)), name).command(argv)

    return cast(Host, LabHost(name, paths, command, os.environ))


def _left(site: Site) -> list[str]:
    """Hosts on this machine that the file names no longer, and on which something of before may run."""
    directory = runtime(site.path)
    return sorted(p.name for p in directory.iterdir() if p.is_dir()) if directory.is_dir() else []
