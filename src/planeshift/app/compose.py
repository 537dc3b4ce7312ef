"""Real drivers for a site: the only place that builds them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, cast

from planeshift.app import labs
from planeshift.app.access import access
from planeshift.app.clusters import LocalImages, clusters
from planeshift.app.external import look
from planeshift.app.released import RepositoryCharts
from planeshift.app.rotation import Rotation
from planeshift.app.site import Site, host_paths, runtime, ssh_directory
from planeshift.app.ssh import ssh_client
from planeshift.drivers import files
from planeshift.drivers.clock import SystemClock
from planeshift.drivers.control import LocalControl
from planeshift.drivers.databases import LocalDatabases
from planeshift.drivers.haproxy import HAProxy
from planeshift.drivers.keystone import KeystoneIdentity
from planeshift.drivers.local.host import LocalHost
from planeshift.drivers.maker import RandomMaker
from planeshift.drivers.prober import RoundTrips
from planeshift.drivers.rabbitmq import RabbitBuses
from planeshift.drivers.secretfiles import SecretFiles
from planeshift.drivers.traffic import RingTraffic
from planeshift.engine.run import Listener
from planeshift.engine.world import World
from planeshift.model import cloud as model
from planeshift.ports import CredentialUsers, Host, Say
from planeshift.render import cells, topology
from planeshift.render.build import build
from planeshift.render.desired import HostPaths, driven_unit
from planeshift.render.servers import ADMINISTRATOR

if TYPE_CHECKING:
    from planeshift.drivers.ssh.host import SshHost

DATABASES = "secrets/databases.yaml"  # who may make users: a database's name → user and password
MESSAGING = "secrets/messaging.yaml"  # and of message buses: a host → management, user and password


def world(site: Site) -> World:
    """The world that a site's cloud file speaks of."""
    paths = host_paths(site)
    for directory in (site.state, runtime(site.path).parent, runtime(site.path)):
        if directory.is_symlink() or directory.exists():
            files.private(directory)
    charts, sources = RepositoryCharts(site), topology.chart_sources(site.cloud)
    acted = {name: HostPaths(runtime=str(runtime(site.path)), state=str(site.state)) for name in _left(site)} | paths
    sockets = {driven_unit(edge.name): edge.socket or "" for edge in topology.driven(site.cloud)}
    return World(
        hosts={name: _host(site, name, p) for name, p in acted.items()},
        clusters=clusters(site),
        images=LocalImages(),
        charts=charts,
        databases=LocalDatabases(site.state),
        buses=RabbitBuses(),
        edge=HAProxy({name: p.runtime for name, p in paths.items()}, sockets),
        identity=KeystoneIdentity(),
        traffic=RingTraffic({name: p.runtime for name, p in paths.items()}, sockets),
        prober=RoundTrips(access(site)),
        secrets=SecretFiles(site.root),
        maker=RandomMaker(),
        control=LocalControl(site.state),
        clock=SystemClock(),
        foreign=partial(look, site),
        render=lambda secrets, views, shares: build(
            site.cloud, site.tree, secrets, paths, views, shares, charts.views(sources) if sources else {}
        ),
    )


def rotation(site: Site, listen: Listener, say: Say, *, followed: bool = False) -> Rotation:
    """What `rotate` works with; `followed` says that hosts of others have what was staged."""

    def tries(made: World, database: str) -> CredentialUsers:
        from planeshift.drivers.databases.users import MysqlUsers

        return MysqlUsers(made.desired.databases[database], administrator(made, database))

    def administrator(made: World, database: str) -> dict[str, str]:
        known = made.desired.databases[database]
        if known.server:
            return {"user": ADMINISTRATOR, "password": made.administrator(known.server)}
        name = cells.database_key(site.cloud, known.service, known.cell)
        found = made.secrets.read(DATABASES).get(name, {})
        return dict(found) if isinstance(found, dict) and found.get("user") and found.get("password") else {}

    def users(made: World, database: str) -> CredentialUsers | None:
        return tries(made, database) if administrator(made, database) else None

    def bus_tries(made: World, host: str, port: int) -> CredentialUsers:
        from planeshift.drivers.rabbitmq import RabbitUsers

        return RabbitUsers(host, port, bus_administrator(made, host, port))

    def bus_administrator(made: World, host: str, port: int) -> dict[str, str]:
        ours = next((b for b in made.desired.buses.values() if b.server and (host, port) in b.hosts), None)
        if ours:
            return {
                "management": ours.management,
                "user": ADMINISTRATOR,
                "password": made.administrator(ours.server),
            }
        found = made.secrets.read(MESSAGING).get(host, {})
        return dict(found) if isinstance(found, dict) else {}

    def bus_users(made: World, host: str, port: int) -> CredentialUsers | None:
        return bus_tries(made, host, port) if bus_administrator(made, host, port) else None

    def others(service: str) -> bool:
        known, backends = topology.hosts(site.cloud), site.cloud.spec.services[service].backends.values()
        return any(known[host].via == "external" for backend in backends for host in backend.hosts)

    return Rotation(lambda: world(site), users, bus_users, tries, bus_tries, listen, say, others, followed)


def _host(site: Site, name: str, paths: HostPaths) -> Host:
    declared = topology.hosts(site.cloud).get(name)
    if declared is not None and declared.via == "ssh":
        return cast(Host, _ssh_host(site, declared, paths))
    if declared is None or not declared.lab:
        return LocalHost(name, paths, os.environ)
    from planeshift.drivers.labhost import LabHost

    return cast(Host, LabHost(name, paths, partial(labs.command, site, declared.lab, name), os.environ))


def ssh_hosts(site: Site) -> list[SshHost]:
    """The `via: ssh` hosts; nothing is asked of them yet."""
    paths = host_paths(site)
    return [_ssh_host(site, host, paths[host.name]) for host in site.cloud.spec.hosts if host.via == "ssh"]


def _ssh_host(site: Site, host: model.Host, paths: HostPaths) -> SshHost:
    from planeshift.drivers.ssh.host import SshHost

    return SshHost(host.name, paths, ssh_client(site, host), ssh_directory(host.ssh or model.Ssh()), os.environ)


def _left(site: Site) -> list[str]:
    """Hosts on this machine that the file names no longer, and on which something of before may run."""
    directory = runtime(site.path)
    return sorted(p.name for p in directory.iterdir() if p.is_dir()) if directory.is_dir() else []
