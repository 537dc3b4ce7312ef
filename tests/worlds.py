"""Clouds in memory, for tests: a cloud file's text in, an engine's world over the memory drivers out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping

import yaml

from planeshift import catalog
from planeshift.app import change
from planeshift.app.rotate import rotate
from planeshift.app.rotation import Rotation
from planeshift.catalog.spec import SecretValue
from planeshift.drivers.memory import Data, Memory, processes
from planeshift.drivers.memory.data import DatabaseData, KeystoneData
from planeshift.drivers.memory.processes import without_credentials
from planeshift.drivers.memory.users import MemoryUsers
from planeshift.engine.run import Event
from planeshift.engine.world import World
from planeshift.model import cloud as model
from planeshift.model.load import load
from planeshift.plan.observed import Foreign
from planeshift.plan.operations import Kind, Plan
from planeshift.render import rules, topology
from planeshift.render.build import build, edge_unit, secret_path
from planeshift.render.desired import HostPaths, Tree
from planeshift.render.pods import beside, release_values

FOUR = """
hosts: [{name: here, via: local}]
services:
  keystone: {backends: {vms: {hosts: [here]}}}
  glance: {backends: {vms: {hosts: [here]}}}
  placement: {backends: {vms: {hosts: [here]}}}
  barbican: {backends: {vms: {hosts: [here]}}}
"""
TWO_BACKENDS = """
hosts: [{name: a, via: local, address: 127.0.0.2}, {name: b, via: local, address: 127.0.0.3}]
services:
  keystone: {backends: {one: {hosts: [a], weight: 90}, two: {hosts: [b], weight: 10}}}
"""
PODS = """
hosts: [{name: here, via: local}]
edges: [{name: lb, address: 192.0.2.1}]
clusters: [{name: k1, registry: registry.example.org/site}]
databases: {main: {engine: mysql, host: 192.0.2.9}}
services:
  keystone: {backends: {pods: {cluster: k1, replicas: 3}}}
  placement: {backends: {vms: {hosts: [here], weight: 50}, pods: {cluster: k1, replicas: 1, weight: 50}}}
"""
KEYSTONE = """
hosts: [{name: here, via: local}]
services: {keystone: {backends: {vms: {hosts: [here]}}}}
"""
PASSWORD = "the operator's own"


def cloud(spec: str | Mapping[str, object]) -> model.Cloud:
    """A valid cloud from the `spec` of its file. Fails where the rules have anything against it."""
    body = yaml.safe_load(textwrap.dedent(spec)) if isinstance(spec, str) else spec
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "test"}, "spec": body}
    loaded = load(yaml.safe_dump(whole), "cloud.yaml")
    problems = [p for p in rules.check(loaded) if not p.warning]
    assert not problems, problems
    return loaded.cloud


def paths() -> HostPaths:
    """Where things would be on a host."""
    return HostPaths(runtime="/run/t", state="/var/t")


def enter(
    memory: Memory,
    declared: model.Cloud,
    tree: Tree | None = None,
    foreign: Mapping[tuple[str, str], Foreign] | None = None,
) -> World:
    """What a new process sees of a world: the engine's view of it, for a cloud file."""
    ours = {h.name: paths() for h in declared.spec.hosts if h.via == "local"}
    left = {unit.split("/")[0] for unit in memory.data.units}
    sources = topology.chart_sources(declared)
    return World(
        hosts={name: memory.host(name, paths()) for name in sorted(left | set(ours))},
        clusters={c.name: memory.cluster(c.name) for c in declared.spec.clusters},
        images=memory.images,
        charts=memory.charts,
        databases=memory.databases,
        buses=memory.buses,
        edge=memory.edge,
        identity=memory.identity,
        secrets=memory.secrets,
        maker=memory.maker,
        control=memory.control,
        clock=memory.clock,
        traffic=memory.traffic,
        prober=memory.prober,
        foreign=lambda services: {place: seen for place, seen in (foreign or {}).items() if place[0] in services},
        render=lambda secrets, views, shares: build(
            declared, tree or {}, secrets, ours, views, shares, memory.charts.views(sources) if sources else {}
        ),
    )


