"""Pods: whether they are ready, and why they are not."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import Node, Pod

COMPONENT, INSTANCE = "app.kubernetes.io/component", "app.kubernetes.io/instance"
# Label of what no edge sends anything: it takes messages, or requests at a port of its own.
TAKES = "planeshift.dev/takes"
# In place of a log whose container is gone: kubelet's words (pkg/kubelet/kuberuntime, `GetContainerLogs`), with status 200.
NO_LOG = "unable to retrieve container logs for "
COMMANDS = ("command", "migrate")  # components that end by themselves, see the chart's jobs
_HOPELESS = {
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
}


def ready(pod: Any) -> bool:
    """Whether a pod takes requests."""
    if pod.metadata.deletionTimestamp or not pod.status:
        return False
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])


def closed(node: Any) -> bool:
    """Whether a node takes no more pods: ours tolerate no taint."""
    taints = (node.spec and node.spec.taints) or []
    return any(t.effect in ("NoSchedule", "NoExecute") for t in taints) or bool(node.spec and node.spec.unschedulable)


def lost_nodes(client: Any) -> set[str]:
    """The nodes that the cluster no longer hears of."""
    unheard = {
        node.metadata.name
        for node in client.list(Node)
        for condition in (node.status and node.status.conditions) or []
        if condition.type == "Ready" and condition.status == "Unknown"
    }
    return {str(name) for name in unheard}


def reason(pod: Any, lost: Collection[str] = ()) -> str:
    """Why a pod is not ready, in the cluster's own words; empty where it says nothing yet. `lost` are lost nodes."""
    if pod.spec and pod.spec.nodeName in lost:
        return f"its node {pod.spec.nodeName} does not answer"
    for condition in (pod.status and pod.status.conditions) or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"no node takes it: {condition.message}"
    for state in _states(pod):
        if state.waiting and state.waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
            return f"{state.waiting.reason}: {state.waiting.message or ''}".strip(": ")
        if state.terminated and state.terminated.exitCode:
            return f"{state.terminated.reason}, exit code {state.terminated.exitCode}"
    return ""


def hopeless(pod: Any) -> bool:
    """Whether a pod will not come up by waiting. One that is going is nobody's hope any more."""
    statuses = (pod.status and pod.status.containerStatuses) or []
    return not pod.metadata.deletionTimestamp and any(map(_is_hopeless, statuses))


def _is_hopeless(status: Any) -> bool:
    waiting = status.state.waiting if status.state else None
    if not waiting or waiting.reason not in _HOPELESS:
        return False
    return waiting.reason != "CrashLoopBackOff" or bool(status.restartCount >= 3)


def _states(pod: Any) -> Iterator[Any]:
    for status in (pod.status and pod.status.containerStatuses) or []:
        if status.state:
            yield status.state


def tail(client: Any, name: str, lines: int) -> list[str]:
    """The last lines of a pod's log; none where there is no log, or none any longer."""
    with contextlib.suppress(ApiError):
        found = [line.rstrip("\n") for line in client.log(name, tail_lines=lines)]
        return [] if found and found[0].startswith(NO_LOG) else found
    return []


def of(client: Any, release: str) -> list[Any]:
    """The pods that serve for a release."""
    found = client.list(Pod, labels={INSTANCE: release})
    return [p for p in found if (p.metadata.labels or {}).get(COMPONENT) not in COMMANDS]
