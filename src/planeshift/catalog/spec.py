"""What the catalog says of a service. Pure data; one folder a service fills these in (`catalog/<name>/__init__.py`).

Texts may hold placeholders in braces, filled by `planeshift.render`: {config} the directory of the service's
configuration where it runs, {data} of its data, {address} and {port} where it listens, and the name of a shipped file
where that file is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

# section → option → value; a list is written as repeated lines (oslo.config's MultiStr).
Options = dict[str, dict[str, str | int | bool | list[str]]]
SecretValue = str | dict[str, str]
Where = Literal["top", "cell"]
SecretKind = Literal["password", "fernet-keys", "fernet-key", "trial-tls", "given"]


@dataclass(frozen=True)
class Secret:
    """A value of the service's secret file. `given` ones come from the operator, the others we can make."""

    name: str
    kind: SecretKind
    purpose: str
    backup: bool = False  # without it stored data is lost: its backup is insisted on
    # Keys that encrypt what is stored: the command that encrypts it anew with the newest of them.
    anew: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """What a component's processes were measured to use: memory as proportional set size, in MiB; processors in cores."""

    base: int  # MiB that its parent process has
    worker: int  # MiB that each worker adds
    busy: float  # cores that a worker uses at most, while it answers one request after the other
    measured: str  # how


@dataclass(frozen=True)
class Component:
    """One program of a service: one that serves HTTP by WSGI, or one that runs by itself (`command`)."""

    name: str
    wsgi: str = ""  # module:callable, or a text with a newline: the source of the module
    port: int = 0  # the usual one; that of a service's first component is the edge's
    health: str = "/healthcheck"
    workers: int = 2
    threads: int = 4
    streams: bool = False  # a request may last as long as a transfer, and must not keep others waiting
    # Seconds that requests in flight may take when the program is told to stop, and what goes on after their answers.
    drain: int = 60
    finish: str = ""  # module:function of the latter, which a worker that ends calls, and waits for
    command: tuple[str, ...] = ()  # what to run, where it is no WSGI application
    # What such a program, if it listens at `port`, is told besides in a pod, whose address and ports are its own.
    listen: tuple[str, ...] = ()
    where: frozenset[Where] = frozenset({"top"})  # above all cells, or in each
    usual: bool = True  # whether a backend that names no components runs it
    topic: str = ""  # of the message bus, whose messages it takes: it moves as a consumer, and not behind an edge
    use: Use | None = None  # where it was measured, for `planeshift capacity`


@dataclass(frozen=True)
class Layout:
    """Where the service reads its files: oslo.config's directory of the project below HOME, see `render.files`."""

    project: str
    main: str  # name of the main configuration file
    environment: Mapping[str, str] = field(default_factory=dict)  # variables that point the programs at their files
    # Files that the release ships, for an operator who gives none of his own: name → path below its programs.
    shipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Migration:
    """How the schema follows the release. Each step is a command line of the service's environment.

    `expand-contract`: old code lives on after `expand`; `contract` waits for the last old backend. `single`: one step;
    only the pairs (older, newer) in `lives_with` may share the newer schema, besides releases of equal schemas.
    """

    kind: Literal["expand-contract", "single"]
    create: tuple[str, ...]
    upgrade: tuple[str, ...] = ()
    expand: tuple[tuple[str, ...], ...] = ()
    contract: tuple[str, ...] = ()
    online: tuple[str, ...] = ()  # moves data that newer code finds elsewhere, while the service runs
    lives_with: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Bootstrap:
    """The first content of a database, made by a command that must run once.

    `exists` is SQL that returns a row when it is there; `command` reads what is secret from `environment` of itself.
    """

    exists: str
    command: tuple[str, ...]
    environment: Callable[[Site], Mapping[str, str]]


