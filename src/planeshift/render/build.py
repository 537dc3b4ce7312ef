"""Cloud, catalogue, operator's files and secrets to everything that is desired. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from planeshift import catalog
from planeshift.catalog.spec import Secret, SecretKind, ServiceSpec
from planeshift.model import cloud as model
from planeshift.render import consumers, files, server, servers, stores, supervisor, topology
from planeshift.render.desired import (
    AUTHORITY,
    EDGE_SECRETS,
    LEAVES,
    Bind,
    ClusterView,
    Desired,
    DesiredBus,
    DesiredCell,
    DesiredDatabase,
    DesiredEdge,
    DesiredUnit,
    DrivenEdge,
    File,
    HostPaths,
    IdentityEntries,
    Pods,
    Program,
    SecretFile,
    SecretValues,
    Tree,
    Unit,
)
from planeshift.render.haproxy import haproxy
from planeshift.render.pods import ChartViews, desired_pods
from planeshift.render.sites import Place, Sites, config_path, fill, secret_path
from planeshift.render.supervisor import MARKER
from planeshift.render.weights import Shares


def build(
    cloud: model.Cloud,
    tree: Tree,
    secrets: SecretValues,
    hosts: Mapping[str, HostPaths],
    views: Mapping[str, ClusterView] | None = None,
    shares: Mapping[str, Shares] | None = None,
    charts: ChartViews | None = None,
) -> Desired:
    """All that a valid cloud wants.

    `tree` holds the operator's declared files; `secrets` what the secret files hold by now; `hosts` the paths of each
    host of ours; `views` what is known of each cluster, `charts` of each chart that is not ours; `shares` where the
    traffic of services is that is not yet where the file wants it: the edges are rendered with it, and moving it is the
    plan's. Secrets that are not there yet are rendered empty: a plan says that they will be made first.
    """
    specs = topology.ours(cloud)
    builder = _Builder(cloud, tree, secrets, hosts, views or {}, shares or {})
    units = [builder.unit(unit) for unit in builder.units]
    units += servers.units(cloud, hosts, secrets)
    edges = [builder.edge(e) for e in topology.edges(cloud) if topology.edge_host(cloud, e) in hosts]
    moving = consumers.moving(cloud, [u.unit for u in units], shares or {})
    pods = [
        desired_pods(builder.sites, found, charts or {}, moving.idle, builder.known(found))
        for found in topology.pods(cloud)
    ]
    wanted = dict.fromkeys((u.unit.service, u.unit.release) for u in units if u.unit.environment)
    wanted |= dict.fromkeys((p.pods.service, p.pods.release) for p in pods if p.pods.built)
    environments = {e.id: e for e in (topology.environment(cloud, *what) for what in wanted)}
    return Desired(
        cloud=cloud.metadata.name,
        region=cloud.spec.region,
        identity_url=topology.identity_url(cloud) if "keystone" in cloud.spec.services else "",
        identity_local="keystone" in specs,
        specs=specs,
        environments=environments,
        hosts=dict(hosts),
        units={u.unit.id: u for u in units},
        pods={p.pods.id: p for p in pods},
        edges={e.name: e for e in edges},
        driven={e.name: builder.driven(e) for e in topology.driven(cloud)},
        databases={d.name: d for name in specs for d in builder.databases(name)},
        buses={b.name: b for name in specs for b in builder.buses(name)},
        cells={c.database: c for name in specs for c in builder.cells(name)},
        identity={name: builder.identity(spec) for name, spec in specs.items()},
        secrets={f.service: f for f in builder.secret_files()},
        overrides=tuple(dict.fromkeys(builder.sites.overridden)),
        weights=moving.weights,
        shares=moving.shares,
        shifts={name: cloud.spec.services[name.partition("@")[0]].shift for name in moving.weights},
        releases={
            name: {b: topology.release(cloud, name, s) for b, s in cloud.spec.services[name].backends.items()}
            for name in specs
        },
        ca=builder.sites.authority(),
        views=dict(views or {}),
        consumers=moving.consumers,
        idle=moving.idle,
    )


def environment_path(paths: HostPaths, environment: str) -> str:
    """Where an environment is installed on its host."""
    return f"{paths.state}/environments/{environment}"


def logs_path(paths: HostPaths, unit: str) -> str:
    """Where a unit's programs write their logs."""
    return f"{paths.state}/logs/{unit}"


