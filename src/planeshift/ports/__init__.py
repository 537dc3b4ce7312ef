"""What the engine asks of the world, as small Protocols named by role.

`planeshift.drivers.memory` implements all of them with faults to inject; the other drivers are the real ones. One
contract suite (tests/contract) runs against both. Every method may raise PlaneshiftError with a cause and a next step.
Methods that change something are idempotent: called again after a kill at any moment they end in the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from planeshift.catalog.spec import Secret, SecretValue
from planeshift.plan.observed import (
    BusState,
    DatabaseState,
    EdgeState,
    IdentityState,
    Pause,
    PodsState,
    Process,
    QueueState,
    Standing,
    UnitState,
)
from planeshift.render.desired import (
    Bind,
    ChartSource,
    ChartView,
    ClusterView,
    DesiredBus,
    DesiredDatabase,
    DesiredPods,
    Environment,
    File,
    HostPaths,
    IdentityEntries,
    Program,
)
from planeshift.traffic.gates import Counters
from planeshift.traffic.lines import Request

Say = Callable[[str], None]  # a line of progress of the operation at hand


Archive = Callable[[], AbstractContextManager[str]]  # makes a file of an image, for as long as it is needed


def quiet(line: str) -> None:
    """A `Say` that says nothing."""


class Host(Protocol):
    """A host of ours: its files, programs and processes."""

    @property
    def paths(self) -> HostPaths:
        """Where things are on it."""

    def units(self, key: bytes) -> Mapping[str, UnitState]:
        """Every unit that has files, a supervisor or orphans here, by id. `key` is the digest key of secret files."""

    def lay_out(self, unit: str, files: Mapping[str, File]) -> None:
        """Make the unit's files be exactly these; each is replaced as a whole or not at all."""

    def lay_out_authority(self, pem: str) -> None:
        """Keep the authorities that clients on this machine are to trust."""

    def make_directories(self, directories: Iterable[str]) -> None:
        """Make directories (absolute), private to us, where they are not there."""

    def environments(self) -> frozenset[str]:
        """The ids of the environments that are installed completely."""

    def install(self, environment: Environment, say: Say) -> None:
        """Install a service's programs from its lock."""

    def settle(self, say: Say) -> None:
        """Wait for commands that an interrupted run of ours had begun, and end those that do not."""

    def run(self, argv: Sequence[str], environment: Mapping[str, str], directory: str, say: Say) -> None:
        """Run a command to its end; what it prints goes to `say`. Raises with its last lines where it fails."""

    def start(self, unit: str, programs: Sequence[Program]) -> None:
        """Start the unit's supervisor, or let it start what does not run; returns when all programs run."""

    def reload(self, unit: str, programs: Sequence[Program]) -> None:
        """Let the running programs read their files anew, losing no request."""

    def restart(self, unit: str, programs: Sequence[Program]) -> None:
        """Let the supervisor read its own configuration anew and start the programs again."""

    def stop(self, unit: str) -> None:
        """Stop the unit's programs and supervisor, gracefully, and whatever processes of it are left."""

    def remove(self, unit: str) -> None:
        """Remove the unit's files."""

    def end(self, unit: str, orphans: Sequence[Process]) -> None:
        """End processes that lost their supervisor, those alone."""

    def mark_loaded(self, unit: str, digest: str) -> None:
        """Note that the running programs have read the files of this digest."""

    def wait_ready(self, url: str, unit: str, say: Say) -> None:
        """Wait until a URL answers 200; without one, until the unit's programs stay up.

        Raises, with the last lines of the unit's log, when that does not come about in time.
        """

    def listener(self, bind: Bind) -> str | None:
        """Who listens on an address and port: None for nobody, empty for a process of ours."""

    def tail(self, unit: str, lines: int) -> list[str]:
        """The last lines of a unit's logs."""


@dataclass(frozen=True)
class LeaseRecord:
    """What a lease says: whose it is (empty: nobody's), which control guards that, and for how many seconds it is valid.

    `version` changes with each write.
    """

    who: str
    mark: str
    valid: int
    renewed: str = ""  # the holder's time, for people to read
    version: str = ""

    def at(self, time: str) -> LeaseRecord:
        """The same, renewed at a time."""
        return replace(self, renewed=time)


class Lease(Protocol):
    """A record that operators of several machines see: who of them changes what is there."""

    def read(self) -> LeaseRecord | None:
        """What it says; None where it was never written."""

    def write(self, wanted: LeaseRecord, seen: LeaseRecord | None) -> LeaseRecord | None:
        """Write it, if it is still as it was seen, and return how it stands then; None where it is not."""


