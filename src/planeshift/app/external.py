"""Hosts that somebody else runs: what their configuration is, as far as we may look. Nothing is left there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from planeshift.app.compose import ssh_client
from planeshift.app.site import Site
from planeshift.drivers.ssh.reading import read_files
from planeshift.errors import PlaneshiftError
from planeshift.model import cloud as model
from planeshift.render import topology
from planeshift.render.desired import File
from planeshift.render.files import operator_files, operator_paths, shared_digest
from planeshift.render.sites import config_path

ETC = "/etc"  # where a host has a directory for each service


@dataclass(frozen=True)
class Config:
    """The digest of the operator's files on a host, empty where nobody can tell, and then why not."""

    digest: str = ""
    why: str = ""


def configs(site: Site) -> Mapping[tuple[str, str], Config]:
    """By service and host, for the hosts that may be looked at; those that are reached by ssh all at once.

    Of a host by ssh, the files that the service has in the cloud's own tree are read, and no others: secrets stay there.
    """
    with ThreadPoolExecutor(16) as pool:
        looks = {place: pool.submit(_config, site, place[0], host) for place, host in _places(site)}
        return {place: look.result() for place, look in looks.items()}


def _places(site: Site) -> Iterator[tuple[tuple[str, str], model.Host]]:
    hosts = topology.hosts(site.cloud)
    for service in topology.ours(site.cloud):
        for backend in site.cloud.spec.services[service].backends.values():
            for name in backend.hosts:
                if hosts[name].via == "external" and hosts[name].observe != "none":
                    yield (service, name), hosts[name]


def _config(site: Site, service: str, host: model.Host) -> Config:
    spec = topology.ours(site.cloud)[service]
    try:
        tree = _by_ssh(site, service, host) if host.observe == "ssh" else _by_path(site, service, host)
    except PlaneshiftError as error:
        problem = error.problems[0]
        return Config(why=f"{problem.message}: {(problem.why.splitlines() or [''])[-1]}".rstrip(": "))
    if not tree:
        return Config(why="none of the service's files were found there")
    laid = {path: File(content).digest(b"") for path, content in operator_paths(spec, tree).items()}
    return Config(shared_digest(spec, laid))


def _by_ssh(site: Site, service: str, host: model.Host) -> dict[str, bytes]:
    names = operator_files(site.tree, config_path(site.cloud, service))
    project = topology.ours(site.cloud)[service].layout.project
    return read_files(ssh_client(site, host), f"{ETC}/{project}", names)


def _by_path(site: Site, service: str, host: model.Host) -> dict[str, bytes]:
    root = site.root / (host.path or "") / service
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if host.path and p.is_file()}