def edge_unit(name: str, host: str) -> str:
    """The id under which an edge's files and supervisor stand on its host."""
    return f"{host}/edge/{name}"


class _Builder:
    def __init__(
        self,
        cloud: model.Cloud,
        tree: Tree,
        secrets: SecretValues,
        hosts: Mapping[str, HostPaths],
        views: Mapping[str, ClusterView],
        shares: Mapping[str, Shares],
    ) -> None:
        self.cloud, self.tree, self.hosts, self.views, self.shares = cloud, tree, hosts, views, shares
        self.sites = Sites(cloud, tree, secrets)
        self.units = topology.units(cloud)
        self._cells: dict[str, tuple[DesiredCell, ...]] = {}

    # --- a unit

    def unit(self, unit: Unit) -> DesiredUnit:
        spec, paths = catalog.service(unit.service), self.hosts[unit.host]
        directory, data = f"{paths.runtime}/{unit.id}", f"{paths.state}/data/{unit.service}"
        installed, log = environment_path(paths, unit.environment), logs_path(paths, unit.id)
        config, host = f"{directory}/{files.config_directory(spec)}", _host(unit.address)
        ca_file = f"{directory}/{AUTHORITY}" if self.sites.has_authority() else ""
        sqlite = self._sqlite(unit.service, paths)
        database = self.sites.database_url(unit.service, sqlite, with_password=True, ca_file=ca_file)
        own = f"{data}/{unit.host}-{unit.backend}" if spec.cells else data
        place = Place(unit.host, own, unit.cell, frozenset(c.name for c in unit.components))
        site = self.sites.site(spec, unit.release, config, data, installed, database, ca_file, place)
        values = {"config": config, "data": data, "address": host, "port": str(unit.port), **site.shipped}
        laid = self.sites.files(spec, site)
        if unit.web:
            laid |= server.files(unit, unit.web, directory, fill(unit.web.wsgi, values))
        laid |= self.known(unit) | ({AUTHORITY: File(self.sites.authority().encode())} if ca_file else {})
        if leaves := spec.leaves(site):
            laid[LEAVES] = File("".join(f"{pattern}\n" for pattern in leaves).encode())
        environment = {name: fill(value, values) for name, value in spec.layout.environment.items()}
        environment |= {"HOME": f"{directory}/home", "PATH": f"{installed}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        environment |= {"LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        if site.ca_file:
            environment["REQUESTS_CA_BUNDLE"] = site.ca_file
        programs = server.programs(unit, directory, environment, installed, log)
        laid |= supervisor.files(paths, directory, log, unit.id, programs)
        return DesiredUnit(
            unit=unit,
            files=laid,
            programs=tuple(programs),
            directories=(data, log, *(f"{data}/{name}" for name in spec.directories), *([own] if spec.cells else [])),
            health=f"http://{host}:{unit.port}{unit.web.health}" if unit.web else "",
        )

    def known(self, place: Unit | Pods) -> dict[str, File]:
        """The cells, for nobody to read: what runs above them keeps them in memory, and so is started anew with them."""
        if place.cell or not catalog.service(place.service).cells:
            return {}
        lines = [f"{c.name} {c.enabled} {c.mapped} {c.transport}" for c in self.cells(place.service)]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return {"cells": File(f"{digest}\n".encode(), mode=0o600, secret=True)}

    # --- databases

    def _sqlite(self, service: str, paths: HostPaths) -> str:
        return f"{paths.state}/data/{service}/{service}.sqlite"

    def databases(self, service: str) -> Iterator[DesiredDatabase]:
        """The database of a service that we run somewhere, looked after by its newest release, on a host if it can be.

        Those of its cells are looked after from above them.
        """
        places: list[Unit | Pods] = [u for u in self.units if u.service == service and not u.cell]
        places += [p for p in topology.pods(self.cloud) if p.service == service and not p.cell]
        if places:
            main = self._database(service, places)
            yield main
            for cell in stores.in_cells(self.cloud, service):
                yield self._of_cell(main, cell)

    def _of_cell(self, main: DesiredDatabase, cell: str) -> DesiredDatabase:
        store = stores.database(self.cloud, main.service, cell)
        heads = frozenset(catalog.facts(main.service, main.release)["cell_heads"])
        found = replace(main, cell=cell, heads=heads)
        if store is None:
            return found
        user = store.chosen(self.sites.secrets.get(main.service, {}))
        return self._served(replace(found, url=stores.database_url(store, user)), store)

    def _served(self, database: DesiredDatabase, store: stores.Store | None) -> DesiredDatabase:
        """The same, with what is known of its server and user."""
        if store is None:
            return database
        ca = self.sites.authority() if store.tls else ""
        return replace(database, secret=store.secret, server=store.server, ca=ca)

    def buses(self, service: str) -> Iterator[DesiredBus]:
        """The vhosts of a service."""
        secrets = self.sites.secrets.get(service, {})
        for store in stores.all_buses(self.cloud, service):
            address, port = store.hosts[0]
            management = f"http://{_host(address)}:{servers.management_port(port)}" if store.server else ""
            yield DesiredBus(
                name=store.name,
                service=service,
                hosts=store.hosts,
                vhost=store.place,
                user=store.chosen(secrets),
                secret=store.secret,
                server=store.server,
                management=management,
            )

    def cells(self, service: str) -> tuple[DesiredCell, ...]:
        """The cells of a service, made once: every unit above them is asked for."""
        if service not in self._cells:
            self._cells[service] = tuple(self._in_cells(service))
        return self._cells[service]

    def _in_cells(self, service: str) -> Iterator[DesiredCell]:
        found = catalog.service(service).cells
        enabled = {c.name: c.enabled for c in self.cloud.spec.cells}
        units = [u for u in self.units if found and any(c.name == found.compute for c in u.components)]
        for cell in stores.in_cells(self.cloud, service):
            connection = self.sites.cell_database_url(service, cell)
            transport = self.sites.transport_url(service, cell)
            computes = {u.host: u.id for u in units if u.cell == cell}
            asked = found.asked if found and connection else ""
            yield DesiredCell(cell, service, connection, transport, enabled.get(cell, True), asked, computes)

    def _database(self, service: str, places: list[Unit | Pods]) -> DesiredDatabase:
        newest = max(place.release for place in places)
        first = next(place for place in places if place.release == newest)
        host = first.host if isinstance(first, Unit) else ""
        sqlite = self._sqlite(service, self.hosts[host]) if host else ""
        engine = topology.engine(self.cloud, service)
        found = DesiredDatabase(
            service=service,
            engine=engine,
            url=self.sites.database_url(service, sqlite, with_password=False),
            path=sqlite if engine == topology.SQLITE else "",
            host=host,
            unit=first.id,
            release=first.release,
            heads=frozenset(catalog.facts(service, first.release)["heads"]),
            older=tuple(sorted({place.release for place in places} - {first.release})),
        )
        return self._served(found, stores.database(self.cloud, service))

    # --- Keystone's content

    def identity(self, spec: ServiceSpec) -> IdentityEntries:
        public, internal = topology.urls(self.cloud, spec.name)
        return IdentityEntries(
            service=spec.name,
            type=spec.type,
            region=self.cloud.spec.region,
            endpoints={"public": public + spec.path, "internal": internal + spec.path},
            user=str(self.sites.secrets.get(spec.name, {}).get("service_user") or spec.name) if spec.roles else "",
            roles=spec.roles,
        )

    # --- the edge

    def edge(self, edge: model.Edge) -> DesiredEdge:
        host = topology.edge_host(self.cloud, edge)
        paths = self.hosts[host]
        unit = edge_unit(edge.name, host)
        directory, log = f"{paths.runtime}/{unit}", logs_path(paths, unit)
        frontends = tuple(topology.frontends(self.cloud, edge, self.views, self.shares))
        statistics = Bind(edge.address, edge.statistics.port)
        hops = tuple(Bind(s.address, s.port) for f in frontends for s in f.servers if s.hop)
        text, structure = haproxy(directory, frontends, statistics)
        program = Program(
            name="haproxy",
            argv=(
                paths.haproxy,
                "-W",
                "-db",
                "-S",
                f"{directory}/master.sock,mode,600",
                "-f",
                f"{directory}/haproxy.cfg",
            ),
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", MARKER: f"{directory}#haproxy"},
            log=f"{log}/haproxy.log",
            reload_signal="USR2",
            stop_signal="USR1",
            stop_seconds=30,
        )
        laid = {"haproxy.cfg": File(text.encode()), **self._certificates()}
        laid |= supervisor.files(paths, directory, log, unit, [program])
        return DesiredEdge(
            name=edge.name,
            host=host,
            frontends=frontends,
            structure=structure,
            files=laid,
            programs=(program,),
            binds=(statistics, *(b for f in frontends for b in f.binds), *hops),
            statistics=f"http://{edge.address}:{edge.statistics.port}/",
        )

    def driven(self, edge: model.Edge) -> DrivenEdge:
        """What an edge of somebody else's is to do for us."""
        frontends = topology.frontends(self.cloud, edge, self.views, self.shares)
        return DrivenEdge(edge.name, edge.socket or "", tuple(f for f in frontends if f.servers))

    def _certificates(self) -> dict[str, File]:
        found = topology.faces(self.cloud)
        result = {}
        for name, endpoint in (("public", found.public), ("internal", found.internal)):
            tls = endpoint.tls
            if tls is None:
                continue
            if tls.trial:
                pem = (self.sites.trial().get("certificate", "") + self.sites.trial().get("key", "")).encode()
            else:
                pem = self.tree.get(tls.certificate or "", b"") + b"\n" + self.tree.get(tls.key or "", b"")
            result[f"{name}.pem"] = File(pem, mode=0o600, secret=True)
        return result

    # --- secret files

    def _shared_with_others(self, service: str) -> bool:
        """Whether hosts of somebody else run the service as well."""
        known = topology.hosts(self.cloud)
        backends = self.cloud.spec.services[service].backends.values()
        return any(known[host].via == "external" for backend in backends for host in backend.hosts)

    def secret_files(self) -> Iterator[SecretFile]:
        for name, spec in topology.ours(self.cloud).items():
            secrets = list(spec.secrets)
            if self._shared_with_others(name):
                # What others use already cannot be made anew: tokens, users and stored data hang on it.
                secrets = [replace(secret, kind="given") for secret in secrets]
            for store in stores.all_databases(self.cloud, name):
                kind: SecretKind = "password" if store.server else "given"
                secrets.append(Secret(store.secret, kind, f"of the database user of {store.name}"))
            for store in stores.all_buses(self.cloud, name):
                kind = "password" if store.server else "given"
                secrets.append(Secret(store.secret, kind, f"of the message bus user of {store.name}"))
            yield SecretFile(name, secret_path(self.cloud, name), tuple(secrets))
        if "keystone" in self.cloud.spec.services and "keystone" not in topology.ours(self.cloud):
            given = Secret("admin_password", "given", "of the administrator at the Keystone that somebody else runs")
            yield SecretFile("keystone", secret_path(self.cloud, "keystone"), (given,))
        for kind_of_server, administrators in servers.secrets_of(self.cloud).items():
            yield SecretFile(kind_of_server, secret_path(self.cloud, kind_of_server), administrators)
        if topology.has_trial(self.cloud):
            path, trial = secret_path(self.cloud, EDGE_SECRETS), self.sites.trial_secret()
            yield SecretFile(EDGE_SECRETS, path, (trial,), self.sites.trial_names())


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


__all__ = ["build", "config_path", "edge_unit", "environment_path", "secret_path"]
