"""Pods in clusters: Helm releases made, changed, waited for and removed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planeshift.errors import Problem
from planeshift.plan.draft import EDGE_CHANGES, Draft, programs_id
from planeshift.plan.observed import PodsState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.chart import chart_digest
from planeshift.render.desired import Desired, DesiredPods
from planeshift.render.pods import release_values

DEPLOYED = "deployed"
_APART = {
    "replicas",
    "autoscaling",
    "service",
    "ingress",
    "networkPolicy",
    "migrate",
    "cloud",
}  # not in a pod's template


def unseen(desired: Desired) -> list[Problem]:
    """Clusters that could not be looked at: without them nothing of theirs, nor the edge, can be planned."""
    return [
        Problem("PS711", f"the cluster {name} cannot be looked at", why=view.problem, hint="Nothing was changed.")
        for name, view in desired.views.items()
        if view.problem
    ]


def releases(draft: Draft) -> Iterator[Operation]:
    """Bring every Helm release to its values, and its pods up."""
    for pods_id, pods in draft.desired.pods.items():
        state = draft.observed.pods.get(pods_id, PodsState())
        changed = _changed(draft, pods, state) if state.status else []
        summary = _summary(draft, pods_id, pods, state, changed)
        if not summary:
            continue
        service = pods.pods.service
        needs = {f"{Kind.LAY_OUT}:{pods_id}", programs_id(pods), f"{Kind.MAKE_SECRETS}:{service}"}
        needs |= draft.planned(f"{Kind.MIGRATE}:{service}:", f"{Kind.BOOTSTRAP}:{service}")
        mark = Mark.CHANGE if state.status else Mark.ADD
        operation = draft.operation(
            Kind.RELEASE, pods_id, mark, f"release    {pods_id}: {summary}", frozenset(needs), service
        )
        yield replace(operation, detail=tuple(f"~ {name}" for name in changed))


def _changed(draft: Draft, pods: DesiredPods, state: PodsState) -> list[str]:
    """The values, and the chart, that a release is to have anew."""
    wanted = release_values(pods, draft.key)
    found = sorted(name for name in wanted.keys() | state.values.keys() if wanted.get(name) != state.values.get(name))
    return found + (["chart"] if state.chart != chart_digest(pods.pods.service) else [])


def _summary(draft: Draft, pods_id: str, pods: DesiredPods, state: PodsState, changed: list[str]) -> str:
    """What is to be done to a release; empty where it is as it should be."""
    wanted = pods.values.get("replicas") or state.wanted
    if not state.status:
        return f"install {pods.pods.name}, {wanted or 'some'} pod{'s' * (wanted != 1)}"
    if draft.changes_files(pods_id):
        return "upgrade, its pods in turn"
    if state.status != DEPLOYED:
        return f"mend: the last client left it {state.status}"
    if changed:
        return "upgrade, no pod restarts" if set(changed) <= _APART else "upgrade, its pods in turn"
    if state.drift:
        return f"back to its release: {'; '.join(state.drift)}"
    if state.ready < state.wanted:
        return f"wait for its pods, {state.ready} of {state.wanted} are ready"
    return ""


def leavers(draft: Draft) -> Iterator[Operation]:
    """Remove releases of this cloud that are no longer declared, after the edge has let go of them."""
    for pods_id in draft.observed.pods:
        if pods_id in draft.desired.pods:
            continue
        summary = f"release    {pods_id}: uninstall"
        edges = draft.planned(*EDGE_CHANGES)
        yield draft.operation(Kind.REMOVE, pods_id, Mark.REMOVE, summary, edges, pods_id.split("/")[1])
