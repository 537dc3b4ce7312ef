"""The cloud file's shape: one class per noun, defaults included. Pure.

Keys are those of the file (`allow-options` is `allow_options` here). What a key means is its description, from which
the reference page is made. A key marked `Later` belongs to the shape but is refused by name until it works.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

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


TreePath = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\\]{1,200}$"), AfterValidator(_inside)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$")]
RepositoryUrl = Annotated[str, StringConstraints(pattern=r"^(https?|oci)://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?$")]
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


class Edge(Noun):
    """A load balancer in front of the services."""

    name: Name
    mode: Literal["managed", "driven"] = Field("managed", description="managed: run by us; driven: weights only")
    host: Name | None = Field(None, description="the host that it runs on; default: the first `via: local` host")
    address: Address = Field("127.0.0.1", description="address that it listens on")
    statistics: Statistics = Field(default_factory=Statistics)
    socket: Later


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
    manage: Literal[False] = Field(False, description="true, where we run the server ourselves, is not yet supported")


class Cache(Noun):
    """A shared memcached."""

    engine: Literal["memcached"] = "memcached"
    hosts: list[Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*:[0-9]{1,5}$")]] = Field(
        min_length=1, description="address:port of each server"
    )
    manage: Literal[False] = False


class Host(Noun):
    """A machine that runs services as processes."""

    name: HostName
    via: Literal["local", "external", "ssh", "lab"] = "local"
    zone: str | None = None
    address: Address = Field("127.0.0.1", description="where its services are reached")
    supervisor: Literal["supervisord", "systemd"] = Field("supervisord", description="what looks after its processes")
    observe: Literal["none", "path", "ssh"] = Field("none", description="external hosts: how we may look at them")
    lab: TreePath | None = Field(None, description="`via: lab`: the lab file that declares it")
    path: TreePath | None = Field(None, description="`observe: path`: where its configuration can be read")


class Cluster(Noun):
    """A Kubernetes cluster."""

    name: Name
    context: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,253}$")] | None = Field(
        None, description="of the kubeconfig; default: its current one"
    )
    kubeconfig: TreePath | None = Field(None, description="default: KUBECONFIG, else the user's own")
    lab: TreePath | None = Field(None, description="a lab file: the cluster is the one that `planeshift lab` runs")
    namespace: Name = "openstack"
    expose: Literal["nodeport", "loadbalancer"] = Field("nodeport", description="how the edge reaches pods")
    registry: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:-]*(/[a-z0-9._-]+)*$")] | None = Field(
        None, description="host[:port]/prefix that images are pushed to and pulled from"
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
    port: Port | None = Field(None, description="port on the backend's hosts")
    move: Literal["weight", "consumers", "singleton"] | None = Field(None, description="default: the catalog's")
    replicas: Later


class Autoscale(Noun):
    """Replicas by use of processors, between two bounds."""

    min: Annotated[int, Field(ge=1, le=1000)] = 2
    max: Annotated[int, Field(ge=1, le=1000)] = 6
    cpu: Annotated[int, Field(ge=1, le=100)] = Field(80, description="percent of the request that is aimed at")


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
    chart: Later
    cell: Later


class Service(Noun):
    """An OpenStack service, named by its key: keystone, glance, placement, barbican."""

    endpoint: Url | None = Field(None, description="somebody else runs it, here: it is used and never run")
    config: TreePath | None = Field(None, description="directory of its oslo.config, policy and paste files")
    secrets: TreePath | None = Field(None, description="its secret file; default: secrets/NAME.yaml")
    database: dict[Literal["main"], str] = Field(default_factory=dict, description="which of `databases` it uses")
    cache: str | None = Field(None, description="which of `caches` it uses; default: the one that there is")
    release: Release | None = None
    port: Port | None = Field(None, description="port at the edge; default: the service's usual one")
    server: Literal["wsgi", "httpd"] = Field("wsgi", description="httpd: Apache in front, for its modules")
    extras: Extras = Field(default_factory=Extras)
    allow_options: list[str] = Field(
        default_factory=list, description="options that a local patch adds: section/option, or section/*"
    )
    components: dict[str, ComponentSettings] = Field(default_factory=dict)
    backends: dict[Name, Backend] = Field(default_factory=dict)


class Charts(Noun):
    """The chart repository that this cloud's charts come from and go to."""

    repository: RepositoryUrl | None = Field(
        None, description="https://…, http://… or oci://…, as `planeshift chart` takes it"
    )


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
    edges: list[Edge] = Field(default_factory=list)
    databases: dict[Name, Database] = Field(default_factory=dict)
    caches: dict[Name, Cache] = Field(default_factory=dict)
    charts: Charts = Field(default_factory=Charts)
    hosts: list[Host] = Field(default_factory=list)
    services: dict[str, Service] = Field(default_factory=dict)
    messaging: Later
    registries: Later
    storage: Later
    clusters: list[Cluster] = Field(default_factory=list)
    cells: Later
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
