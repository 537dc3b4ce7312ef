"""A declared cloud, made small enough for a lab: the same services, backends, weights and steps on fewer machines. Pure.

What a lab cannot have has a stand-in, and everything that is not as declared is in the notes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planeshift import catalog
from planeshift.catalog import inifile
from planeshift.catalog.spec import Options
from planeshift.errors import PlaneshiftError, Problem
from planeshift.model import cloud as model
from planeshift.render import topology
from planeshift.render.desired import Tree
from planeshift.render.files import operator_files
from planeshift.render.ini import ini
from planeshift.render.sites import config_path

HOSTS = 2  # of a backend
REPLICAS = 2
NODES = 2  # of a cluster
WORKERS = 2
SECONDS = 10  # of a step
LAB = "lab.yaml"
CLOUD = "cloud.yaml"
STORE = "rehearsal"  # what the lab's store of objects is called in a service's options
S3_PORT, MEMCACHED_PORT = 7070, 11211
NOTIFICATIONS = "oslo_messaging_notifications"
_ELSEWHERE = {
    "external": "those that somebody else runs, and are ours",
    "ssh": "those that are reached by ssh",
    "local": "this machine",
}


@dataclass(frozen=True)
class Networks:
    """Networks that are nobody else's on this machine."""

    hosts: str = "172.29.0.0/24"
    pods: str = "10.214.0.0/16"

    def address(self, number: int) -> str:
        """The `number`th address of the hosts' network; 1 is this machine's."""
        return str(ipaddress.IPv4Network(self.hosts)[number])


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed, as files: a lab file, the cloud before and after the change, and files of configuration.

    `services` have traffic; those that the change touches are `moved`. `notes` say what is not as it is declared.
    """

    lab: Mapping[str, Any]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    files: Mapping[str, bytes]
    services: tuple[str, ...]
    moved: tuple[str, ...]
    notes: tuple[str, ...]


def rehearsal(
    before: model.Cloud, after: model.Cloud, tree: Tree, networks: Networks, seconds: int = SECONDS
) -> Rehearsal:
    """Scale a change of a cloud down. `tree` are the operator's files; a step is watched for `seconds` at most.

    Raises PlaneshiftError where nothing changes (PS820), or what changes cannot be rehearsed (PS821).
    """
    moved = tuple(s for s in topology.ours(after) if _declared(after, s) != _declared(before, s))
    if not moved:
        hint = "Change a weight in the file, or say where traffic is to go: planeshift rehearse SERVICE BACKEND=PERCENT"
        raise PlaneshiftError(Problem("PS820", "nothing changes, so there is nothing to rehearse", hint=hint))
    services = _with_needs(moved)
    problems = [p for service in services for p in _unable(before, after, service)]
    if problems:
        raise PlaneshiftError(problems)
    scale = _Scale(before, after, services, tree, networks, seconds)
    files = {
        path: content for s in services for path, content in tree.items() if path.startswith(scale.config(s) + "/")
    }
    files |= dict(scale.stand_ins())
    made = scale.cloud(before), scale.cloud(after)
    return Rehearsal(scale.lab(), *made, files, services, moved, tuple(scale.notes()))


def _declared(cloud: model.Cloud, service: str) -> dict[str, Any]:
    declared = cloud.spec.services.get(service)
    release = {"release": cloud.spec.release}
    return release | declared.model_dump(by_alias=True) if declared else {}


def _with_needs(moved: Iterable[str]) -> tuple[str, ...]:
    """With what they need, what is needed first."""
    found: dict[str, None] = {}

    def add(service: str) -> None:
        for need in catalog.service(service).needs:
            add(need)
        found.setdefault(service)

    for service in ("keystone", *moved):
        add(service)
    return tuple(found)


def _unable(before: model.Cloud, after: model.Cloud, service: str) -> Iterator[Problem]:
    spec = catalog.service(service)
    if spec.messaging or spec.cells or any(b.cell for c in (before, after) for b in _backends(c, service).values()):
        hint = "A lab's rehearsal has the services that need neither: keystone, glance, placement, barbican."
        yield Problem("PS821", f"{service} needs a message bus or cells, and cannot be rehearsed yet", hint=hint)


def _backends(cloud: model.Cloud, service: str) -> dict[str, model.Backend]:
    declared = cloud.spec.services.get(service)
    return dict(declared.backends) if declared and not declared.endpoint else {}


class _Scale:
    """Names and addresses, the same ones before and after the change."""

    def __init__(
        self,
        before: model.Cloud,
        after: model.Cloud,
        services: tuple[str, ...],
        tree: Tree,
        networks: Networks,
        seconds: int,
    ) -> None:
        self.before, self.after, self.services, self.tree = before, after, services, tree
        self.networks, self.seconds = networks, seconds
        self.known = topology.hosts(before) | topology.hosts(after)
        self.clusters = {c.name: c for cloud in (before, after) for c in cloud.spec.clusters if self._used(c.name)}
        names = _Names()
        self.nodes = {
            cluster: [names.new(f"{cluster}-node{i + 1}") for i in range(min(max(len(c.nodes), 1), NODES))]
            for cluster, c in self.clusters.items()
        }
        self.hosts = {host: names.new(host) for host in self._hosts()}
        self.bare = {s: names.new(f"{s}-host") for s in services if not self._runs(s)}  # for what others run, or nobody
        self.stores = names.new("stores")
        self.machine = names.new("machine")
        used = {self.known[host].zone for host in self.hosts}
        zones = [zone for zone in dict.fromkeys([*after.spec.zones, *before.spec.zones]) if zone in used]
        self.zones = {zone: _word(zone) for zone in zones} or {"a": "a"}

    # --- what there is

    def _all(self) -> Iterator[tuple[model.Cloud, str, str, model.Backend]]:
        for cloud in (self.before, self.after):
            for service in self.services:
                for name, backend in _backends(cloud, service).items():
                    yield cloud, service, name, backend

    def _used(self, cluster: str) -> bool:
        return any(backend.cluster == cluster for *_, backend in self._all())

    def _runs(self, service: str) -> bool:
        return any(of == service for _, of, *_ in self._all())

    def _hosts(self) -> list[str]:
        return list(dict.fromkeys(host for *_, backend in self._all() for host in backend.hosts[:HOSTS]))

    def _addresses(self) -> dict[str, str]:
        return {h["name"]: self.networks.address(number) for number, h in enumerate(self._lab_hosts(), 2)}

    def _lab_hosts(self) -> list[dict[str, Any]]:
        first = next(iter(self.zones.values()))
        nodes = [{"name": n, "zone": first, "cluster": c} for c, names in self.nodes.items() for n in names]
        hosts = [{"name": n, "zone": self.zones.get(self.known[h].zone or "", first)} for h, n in self.hosts.items()]
        hosts += [{"name": n, "zone": first} for n in self.bare.values()]
        runs: dict[str, Any] = {"mariadb": {"databases": list(self.services)}, "memcached": {}}
        keeper = next((s for s in self.services if catalog.service(s).rehearsed("")), None)
        runs |= {"s3": {"service": keeper, "store": STORE}} if keeper else {}
        return [*nodes, *hosts, {"name": self.stores, "zone": first, "runs": runs}]

    # --- the files

    def lab(self) -> dict[str, Any]:
        """The lab file."""
        spec = {
            "zones": list(dict.fromkeys(self.zones.values())),
            "network": self.networks.hosts,
            "pods": self.networks.pods,
            "hosts": self._lab_hosts(),
        }
        return {"apiVersion": "planeshift/v1", "kind": "Lab", "metadata": {"name": "rehearsal"}, "spec": spec}

    def cloud(self, of: model.Cloud) -> dict[str, Any]:
        """The cloud file of one of the two."""
        here, addresses = self.networks.address(1), self._addresses()
        stores = addresses[self.stores]
        hosts = [{"name": self.machine, "via": "local", "address": here}]
        for name, zone in self._cloud_hosts():
            hosts.append({"name": name, "via": "lab", "lab": LAB, "address": addresses[name], **zone})
        spec: dict[str, Any] = {
            "release": of.spec.release,
            "region": of.spec.region,
            "zones": list(of.spec.zones),
            "edges": [{"name": topology.edges(of)[0].name, "address": here}],
            "databases": {"main": {"engine": "mysql", "host": stores}},
            "caches": {"tokens": {"hosts": [f"{stores}:{MEMCACHED_PORT}"]}},
            "hosts": hosts,
            "clusters": [{"name": c, "lab": LAB, "namespace": of_.namespace} for c, of_ in self.clusters.items()],
            "services": {s: self._service(of, s) for s in self.services if s in of.spec.services or s in self.bare},
        }
        name = of.metadata.name
        return {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": name}, "spec": spec}

    def _cloud_hosts(self) -> Iterator[tuple[str, dict[str, str]]]:
        for host, name in self.hosts.items():
            zone = self.known[host].zone
            yield name, {"zone": zone} if zone in self.before.spec.zones and zone in self.after.spec.zones else {}
        for name in self.bare.values():
            yield name, {}

    def _service(self, cloud: model.Cloud, service: str) -> dict[str, Any]:
        if service in self.bare:
            return {"backends": {"stand-in": {"hosts": [self.bare[service]], "weight": 100}}}
        declared = cloud.spec.services[service]
        kept = {"config", "release", "port", "server", "extras", "allow_options"}
        made = declared.model_dump(by_alias=True, exclude_unset=True, include=kept)
        shift = declared.shift.model_dump(by_alias=True, exclude_unset=True)
        if self._replaced(service):  # what a store's section is called follows from the options that are replaced
            sections = sorted(_sections(operator_files(self.tree, self.config(service))) - {"DEFAULT"})
            made["allow-options"] = [*declared.allow_options, *(f"{section}/*" for section in sections)]
        made["shift"] = shift | {"time": min(declared.shift.time, self.seconds)}
        made |= _components(declared.components)
        made["backends"] = {n: self._backend(b) for n, b in declared.backends.items()}
        return made

    def _backend(self, backend: model.Backend) -> dict[str, Any]:
        made = backend.model_dump(by_alias=True, exclude_unset=True, include={"weight", "release", "cluster"})
        made |= _components(backend.components)
        if backend.cluster:
            wanted = backend.autoscale.min if backend.autoscale else backend.replicas or topology.REPLICAS
            return made | {"replicas": min(wanted, REPLICAS)} | ({"port": backend.port} if backend.port else {})
        external = any(self.known[host].via == "external" for host in backend.hosts)
        port = {"port": backend.port} if backend.port and not external else {}
        return made | port | {"hosts": [self.hosts[host] for host in backend.hosts[:HOSTS]]}

    # --- what stands for what a lab does not have

    def config(self, service: str) -> str:
        """The directory of a service's files."""
        declared = service in self.after.spec.services
        return config_path(self.after if declared else self.before, service) if declared else f"config/{service}"

    def stand_ins(self) -> Iterator[tuple[str, bytes]]:
        """A fragment of configuration, after all of the operator's, for what names something outside the lab."""
        for service in self.services:
            spec, options = catalog.service(service), self._replaced(service)
            if NOTIFICATIONS in _sections(operator_files(self.tree, self.config(service))):
                options = options | {NOTIFICATIONS: {"driver": "noop"}}
            if options:
                path = f"{self.config(service)}/{spec.layout.main}.d/zz-rehearsal.conf"
                yield path, ini(options, "Stand-ins of a rehearsal; nothing of this is in your own files.")

    def _replaced(self, service: str) -> Options:
        return catalog.service(service).rehearsed(f"http://{self._addresses()[self.stores]}:{S3_PORT}")

    # --- what is otherwise

    def notes(self) -> Iterator[str]:
        """What is not as declared, for people."""
        after = self.after
        left = [s for s in topology.ours(after) if s not in self.services]
        if left:
            yield f"left out, since neither moved nor needed: {', '.join(left)}"
        for cloud, service, name, backend in self._all():
            if cloud is after:
                yield from self._backend_notes(service, name, backend)
        for service, host in self.bare.items():
            yield f"{service}: one of ours on {host} stands for somebody else's"
        if len(topology.edges(after)) > 1:
            yield f"edges: one of {len(topology.edges(after))}"
        if after.spec.endpoints.model_fields_set:
            yield "endpoints: the edge's own address, without TLS"
        yield f"databases, caches, stores of objects: on {self.stores}; secrets: made anew, yours are not read"
        for cluster, nodes in self.nodes.items():
            declared = len(self.clusters[cluster].nodes)
            if declared > len(nodes):
                yield f"{cluster}: {len(nodes)} of {declared} nodes"

    def _backend_notes(self, service: str, name: str, backend: model.Backend) -> Iterator[str]:
        what = f"{service} {name}"
        if len(backend.hosts) > HOSTS:
            yield f"{what}: {HOSTS} of {len(backend.hosts)} hosts"
        for kind, words in _ELSEWHERE.items():
            if any(self.known[host].via == kind for host in backend.hosts):
                yield f"{what}: hosts of the lab stand for {words}"
        replicas = backend.autoscale.min if backend.autoscale else backend.replicas or 0
        if replicas > REPLICAS:
            yield f"{what}: {REPLICAS} of {replicas} pods"
        for key, words in (
            ("chart", "our own chart"),
            ("image", "an image that is built here"),
            ("resources", "our chart's own resources"),
            ("autoscale", "a fixed number of pods"),
        ):
            if getattr(backend, key):
                yield f"{what}: {words} stands for `{key}`"


class _Names:
    """Names of a lab's hosts, each once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, wanted: str) -> str:
        base = _word(wanted)
        name = next(n for n in (base, *(f"{base[:58]}-{i}" for i in range(2, 1000))) if n not in self.taken)
        self.taken.add(name)
        return name


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "x"


def _components(declared: Mapping[str, model.ComponentSettings]) -> dict[str, Any]:
    made = {name: settings.model_dump(by_alias=True, exclude_unset=True) for name, settings in declared.items()}
    for settings in made.values():
        settings |= {"workers": min(settings["workers"], WORKERS)} if settings.get("workers") else {}
    return {"components": made} if made else {}


def _sections(files: Mapping[str, bytes]) -> set[str]:
    texts = (inifile.parse(c.decode("utf-8", "replace"), p) for p, c in files.items() if p.endswith(".conf"))
    return {entry.section for found in texts for entry in found.entries}
