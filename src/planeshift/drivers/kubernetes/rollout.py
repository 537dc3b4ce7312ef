"""A Deployment on its way: whether it is complete, what is not as it should be, and why its pods do not come up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Pod

from planeshift.drivers.kubernetes import pods
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.drivers.kubernetes.watching import news
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say

READY_SECONDS = 600
_REVISION, _TEMPLATE = "deployment.kubernetes.io/revision", "pod-template-hash"


class Rollout:
    """Waits for the pods of a release."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    def wait(self, name: str, say: Say) -> None:
        """Wait until all pods of the newest generation are ready. Raises (PS718) with the reason where they are not."""
        began, told = time.monotonic(), 0.0
        kinds = {Deployment: {"fields": {"metadata.name": name}}, Pod: {"labels": {pods.INSTANCE: name}}}
        with news(self._talk.connect(), kinds) as wait:
            while not complete(deployment := self._talk.get(Deployment, name)):
                there = self._newest(name, deployment)
                stuck = pods.hopeless(there)
                waited = time.monotonic() - began
                if stuck or waited > READY_SECONDS:
                    waiting = (p for p in there if not pods.ready(p))
                    raise self._not_ready(name, stuck or next(waiting, None))
                if waited - told > 3:
                    told = waited
                    self._tell(name, there, waited, say)
                wait(3)

    def _newest(self, name: str, deployment: Any) -> list[Any]:
        """The pods of the newest generation: what older ones wait for is no concern of theirs any more."""
        if deployment is None or not _observed(deployment):
            return []
        sets = self._talk.client.list(ReplicaSet, labels={pods.INSTANCE: name})
        revisions = {int((s.metadata.annotations or {}).get(_REVISION, 0)): s.metadata.labels for s in sets}
        if not revisions:
            return []
        template = revisions[max(revisions)].get(_TEMPLATE)
        return [p for p in pods.of(self._talk.client, name) if p.metadata.labels.get(_TEMPLATE) == template]

    def _tell(self, name: str, there: Sequence[Any], waited: float, say: Say) -> None:
        waiting = [p for p in there if not pods.ready(p) and not p.metadata.deletionTimestamp]
        reasons = "; ".join(dict.fromkeys(filter(None, map(pods.reason, waiting))))
        last = [line for p in waiting[:1] for line in pods.tail(self._talk.client, p.metadata.name, 1)]
        word = reasons or (last or ["starting"])[0]
        say(f"waiting for {name} since {waited:.0f} s, {len(waiting)} pods are not ready: {word}")

    def _not_ready(self, name: str, pod: Any) -> PlaneshiftError:
        if pod is None:
            return PlaneshiftError(Problem("PS718", f"the pods of {name} are not ready after {READY_SECONDS} s"))
        lines = [pods.reason(pod), *pods.tail(self._talk.client, pod.metadata.name, 15)]
        hint = f"kubectl -n {self._talk.namespace} describe pod {pod.metadata.name}"
        return PlaneshiftError(
            Problem(
                "PS718", f"the pod {pod.metadata.name} does not come up", why="\n".join(filter(None, lines)), hint=hint
            )
        )


def complete(deployment: Any) -> bool:
    """As kubectl rollout status has it, and no pod of before counts."""
    if deployment is None:
        return False
    status, wanted = deployment.status, deployment.spec.replicas
    if not _observed(deployment):
        return False
    return (
        (status.updatedReplicas or 0) >= wanted
        and ready(deployment) >= wanted
        and (status.replicas or 0) == (status.updatedReplicas or 0)
    )


def ready(deployment: Any) -> int:
    """How many of its newest pods take requests."""
    if deployment is None or not _observed(deployment):
        return 0
    return min(deployment.status.updatedReplicas or 0, deployment.status.availableReplicas or 0)


def drift(deployment: Any, values: Mapping[str, Any]) -> list[str]:
    """What in the cluster is not as the release's values have it, for people to read."""
    if deployment is None:
        return ["its Deployment is gone"]
    found = []
    wanted = values.get("replicas")
    if wanted is not None and deployment.spec.replicas != wanted:
        found.append(f"{deployment.spec.replicas} pods instead of {wanted}")
    image = deployment.spec.template.spec.containers[0].image
    if values.get("image") and image != values["image"]:
        found.append(f"image {image} instead of {values['image']}")
    return found


def _observed(deployment: Any) -> bool:
    """Whether its status is that of its newest generation."""
    return bool(deployment.status and (deployment.status.observedGeneration or 0) >= deployment.metadata.generation)