@dataclass(frozen=True)
class Site:
    """What a service's options may depend on, for one backend on one host."""

    region: str
    release: str
    identity: str  # Keystone's internal URL, with /v3
    public_url: str
    internal_url: str
    config: str
    data: str
    database: str  # SQLAlchemy URL, with password
    cache: tuple[str, ...]  # host:port of memcached servers
    secrets: Mapping[str, SecretValue]
    ca_file: str = ""  # certificate authority that services must trust to reach the edge
    transport: str = ""  # oslo.messaging URL, with password
    cell: str = ""  # of Nova, that this backend is a part of
    cell_database: str = ""  # SQLAlchemy URL of that cell's database, or of cell0's above the cells
    host: str = ""  # what a program that is known by its host is called
    own: str = ""  # a directory below `data` for this place alone
    components: frozenset[str] = frozenset()  # names of those that run there
    shipped: Mapping[str, str] = field(
        default_factory=dict
    )  # `Layout.shipped`: name → the operator's, or the release's

    def secret(self, name: str) -> str:
        """A secret that is text; a stand-in while it has not been made yet."""
        value = self.secrets.get(name, "")
        return value if isinstance(value, str) else ""


NO_BUS = "none:///"  # of cell0: https://docs.openstack.org/nova/latest/admin/cells.html


@dataclass(frozen=True)
class Cells:
    """How a service that is divided in cells knows them. Commands run above the cells.

    They read the cell's database and message bus from their `environment`, so that no password stands in argv;
    {name} and {uuid} are the cell's. The SQL is for looking only: what is there is changed by commands.
    """

    migration: Migration  # of a cell's database
    map_zero: tuple[str, ...]  # which an update must follow: it knows no bus and no database of our choice
    create: tuple[str, ...]
    update: tuple[str, ...]
    zero_bus: tuple[str, ...]  # what an update of cell0 takes besides
    disable: tuple[str, ...]  # what an update takes besides, and the other way round
    enable: tuple[str, ...]
    remove: tuple[str, ...]
    discover: tuple[str, ...]
    environment: Callable[[str, str], Mapping[str, str]]  # database URL, oslo.messaging URL
    compute: str  # the component whose hosts are discovered
    known: str  # SQL above the cells: uuid, name, transport URL, database URL, disabled, number of servers
    mapped: str  # SQL above the cells: uuid, compute node
    members: str  # SQL of a cell's database: compute nodes
    reports: str  # SQL of a cell's database: host, program, disabled, seconds since it was heard of
    asked: str  # how the URL of a cell's database ends for those that ask every cell: one may be gone without a word
    late: str  # what a program's log says where a call over the message bus was not answered in time


@dataclass(frozen=True)
class ServiceSpec:
    """One OpenStack service."""

    name: str
    type: str  # in Keystone's catalogue
    title: str
    package: str
    components: tuple[Component, ...]
    needs: tuple[str, ...]
    layout: Layout
    migration: Migration
    defaults: Callable[[Site], Options]  # below the operator's files
    backend: Callable[[Site], Options]  # above them
    secret_options: Callable[[Site], Options]  # above all, in the secrets-only fragment
    secrets: tuple[Secret, ...]
    verify: Callable[..., Iterable[str]]  # given an openstacksdk Connection, yields what was proved
    path: str = ""  # of its URL in the catalogue, after the port
    database_section: str = "database"
    directories: tuple[str, ...] = ()  # below {data}
    key_directories: Mapping[str, str] = field(
        default_factory=dict
    )  # secret of kind fernet-keys → directory in {config}
    bootstrap: Bootstrap | None = None
    roles: tuple[str, ...] = ("service",)  # of its own user, on the service project; none: it has no user
    messaging: bool = False  # whether it needs a message bus
    schema: str = ""  # usual name of its database; empty: its own
    cells: Cells | None = None
    # Files that its programs leave on a host outside of all that is theirs, as patterns; they go with the backend.
    leaves: Callable[[Site], tuple[str, ...]] = lambda site: ()
    modules: tuple[str, ...] = ()  # httpd modules that it can make use of
    # Why backends on several machines cannot do with the operator's options ((section, option) → value); empty if they can.
    apart: Callable[[Mapping[tuple[str, str], str]], str] = lambda options: ""
    # What it is told in a rehearsal, after the operator's options, to use a lab's S3 store (URL) in place of theirs; the
    # store's keys are options of its section `rehearsal`.
    rehearsed: Callable[[str], Options] = lambda store: {}

    @property
    def others(self) -> tuple[Component, ...]:
        """The programs besides the first that listen: whoever knows their port asks them, and no edge does."""
        return tuple(c for c in self.components[1:] if c.port)
