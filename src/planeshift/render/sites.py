"""What a service's options depend on, for one place where it runs: a unit on a host, or a cluster's pods. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from planeshift.catalog.spec import NO_BUS, Secret, ServiceSpec, Site
from planeshift.model import cloud as model
from planeshift.render import files, stores, topology
from planeshift.render.desired import EDGE_SECRETS, File, Override, SecretValues, Tree

TRIAL_TLS = "trial_tls"


def secret_path(cloud: model.Cloud, service: str) -> str:
    """A service's secret file, below the cloud file's directory."""
    declared = cloud.spec.services.get(service)
    return (declared.secrets if declared else None) or f"secrets/{service}.yaml"


def config_path(cloud: model.Cloud, service: str) -> str:
    """The directory of a service's configuration files, below the cloud file's directory."""
    return cloud.spec.services[service].config or f"config/{service}"


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text of the catalog with its placeholders filled in, see `catalog.spec`."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


@dataclass(frozen=True)
class Place:
    """What tells a backend's place from others of the same service."""

    host: str = ""
    own: str = ""  # a directory for it alone
    cell: str = ""
    components: frozenset[str] = frozenset()


class Sites:
    """The files of every place, from the same cloud, operator's files and secrets."""

    def __init__(self, cloud: model.Cloud, tree: Tree, secrets: SecretValues) -> None:
        self.cloud, self.tree, self.secrets = cloud, tree, secrets
        self.overridden: list[Override] = []

    def files(self, spec: ServiceSpec, site: Site) -> dict[str, File]:
        """What the service reads there, by path below the place; what it overrides of the operator's is noted."""
        declared = config_path(self.cloud, spec.name)
        operator = files.operator_files(self.tree, declared)
        self.overridden += files.overrides(spec, site, operator, declared)
        return files.configuration(spec, site, operator)

    def site(
        self,
        spec: ServiceSpec,
        release: str,
        config: str,
        data: str,
        programs: str,
        database: str,
        ca_file: str,
        place: Place | None = None,
    ) -> Site:
        """A place, where `config`, `data` and `programs` are directories, `database` a URL with its password."""
        place = place or Place()
        public, internal = topology.urls(self.cloud, spec.name)
        operator = files.operator_files(self.tree, config_path(self.cloud, spec.name))
        return Site(
            region=self.cloud.spec.region,
            release=release,
            identity=topology.identity_url(self.cloud),
            public_url=public,
            internal_url=internal,
            config=config,
            data=data,
            database=database,
            cache=self.caches(spec.name),
            secrets=self.secrets.get(spec.name, {}),
            ca_file=ca_file,
            transport=self.transport_url(spec.name, place.cell),
            cell=place.cell,
            cell_database=self.cell_database_url(spec.name, place.cell),
            host=place.host,
            own=place.own or data,
            components=place.components,
            shipped={
                name: f"{config}/{name}" if name in operator else f"{programs}/{path}"
                for name, path in spec.layout.shipped.items()
            },
        )

    def caches(self, service: str) -> tuple[str, ...]:
        """host:port of the memcached servers that a service shares."""
        caches = self.cloud.spec.caches
        name = self.cloud.spec.services[service].cache or (next(iter(caches)) if len(caches) == 1 else "")
        return tuple(caches[name].hosts) if name in caches else ()

    def database_url(self, service: str, sqlite: str, *, with_password: bool, ca_file: str = "") -> str:
        """The SQLAlchemy URL of a service's database; `sqlite` is the file where it is one.

        `ca_file` has the authorities that are trusted where the URL is used.
        """
        store = stores.database(self.cloud, service)
        if store is None:
            return f"sqlite:///{sqlite}"
        secrets = self.secrets.get(service, {})
        credentials = store.credentials(secrets) if with_password else store.chosen(secrets)
        return stores.database_url(store, credentials, ca_file)

    def cell_database_url(self, service: str, cell: str) -> str:
        """The same of a cell of the service, of cell0 where none is named; empty where it has none."""
        found = stores.in_cells(self.cloud, service)
        store = stores.database(self.cloud, service, cell or stores.ZERO) if found else None
        return stores.database_url(store, store.credentials(self.secrets.get(service, {}))) if store else ""

    def transport_url(self, service: str, cell: str = "") -> str:
        """The oslo.messaging URL of a service, or of a cell of it, with its password; empty where it has none."""
        if cell == stores.ZERO:
            return NO_BUS
        store = stores.bus(self.cloud, service, cell)
        return stores.transport_url(store, store.credentials(self.secrets.get(service, {}))) if store else ""

    # --- certificates

    def has_authority(self) -> bool:
        """Whether services and clients are given authorities to trust, in place of their machine's own."""
        return topology.has_authority(self.cloud)

    def authority(self) -> str:
        """PEM of the authorities to trust: of a trial certificate, and those that the operator names."""
        trusted = self.tree.get(self.cloud.spec.trust or "", b"").decode("utf-8", "replace")
        return "".join(
            text.strip() + "\n" for text in (self.trial().get("ca_certificate", ""), trusted) if text.strip()
        )

    def trial(self) -> Mapping[str, str]:
        """The trial certificate authority and certificate, once they are made."""
        found = self.secrets.get(EDGE_SECRETS, {}).get(self.trial_secret().name, {})
        return found if isinstance(found, dict) else {}

    def trial_names(self) -> tuple[str, ...]:
        """What the certificate is for."""
        found = topology.faces(self.cloud)
        return tuple(sorted({e.host or e.address or found.address for e in (found.public, found.internal)}))

    def trial_secret(self) -> Secret:
        """Named after what it certifies: for other names another one is made, and what is there stays as it is."""
        name = f"{TRIAL_TLS}_{hashlib.sha256(' '.join(self.trial_names()).encode()).hexdigest()[:8]}"
        return Secret(name, "trial-tls", "certificate authority and certificate for a trial")
