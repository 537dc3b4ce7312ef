"""What the drivers saw, as plain values. Pure. What could not be seen is None, which is never taken for "the same"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from planeshift.errors import Problem


@dataclass(frozen=True)
class Process:
    """A process, told from a later one of the same number by its start time (clock ticks since boot)."""

    pid: int
    started: int
    program: str = ""


@dataclass(frozen=True)
class UnitState:
    """A unit on a host. `loaded` is the digest of the files that its running programs have read."""

    files: Mapping[str, str] = field(default_factory=dict)
    supervised: bool = False
    running: Mapping[str, int] = field(default_factory=dict)  # program → pid, of those that run
    loaded: str = ""
    supervision: str = ""  # digest of the configuration that the running supervisor has read
    orphans: tuple[Process, ...] = ()
    healthy: bool | None = None
    problem: str = ""  # why a program does not run, in the supervisor's words
    away: bool = False  # where it should be does not answer: nobody knows; `problem` says why


@dataclass(frozen=True)
class PodsState:
    """A Helm release of ours and its pods. `files` are those of the ConfigMap and Secret that it names."""

    files: Mapping[str, str] = field(default_factory=dict)
    status: str = ""  # Helm's word: deployed, failed, pending-upgrade …; empty where there is no release
    values: Mapping[str, Any] = field(default_factory=dict)  # what it was made with; no secret is among them
    chart: str = ""  # digest of its chart
    chart_name: str = ""
    wanted: int = 0
    ready: int = 0  # pods of the newest generation that are ready
    drift: tuple[str, ...] = ()  # what in the cluster is not as the release has it, for people to read
    uneven: str = ""  # how pods lie that would be better spread if they were made anew, for people to read
    problem: str = ""  # why a pod does not come up


@dataclass(frozen=True)
class DatabaseState:
    """A service's database. `heads` are the schema revisions it holds; none and `empty` where it has no tables."""

    reachable: bool = False
    exists: bool = False
    empty: bool = True
    heads: frozenset[str] = frozenset()
    bootstrapped: bool = False
    interrupted: str = ""  # the step of a migration that began and was not seen to end
    problem: str = ""


@dataclass(frozen=True)
class BusState:
    """A vhost as its user finds it. `works`: the user can log in, and open it."""

    works: bool = False
    problem: str = ""


@dataclass(frozen=True)
class QueueState:
    """A queue of a vhost: messages that wait for somebody to take them, and how many take them."""

    messages: int = 0
    consumers: int = 0


@dataclass(frozen=True)
class CellState:
    """A cell as the service's own records have it. The URLs hold passwords."""

    uuid: str
    name: str
    transport: str = field(repr=False)
    connection: str = field(repr=False)
    disabled: bool = False
    servers: int = 0
    hosts: frozenset[str] = frozenset()  # compute nodes that are mapped to it


@dataclass(frozen=True)
class Report:
    """A program's sign of life in a cell's database."""

    host: str
    program: str
    disabled: bool
    seconds: int  # since then


@dataclass(frozen=True)
class ServerState:
    """A server line of a running edge: its weight, whether traffic is withheld by hand, and whether it is up."""

    weight: int
    withheld: bool
    up: bool
    check: str = ""
    address: str = ""  # address:port, as the edge has it


@dataclass(frozen=True)
class EdgeState:
    """A running edge. `structure` is what it says of itself; servers by (frontend, server)."""

    structure: str
    servers: Mapping[tuple[str, str], ServerState] = field(default_factory=dict)
    busy: Mapping[str, float] = field(default_factory=dict)  # frontend → requests that are served at any one time


@dataclass(frozen=True)
class Hold:
    """That a shift was stopped by its gates, and is not tried again. `digest` is what it holds for."""

    since: str
    reason: str
    digest: str
    report: str = ""  # where the evidence lies


@dataclass(frozen=True)
class Standing:
    """A shift that was begun and has not reached its target: where it began, where it leads, where traffic is."""

    origin: Mapping[str, float]
    target: Mapping[str, float]
    shares: Mapping[str, float]
    hold: Hold | None = None


@dataclass(frozen=True)
class Pause:
    """Somebody wants a shift to stay where it is."""

    since: str
    who: str


@dataclass(frozen=True)
class Foreign:
    """The operator's files of a service on a host that somebody else runs, by path; none, and then why."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class IdentityState:
    """What Keystone holds of us: endpoints by (service type, interface), users with their roles."""

    services: frozenset[str] = frozenset()  # types
    endpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)  # user → roles on the service project


@dataclass(frozen=True)
class Observed:
    """The world, as far as it could be seen."""

    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    environments: Mapping[str, frozenset[str]] = field(default_factory=dict)  # host → ids
    units: Mapping[str, UnitState] = field(default_factory=dict)  # edges' units included
    unreached: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)  # host, or cluster → why
    pods: Mapping[str, PodsState] = field(default_factory=dict)  # cluster/service/backend → state
    built: frozenset[str] = frozenset()  # ids of environments that there are images of
    brought: frozenset[tuple[str, str]] = frozenset()  # cluster, image: what its nodes can start already
    unasked: Mapping[tuple[str, str], str] = field(default_factory=dict)  # cluster, image → why nobody knows
    databases: Mapping[str, DatabaseState] = field(default_factory=dict)
    buses: Mapping[str, BusState] = field(default_factory=dict)  # by the name of the service's use of it
    cells: Mapping[str, tuple[CellState, ...]] = field(default_factory=dict)  # service → cells; none: not known
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)  # name of a cell's database → compute nodes
    edges: Mapping[str, EdgeState] = field(default_factory=dict)
    identity: IdentityState | None = None
    listeners: Mapping[tuple[str, int], str] = field(default_factory=dict)  # address, port → who; empty: we
    applied: Mapping[str, str] = field(default_factory=dict)  # what the last applied plan made of each thing
    standing: Mapping[str, Standing] = field(default_factory=dict)  # service → its shift, while there is one
    paused: Mapping[str, Pause] = field(default_factory=dict)  # service → who paused its shifts
    foreign: Mapping[tuple[str, str], Foreign] = field(default_factory=dict)  # service, host → its files; what moves
    trusted: frozenset[str] = frozenset()  # hosts that hold the trial authority's current certificate


NOTHING = Observed()
