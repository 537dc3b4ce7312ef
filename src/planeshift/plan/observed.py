"""What the drivers saw, as plain values. Pure. What could not be seen is None, which is never taken for "the same"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True)
class PodsState:
    """A Helm release of ours and its pods. `files` are those of the ConfigMap and Secret that it names."""

    files: Mapping[str, str] = field(default_factory=dict)
    status: str = ""  # Helm's word: deployed, failed, pending-upgrade …; empty where there is no release
    values: Mapping[str, Any] = field(default_factory=dict)  # what it was made with; no secret is among them
    chart: str = ""  # digest of its chart
    wanted: int = 0
    ready: int = 0  # pods of the newest generation that are ready
    drift: tuple[str, ...] = ()  # what in the cluster is not as the release has it, for people to read
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
    pods: Mapping[str, PodsState] = field(default_factory=dict)  # cluster/service/backend → state
    built: frozenset[str] = frozenset()  # ids of environments that there are images of
    brought: frozenset[tuple[str, str]] = frozenset()  # cluster, image: what its nodes can start already
    databases: Mapping[str, DatabaseState] = field(default_factory=dict)
    edges: Mapping[str, EdgeState] = field(default_factory=dict)
    identity: IdentityState | None = None
    listeners: Mapping[tuple[str, int], str] = field(default_factory=dict)  # address, port → who; empty: we
    applied: Mapping[str, str] = field(default_factory=dict)  # what the last applied plan made of each thing
    trusted: frozenset[str] = frozenset()  # hosts that hold the trial authority's current certificate


NOTHING = Observed()
