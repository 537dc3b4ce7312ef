"""A Deployment on its way: whether it is complete, what is not as it should be, and why its pods do not come up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml
from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Pod

from planeshift.drivers.kubernetes import pods
from planeshift.drivers.kubernetes.spread import seats, uneven
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.drivers.kubernetes.watching import news
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say

READY_SECONDS = 600
_RESTARTED = "kubectl.kubernetes.io/restartedAt"  # as `kubectl rollout restart` marks it
_REVISION, _TEMPLATE = "deployment.kubernetes.io/revision", "pod-template-hash"
_HASH = "controller-revision-hash"  # of a StatefulSet's pods
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Rollout:
    """Waits for the pods of a release."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    def wait(self, name: str, say: Say) -> None:
        """Wait until all pods of the newest generation are ready. Raises (PS718) with the reason where they are not."""
        began, told = time.monotonic(), 0.0
        of_release: Any = {"labels": {pods.INSTANCE: name}}
        kinds = dict.fromkeys((Deployment, StatefulSet, Pod), of_release)
        with news(self._talk, kinds) as wait:
            while not complete(running := self.workloads(name)):
                there = self._newest(name, running)
                stuck = next(filter(pods.hopeless, there), None)
                waited = time.monotonic() - began
                if stuck or waited > READY_SECONDS:
                    waiting = (p for p in there if not pods.ready(p))
                    raise self._not_ready(name, stuck or next(waiting, None))
                if waited - told > 3:
                    told = waited
                    self._tell(name, there, waited, say)
                wait(3)

    def broken(self, name: str) -> list[Any]:
        """The pods of a release that will not come up by themselves, or not soon: the cluster waits longer each time."""
        there = [p for p in pods.of(self._talk.client, name) if not p.metadata.deletionTimestamp]
        lost = pods.lost_nodes(self._talk.client) if not all(map(pods.ready, there)) else set()
        return [p for p in there if not pods.ready(p) and (pods.hopeless(p) or p.spec.nodeName in lost)]

    def begin_anew(self, broken: Sequence[Any], say: Say) -> None:
        """Remove broken pods, so that they are made again at once, where a node takes them."""
        lost = pods.lost_nodes(self._talk.client) if broken else set()
        for pod in broken:
            say(f"{pod.metadata.name} is made anew: {pods.reason(pod, lost)}")
            self._talk.delete(Pod, pod.metadata.name)

    def spread(self, name: str, say: Say) -> None:
        """Make those pods anew, in turn, that lie together although a node is back, and wait for them."""
        there, nodes = pods.of(self._talk.client, name), seats(self._talk.client)
        lying = {w.metadata.name: (type(w), how) for w in self.workloads(name) if (how := uneven(w, there, nodes))}
        for workload, (kind, how) in lying.items():
            say(f"{workload} is spread again: {how}")
            marked = {"metadata": {"annotations": {_RESTARTED: datetime.now(UTC).isoformat(timespec="seconds")}}}
            self._talk.client.patch(kind, workload, {"spec": {"template": marked}})
        if lying:
            self.wait(name, say)

    def workloads(self, name: str) -> list[Any]:
        """The Deployments and StatefulSets of a release; each is one of the two kinds, by their common label."""
        kinds: tuple[Any, ...] = (Deployment, StatefulSet)
        return [w for kind in kinds for w in self._talk.client.list(kind, labels={pods.INSTANCE: name})]

    def _newest(self, name: str, running: Sequence[Any]) -> list[Any]:
        """The pods of the newest generation: what older ones wait for is no concern of theirs any more."""
        if not all(map(_observed, running)):
            return []
        newest: dict[str, tuple[int, str]] = {}  # Deployment → its newest revision, and what its pods are marked with
        for made in self._talk.client.list(ReplicaSet, labels={pods.INSTANCE: name}):
            owner = next((o.name for o in made.metadata.ownerReferences or []), "")
            revision = int((made.metadata.annotations or {}).get(_REVISION, 0))
            newest[owner] = max(newest.get(owner, (-1, "")), (revision, made.metadata.labels.get(_TEMPLATE, "")))
        marks = {mark for _, mark in newest.values()}
        marks |= {w.status.updateRevision for w in running if getattr(w.status, "updateRevision", None)}
        there = pods.of(self._talk.client, name)
        return [p for p in there if {p.metadata.labels.get(_TEMPLATE), p.metadata.labels.get(_HASH)} & marks]

    def _tell(self, name: str, there: Sequence[Any], waited: float, say: Say) -> None:
        waiting = [p for p in there if not pods.ready(p) and not p.metadata.deletionTimestamp]
        lost = pods.lost_nodes(self._talk.client) if waiting else set()
        reasons = "; ".join(dict.fromkeys(filter(None, (pods.reason(p, lost) for p in waiting))))
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


def complete(running: Sequence[Any]) -> bool:
    """As kubectl rollout status has it, and no pod of before counts."""
    return bool(running) and all(map(_complete, running))


def _complete(workload: Any) -> bool:
    status, wanted = workload.status, workload.spec.replicas
    if not _observed(workload):
        return False
    return (
        (status.updatedReplicas or 0) >= wanted
        and ready(workload) >= wanted
        and (status.replicas or 0) == (status.updatedReplicas or 0)
    )


def ready(workload: Any) -> int:
    """How many of its newest pods take requests."""
    if not _observed(workload):
        return 0
    return min(workload.status.updatedReplicas or 0, workload.status.availableReplicas or 0)


def drift(running: Sequence[Any], manifest: str) -> list[str]:
    """What in the cluster is not as a release's manifest has it, for people to read."""
    there = {(type(w).__name__, w.metadata.name): w.spec for w in running}
    found = []
    for kind, name, wanted in _released(manifest):
        spec = there.get((kind, name))
        if spec is None:
            found.append(f"its {kind} is gone")
            continue
        if wanted.get("replicas") not in (None, spec.replicas):
            found.append(f"{spec.replicas} pods instead of {wanted['replicas']}")
        images = {c["name"]: c.get("image") for c in wanted["template"]["spec"]["containers"]}
        for container in spec.template.spec.containers:
            if images.get(container.name) not in (None, container.image):
                found.append(f"image {container.image} instead of {images[container.name]}")
    return found


def _released(manifest: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The Deployments and StatefulSets of a manifest: kind, name and spec."""
    for text in manifest.split("\n---"):
        if not any(kind in text for kind in ("kind: Deployment", "kind: StatefulSet")):
            continue
        for body in yaml.load_all(text.removeprefix("---"), Loader=_LOADER):
            if isinstance(body, dict) and body.get("kind") in ("Deployment", "StatefulSet"):
                yield body["kind"], body["metadata"]["name"], body["spec"]


def _observed(workload: Any) -> bool:
    """Whether its status is that of its newest generation."""
    return bool(workload.status and (workload.status.observedGeneration or 0) >= workload.metadata.generation)
