"""The lab file's shape and reading. Pure: text in, `Lab` out, every problem at its place."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from planeshift.errors import PlaneshiftError, Problem
from planeshift.model import load as loading
from planeshift.model.cloud import Name, Noun
from planeshift.model.source import Document, Path

MAX_HOSTS = 100
_UNITS = {"MiB": 2**20, "GiB": 2**30}


def _network(text: str) -> str:
    network = ipaddress.IPv4Network(text)
    if not network.is_private:
        raise ValueError("must be a private network, such as 172.30.0.0/24")
    if not 16 <= network.prefixlen <= 25:
        raise ValueError("must have room for the hosts: from /16 to /25")
    return text


def _wide(text: str) -> str:
    if not ipaddress.IPv4Network(text).is_private or ipaddress.IPv4Network(text).prefixlen > 16:
        raise ValueError("must be a private network of /16 or wider")
    return text


Network = Annotated[str, AfterValidator(_network)]
WideNetwork = Annotated[str, AfterValidator(_wide)]
# As a cloud file names zones, as far as a node's label can say it, so that both call them the same.
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}(MiB|GiB)$")]


class MariaDB(Noun):
    """A database server, with a schema and a user for each service."""

    databases: list[Name] = Field(min_length=1, description="services: each name is that of its schema and its user")


class S3(Noun):
    """A store with S3's interface, on port 7070."""

    service: Name = Field("glance", description="the service whose secret file gets the keys")
    store: Name = Field("shared", description="the section of its configuration that they belong to")


class Memcached(Noun):
    """A cache, on port 11211."""


class Registry(Noun):
    """A registry of images, on port 5000 and without TLS, which the lab's nodes pull from."""


class Sshd(Noun):
    """OpenSSH's server, on port 22, for root by the lab's own key: `ssh/key` and `ssh/known_hosts` in the lab's state."""


class Systemd(Noun):
    """systemd as the host's first process, with nothing of the distribution's services."""


class Runs(Noun):
    """What a plain host runs besides: what somebody else runs in earnest, for a rehearsal."""

    mariadb: MariaDB | None = None
    s3: S3 | None = None
    memcached: Memcached | None = None
    registry: Registry | None = None
    sshd: Sshd | None = None
    systemd: Systemd | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The servers; systemd is what starts them."""
        known = ("mariadb", "s3", "memcached", "registry", "sshd")
        return tuple(name for name in known if getattr(self, name) is not None)


class LabHost(Noun):
    """A machine made of Linux namespaces: a plain host, or, with `cluster`, a Kubernetes node."""

    name: Name
    zone: Zone | None = Field(None, description="the zone that it is in; default: the first")
    cluster: Name | None = Field(
        None, description="the cluster that it is a node of; the first one named runs its control plane"
    )
    runs: Runs = Field(default_factory=Runs, description="a database, a store, a cache, sshd, systemd for a rehearsal")
    disk: Size | None = Field(
        None, description="size of its disk; default: as much as the machine has. Needed to fill it"
    )


class LabSpec(Noun):
    """Zones, hosts and their network."""

    zones: list[Zone] = Field(default=["a"], min_length=1, max_length=20, description="each a network that can be cut")
    network: Network = Field("172.30.0.0/24", description="the hosts' network; the machine has its first address")
    pods: WideNetwork = Field("10.212.0.0/16", description="the pods' network: a /24 of it for each node")
    cluster_services: Network = Field("10.213.0.0/20", description="the network of Kubernetes' Services")
    hosts: list[LabHost] = Field(min_length=1, max_length=MAX_HOSTS)


class LabMetadata(Noun):
    """What the lab is called."""

    name: Name


class Lab(Noun):
    """Hosts and Kubernetes nodes made of namespaces on one machine."""

    apiVersion: Literal["planeshift/v1"]
    kind: Literal["Lab"]
    metadata: LabMetadata
    spec: LabSpec

    @property
    def clusters(self) -> list[str]:
        """The clusters' names, in the order of the file."""
        return list(dict.fromkeys(h.cluster for h in self.spec.hosts if h.cluster))


def load(text: str | bytes, file: str) -> Lab:
    """Read and validate a lab file. Raises PlaneshiftError with every problem (PS101-PS109, PS207, PS208)."""
    lab, document = loading.read(text, file, Lab, [("spec", "hosts")], what="a lab file")
    problems = [*_rules(lab, document)]
    if problems:
        raise PlaneshiftError(problems)
    return lab


def size(text: str) -> int:
    """Bytes of a size such as `512MiB`."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS[unit]


def _rules(lab: Lab, document: Document) -> list[Problem]:
    problems: list[Problem] = []
    spec = lab.spec

    def refuse(code: str, message: str, path: Path, hint: str = "") -> None:
        problems.append(Problem(code, message, document.where(path), hint=hint))

    seen: set[str] = set()
    for index, host in enumerate(spec.hosts):
        here = ("spec", "hosts", index)
        if host.name in seen:
            refuse("PS208", f"two hosts are named {host.name}", (*here, "name"))
        seen.add(host.name)
        if host.zone and host.zone not in spec.zones:
            hint = loading.nearest(host.zone, list(spec.zones))
            refuse("PS207", f"there is no zone {host.zone}", (*here, "zone"), hint)
        if host.cluster and (host.runs.names or host.runs.systemd):
            hint = "Give it to a host without `cluster`."
            refuse("PS107", f"{host.name} is a Kubernetes node, and has no `runs`", (*here, "runs"), hint)
    if len(set(spec.zones)) < len(spec.zones):
        refuse("PS208", "two zones have one name", ("spec", "zones"))
    network = ipaddress.IPv4Network(spec.network)
    if len(spec.hosts) > network.num_addresses - 3:
        refuse("PS107", f"{spec.network} has no room for {len(spec.hosts)} hosts", ("spec", "network"))
    named: dict[str, Any] = {"network": network}
    named["pods"] = ipaddress.IPv4Network(spec.pods)
    named["cluster-services"] = ipaddress.IPv4Network(spec.cluster_services)
    keys = list(named)
    for i, one in enumerate(keys):
        for other in keys[i + 1 :]:
            if named[one].overlaps(named[other]):
                refuse("PS107", f"`{one}` and `{other}` overlap", ("spec", other))
    return problems
