"""One namespace of a cluster, and what there is in it of one cloud."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import yaml
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, Secret, Service
from lightkube.types import CascadeType

from planeshift import catalog
from planeshift.drivers.kubernetes import api, objects, pods
from planeshift.drivers.kubernetes.helm import Helm
from planeshift.drivers.kubernetes.releases import Release, decode, newest
from planeshift.drivers.kubernetes.watching import news
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import PodsState
from planeshift.ports import Say
from planeshift.render.chart import PROGRAMS, chart, chart_digest
from planeshift.render.desired import ClusterView, DesiredPods
from planeshift.render.pods import release_values

READY_SECONDS = 600
COMMAND_SECONDS = 3600
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_ENVIRONMENT = "planeshift.dev/environment-of"


class KubernetesCluster:
    """A declared cluster. `brings` and `looks` bring an image to where its nodes find it, and tell whether it is there."""

    def __init__(
        self,
        name: str,
        cloud: str,
        kubeconfig: str,
        context: str,
        namespace: str,
        helm: Callable[[], str],
        bringer: Bringer | None,
    ) -> None:
        self.name, self._cloud, self._namespace = name, cloud, namespace
        self._kubeconfig, self._context = kubeconfig, context
        self._find_helm, self._bringer = helm, bringer

    @cached_property
    def _client(self) -> Any:  # its objects have every field optional, and we ask the API for what must be there
        return self._connect()

    def _connect(self) -> Client:
        return api.connect(self.name, self._kubeconfig, self._context, self._namespace)

    @cached_property
    def _helm(self) -> Helm:
        return Helm(self._find_helm(), self._kubeconfig, self._context, self._namespace)

    # --- looking

    def view(self) -> ClusterView:
        try:
            with api.answering(self.name):
                nodes = list(self._client.list(Node))
                there = list(self._client.list(Pod))
                services = list(self._client.list(Service))
        except PlaneshiftError as error:
            return ClusterView(problem="; ".join(f"{p.message}: {p.why}" for p in error.problems))
        counted: dict[str, dict[str, int]] = {}
        for pod in there:
            labels = pod.metadata.labels or {}
            if pods.ready(pod) and labels.get(pods.COMPONENT) not in pods.COMMANDS and labels.get(pods.INSTANCE):
                of_release = counted.setdefault(labels[pods.INSTANCE], {})
                of_release[pod.spec.nodeName] = of_release.get(pod.spec.nodeName, 0) + 1
        carrying = {node for found in counted.values() for node in found}
        return ClusterView(
            nodes={n.metadata.name: a for n in nodes if (a := _address(n)) and _takes(n, carrying)},
            ready=counted,
            balancers={s.metadata.name: a for s in services if (a := _balancer(s))},
        )

    def pods(self, key: bytes) -> Mapping[str, PodsState]:
        with api.answering(self.name):
            found = {}
            for release in newest(self._releases()).values():
                found[f"{self.name}/{release.service}/{release.backend}"] = self._state(release, key)
            return found

    def _releases(self, name: str = "") -> list[Release]:
        labels: Any = {"owner": "helm", api.CLOUD: self._cloud} | ({"name": name} if name else {})
        return [r for s in self._client.list(Secret, labels=labels) if (r := decode(s)) and r.service and r.backend]

    def _state(self, release: Release, key: bytes) -> PodsState:
        held = release.values
        config = self._get(ConfigMap, str(held.get("existingConfig", {}).get("name", "")))
        secret = self._get(Secret, str(held.get("existingSecret", {}).get("name", "")))
        deployment = self._get(Deployment, release.name)
        there = pods.of(self._client, release.name)
        return PodsState(
            files=objects.digests(held, config, secret, key),
            status=release.status,
            values=held,
            chart=release.chart_digest,
            wanted=int(deployment.spec.replicas or 0) if deployment else int(held.get("replicas") or 1),
            ready=_ready(deployment),
            drift=tuple(_drift(deployment, held)),
            problem="; ".join(dict.fromkeys(filter(None, (pods.reason(p) for p in there if not pods.ready(p))))),
        )

    def _get(self, kind: Any, name: str) -> Any:
        if not name:
            return None
        try:
            return self._client.get(kind, name)
        except ApiError as error:
            if api.missing(error):
                return None
            raise

    def tail(self, unit: str, lines: int) -> list[str]:
        with api.answering(self.name):
            found = pods.of(self._client, "-".join(unit.split("/")[1:]))
            return [
                f"{p.metadata.name}: {line}" for p in found for line in pods.tail(self._client, p.metadata.name, lines)
            ]

    # --- images

    def has(self, image: str) -> bool:
        return self._bringer is not None and self._bringer.has(image)

    def bring(self, image: str, archive: str, say: Say) -> None:
        if self._bringer is None:
            raise PlaneshiftError(Problem("PS716", f"nobody brings images to {self.name}"))
        self._bringer.bring(image, archive, say)

    # --- files

    def lay_out(self, desired: DesiredPods, key: bytes) -> None:
        with api.answering(self.name):
            self._make_namespace()
            for made in (objects.config_map(self._cloud, desired, key), objects.secret(self._cloud, desired, key)):
                self._put(made)

    def _make_namespace(self) -> None:
        if self._get(Namespace, self._namespace) is None:
            self._create(Namespace(metadata=ObjectMeta(name=self._namespace, labels=_RESTRICTED)))

    def _put(self, wanted: Any) -> None:
        """Make an object that is named by its content, unless it is there; one that was tampered with is made anew."""
        there = self._get(type(wanted), wanted.metadata.name)
        if there and (there.data or {}) == (wanted.data or {}) and there.immutable:
            return
        if there:
            self._client.delete(type(wanted), wanted.metadata.name)
        self._create(wanted)

    def _create(self, wanted: Any) -> None:
        try:
            self._client.create(wanted)
        except ApiError as error:
            if not api.exists(error):
                raise

    def _forget(self, kept: set[str], labels: Mapping[str, str]) -> None:
        """Remove files that no revision needs any more."""
        for kind in (ConfigMap, Secret):
            for there in self._client.list(kind, labels=dict(labels)):
                name = str(there.metadata.name)
                if name not in kept and not name.startswith("sh.helm."):
                    self._delete(kind, name)

    def _delete(self, kind: Any, name: str, **how: Any) -> None:
        try:
            self._client.delete(kind, name, **how)
        except ApiError as error:
            if not api.missing(error):
                raise

    # --- commands

    def settle(self, say: Say) -> None:
        began = time.monotonic()
        while True:
            with api.answering(self.name):
                jobs = [j for j in self._client.list(Job, labels={api.CLOUD: self._cloud}) if not _ended(j)]
            if not jobs or time.monotonic() - began > COMMAND_SECONDS:
                break
            say(f"waiting for the job {jobs[0].metadata.name}, which an interrupted run had begun")
            time.sleep(1)
        with api.answering(self.name):
            for left in self._client.list(Secret, labels={api.CLOUD: self._cloud, _ENVIRONMENT: None}):
                self._delete(Secret, left.metadata.name)

    def run(
        self, desired: DesiredPods, key: bytes, argv: Sequence[str], environment: Mapping[str, str], say: Say
    ) -> None:
        release, suffix = desired.pods.name, secrets.token_hex(3)
        name = f"{release}-{argv[0]}-{suffix}"[:63]
        job = {"name": name, "argv": [f"{PROGRAMS}/bin/{argv[0]}", *argv[1:]], "deadline": COMMAND_SECONDS}
        if environment:
            job["environmentFrom"] = name
        values = release_values(desired, key) | {"job": job}
        text = self._helm.template(release, chart(catalog.service(desired.pods.service)), values, "job.yaml")
        body = next(filter(None, yaml.safe_load_all(text)))
        body["metadata"]["labels"] |= objects.labels(self._cloud, desired)
        with api.answering(self.name):
            if environment:
                marks = {api.CLOUD: self._cloud, _ENVIRONMENT: "command"}
                self._create(Secret(metadata=ObjectMeta(name=name, labels=marks), stringData=dict(environment)))
            try:
                self._client.create(Job.from_dict(body))
                self._follow(name, " ".join(argv), say)
            finally:
                if environment:
                    self._delete(Secret, name)

    def _follow(self, name: str, what: str, say: Say) -> None:
        """Wait for a job's end; its last lines are the reason where it fails."""
        began, told = time.monotonic(), 0.0
        kinds = {Job: {"fields": {"metadata.name": name}}, Pod: {"labels": {"job-name": name}}}
        with news(self._connect(), kinds) as wait:
            while (job := self._get(Job, name)) is not None and not _ended(job):
                there = list(self._client.list(Pod, labels={"job-name": name}))
                stuck = pods.hopeless(there)
                if stuck:
                    self._delete(Job, name, cascade=CascadeType.BACKGROUND)
                    raise PlaneshiftError(Problem("PS717", f"{what} cannot run in {self.name}", why=pods.reason(stuck)))
                waited = time.monotonic() - began
                if waited - told > 5:
                    told = waited
                    last = [line for p in there for line in pods.tail(self._client, p.metadata.name, 1)]
                    reasons = [pods.reason(p) for p in there if pods.reason(p)]
                    say(f"waiting for {what} since {waited:.0f} s; {(reasons or last or ['no word yet'])[0]}")
                wait(3)
        succeeded = job is not None and bool(job.status and job.status.succeeded)
        lines = [
            line
            for p in self._client.list(Pod, labels={"job-name": name})
            for line in pods.tail(self._client, p.metadata.name, 15)
        ]
        if not succeeded:
            why = "\n".join(lines) or "it left no line"
            raise PlaneshiftError(Problem("PS717", f"{what} failed in {self.name} (job {name})", why=why))
        for line in lines[-3:]:
            say(line)
        self._delete(Job, name, cascade=CascadeType.BACKGROUND)  # one that failed stays, to be looked at

    # --- releases

    def release(self, desired: DesiredPods, key: bytes, say: Say) -> None:
        name, spec = desired.pods.name, catalog.service(desired.pods.service)
        with api.answering(self.name):
            self._mend(name, say)
            now = newest(self._releases(name)).get(name)
            wanted = (release_values(desired, key), chart_digest(desired.pods.service))
            right = now and (now.values, now.chart_digest) == wanted
            drift = tuple(_drift(self._get(Deployment, name), now.values)) if now else ()
            if not right or drift or (now and now.status != "deployed"):
                marks = objects.labels(self._cloud, desired)
                self._helm.upgrade(name, chart(spec), wanted[0], marks)
            self._wait(name, say)
            kept = {n for revision in self._releases(name) for n in revision.objects}
            self._forget(kept, objects.labels(self._cloud, desired))

    def _mend(self, name: str, say: Say) -> None:
        """Forget revisions that a killed client left as pending: Helm would refuse to go on (helm#7653).

        What such a revision has made already belongs to the release, and is taken over by the next one.
        """
        for revision in self._releases(name):
            if revision.status.startswith("pending-"):
                say(f"revision {revision.revision} of {name} was left {revision.status} by a client that died")
                self._delete(Secret, revision.secret)

    def _wait(self, name: str, say: Say) -> None:
        """Wait until all pods of the newest generation are ready. Raises (PS718) with the reason where they are not."""
        began, told = time.monotonic(), 0.0
        kinds = {Deployment: {"fields": {"metadata.name": name}}, Pod: {"labels": {pods.INSTANCE: name}}}
        with news(self._connect(), kinds) as wait:
            while not _complete(self._get(Deployment, name)):
                there = pods.of(self._client, name)
                stuck = pods.hopeless(there)
                waited = time.monotonic() - began
                if stuck or waited > READY_SECONDS:
                    waiting = (p for p in there if not pods.ready(p))
                    raise self._not_ready(name, stuck or next(waiting, None))
                if waited - told > 3:
                    told = waited
                    self._tell(name, there, waited, say)
                wait(3)

    def _tell(self, name: str, there: Sequence[Any], waited: float, say: Say) -> None:
        waiting = [p for p in there if not pods.ready(p) and not p.metadata.deletionTimestamp]
        reasons = "; ".join(dict.fromkeys(filter(None, map(pods.reason, waiting))))
        last = [line for p in waiting[:1] for line in pods.tail(self._client, p.metadata.name, 1)]
        word = reasons or (last or ["starting"])[0]
        say(f"waiting for {name} since {waited:.0f} s, {len(waiting)} pods are not ready: {word}")

    def _not_ready(self, name: str, pod: Any) -> PlaneshiftError:
        if pod is None:
            return PlaneshiftError(Problem("PS718", f"the pods of {name} are not ready after {READY_SECONDS} s"))
        lines = [pods.reason(pod), *pods.tail(self._client, pod.metadata.name, 15)]
        hint = f"kubectl -n {self._namespace} describe pod {pod.metadata.name}"
        return PlaneshiftError(
            Problem(
                "PS718", f"the pod {pod.metadata.name} does not come up", why="\n".join(filter(None, lines)), hint=hint
            )
        )

    def remove(self, unit: str) -> None:
        _, service, backend = unit.split("/")
        with api.answering(self.name):
            for revision in self._releases(f"{service}-{backend}"):
                if revision.status.startswith("pending-"):
                    self._delete(Secret, revision.secret)
            self._helm.uninstall(f"{service}-{backend}")
            self._forget(set(), {api.CLOUD: self._cloud, api.SERVICE: service, api.BACKEND: backend})


