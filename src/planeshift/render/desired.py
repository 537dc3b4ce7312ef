"""What the world should look like, as plain values. Pure: `render.build` makes it, `plan` reads it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planeshift.catalog.spec import Component, Secret, SecretValue, ServiceSpec
from planeshift.errors import Problem
from planeshift.model.cloud import Shift

EDGE_SECRETS = "edge"


LEAVES = "leaves"  # a unit's file that names, by patterns, what its programs leave elsewhere
AUTHORITY = "ca.pem"  # of a place: the authorities that the service trusts


@dataclass(frozen=True)
class File:
    """A file to lay out. Secret content is compared, never shown."""

    content: bytes = b""
    mode: int = 0o644
    secret: bool = False

    def digest(self, key: bytes) -> str:
        """What tells two files apart. Secret ones are keyed, so that a digest cannot be used to guess a password."""
        return digest(self.content, self.mode, key if self.secret else b"")


def digest(content: bytes, mode: int, key: bytes) -> str:
    """Digest of a file's content and mode; keyed where `key` is given."""
    material = f"{mode:o}\n".encode() + content
    if key:
        return "k:" + hmac.new(key, material, hashlib.sha256).hexdigest()[:24]
    return hashlib.sha256(material).hexdigest()[:24]


def files_digest(files: Mapping[str, File], key: bytes) -> str:
    """One digest over several files, by path."""
    lines = "\n".join(f"{path} {file.digest(key)}" for path, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class HostPaths:
    """Where things are on a host: `runtime` is short-lived and private (tmpfs where there is one), `state` stays."""

    runtime: str
    state: str
    python: str = "python3"
    haproxy: str = "haproxy"
    supervisor: str = "supervisord"  # or systemd
    root: bool = True  # whether it is root who works there


@dataclass(frozen=True)
class Unit:
    """A backend of a service on one of our hosts: what one supervisor looks after."""

    host: str
    service: str
    backend: str
    release: str
    components: tuple[Component, ...]
    address: str
    port: int  # of the one that serves HTTP; 0 where none does
    environment: str  # id of the environment it runs from
    httpd: bool = False
    cell: str = ""
    part: str = ""  # of what the backend runs there, where that is looked after in parts

    @property
    def web(self) -> Component | None:
        """The component that serves HTTP, if one of them does."""
        return next((c for c in self.components if c.wsgi), None)

    @property
    def id(self) -> str:
        return f"{self.host}/{self.service}/{self.backend}" + (f".{self.part}" if self.part else "")


@dataclass(frozen=True)
class Consumers:
    """What takes the messages of one bus, and moves by the weights of its backends: `units` are ids, by backend."""

    service: str
    cell: str  # cell0 above the cells
    units: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Pods:
    """A backend of a service in a cluster: what one Helm release looks after."""

    cluster: str
    service: str
    backend: str
    release: str
    component: Component  # the service's first, which the edge sends requests to; else the first that it runs
    replicas: int
    port: int  # on every node; 0 where the edge sends it nothing
    environment: str  # id of what its image holds
    image: str
    built: bool  # whether the image is ours to build and to bring there
    takers: tuple[Component, ...] = ()  # what takes messages, each in pods of its own
    others: tuple[Component, ...] = ()  # what is asked at a port of its own, each in pods of its own
    cell: str = ""

    @property
    def id(self) -> str:
        return f"{self.cluster}/{self.service}/{self.backend}"

    @property
    def name(self) -> str:
        """Of its Helm release, and of its objects."""
        return f"{self.service}-{self.backend}"

    @property
    def host(self) -> str:
        """What programs are called there that are known by their host: one name for all replicas, which come and go."""
        return f"{self.cluster}-{self.backend}"


@dataclass(frozen=True)
class ClusterView:
    """What rendering must know of a cluster: its nodes, and where a service's pods are ready."""

    nodes: Mapping[str, str] = field(default_factory=dict)  # name → address, of those that take pods
    ready: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # Helm release → node → pods
    balancers: Mapping[str, str] = field(default_factory=dict)  # Helm release → address, where it has one
    problem: str = ""  # why it could not be seen
    hint: str = ""  # and what to do then


@dataclass(frozen=True)
class ChartSource:
    """Where a chart that is not ours is had: one version, of one repository."""

    repository: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class ChartView:
    """What was found of such a chart. The digest is known without the archive where it was recorded once."""

    digest: str = ""  # SHA-256 of the archive, hexadecimal
    archive: bytes = field(default=b"", repr=False)
    problems: tuple[Problem, ...] = ()  # why there is no archive


@dataclass(frozen=True)
class ReleasedChart:
    """A chart that is not ours, with the operator's values for it, and the tree that tells it what only we know."""

    source: ChartSource
    view: ChartView
    values: Mapping[str, Any]
    adapter: Mapping[str, Any] | None  # None: it takes the values of our own charts


@dataclass(frozen=True)
class Environment:
    """A service's programs, installed from its lock."""

    id: str  # service-release-digest
    service: str
    release: str
    version: str
    requirements: str  # the lock's text
    pip: tuple[str, ...] = ()
    dist: tuple[str, ...] = ()
    system_packages: bool = False  # distribution packages such as python3-rados are to be seen by it


@dataclass(frozen=True)
class Program:
    """What a supervisor runs. `marker` is in the process's environment and names it to us, should it be orphaned."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: str
    reload_signal: str  # empty: it is started anew
    workers: int = 0  # of gunicorn, whose workers can be replaced one by one; 0 for other programs
    stop_signal: str = "TERM"
    stop_seconds: int = 30


@dataclass(frozen=True)
class DesiredUnit:
    """A unit with its files (path below the unit's directory → file) and programs."""

    unit: Unit
    files: Mapping[str, File]
    programs: tuple[Program, ...]
    directories: tuple[str, ...]  # absolute, made before the start, never removed but by a purge
    health: str  # URL that answers 200 when it is ready; empty where nothing of it serves HTTP

    def digest(self, key: bytes) -> str:
        """One digest over all its files: what `status` shows and a running process is compared by."""
        return files_digest(self.files, key)


@dataclass(frozen=True)
class DesiredPods:
    """Pods with their files (path below `render.pods.ROOT` → file) and the values of their Helm release.

    `values` are those of our own chart, and lack the names of the objects that hold the files, which follow from the
    files and the digest key. Commands run by our own chart, whatever `chart` the release is made of.
    """

    pods: Pods
    files: Mapping[str, File]
    values: Mapping[str, Any]
    namespace: str
    chart: ReleasedChart | None = None  # None: ours

    def digest(self, key: bytes) -> str:
        """One digest over all its files."""
        return files_digest(self.files, key)

    def object_name(self, key: bytes, *, secret: bool) -> str:
        """Of the ConfigMap, or the Secret, that holds its files: they are immutable, so it is named by its content."""
        return object_name(self.pods.name, self.object_digest(key, secret=secret), secret=secret)

    def object_digest(self, key: bytes, *, secret: bool) -> str:
        """One digest over the files that are secret, or over those that are not."""
        return files_digest({path: file for path, file in self.files.items() if file.secret is secret}, key)


def object_name(release: str, held: str, *, secret: bool) -> str:
    """The name of an object that holds files of a Helm release, by their digest."""
    return f"{release}-{'secret' if secret else 'config'}-{held}"


@dataclass(frozen=True)
class Hop:
    """An ingress controller behind a server of the edge, and the name by which it knows the pods."""

    host: str
    address: str
    port: int


@dataclass(frozen=True)
class Server:
    """A server line of the edge. `host` is a cluster where the server is a node of it.

    With a hop, `address` and `port` are the edge's own: what it is sent there goes on to the controller.
    `at_once` is how many requests it is given, 0 without a limit: more wait at the edge, for whichever server is free first.
    """

    name: str
    backend: str
    address: str
    port: int
    weight: int  # HAProxy's, 0 to 256
    host: str
    external: bool
    hop: Hop | None = None
    at_once: int = 0


@dataclass(frozen=True)
class Bind:
    """Where a frontend listens. `tls` names the certificate file in the edge's directory, or is empty."""

    address: str
    port: int
    tls: str = ""


@dataclass(frozen=True)
class Frontend:
    """One service at the edge."""

    service: str
    binds: tuple[Bind, ...]
    servers: tuple[Server, ...]
    health: str
    drain: int
    section: str = ""  # of the edge's configuration, where it is not the service's name

    @property
    def place(self) -> str:
        """What the edge calls it."""
        return self.section or self.service


@dataclass(frozen=True)
class DesiredEdge:
    """A managed edge: its files, and the structure that `structure` is the digest of, weights left out."""

    name: str
    host: str
    frontends: tuple[Frontend, ...]
    structure: str
    files: Mapping[str, File]
    programs: tuple[Program, ...]
    binds: tuple[Bind, ...]  # all that it listens on, statistics included
    statistics: str

    def certificates(self, key: bytes) -> str:
        """One digest over its certificates, by which a running HAProxy is known to have read them; empty for none."""
        digests = [f"{path} {file.digest(key)}" for path, file in sorted(self.files.items()) if file.secret]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:12] if digests else ""


@dataclass(frozen=True)
class DrivenEdge:
    """An edge that is somebody else's: we set the weights of the servers that we name, by its runtime socket."""

    name: str
    socket: str
    frontends: tuple[Frontend, ...]


@dataclass(frozen=True)
class DesiredDatabase:
    """A service's database and the schema that its newest release wants."""

    service: str
    engine: str
    url: str  # without password
    path: str  # sqlite: the file
    host: str  # on which our host it is looked after; empty where pods do it
    unit: str  # id of the unit, or of the pods, whose programs and configuration migrate it
    release: str
    heads: frozenset[str]
    older: tuple[str, ...] = ()  # older releases that use it as well
    cell: str = ""
    secret: str = "database_password"  # noqa: S105 - the name of one, in the service's secret file
    server: str = ""  # id of the unit that runs it, where that is ours
    ca: str = ""  # PEM: mysql by TLS, with a server whose certificate is by these authorities

    @property
    def name(self) -> str:
        """What it is called in plans and notes."""
        return f"{self.service}@{self.cell}" if self.cell else self.service


@dataclass(frozen=True)
class DesiredBus:
    """A vhost of a message bus, and the user that has it."""

    name: str
    service: str
    hosts: tuple[tuple[str, int], ...]
    vhost: str
    user: str
    secret: str  # of the service's secret file: the user's password
    server: str = ""  # id of the unit that runs it, where that is ours
    management: str = ""  # URL, of one that is ours


@dataclass(frozen=True)
class DesiredCell:
    """A cell of a service. The URLs hold passwords, and are for the service's own commands alone."""

    name: str
    service: str
    connection: str = field(repr=False)
    transport: str = field(repr=False)
    enabled: bool = True
    asked: str = ""  # how its database's URL ends for those that ask every cell
    computes: Mapping[str, str] = field(default_factory=dict)  # compute node of ours → its unit's id

    @property
    def database(self) -> str:
        """The name of its database."""
        return f"{self.service}@{self.name}"

    @property
    def mapped(self) -> str:
        """Its database's URL as it is recorded above the cells."""
        return self.connection + self.asked


@dataclass(frozen=True)
class IdentityEntries:
    """What a service has in Keystone."""

    service: str
    type: str
    region: str
    endpoints: Mapping[str, str]  # interface → URL
    user: str = ""
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class SecretFile:
    """A service's secret file and what it must hold."""

    service: str
    path: str  # below the cloud file's directory
    secrets: tuple[Secret, ...]
    names: tuple[str, ...] = ()  # trial certificates: the names and addresses that they are for


@dataclass(frozen=True)
class Override:
    """An operator's option that something generated goes before; the plan shows it."""

    service: str
    section: str
    option: str
    place: str


@dataclass(frozen=True)
class Desired:
    """The whole of it."""

    cloud: str
    region: str
    identity_url: str
    identity_local: bool
    specs: Mapping[str, ServiceSpec]
    environments: Mapping[str, Environment]
    hosts: Mapping[str, HostPaths]  # those that we act on
    units: Mapping[str, DesiredUnit]
    pods: Mapping[str, DesiredPods]
    edges: Mapping[str, DesiredEdge]
    databases: Mapping[str, DesiredDatabase]
    identity: Mapping[str, IdentityEntries]
    secrets: Mapping[str, SecretFile]
    overrides: tuple[Override, ...] = ()
    weights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # mover → backend → percent, the target
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # the same, as the edges are rendered
    shifts: Mapping[str, Shift] = field(default_factory=dict)  # mover → how it moves
    driven: Mapping[str, DrivenEdge] = field(default_factory=dict)
    releases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # service → backend → release
    ca: str = ""  # PEM of the authorities that clients must trust
    views: Mapping[str, ClusterView] = field(default_factory=dict)  # cluster → what was known of it
    buses: Mapping[str, DesiredBus] = field(default_factory=dict)  # by name
    cells: Mapping[str, DesiredCell] = field(default_factory=dict)  # by the names of their databases, cell0 first
    consumers: Mapping[str, Consumers] = field(default_factory=dict)  # by the names that `weights` has for them
    idle: frozenset[str] = frozenset()  # ids of units that are not to run, by `shares`

    @property
    def fronts(self) -> dict[str, tuple[str, tuple[Frontend, ...]]]:
        """Every edge, ours or driven: its unit's id, and what it serves."""
        managed = {name: (f"{edge.host}/edge/{name}", edge.frontends) for name, edge in self.edges.items()}
        return managed | {name: (driven_unit(name), edge.frontends) for name, edge in self.driven.items()}

    def place(self, name: str) -> DesiredUnit | DesiredPods:
        """A unit, or a cluster's pods, by id."""
        return self.units[name] if name in self.units else self.pods[name]


def driven_unit(name: str) -> str:
    """The id under which an edge of somebody else's goes; no host has this name."""
    return f"-/edge/{name}"


SecretValues = Mapping[str, Mapping[str, SecretValue]]  # service → name → value
Tree = Mapping[str, bytes]  # path below the cloud file's directory → content