def provide(data: Data, declared: model.Cloud) -> None:
    """Let there be what the operator brings: schemas with their passwords, and what other people run."""
    for name in topology.ours(declared):
        database = topology.database(declared, name)
        content = DatabaseData()
        if database is not None and database.engine != "sqlite":
            user, schema = database.user or name, database.name or name
            url = without_credentials(f"mysql+pymysql://{user}@{database.host}:{database.port}/{schema}")
            content = data.databases.setdefault(url, content)
            data.users.setdefault(url, {user: PASSWORD})
            _secrets(data, declared, name).setdefault("database_password", PASSWORD)
        _others(data, declared, name, content)
    foreign = declared.spec.services.get("keystone")
    if foreign and foreign.endpoint:
        host, _, port = foreign.endpoint.partition("//")[2].partition("/")[0].rpartition(":")
        data.elsewhere.setdefault((host, int(port)), KeystoneData(passwords={"admin": PASSWORD}))
        _secrets(data, declared, "keystone")["admin_password"] = PASSWORD


def _others(data: Data, declared: model.Cloud, name: str, content: DatabaseData) -> None:
    """Backends of a service that others run: they are up, and have their secrets and schema."""
    known = topology.hosts(declared)
    for backend in declared.spec.services[name].backends.values():
        for host in (known[h] for h in backend.hosts if known[h].via == "external"):
            place = (host.address, topology.backend_port(declared, name, backend, host))
            if place in data.elsewhere:
                continue
            data.elsewhere[place] = content.keystone if name == "keystone" else None
            for secret in catalog.service(name).secrets:
                value = {"0": PASSWORD, "1": PASSWORD} if secret.kind == "fernet-keys" else PASSWORD
                _secrets(data, declared, name).setdefault(secret.name, value)
            if not content.tables:
                content.heads = frozenset(catalog.facts(name, catalog.releases(name)[0])["heads"])
                content.tables = True
                content.keystone.passwords["admin"] = str(_secrets(data, declared, name).get("admin_password", ""))


def _secrets(data: Data, declared: model.Cloud, service: str) -> dict[str, SecretValue]:
    return data.secrets.setdefault(secret_path(declared, service), {})


class Operator:
    """Somebody with a cloud file, who runs one process after another against one world."""

    def __init__(self, spec: str | Mapping[str, object] | model.Cloud, data: Data | None = None) -> None:
        self.memory = Memory(data)
        self.tree: dict[str, bytes] = {}
        self.foreign: dict[tuple[str, str], Foreign] = {}  # what hosts of others show
        self.events: list[Event] = []
        self.said: list[str] = []
        self.edit(spec)

    def edit(self, spec: str | Mapping[str, object] | model.Cloud) -> None:
        """Write another cloud file."""
        self.cloud = spec if isinstance(spec, model.Cloud) else cloud(spec)
        provide(self.memory.data, self.cloud)

    @property
    def data(self) -> Data:
        return self.memory.data

    def next(self) -> World:
        """A new process."""
        self.memory = self.memory.revive()
        return enter(self.memory, self.cloud, self.tree, self.foreign)

    def plan(self, **options: Iterable[str]) -> Plan:
        """What `planeshift plan` finds."""
        return change.plan(self.next(), **options)  # type: ignore[arg-type]

    def up(
        self,
        *,
        workers: int = 1,
        saved: Plan | None = None,
        contract: Iterable[str] = (),
        agree: Callable[[Plan], bool] = lambda plan: True,
        prepare: Callable[[Memory, World], None] | None = None,
    ) -> Plan | None:
        """`planeshift up`, in a new process; `prepare` may arrange what goes wrong with it."""
        world = self.next()
        if prepare:
            prepare(self.memory, world)
        return change.up(
            world,
            agree=agree,
            listen=self.events.append,
            say=self.said.append,
            workers=workers,
            saved=saved,
            contract=contract,
        )

    def rotate(
        self,
        service: str,
        name: str,
        *,
        prepare: Callable[[Memory, World], None] | None = None,
        others: bool = False,
        followed: bool = False,
        may: bool = True,
    ) -> None:
        """`planeshift secrets rotate`, in a new process; `may` says whether there is somebody who may make users."""
        world, memory = self.next(), self.memory
        if prepare:
            prepare(memory, world)

        def tries(found: World, service: str) -> MemoryUsers:
            return memory.users(without_credentials(found.desired.databases[service].url))

        def bus(found: World, host: str, port: int) -> MemoryUsers:
            return memory.users(f"//{host}:{port}")

        rotate(
            Rotation(
                world=lambda: enter(memory, self.cloud, self.tree),
                users=tries if may else lambda found, service: None,
                bus_users=bus if may else lambda found, host, port: None,
                tries=tries,
                bus_tries=bus,
                listen=self.events.append,
                say=self.said.append,
                others=lambda service: others,
                followed=followed,
            ),
            service,
            name,
        )