class Bringer(Protocol):
    """How images reach a cluster's nodes."""

    def has(self, image: str) -> bool:
        """Whether its nodes can start the image."""

    def bring(self, image: str, archive: str, say: Say) -> None:
        """Bring it."""


def _address(node: Any) -> str:
    addresses = (node.status and node.status.addresses) or []
    return next((str(a.address) for a in addresses if a.type == "InternalIP"), "")


def _takes(node: Any, carrying: set[str]) -> bool:
    """Whether pods can come to a node, or are there: one that is cordoned serves on."""
    taints = (node.spec and node.spec.taints) or []
    closed = any(t.effect in ("NoSchedule", "NoExecute") for t in taints) or (node.spec and node.spec.unschedulable)
    return node.metadata.name in carrying or not closed


def _balancer(service: Any) -> str:
    ingress = (service.status and service.status.loadBalancer and service.status.loadBalancer.ingress) or []
    return next((str(i.ip or i.hostname) for i in ingress if i.ip or i.hostname), "")


def _complete(deployment: Any) -> bool:
    """As kubectl rollout status has it, and no pod of before counts."""
    if deployment is None:
        return False
    status, wanted = deployment.status, deployment.spec.replicas
    if status is None or (status.observedGeneration or 0) < deployment.metadata.generation:
        return False
    return (
        (status.updatedReplicas or 0) >= wanted
        and _ready(deployment) >= wanted
        and (status.replicas or 0) == (status.updatedReplicas or 0)
    )


def _ready(deployment: Any) -> int:
    if deployment is None or deployment.status is None:
        return 0
    if (deployment.status.observedGeneration or 0) < deployment.metadata.generation:
        return 0
    return min(deployment.status.updatedReplicas or 0, deployment.status.availableReplicas or 0)


def _drift(deployment: Any, values: Mapping[str, Any]) -> list[str]:
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


def _ended(job: Any) -> bool:
    return any(
        c.type in ("Complete", "Failed") and c.status == "True" for c in (job.status and job.status.conditions) or []
    )
