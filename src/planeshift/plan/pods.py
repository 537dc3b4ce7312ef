"""Pods in clusters: Helm releases made, changed, waited for and removed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift.errors import Problem
from planeshift.plan.draft import EDGE_CHANGES, Draft, programs_id
from planeshift.plan.observed import PodsState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import Desired, DesiredPods
from planeshift.render.pods import release_digest

DEPLOYED = "deployed"


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
        summary = _summary(draft, pods_id, pods, state)
        if not summary:
            continue
        service = pods.pods.service
        needs = {f"{Kind.LAY_OUT}:{pods_id}", programs_id(pods), f"{Kind.MAKE_SECRETS}:{service}"}
        needs |= draft.planned(f"{Kind.MIGRATE}:{service}:", f"{Kind.BOOTSTRAP}:{service}")
        mark = Mark.CHANGE if state.status else Mark.ADD
        yield draft.operation(
            Kind.RELEASE, pods_id, mark, f"release    {pods_id}: {summary}", frozenset(needs), service
        )


def _summary(draft: Draft, pods_id: str, pods: DesiredPods, state: PodsState) -> str:
    """What is to be done to a release; empty where it is as it should be."""
    wanted = pods.values.get("replicas") or state.wanted
    if not state.status:
        return f"install {pods.pods.name}, {wanted or 'some'} pod{'s' * (wanted != 1)}"
    if draft.changes_files(pods_id):
        return "upgrade, its pods one after the other"
    if state.status != DEPLOYED:
        return f"mend: the last client left it {state.status}"
    if state.digest != release_digest(pods, draft.key):
        return "upgrade, its pods one after the other"
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
