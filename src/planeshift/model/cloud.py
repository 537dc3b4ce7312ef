"""The cloud file's shape: one class per noun, defaults included. Pure.

Keys are those of the file (`allow-options` is `allow_options` here). What a key means is its description, from which
the reference page is made. A key marked `Later` belongs to the shape but is refused by name until it works.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
Address = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.:-]{0,252}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Release = Annotated[str, StringConstraints(pattern=r"^20[0-9]{2}\.[12]$")]


# A path inside the operator's tree: relative, no way out of it. Made absolute only by the drivers.
def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("must be a path below the cloud file, without ..")
    return path


FilePath = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f%\"\\ -][^\x00-\x1f%\"\\]{0,400}$")
]  # absolute, from `~/`, or from the cloud file's directory
TreePath = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\\]{1,200}$"), AfterValidator(_inside)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$")]
RepositoryUrl = Annotated[
    str, StringConstraints(pattern=r"^(https?|oci(\+http)?)://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$")
]
Cores = Annotated[int, Field(ge=1, le=4096, description="processors that it has")]
Memory = Annotated[int, Field(ge=1, le=65_536, description="memory that it has, in GiB")]
# https://semver.org, as Helm's registries spell it.
EXACT = r"^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]{1,100})?(\+[0-9A-Za-z.-]{1,100})?$"
Later = Annotated[Any, Field(default=None, json_schema_extra={"later": True})]


def _dashed(name: str) -> str:
    return name.replace("_", "-") if name not in _AS_IS else name


_AS_IS = {"apiVersion"}


class Noun(BaseModel):
    """Base of all: unknown keys are errors, values are never coerced from another type, objects do not change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=_dashed, defer_build=True)


class Tls(Noun):
    """Where an endpoint's certificate comes from."""

    certificate: TreePath | None = Field(None, description="PEM file with the certificate chain, beside the cloud file")
    key: TreePath | None = Field(None, description="PEM file with its private key; a secret file, mode 0600")
    trial: bool = Field(False, description="make a certificate authority and a certificate of our own, for a trial")


class Endpoint(Noun):
    """The name and address that clients reach services under."""

    host: Address | None = Field(None, description="name or address in URLs; default: the edge's address")
    address: Address | None = Field(None, description="address that the edge listens on; default: the edge's")
    tls: Tls | None = Field(None, description="serve TLS")


class Endpoints(Noun):
    """`public` is for users, `internal` for the services among themselves; both default to the edge's address."""

    public: Endpoint = Field(default_factory=Endpoint)
    internal: Endpoint | None = Field(None, description="default: as public")


class Statistics(Noun):
    """The edge's own page and Prometheus metrics (`/`, `/metrics`), served on the edge's address."""

    port: Port = 8404


class Driven(Noun):
    """What a service is called at an HAProxy that is somebody else's."""

    backend: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] | None = Field(
        None, description="its backend section; default: the service's name"
    )
    servers: dict[Name, list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]]] = Field(
        default_factory=dict,
        description="our backend → its server lines, one a host, or one a node of a cluster; default: BACKEND-HOST",
    )


class Edge(Noun):
    """A load balancer in front of the services."""

    name: Name
    mode: Literal["managed", "driven"] = Field("managed", description="managed: run by us; driven: weights only")
    host: Name | None = Field(None, description="the host that it runs on; default: the first `via: local` host")
    address: Address = Field("127.0.0.1", description="address that it listens on")
    statistics: Statistics = Field(default_factory=Statistics)
    socket: Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]{1,106}$")] | None = Field(
        None, description="driven: its runtime socket on this machine, of level admin"
    )
    services: dict[str, Driven] = Field(
        default_factory=dict, description="driven: what services are called there; default: by their own names"
    )


class Database(Noun):
    """A database server (mysql) or a place for files (sqlite)."""

    engine: Literal["sqlite", "mysql"]
    host: Address | None = Field(None, description="mysql: name or address")
    port: Port = 3306
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")] | None = Field(
        None, description="mysql: the schema; default: the service's name"
    )
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,80}$")] | None = Field(
        None, description="mysql: default: the service's name; its password is `database_password` in the secret file"
    )
    manage: bool = Field(False, description="true: we run the server, on the host of ours that `host` names")
    tls: bool = Field(
        False, description="mysql: true: by TLS, with a server whose certificate is for its `host`, by `trust`"
    )
    nodes: list[HostName] = Field(
        default_factory=list, description="the declared hosts that a server of somebody else's is made of (Galera)"
    )


