"""Hosts that somebody else runs: what their configuration is, as far as we may look. Nothing is left there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from planeshift.app.site import Site
from planeshift.app.ssh import ssh_client
from planeshift.errors import PlaneshiftError
from planeshift.model import cloud as model
from planeshift.plan.observed import Foreign
from planeshift.render import topology
from planeshift.render.files import operator_files
from planeshift.render.sites import config_path

ETC = "/etc"  # where a host has a directory for each service


def look(site: Site, services: Collection[str]) -> Mapping[tuple[str, str], Foreign]:
    """By service and host, for these services' hosts that may be looked at; those that are reached by ssh all at once.

    Of a host by ssh, the files that the service has in the cloud's own tree are read, and no others: secrets stay there.
    """
    with ThreadPoolExecutor(16) as pool:
        looks = {place: pool.submit(_look, site, place[0], host) for place, host in _places(site, services)}
        return {place: found.result() for place, found in looks.items()}


def _places(site: Site, services: Collection[str]) -> Iterator[tuple[tuple[str, str], model.Host]]:
    hosts = topology.hosts(site.cloud)
    for service in topology.ours(site.cloud).keys() & services:
        for backend in site.cloud.spec.services[service].backends.values():
            for name in backend.hosts:
                if hosts[name].via == "external" and hosts[name].observe != "none":
                    yield (service, name), hosts[name]


def _look(site: Site, service: str, host: model.Host) -> Foreign:
    try:
        files = _by_ssh(site, service, host) if host.observe == "ssh" else _by_path(site, service, host)
    except PlaneshiftError as error:
        problem = error.problems[0]
        return Foreign(why=f"{problem.message}: {(problem.why.splitlines() or [''])[-1]}".rstrip(": "))
    return Foreign(files) if files else Foreign(why="none of the service's files were found there")


def _by_ssh(site: Site, service: str, host: model.Host) -> dict[str, bytes]:
    from planeshift.drivers.ssh.reading import read_files

    names = operator_files(site.tree, config_path(site.cloud, service))
    project = topology.ours(site.cloud)[service].layout.project
    return read_files(ssh_client(site, host), f"{ETC}/{project}", names)


def _by_path(site: Site, service: str, host: model.Host) -> dict[str, bytes]:
    root = site.root / (host.path or "") / service
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if host.path and p.is_file()}
