"""The world as plain data: it can be copied, compared, and put back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from planeshift.catalog.spec import SecretValue
from planeshift.plan.observed import Pause, Standing
from planeshift.ports import LeaseRecord
from planeshift.render.desired import ChartSource, File
from planeshift.traffic.gates import Counters
from planeshift.traffic.lines import Request

Place = tuple[str, int]  # address and port


@dataclass
class ServerData:
    """A server line of a running HAProxy."""

    address: str
    port: int
    weight: int
    withheld: bool = False


@dataclass
class EdgeData:
    """What a running HAProxy has read: frontends with their certificate (or none) by place, servers by name."""

    structure: str
    binds: dict[Place, tuple[str, str]] = field(default_factory=dict)  # place → frontend, certificate's text
    servers: dict[tuple[str, str], ServerData] = field(default_factory=dict)


@dataclass
class ProcessData:
    """A process; `parent` is its supervisor's number, 0 once that is gone. `read` are the files that it has read."""

    pid: int
    started: int
    unit: str
    program: str
    parent: int
    listens: tuple[Place, ...] = ()
    environment: str = ""
    read: dict[str, File] = field(default_factory=dict)
    edge: EdgeData | None = None


@dataclass
class SupervisorData:
    """A supervisor: the configuration that it has read, and the programs that it no longer tries to start."""

    pid: int
    started: int
    config: str
    down: set[str] = field(default_factory=set)


@dataclass
class UnitData:
    """A unit's directory, and its supervisor."""

    files: dict[str, File] = field(default_factory=dict)
    loaded: str = ""
    supervision: str = ""
    supervisor: SupervisorData | None = None


@dataclass
class KeystoneData:
    """What Keystone keeps in its database."""

    passwords: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)  # type → name
    endpoints: dict[tuple[str, str], str] = field(default_factory=dict)
    roles: dict[str, set[str]] = field(default_factory=dict)  # user → roles on the service project
    sealed: str = ""  # the key that stored credentials are encrypted with


@dataclass
class DatabaseData:
    """A database: `tables` without heads is one whose migration was cut off."""

    heads: frozenset[str] = frozenset()
    tables: bool = False
    keystone: KeystoneData = field(default_factory=KeystoneData)
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)  # by query


@dataclass
class NoteData:
    """That a migration's step has begun."""

    step: str
    was_empty: bool


@dataclass
class Command:
    """A command that goes on although who began it was killed. One of a cluster has its files, and its place, with it."""

    host: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    place: tuple[str, str] = ("", "")  # service and release, where no directory says
    files: dict[str, File] = field(default_factory=dict)


@dataclass
class ReleaseData:
    """A revision of a Helm release: the objects that it names, and its pods by node."""

    status: str
    values: dict[str, Any]
    chart: str
    chart_name: str
    objects: tuple[str, ...]
    pods: dict[str, int]
    gone: bool = False  # somebody removed its Deployment


@dataclass
class ClusterData:
    """A cluster: nodes by name, objects with files, revisions by id, images that nodes have."""

    nodes: dict[str, str] = field(default_factory=lambda: {"n1": "192.0.2.101", "n2": "192.0.2.102"})
    objects: dict[str, dict[str, File]] = field(default_factory=dict)
    releases: dict[str, list[ReleaseData]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    problem: str = ""  # why its API does not answer
    lease: LeaseRecord | None = None
    leased: int = 0  # how often the lease was written


@dataclass
class TrafficData:
    """What an edge has served: lines of its log, how many of them were lost, and its counters by (frontend, server)."""

    lines: list[Request] = field(default_factory=list)
    lost: int = 0
    counters: dict[tuple[str, str], Counters] = field(default_factory=dict)


@dataclass
class Data:
    """The world. Hosts are told apart by the first part of their units' ids."""

    units: dict[str, UnitData] = field(default_factory=dict)
    processes: dict[int, ProcessData] = field(default_factory=dict)
    directories: set[tuple[str, str]] = field(default_factory=set)  # host, path
    authorities: dict[str, str] = field(default_factory=dict)
    environments: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)  # host → id → service, release
    foreign: dict[Place, str] = field(default_factory=dict)  # who listens there, and is none of ours
    commands: list[Command] = field(default_factory=list)
    clusters: dict[str, ClusterData] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)  # ids of the environments that they hold
    charts: dict[ChartSource, bytes] = field(default_factory=dict)  # what a repository has
    recorded: dict[ChartSource, str] = field(default_factory=dict)  # digests

    databases: dict[str, DatabaseData] = field(default_factory=dict)  # by URL without credentials
    users: dict[str, dict[str, str]] = field(default_factory=dict)  # place → user → password; no place: anybody may
    notes: dict[str, NoteData] = field(default_factory=dict)
    vhosts: dict[tuple[str, str], str] = field(default_factory=dict)  # address:port/vhost, user → password
    backups: dict[str, list[DatabaseData]] = field(default_factory=dict)

    traffic: dict[str, TrafficData] = field(default_factory=dict)  # by the edge's unit

    elsewhere: dict[Place, KeystoneData | None] = field(default_factory=dict)  # what somebody else serves, well

    secrets: dict[str, dict[str, SecretValue]] = field(default_factory=dict)
    public_secrets: set[str] = field(default_factory=set)  # files that others can read
    made: int = 0

    mark: str = "this control"
    control: bool = False  # whether control's directory is there
    holder: str = ""
    lease: int = 0  # counts up with each lease, and when one is taken away
    journal: list[dict[str, Any]] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)
    standing: dict[str, Standing] = field(default_factory=dict)
    paused: dict[str, Pause] = field(default_factory=dict)
    shift_logs: list[Any] = field(default_factory=list)
    sick: dict[Place, str] = field(default_factory=dict)  # what answers its health check, and why it fails at its work

    deaf: set[str] = field(default_factory=set)  # units that run, and take no messages
    waiting: dict[str, int] = field(default_factory=dict)  # messages that nobody has taken, by queue

    ticks: int = 0
    next_pid: int = 100

    def pid(self) -> int:
        """A process number that was never given before."""
        self.next_pid += 1
        return self.next_pid

    def unit(self, unit: str) -> UnitData:
        """A unit's directory, made where it is not there."""
        return self.units.setdefault(unit, UnitData())