class Messaging(Noun):
    """A message bus."""

    engine: Literal["rabbitmq"] = "rabbitmq"
    hosts: list[Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*:[0-9]{1,5}$")]] = Field(
        default_factory=list, description="address:port of each node of a cluster that somebody else runs"
    )
    manage: bool = Field(False, description="true: we run it, on the host of ours that `host` names")
    host: HostName | None = Field(None, description="`manage: true`: the host of ours that runs it")
    port: Port = Field(5672, description="`manage: true`: where it listens")
    vhost: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/][A-Za-z0-9_.-]{0,80}$")] | None = Field(
        None, description="default: `/` of somebody else's, named after the service (and cell) on one of ours"
    )
    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,80}$")] | None = Field(
        None, description="default: named after the service; its password is in the secret file"
    )


class Cache(Noun):
    """A shared memcached."""

    engine: Literal["memcached"] = "memcached"
    hosts: list[Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*:[0-9]{1,5}$")]] = Field(
        min_length=1, description="address:port of each server"
    )
    manage: Literal[False] = False


class Ssh(Noun):
    """How a host is reached by OpenSSH's client, whose own configuration holds for all that is not said here."""

    user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$")] = Field(
        "root", description="who enters there, and whose the services' processes are"
    )
    host: HostName | None = Field(
        None, description="what ssh connects to, such as a `Host` of its configuration; default: the address"
    )
    port: Port | None = None
    key: FilePath | None = Field(None, description="file of the private key; default: ssh's own, or its agent's")
    known_hosts: FilePath | None = Field(None, description="file with the host's key; default: ssh's own files")
    config: FilePath | None = Field(None, description="configuration of ssh; default: its own files")
    directory: Annotated[str, StringConstraints(pattern=r"^(/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*){1,8}$")] | None = Field(
        None, description="what we keep there lies here; default: /var/lib/planeshift, for users /home/USER/.planeshift"
    )


class Host(Noun):
    """A machine that runs services as processes."""

    name: HostName
    via: Literal["local", "external", "ssh", "lab"] = "local"
    zone: str | None = None
    cell: Name | None = Field(None, description="the cell of this very cloud whose server it is, if it is one")
    address: Address = Field("127.0.0.1", description="where its services are reached")
    cores: Cores | None = None
    memory: Memory | None = None
    supervisor: Literal["supervisord", "systemd"] = Field(
        "supervisord", description="what looks after its processes; default of hosts `via: ssh`: systemd"
    )
    ssh: Ssh | None = Field(None, description="`via: ssh`, `observe: ssh`: how it is reached")
    observe: Literal["none", "path", "ssh"] = Field("none", description="external hosts: how we may look at them")
    lab: TreePath | None = Field(None, description="`via: lab`: the lab file that declares it")
    path: TreePath | None = Field(None, description="`observe: path`: where its configuration can be read")

    @model_validator(mode="before")
    @classmethod
    def _machines_have_systemd(cls, value: Any) -> Any:
        return {"supervisor": "systemd"} | value if isinstance(value, dict) and value.get("via") == "ssh" else value


class Node(Noun):
    """A machine of a Kubernetes cluster: what the cluster depends on, and has room for."""

    name: HostName
    zone: str | None = None
    cell: Name | None = Field(None, description="the cell of this very cloud whose server it is, if it is one")
    control: bool = Field(False, description="true: it is of the control plane, and has a member of etcd")
    cores: Cores | None = None
    memory: Memory | None = None


class Registry(Noun):
    """How a registry of images is spoken to that has no certificate of an authority which this machine trusts."""

    host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?$")] = Field(
        description="host[:port], as images are named after it"
    )
    ca: TreePath | None = Field(None, description="PEM file with the authority of its certificate")
    plain_http: bool = Field(False, description="true: without TLS. Whoever is on the way can change images")


class Ingress(Noun):
    """The ingress controller that the edge sends a cluster's requests to, where they are not sent to its nodes."""

    address: Address = Field(description="where the edge reaches it")
    port: Port = 80
    class_name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")] | None = Field(
        None, description="its IngressClass; default: the cluster's own default"
    )
    annotations: dict[str, str] = Field(
        default_factory=dict, description="what it must be told, such as how large a request may be"
    )


