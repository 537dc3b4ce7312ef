"""One namespace of a cluster, and what there is in it of one cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, Secret, Service

from planeshift import catalog
from planeshift.drivers.kubernetes import api, objects, pods, rollout, spread
from planeshift.drivers.kubernetes.helm import Helm
from planeshift.drivers.kubernetes.jobs import Jobs
from planeshift.drivers.kubernetes.lease import ClusterLease
from planeshift.drivers.kubernetes.patience import again, patient
from planeshift.drivers.kubernetes.releases import Release, decode, newest
from planeshift.drivers.kubernetes.rollout import Rollout
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import PodsState
from planeshift.ports import Archive, Say
from planeshift.render.chart import chart
from planeshift.render.desired import ClusterView, DesiredPods
from planeshift.render.pods import chart_digest, release_values

_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class KubernetesCluster:
    """A declared cluster. `bringer` takes images to where its nodes find them; without one, nodes have them already.

    `hint` is what to do where the kubeconfig does not say how to reach it.
    """

    def __init__(
        self,
        name: str,
        cloud: str,
        kubeconfig: str,
        context: str,
        namespace: str,
        helm: Callable[[], str],
        bringer: Bringer | None,
        hint: str = "",
    ) -> None:
        self.name, self._cloud, self._bringer = name, cloud, bringer
        self._talk = Talk(name, kubeconfig, context, namespace, hint)
        self._find_helm, self._where = helm, (kubeconfig, context, namespace)
        self._jobs = Jobs(self._talk, cloud, lambda: self._helm)
        self._rollout = Rollout(self._talk)
        self.lease = ClusterLease(self._talk, cloud, self._make_namespace)

    @cached_property
    def _helm(self) -> Helm:
        return Helm(self._find_helm(), *self._where)

    # --- looking

    def view(self) -> ClusterView:
        try:
            with api.answering(self.name):
                nodes = list(self._talk.client.list(Node))
                there = list(self._talk.client.list(Pod))
                services = list(self._talk.client.list(Service))
        except PlaneshiftError as error:
            why = "; ".join(f"{p.message}: {p.why}" for p in error.problems)
            return ClusterView(problem=why, hint=error.problems[0].hint)
        counted: dict[str, dict[str, int]] = {}
        for pod in there:
            labels = pod.metadata.labels or {}
            serves = labels.get(pods.COMPONENT) not in pods.COMMANDS and pods.TAKES not in labels
            if serves and pods.ready(pod) and labels.get(pods.INSTANCE):
                of_release = counted.setdefault(labels[pods.INSTANCE], {})
                of_release[pod.spec.nodeName] = of_release.get(pod.spec.nodeName, 0) + 1
        carrying = {node for found in counted.values() for node in found}
        return ClusterView(
            nodes={n.metadata.name: a for n in nodes if (a := _address(n)) and _takes(n, carrying)},
            ready=counted,
            balancers={_release_of(s): a for s in services if _is_entry(s) and (a := _balancer(s))},
        )

    def pods(self, key: bytes) -> Mapping[str, PodsState]:
        with api.answering(self.name):
            found, nodes = {}, spread.seats(self._talk.client)
            for release in newest(self._releases()).values():
                found[f"{self.name}/{release.service}/{release.backend}"] = self._state(release, key, nodes)
            return found

    def _releases(self, name: str = "") -> list[Release]:
        labels: Any = {"owner": "helm", api.CLOUD: self._cloud} | ({"name": name} if name else {})
        return [
            r for s in self._talk.client.list(Secret, labels=labels) if (r := decode(s)) and r.service and r.backend
        ]

    def _state(self, release: Release, key: bytes, nodes: Mapping[str, spread.Seat]) -> PodsState:
        held = release.values
        config = self._talk.get(ConfigMap, release.config_map)
        secret = self._talk.get(Secret, release.secrets)
        running = self._rollout.workloads(release.name)
        there = pods.of(self._talk.client, release.name)
        lost = pods.lost_nodes(self._talk.client) if not all(map(pods.ready, there)) else set()
        return PodsState(
            files=objects.digests(config, secret, key),
            status=release.status,
            values=held,
            chart=release.chart_digest,
            chart_name=release.chart_name,
            wanted=sum(int(w.spec.replicas or 0) for w in running) if running else 1,
            ready=sum(map(rollout.ready, running)),
            drift=tuple(rollout.drift(running, release.manifest)),
            uneven="; ".join(dict.fromkeys(filter(None, (spread.uneven(w, there, nodes) for w in running)))),
            problem="; ".join(dict.fromkeys(filter(None, (pods.reason(p, lost) for p in there if not pods.ready(p))))),
        )

    def tail(self, unit: str, lines: int) -> list[str]:
        with api.answering(self.name):
            found = pods.of(self._talk.client, "-".join(unit.split("/")[1:]))
            return [
                f"{p.metadata.name}: {line}"
                for p in found
                for line in pods.tail(self._talk.client, p.metadata.name, lines)
            ]

    # --- images

    def has(self, image: str) -> bool:
        return self._bringer is not None and self._bringer.has(image)

    def bring(self, image: str, archive: Archive, say: Say) -> None:
        if self._bringer is None:
            raise PlaneshiftError(Problem("PS716", f"nobody brings images to {self.name}"))
        self._bringer.bring(image, archive, say)

    # --- files

    def lay_out(self, desired: DesiredPods, key: bytes, say: Say) -> None:
        with api.answering(self.name), patient(say):
            self._make_namespace()
            for made in (objects.config_map(self._cloud, desired, key), objects.secret(self._cloud, desired, key)):
                self._put(made)

    def _make_namespace(self) -> None:
        if self._talk.get(Namespace, self._talk.namespace) is None:
            self._talk.create(Namespace(metadata=ObjectMeta(name=self._talk.namespace, labels=_RESTRICTED)))

    def _put(self, wanted: Any) -> None:
        """Make an object that is named by its content, unless it is there; one that was tampered with is made anew."""
        there = self._talk.get(type(wanted), wanted.metadata.name)
        same = there and (there.data or {}) == (wanted.data or {}) and there.immutable
        if same and (there.metadata.annotations or {}).items() >= wanted.metadata.annotations.items():
            return
        if there:
            self._talk.client.delete(type(wanted), wanted.metadata.name)
        self._talk.create(wanted)

    def _forget(self, kept: set[str], labels: Mapping[str, str]) -> None:
        """Remove files that no revision needs any more."""
        for kind in (ConfigMap, Secret):
            for there in self._talk.client.list(kind, labels=dict(labels)):
                name = str(there.metadata.name)
                if name not in kept and not name.startswith("sh.helm."):
                    self._talk.delete(kind, name)

    # --- commands

    def settle(self, say: Say) -> None:
        self._jobs.settle(say)

    def run(
        self, desired: DesiredPods, key: bytes, argv: Sequence[str], environment: Mapping[str, str], say: Say
    ) -> None:
        self._jobs.run(desired, key, argv, environment, say)

    # --- releases

    def release(self, desired: DesiredPods, key: bytes, say: Say) -> None:
        name = desired.pods.name
        with api.answering(self.name), patient(say):
            broken = self._rollout.broken(name)
            # Helm gives up where the API goes, and leaves a revision that is pending.
            again(lambda: self._upgrade(desired, key, say), say)
            self._rollout.begin_anew(broken, say)
            self._rollout.wait(name, say)
            self._rollout.spread(name, say)
            kept = {n for revision in self._releases(name) for n in revision.objects}
            self._forget(kept, objects.labels(self._cloud, desired))

    def _upgrade(self, desired: DesiredPods, key: bytes, say: Say) -> None:
        """Make the release what it should be, where it is not."""
        name, spec = desired.pods.name, catalog.service(desired.pods.service)
        self._mend(name, say)
        now = newest(self._releases(name)).get(name)
        wanted = (release_values(desired, key), chart_digest(desired))
        right = now and (now.values, now.chart_digest) == wanted
        drift = tuple(rollout.drift(self._rollout.workloads(name), now.manifest)) if now else ()
        if not right or drift or (now and now.status != "deployed"):
            marks = objects.release_labels(self._cloud, desired, key)
            made_of = desired.chart.view.archive if desired.chart else chart(spec)
            self._helm.upgrade(name, made_of, wanted[0], marks)

    def _mend(self, name: str, say: Say) -> None:
        """Forget revisions that a killed client left as pending: Helm would refuse to go on (helm#7653).

        What such a revision has made already belongs to the release, and is taken over by the next one.
        """
        for revision in self._releases(name):
            if revision.status.startswith("pending-"):
                say(f"revision {revision.revision} of {name} was left {revision.status} by a client that died")
                self._talk.delete(Secret, revision.secret)

    def remove(self, unit: str, say: Say) -> None:
        _, service, backend = unit.split("/")
        with api.answering(self.name), patient(say):
            for revision in self._releases(f"{service}-{backend}"):
                if revision.status.startswith("pending-"):
                    self._talk.delete(Secret, revision.secret)
            again(lambda: self._helm.uninstall(f"{service}-{backend}"), say)
            labels = {api.CLOUD: self._cloud, api.SERVICE: service, api.BACKEND: backend}
            self._jobs.remove(labels)
            self._forget(set(), labels)


class Bringer(Protocol):
    """How images reach a cluster's nodes."""

    def has(self, image: str) -> bool:
        """Whether its nodes can start the image."""

    def bring(self, image: str, archive: Archive, say: Say) -> None:
        """Bring it."""


def _address(node: Any) -> str:
    addresses = (node.status and node.status.addresses) or []
    return next((str(a.address) for a in addresses if a.type == "InternalIP"), "")


def _takes(node: Any, carrying: set[str]) -> bool:
    """Whether pods can come to a node, or are there: one that is cordoned serves on."""
    return node.metadata.name in carrying or not pods.closed(node)


def _release_of(service: Any) -> str:
    """The Helm release that a Service belongs to; by convention it has its name."""
    return str((service.metadata.labels or {}).get(pods.INSTANCE) or service.metadata.name)


def _is_entry(service: Any) -> bool:
    """Whether a Service leads to what the edge sends requests to."""
    return pods.TAKES not in (service.metadata.labels or {})


def _balancer(service: Any) -> str:
    ingress = (service.status and service.status.loadBalancer and service.status.loadBalancer.ingress) or []
    return next((str(i.ip or i.hostname) for i in ingress if i.ip or i.hostname), "")