def kinds(plan: Plan) -> list[Kind]:
    """The kinds of a plan's operations, in their order."""
    return [o.kind for o in plan.operations]


def ids(plan: Plan) -> list[str]:
    """The ids of a plan's operations, in their order."""
    return [o.id for o in plan.operations]


def assert_serves(operator: Operator) -> None:
    """What runs is what is declared: by a look at the world itself, not at what anybody noted of it."""
    desired, data = operator.next().desired, operator.data
    laid = {name: unit.files for name, unit in desired.units.items()}
    laid |= {edge_unit(e.name, e.host): e.files for e in desired.edges.values()}
    assert set(data.units) == set(laid), "units that are not desired, or not there"
    for name, files in laid.items():
        unit, running = data.units[name], processes.supervised(data, name)
        assert unit.files == dict(files), f"files of {name}"
        if name in desired.idle:
            assert unit.supervisor is None and not processes.of(data, name), f"{name} runs"
            continue
        assert unit.supervisor is not None, f"{name} has no supervisor"
        assert unit.supervisor.config.encode() == files["supervisord.conf"].content, (
            f"the supervisor of {name} is stale"
        )
        assert set(running) == set(processes.programs(unit.supervisor.config)), f"programs of {name}"
        assert not processes.orphans(data, name), f"{name} has orphans"
        for process in running.values():
            own = process.edge is not None
            read, lie = (
                {p: f for p, f in x.items() if not (own and p == "haproxy.cfg")} for x in (process.read, files)
            )
            assert read == lie, f"{name}: {process.program} has read other files than lie there"
    for edge in desired.edges.values():
        running_edge = processes.supervised(data, edge_unit(edge.name, edge.host))["haproxy"].edge
        assert running_edge is not None
        assert running_edge.structure == edge.structure, f"the edge {edge.name} runs an older structure"
        now = {place: (s.weight, s.withheld) for place, s in running_edge.servers.items()}
        assert now == {(f.service, s.name): (s.weight, False) for f in edge.frontends for s in f.servers}
    for name, pods in desired.pods.items():
        cluster = data.clusters[pods.pods.cluster]
        newest = cluster.releases[name][-1]
        assert newest.status == "deployed" and newest.values == release_values(pods, b"a digest key"), name
        for process in processes.of(data, name):
            assert process.read == dict(pods.files), f"{name}: a pod has read other files"
        assert sum(newest.pods.values()) == (pods.values["replicas"] if pods.values.get("serve", True) else 0), name
        more = sum(beside(pods.values).values())
        assert len(processes.of(data, name)) == len(newest.pods) + more, f"{name}: pods are missing"
    for cluster in data.clusters.values():
        assert set(cluster.releases) <= set(desired.pods), "releases that are not desired"
        used = {o for found in cluster.releases.values() for r in found for o in r.objects}
        assert set(cluster.objects) == used, "objects that no revision needs, or none"
    for database in desired.databases.values():
        there = data.databases[without_credentials(database.url)]
        assert there.heads in (database.heads, processes.expanded(database.service, database.release))
    assert not data.notes
    assert not data.commands
    assert not data.holder
    assert not data.journal or data.journal[-1]["what"] == "end plan"