class Cluster(Noun):
    """A Kubernetes cluster."""

    name: Name
    context: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,253}$")] | None = Field(
        None, description="of the kubeconfig; default: its current one"
    )
    kubeconfig: TreePath | None = Field(None, description="default: KUBECONFIG, else the user's own")
    lab: TreePath | None = Field(None, description="a lab file: the cluster is the one that `planeshift lab` runs")
    namespace: Name = "openstack"
    nodes: list[Node] = Field(default_factory=list, description="its machines, for `check`, `whatif` and `capacity`")
    expose: Literal["nodeport", "loadbalancer", "ingress"] = Field("nodeport", description="how the edge reaches pods")
    ingress: Ingress | None = Field(None, description="`expose: ingress`: which one")
    registry: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:-]*(/[a-z0-9._-]+)*$")] | None = Field(
        None, description="host[:port]/prefix that images are pushed to and pulled from"
    )
    pull_secrets: list[Name] = Field(
        default_factory=list, description="Secrets of the namespace that pods' images are pulled with"
    )


class Extras(Noun):
    """What a site adds to a service's environment."""

    pip: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][^\n\r;@]{0,200}$")]] = Field(
        default_factory=list, description="Python requirements, pinned (name==version)"
    )
    dist: list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]{1,100}$")]] = Field(
        default_factory=list, description="distribution packages that must be installed, such as python3-rados"
    )


class ComponentSettings(Noun):
    """How one program of a service runs."""

    workers: Annotated[int, Field(ge=1, le=512)] | None = Field(None, description="processes; default: the catalog's")
    threads: Annotated[int, Field(ge=1, le=512)] | None = Field(None, description="threads a process")
    port: Port | None = Field(None, description="port on the backend's hosts or nodes")
    move: Literal["weight", "consumers", "singleton"] | None = Field(None, description="default: the catalog's")
    replicas: Later


class Autoscale(Noun):
    """Replicas by use of processors, between two bounds."""

    min: Annotated[int, Field(ge=1, le=1000)] = 2
    max: Annotated[int, Field(ge=1, le=1000)] = 6
    cpu: Annotated[int, Field(ge=1, le=100)] = Field(80, description="percent of the request that is aimed at")


