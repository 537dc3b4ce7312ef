"""What `capacity` learns from a running cloud."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift import catalog
from planeshift.app.site import Site, host_paths
from planeshift.catalog.spec import Use
from planeshift.drivers.local.usage import Usage, usage
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render import topology


def measured(site: Site) -> dict[tuple[str, str], Use]:
    """What this machine's processes of the cloud use: (service, component) → use.

    How busy a worker can be is the catalogue's word, since a running cloud shows only how busy it is. Raises
    PlaneshiftError (PS227) where nothing of the cloud runs here.
    """
    found: dict[tuple[str, str], list[Usage]] = {}
    for one in _running(site):
        found.setdefault((one.unit.split("/")[1], one.program), []).append(one)
    if not found:
        hint = "`planeshift up` starts it; without --measured the catalogue's figures are used."
        raise PlaneshiftError(Problem("PS227", "nothing of this cloud runs on this machine", hint=hint))
    return {key: _use(*key, many) for key, many in found.items() if key[0] in topology.ours(site.cloud)}


def _running(site: Site) -> Iterator[Usage]:
    local = {h.name for h in site.cloud.spec.hosts if h.via == "local"}
    for runtime in dict.fromkeys(paths.runtime for name, paths in host_paths(site).items() if name in local):
        yield from usage(runtime)


def _use(service: str, component: str, many: list[Usage]) -> Use:
    known = next((c.use for c in catalog.service(service).components if c.name == component), None)
    cores = sum(u.cores for u in many) / len(many)
    return Use(
        base=max(u.parent for u in many),
        worker=max(u.worker for u in many),
        busy=known.busy if known else 1.0,
        measured=f"now on this machine: PSS of {len(many)} running, {cores:.3f} cores each on average",
    )
