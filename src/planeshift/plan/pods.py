"""Pods in clusters: Helm releases made, changed, waited for and removed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from planeshift.errors import Problem
from planeshift.plan import conductors
from planeshift.plan.draft import EDGE_CHANGES, Draft, programs_id
from planeshift.plan.observed import PodsState
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.plan.units import stores_ready
from planeshift.render.desired import Desired, DesiredPods
from planeshift.render.pods import beside, chart_digest, release_values

DEPLOYED = "deployed"
_APART = {
    "replicas",
    "autoscaling",
    "service",
    "ingress",
    "networkPolicy",
    "migrate",
    "cloud",
    "serve",
    "takers",
}  # not in a pod's template


def unseen(desired: Desired) -> list[Problem]:
    """Clusters that could not be looked at: without them nothing of theirs, nor the edge, can be planned."""
    same = "Nothing was changed."
    return [
        Problem("PS711", f"the cluster {name} cannot be looked at", why=view.problem, hint=view.hint or same)
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
        if pods.chart:
            draft.problems += pods.chart.view.problems
        draft.problems += _other_chart(pods_id, pods, state)
        service = pods.pods.service
        needs = {f"{Kind.LAY_OUT}:{pods_id}", programs_id(pods), f"{Kind.MAKE_SECRETS}:{service}"}
        needs |= stores_ready(draft, service, pods.pods.cell) | draft.planned(f"{Kind.BOOTSTRAP}:{service}")
        if state.status:
            needs |= conductors.first(draft, pods)
        mark = Mark.CHANGE if state.status else Mark.ADD
        operation = draft.operation(
            Kind.RELEASE, pods_id, mark, f"release    {pods_id}: {summary}", frozenset(needs), service
        )
        yield replace(operation, detail=tuple(f"~ {name}" for name in changed))


def _other_chart(pods_id: str, pods: DesiredPods, state: PodsState) -> Iterator[Problem]:
    """Helm makes an upgrade's new objects before it removes the old ones, which have the port, or the selectors."""
    wanted = pods.chart.source.name if pods.chart else pods.pods.service
    if state.status and state.chart_name not in ("", wanted):
        yield Problem(
            "PS229",
            f"{pods_id} is of the chart {state.chart_name}, and would become one of {wanted}",
            hint="Declare another backend beside it, move the weight to that, and remove the old one.",
        )


def _changed(draft: Draft, pods: DesiredPods, state: PodsState) -> list[str]:
    """The values, and the chart, that a release is to have anew."""
    wanted = release_values(pods, draft.key)
    found = sorted(name for name in wanted.keys() | state.values.keys() if wanted.get(name) != state.values.get(name))
    return found + (["chart"] if state.chart != chart_digest(pods) else [])


def _summary(draft: Draft, pods_id: str, pods: DesiredPods, state: PodsState, changed: list[str]) -> str:
    """What is to be done to a release; empty where it is as it should be."""
    wanted = _count(pods) or state.wanted
    if not state.status:
        chart = f" of the chart {pods.chart.source}" if pods.chart else ""
        return f"install {pods.pods.name}{chart}, {_shown(pods, wanted)}"
    if draft.changes_files(pods_id):
        return "upgrade, its pods in turn"
    if state.status != DEPLOYED:
        return f"mend: the last client left it {state.status}"
    if changed and pods.chart:
        return f"upgrade to the chart {pods.chart.source}" if "chart" in changed else f"upgrade {pods.chart.source}"
    if changed:
        apart = _APART | ({"others"} if _alike(release_values(pods, draft.key), state.values) else set())
        return "upgrade, no pod restarts" if set(changed) <= apart else "upgrade, its pods in turn"
    if state.drift:
        return f"back to its release: {'; '.join(state.drift)}"
    if state.ready < state.wanted:
        return f"wait for its pods, {state.ready} of {state.wanted} are ready"
    return f"spread again, its pods in turn: {state.uneven}" if state.uneven else ""


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the same programs run beside the first, each in the same pods, however many, and asked wherever."""
    outside = ("replicas", "service")
    wanted, found = (
        {name: {k: v for k, v in own.items() if k not in outside} for name, own in values.get("others", {}).items()}
        for values in (one, other)
    )
    return wanted == found


def _shown(pods: DesiredPods, count: int) -> str:
    """How many pods, for people; of those that take messages none may run by the weights."""
    known = str(count or ("no" if pods.pods.takers and not pods.chart else "some"))
    return f"{known} pod{'s' * (count != 1)}"


def _count(pods: DesiredPods) -> int:
    """How many pods a release asks for; 0 where the cluster chooses."""
    serving = int(pods.values.get("replicas", 0)) if pods.values.get("serve", True) else 0
    return serving + sum(beside(pods.values).values())


def leavers(draft: Draft) -> Iterator[Operation]:
    """Remove releases of this cloud that are no longer declared, after the edge has let go of them."""
    for pods_id in draft.observed.pods:
        if pods_id in draft.desired.pods:
            continue
        summary = f"release    {pods_id}: uninstall"
        edges = draft.planned(*EDGE_CHANGES)
        yield draft.operation(Kind.REMOVE, pods_id, Mark.REMOVE, summary, edges, pods_id.split("/")[1])