class Cluster(Protocol):
    """A Kubernetes cluster: what runs there of one cloud, in one namespace."""

    @property
    def lease(self) -> Lease:
        """Who changes what is there of this cloud."""

    def view(self) -> ClusterView:
        """Nodes and ready pods. Does not raise: `problem` says why it could not be seen."""

    def pods(self, key: bytes) -> Mapping[str, PodsState]:
        """Every release of this cloud, by id. `key` is the digest key of secret files."""

    def has(self, image: str) -> bool:
        """Whether its nodes can start an image of ours. Raises where that cannot be found out."""

    def bring(self, image: str, archive: Archive, say: Say) -> None:
        """Bring an image of ours to its nodes, or to the registry that they pull from."""

    def settle(self, say: Say) -> None:
        """Wait for commands that an interrupted run of ours had begun."""

    def lay_out(self, pods: DesiredPods, key: bytes, say: Say) -> None:
        """Put the files into the cluster, beside those that older revisions need."""

    def run(self, pods: DesiredPods, key: bytes, argv: Sequence[str], environment: Mapping[str, str], say: Say) -> None:
        """Run a command of the service to its end, with its files; `environment` holds secrets."""

    def release(self, pods: DesiredPods, key: bytes, say: Say) -> None:
        """Make the release what it should be, and wait until its pods are ready. Raises with why they are not."""

    def remove(self, unit: str, say: Say) -> None:
        """Uninstall a release, by id, and remove its files."""

    def tail(self, unit: str, lines: int) -> list[str]:
        """The last lines of its pods' logs."""


class Charts(Protocol):
    """Charts that are not ours, of the cloud's repository."""

    def views(self, sources: Iterable[ChartSource]) -> Mapping[ChartSource, ChartView]:
        """What there is of them. Does not raise: `problems` say why a chart cannot be had."""

    def record(self, source: ChartSource) -> None:
        """Record the digest of a chart that is about to be released: other bytes are refused from now on."""


class Images(Protocol):
    """Images that are built here."""

    def built(self) -> frozenset[str]:
        """The ids of the environments that there are images of."""

    def build(self, environment: Environment, image: str, say: Say) -> None:
        """Build the image of an environment under a name."""

    def archive(self, environment: str, image: str) -> AbstractContextManager[str]:
        """A file with the image, for as long as it is needed."""


class Databases(Protocol):
    """The databases that services keep their state in."""

    def state(self, database: DesiredDatabase, password: str, exists: str) -> DatabaseState:
        """Look at a database; `exists` is the SQL that tells whether it is bootstrapped, or empty."""

    def prepare(self, database: DesiredDatabase, password: str, admin: str) -> None:
        """Make an embedded database's file; on a server of ours the schema and its user, with rights to it alone.

        `admin` is the password of that server's administrator. What is there already stays.
        """

    def rows(self, database: DesiredDatabase, password: str, query: str) -> list[tuple[Any, ...]]:
        """What a query that only looks finds there. Raises (PS501) where it cannot look."""

    def back_up(self, database: DesiredDatabase, password: str, say: Say) -> str:
        """Make a backup, restore it once as a test, and return where it is."""

    def clear(self, database: DesiredDatabase, password: str, say: Say) -> None:
        """Remove what an interrupted creation left in a database that was empty before; else do nothing."""

    def migrating(self, name: str, step: str) -> None:
        """Note that a step of a database's migration begins; an empty step notes that it ended."""


class Buses(Protocol):
    """The message buses that services speak over."""

    def state(self, bus: DesiredBus, password: str) -> BusState:
        """Whether its user can use the vhost. Does not raise: `problem` says why not."""

    def queues(self, bus: DesiredBus, password: str, names: Iterable[str]) -> Mapping[str, QueueState]:
        """Those queues of its vhost that are there, as its user sees them. Raises (PS508) where it cannot look."""

    def prepare(self, bus: DesiredBus, password: str, admin: str) -> None:
        """On a bus of ours, make the vhost and a user with rights to it alone. What is there already stays.

        `admin` is the password of the bus's administrator.
        """


class Edge(Protocol):
    """A managed HAProxy, by its runtime socket and its own check of a file."""

    def state(self, unit: str) -> EdgeState | None:
        """What the running HAProxy says of itself; None where none answers."""

    def check(self, unit: str) -> None:
        """Have HAProxy check the file that lies there. Raises with HAProxy's own words."""

    def wait(self, unit: str, structure: str, say: Say) -> None:
        """Wait until the running HAProxy says that it has this structure."""

    def settle(self, unit: str, say: Say) -> None:
        """Wait until nothing is served any more by what ran before the last reload."""

    def set_weights(self, unit: str, weights: Mapping[tuple[str, str], int]) -> None:
        """Set weights of servers, by (frontend, server), all at once."""

    def withhold(self, unit: str, frontend: str, server: str, say: Say) -> None:
        """Send a server no new requests, and wait until it has none in flight."""

    def admit(self, unit: str, frontend: str, server: str) -> None:
        """Send a server requests again."""

    def wait_up(self, unit: str, frontend: str, server: str, say: Say) -> None:
        """Wait until the edge's own check finds a server up; where no edge runs there is nothing to wait for."""


class Probe(Protocol):
    """Something that is tried beside, under way."""

    def result(self) -> Mapping[str, str] | None:
        """What came of it, by name; None while it goes on. Of round trips: why each failed, empty where it did not."""