class Chart(Noun):
    """The chart that a cluster's release is made of, in place of ours: one of the cloud's repository, used unchanged."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$")]
    version: Annotated[str, StringConstraints(pattern=EXACT)] = Field(description="one version, no range")
    values: TreePath | None = Field(None, description="the operator's values file; nothing secret is in it")
    adapter: Literal["standard", "planeshift"] | dict[str, Any] = Field(
        "standard",
        description="how the chart is told what only we know: values with placeholders; `standard`: as `helm create` "
        "makes charts, `planeshift`: as our own charts are",
    )


class Backend(Noun):
    """A set of hosts (or a cluster) that runs a service, from one release."""

    hosts: list[str] = Field(default_factory=list)
    weight: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="its share of the traffic, in percent")
    release: Release | None = None
    port: Port | None = Field(
        None, description="port on its hosts or nodes; default: chosen by us, external hosts: the usual"
    )
    components: dict[str, ComponentSettings] = Field(default_factory=dict)
    cluster: Name | None = Field(None, description="the cluster that runs it as pods, instead of hosts")
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="pods; default: 2")
    autoscale: Autoscale | None = Field(None, description="let the cluster choose the number of pods")
    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-zA-Z0-9.:/_@-]{1,500}$")] | None = Field(
        None, description="default: one built from the service's lock and extras"
    )
    resources: dict[Literal["requests", "limits"], dict[str, str]] = Field(
        default_factory=dict, description="of a pod, as Kubernetes has them; default: the chart's"
    )
    chart: Chart | None = Field(None, description="a chart of the cloud's repository; default: ours")
    cell: Name | None = Field(None, description="the cell that it serves, where it is part of a cell's controller")


class Gates(Noun):
    """When a step of a shift is bad: how much worse than the side that stayed the side that moved may do."""

    errors: Annotated[float, Field(ge=0, le=100)] = Field(
        0.1, description="percent of requests that may fail more than on the other side"
    )
    p50: Annotated[float, Field(ge=0, le=1000)] = Field(20, description="percent that the median wait may be longer")
    p99: Annotated[float, Field(ge=0, le=1000)] = Field(10, description="percent that the slowest waits may be longer")
    slack: Annotated[float, Field(ge=0, le=60_000)] = Field(
        2, description="milliseconds that waits may be longer, where the percents are less"
    )
    min_requests: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        20, description="requests that the moved side must have answered in each step"
    )
    data_timeout: Annotated[int, Field(ge=1, le=86_400)] = Field(
        120, description="seconds that a step is prolonged for want of requests"
    )


class Shift(Noun):
    """How traffic moves from one backend to another when `weight` changes: in steps, each watched."""

    steps: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        [1, 5, 25, 50, 100], min_length=1, max_length=100, description="percent of what moves, rising to 100"
    )
    time: Annotated[int, Field(ge=1, le=86_400)] = Field(60, description="seconds that each step is watched")
    gates: Gates = Field(default_factory=Gates)
    waves: list[Annotated[list[Name], Field(min_length=1)]] = Field(
        default_factory=list,
        description="nova: cells that move at once, wave after wave; cells in none follow one by one",
    )


class Service(Noun):
    """An OpenStack service, named by its key: keystone, glance, placement, barbican."""

    endpoint: Url | None = Field(None, description="somebody else runs it, here: it is used and never run")
    config: TreePath | None = Field(None, description="directory of its oslo.config, policy and paste files")
    secrets: TreePath | None = Field(None, description="its secret file; default: secrets/NAME.yaml")
    database: dict[Name, str] = Field(
        default_factory=dict, description="which of `databases` it uses: `main`; nova: `api` and `cell0`"
    )
    messaging: str | None = Field(
        None, description="which of `messaging` it uses; default: `main`, or the one there is"
    )
    cache: str | None = Field(None, description="which of `caches` it uses; default: the one that there is")
    release: Release | None = None
    port: Port | None = Field(None, description="port at the edge; default: the service's usual one")
    server: Literal["wsgi", "httpd"] = Field("wsgi", description="httpd: Apache in front, for its modules")
    extras: Extras = Field(default_factory=Extras)
    shift: Shift = Field(default_factory=Shift)
    allow_options: list[str] = Field(
        default_factory=list, description="options that a local patch adds: section/option, or section/*"
    )
    components: dict[str, ComponentSettings] = Field(default_factory=dict)
    backends: dict[Name, Backend] = Field(default_factory=dict)


class Computes(Noun):
    """The compute nodes of a cell: how many, or which."""

    count: Annotated[int, Field(ge=0, le=10_000)] = 0
    hosts: list[HostName] = Field(default_factory=list, description="as Nova names them; they count themselves")

    @model_validator(mode="before")
    @classmethod
    def _count_alone(cls, value: Any) -> Any:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @property
    def expected(self) -> int:
        return len(self.hosts) or self.count


class Cell(Noun):
    """A cell of Nova: what it keeps its state in, and where it is. Backends with this `cell` are its controller."""

    name: Name
    database: str = Field(description="which of `databases` it uses; by default its schema is `nova_NAME`")
    messaging: str = Field(description="which of `messaging` it uses")
    zone: str | None = None
    enabled: bool = Field(True, description="false: no new servers are sent to it")
    computes: Computes = Field(default_factory=Computes, description="how many: `200`; or which: `{hosts: […]}`")


class Charts(Noun):
    """The chart repository that this cloud's charts come from and go to."""

    repository: RepositoryUrl | None = Field(
        None, description="https://…, http://…, oci://… or, without TLS, oci+http://…"
    )
    secrets: TreePath | None = Field(
        None,
        description="secret file with `username` and `password`, or a `token`, that backends' charts are read with",
    )
    ca: TreePath | None = Field(None, description="PEM file of the authority of the repository's certificate")


class Control(Noun):
    """Where lease, journal, holds and audit live."""

    at: Literal["local", "edge", "cluster"] = "local"


class Spec(Noun):
    """The control plane."""

    release: Release = Field("2026.2", description="OpenStack series of every backend that names no other")
    region: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = "RegionOne"
    zones: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]] = Field(
        default_factory=list
    )
    control: Control = Field(default_factory=Control)
    endpoints: Endpoints = Field(default_factory=Endpoints)
    trust: TreePath | None = Field(
        None, description="PEM file of the authorities that services and clients trust, in place of their machine's own"
    )
    edges: list[Edge] = Field(default_factory=list)
    databases: dict[Name, Database] = Field(default_factory=dict)
    caches: dict[Name, Cache] = Field(default_factory=dict)
    charts: Charts = Field(default_factory=Charts)
    hosts: list[Host] = Field(default_factory=list)
    services: dict[str, Service] = Field(default_factory=dict)
    messaging: dict[Name, Messaging] = Field(default_factory=dict)
    registries: dict[Name, Registry] = Field(default_factory=dict)
    storage: Later
    clusters: list[Cluster] = Field(default_factory=list)
    cells: list[Cell] = Field(default_factory=list)
    include: Later


class Metadata(Noun):
    """The cloud's name."""

    name: Name


class Cloud(Noun):
    """One control plane in one region."""

    api_version: Literal["planeshift/v1"] = Field(alias="apiVersion")
    kind: Literal["Cloud"]
    metadata: Metadata
    spec: Spec
