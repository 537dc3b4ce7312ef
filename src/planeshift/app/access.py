"""How clients get in: clouds.yaml and its environment variables; and the proof that they can: verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import yaml

from planeshift.app.site import Site, runtime
from planeshift.catalog.spec import ServiceSpec
from planeshift.drivers import files
from planeshift.drivers.prober import Access, prove, why
from planeshift.engine.fleet import samples
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render import topology
from planeshift.render.desired import AUTHORITY


def client_environment(site: Site, world: World) -> dict[str, str]:
    """Keep a clouds.yaml for stock clients, 0600, and return the variables that point at it. No password is in them."""
    directory = runtime(site.path)
    path = directory / "clouds.yaml"
    files.private(directory)
    content = yaml.safe_dump({"clouds": {site.cloud.metadata.name: _cloud(site, world)}}, sort_keys=False).encode()
    if not path.is_file() or path.read_bytes() != content:
        files.write(path, content, 0o600)
    return {"OS_CLOUD": site.cloud.metadata.name, "OS_CLIENT_CONFIG_FILE": str(path)}


def _cloud(site: Site, world: World) -> dict[str, Any]:
    password = world.secret("keystone", "admin_password")
    if not password:
        path = world.desired.secrets["keystone"].path
        hint = "`planeshift up` makes one."
        raise PlaneshiftError(Problem("PS502", f"{path} holds no password of the administrator yet", hint=hint))
    return access(site).settings(password)


def access(site: Site) -> Access:
    """How clients get into a site's cloud."""
    ca = str(site.state / AUTHORITY) if topology.has_authority(site.cloud) else ""
    return Access(topology.identity_url(site.cloud), site.cloud.spec.region, ca)


@dataclass(frozen=True)
class Proof:
    """What came of a service's verification: the steps that were proved, and the cause where one was not."""

    service: str
    steps: tuple[str, ...]
    seconds: float
    problem: str = ""


def verify(site: Site, world: World, listen: Callable[[Proof], None]) -> None:
    """Do every service's real round trip through the edge, with openstacksdk.

    Raises PlaneshiftError (PS705) with each service that is not proved.
    """
    import openstack.connection  # noqa: F401 - once, before threads do

    settings = _cloud(site, world)
    problems = []
    with ThreadPoolExecutor(max_workers=4) as pool:
        futures = [pool.submit(_prove, spec, settings, samples(world, n)) for n, spec in world.desired.specs.items()]
        for future in as_completed(futures):
            proof = future.result()
            listen(proof)
            if proof.problem:
                hint = f"planeshift logs {proof.service}"
                problems.append(
                    Problem("PS705", f"{proof.service} is not proved", why=proof.problem, hint=f"Its logs: {hint}")
                )
    if problems:
        raise PlaneshiftError(problems)


def _prove(spec: ServiceSpec, settings: dict[str, Any], only: Collection[str]) -> Proof:
    began = time.monotonic()
    steps: list[str] = []
    problem = ""
    try:
        for step in prove(spec, settings, only):
            steps.append(step)
    except Exception as error:  # a client's library may raise anything; it is the verification's result
        problem = why(error)
    return Proof(spec.name, tuple(steps), time.monotonic() - began, problem)


def logs(world: World, service: str, lines: int) -> Iterator[tuple[str, list[str]]]:
    """The last lines of each unit of a service; `edge` is the edge's."""
    for host in world.hosts.values():
        units = {*host.units(world.control.key()), *world.desired.units}
        for unit in sorted(units):
            if unit.split("/")[1] == service or not service:
                yield unit, host.tail(unit, lines)
    for pods_id, pods in world.desired.pods.items():
        if service in ("", pods.pods.service):
            yield pods_id, world.cluster_of(pods_id).tail(pods_id, lines)