class Prober(Protocol):
    """Real round trips of a service, through one server alone."""

    def start(self, service: str, urls: Mapping[str, str], password: str, only: Collection[str] = ()) -> Probe:
        """Begin them, as the administrator; `urls` are servers by name, without the catalogue's path.

        `only` are what of the service's parts matter, such as compute nodes, where not all do.
        """

    def beside(self, work: Callable[[], Mapping[str, str]]) -> Probe:
        """Begin some other work that may take its time, and raises nothing."""


class Collector(Protocol):
    """What an edge says of its requests, from the moment on that it is asked."""

    def take(self) -> list[Request]:
        """The requests that ended since the last time."""

    def lost(self) -> int:
        """How many lines of the log were lost or could not be read, in all: by HAProxy, or since nobody took them."""

    def counters(self) -> Mapping[tuple[str, str], Counters] | None:
        """HAProxy's own counts by (frontend, server), since the collecting began and across reloads.

        None where it cannot be asked at the moment.

        Lines of requests that they count as answered have come, or come within moments, but for those in flight.
        """


class Traffic(Protocol):
    """The requests that an edge serves."""

    def collect(self, unit: str) -> AbstractContextManager[Collector]:
        """Collect them until the context ends. Raises (PS607) where the edge does not answer."""


class Identity(Protocol):
    """Keystone's content, as its administrator."""

    def state(self, url: str, password: str, ca: str, entries: Iterable[IdentityEntries]) -> IdentityState | None:
        """What is there of services, endpoints and users; None where Keystone does not answer."""

    def ensure(self, url: str, password: str, ca: str, entries: IdentityEntries, service_password: str) -> list[str]:
        """Make what is missing of a service's entries, leave what is there, and say what was made."""

    def remove(self, url: str, password: str, ca: str, user: str) -> None:
        """Remove a user, where it is there."""


class Secrets(Protocol):
    """The operator's secret files."""

    def read(self, path: str) -> Mapping[str, SecretValue]:
        """A secret file's content, empty where it does not exist. `path` is below the cloud file's directory."""

    def add(self, path: str, values: Mapping[str, SecretValue]) -> None:
        """Add values to a secret file, keeping what is there, its comments too; made 0600."""

    def change(self, path: str, values: Mapping[str, SecretValue | None]) -> None:
        """Set values of a secret file, or remove those that are None, in one write."""


class CredentialUsers(Protocol):
    """Users of one database or message bus, as its administrator."""

    def works(self, user: str, password: str) -> bool:
        """Whether a user can log in with this password. Needs no administrator."""

    def copy(self, old: str, new: str, password: str) -> None:
        """Make `new` be a user with this password and the rights of `old`."""

    def connections(self, user: str) -> int:
        """How many connections a user has open."""

    def remove(self, user: str) -> None:
        """Remove a user."""


class Maker(Protocol):
    """Makes what must not be guessable."""

    def make(self, secret: Secret, names: Sequence[str]) -> SecretValue:
        """A new value for a secret; `names` are what a certificate is for."""


class Control(Protocol):
    """Lease, journal and audit record."""

    def lease(self, who: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold the lease. Raises (PS801), by name of the holder, where another has it. Yields a check that it is kept."""

    def mark(self) -> str:
        """What tells this control, and its lease, from any other. To be asked by who has the lease."""

    def key(self) -> bytes:
        """The digest key of secret files."""

    def journal(self, event: Mapping[str, Any]) -> None:
        """Note an operation's begin or end."""

    def unfinished(self) -> Mapping[str, Any] | None:
        """The plan that a journal holds as begun and not ended: who, since, and what of it was done."""

    def audit(self, record: Mapping[str, Any]) -> None:
        """Keep a record of an applied plan."""

    def applied(self) -> Mapping[str, str]:
        """What the last plan that was carried out made of each thing."""

    def standing(self) -> Mapping[str, Standing]:
        """The shifts that were begun and have not reached their target, by service."""

    def stand(self, service: str, standing: Standing | None) -> None:
        """Note where a service's shift stands, durably; None where there is none any more."""

    def paused(self) -> Mapping[str, Pause]:
        """The shifts that are to stay where they are, by service."""

    def pause(self, service: str, pause: Pause | None) -> None:
        """Note that a service's shifts are to stay where they are, or no longer; whoever holds the lease."""

    def shift_log(self, service: str) -> ShiftLog:
        """A new log of a shift, beside those of earlier ones."""


class ShiftLog(Protocol):
    """What is kept of a shift: its events, a line each, and a report."""

    @property
    def place(self) -> str:
        """Where it lies."""

    def write(self, line: str) -> None:
        """Add an event; it is there when this returns."""

    def finish(self, report: str) -> None:
        """Keep the report, HTML, beside the events."""


class Clock(Protocol):
    """The time, and who we are."""

    def now(self) -> str:
        """UTC, in ISO 8601."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def who(self) -> str:
        """User, host and process, for people to read."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def every(self, seconds: float, work: Callable[[], None]) -> AbstractContextManager[None]:
        """Do some work every so many seconds, beside, until the context ends."""
