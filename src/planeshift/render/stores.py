"""Where services, and their parts in cells, keep their state: schemas, vhosts, users, and whose servers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from planeshift import catalog
from planeshift.catalog.spec import SecretValue
from planeshift.model import cloud as model
from planeshift.render import cells, topology

ZERO = topology.ZERO
MARIADB, RABBITMQ = "mariadb", "rabbitmq"
_PLAIN = "!\"#$&'()*+,-.:;<=>?[\\]^_`{|}~ "


@dataclass(frozen=True)
class Store:
    """A schema, or a vhost, and the user that has it. `server` is the unit that runs it, where it is ours."""

    name: str  # service, or service@cell
    service: str
    cell: str
    hosts: tuple[tuple[str, int], ...]
    place: str  # schema or vhost
    user: str
    secret: str  # of the service's secret file: the user's password
    server: str = ""
    tls: bool = False  # a server with a certificate by the authorities that the cloud trusts

    def chosen(self, secrets: Mapping[str, SecretValue]) -> str:
        """The user: a rotated credential names it in the secret file."""
        return str(secrets.get(self.secret.replace("_password", "_user")) or self.user)

    def credentials(self, secrets: Mapping[str, SecretValue]) -> str:
        """user:password for a URL."""
        # No more is quoted than a URL needs: Keystone's migrations cannot have a % in theirs.
        return f"{self.chosen(secrets)}:{quote(str(secrets.get(self.secret, '')), safe=_PLAIN)}"


def name(service: str, cell: str = "") -> str:
    """What a service's database, or a cell's of it, is called in plans and notes."""
    return f"{service}@{cell}" if cell else service


def in_cells(cloud: model.Cloud, service: str) -> tuple[str, ...]:
    """The cells, cell0 first, in which a service keeps state; none for one that is not divided."""
    return (ZERO, *(c.name for c in cloud.spec.cells)) if catalog.service(service).cells else ()


def database(cloud: model.Cloud, service: str, cell: str = "") -> Store | None:
    """The schema of a service, or of a cell of it; None where that is a file."""
    key = cells.database_key(cloud, service, cell)
    found = cloud.spec.databases.get(key)
    if found is None or found.engine == topology.SQLITE:
        return None
    named = cell.replace("-", "_")
    user = found.user or (f"{service}_{named}" if cell and found.manage else service)
    address = topology.hosts(cloud)[found.host or ""].address if found.manage else found.host or ""
    return Store(
        name(service, cell),
        service,
        cell,
        ((address, found.port),),
        cells.schema(found, service, cell),
        user,
        f"database_password{f'_{named}' if cell else ''}",
        f"{found.host}/{MARIADB}/{key}" if found.manage else "",
        found.tls,
    )


def bus(cloud: model.Cloud, service: str, cell: str = "") -> Store | None:
    """The vhost of a service, or of a cell of it; None where it needs none, or none is declared."""
    key = next((c.messaging for c in cloud.spec.cells if c.name == cell), "") or cells.bus(cloud, service)
    found = cloud.spec.messaging.get(key)
    if found is None or not catalog.service(service).messaging or cell == ZERO:
        return None
    hosts = [(topology.hosts(cloud)[found.host or ""].address, found.port)] if found.manage else []
    hosts += [(host, int(port)) for host, _, port in (h.rpartition(":") for h in found.hosts)]
    named = cell.replace("-", "_")
    return Store(
        name(service, cell),
        service,
        cell,
        tuple(hosts),
        cells.vhost(found, service, cell),
        found.user or (f"{service}_{named}" if cell and found.manage else service),
        f"messaging_password{f'_{named}' if cell else ''}",
        f"{found.host}/{RABBITMQ}/{key}" if found.manage else "",
    )


def all_databases(cloud: model.Cloud, service: str) -> Iterator[Store]:
    """Every schema of a service."""
    found = (database(cloud, service, cell) for cell in ("", *in_cells(cloud, service)))
    return (store for store in found if store)


def all_buses(cloud: model.Cloud, service: str) -> Iterator[Store]:
    """Every vhost of a service."""
    found = (bus(cloud, service, cell) for cell in ("", *in_cells(cloud, service)))
    return (store for store in found if store)


def database_url(store: Store, credentials: str, ca_file: str = "") -> str:
    """The SQLAlchemy URL of a schema; `credentials` are user:password, or the user alone.

    PyMySQL checks a server's certificate and its name where it is given a file of authorities, as
    https://docs.sqlalchemy.org/en/20/dialects/mysql.html#ssl-connections has it.
    """
    (host, port) = store.hosts[0]
    tls = f"&ssl_ca={ca_file}" if store.tls and ca_file else ""
    return f"mysql+pymysql://{credentials}@{host}:{port}/{store.place}?charset=utf8{tls}"


def transport_url(store: Store, credentials: str) -> str:
    """The oslo.messaging URL of a vhost."""
    places = ",".join(f"{credentials}@{host}:{port}" for host, port in store.hosts)
    return f"rabbit://{places}/{quote(store.place, safe='')}"
