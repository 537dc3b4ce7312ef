"""A Lease of coordination.k8s.io, in the cloud's namespace: who changes what runs there. Implements `ports.Lease`."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from lightkube.core.exceptions import ApiError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from planeshift.drivers.kubernetes import api
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.ports import LeaseRecord

_MARK = "planeshift.dev/control"


class ClusterLease:
    """The lease of a cloud. `make_namespace` makes the namespace, where it is not there yet."""

    def __init__(self, talk: Talk, cloud: str, make_namespace: Callable[[], None]) -> None:
        self._talk, self._cloud, self._make_namespace = talk, cloud, make_namespace
        self._name = f"planeshift-{cloud}"

    def read(self) -> LeaseRecord | None:
        with api.answering(self._talk.name):
            there = self._talk.get(Lease, self._name)
        return _record(there) if there else None

    def write(self, wanted: LeaseRecord, seen: LeaseRecord | None) -> LeaseRecord | None:
        body = self._object(wanted, seen)
        with api.answering(self._talk.name):
            try:
                return _record(self._talk.client.replace(body) if seen else self._make(body))
            except ApiError as error:
                if not (api.exists(error) or api.missing(error)):
                    raise
        return None

    def _make(self, body: Lease) -> Any:
        try:
            return self._talk.client.create(body)
        except ApiError as error:
            if not api.missing(error):
                raise
        self._make_namespace()
        return self._talk.client.create(body)

    def _object(self, wanted: LeaseRecord, seen: LeaseRecord | None) -> Lease:
        metadata = ObjectMeta(
            name=self._name,
            labels={api.CLOUD: self._cloud},
            annotations={_MARK: wanted.mark},
            resourceVersion=seen.version if seen else None,  # as it was seen, or not at all
        )
        spec = LeaseSpec(
            holderIdentity=wanted.who or None, leaseDurationSeconds=wanted.valid, renewTime=_time(wanted.renewed)
        )
        return Lease(metadata=metadata, spec=spec)


def _record(there: Any) -> LeaseRecord:
    spec = there.spec or LeaseSpec()
    return LeaseRecord(
        who=str(spec.holderIdentity or ""),
        mark=str((there.metadata.annotations or {}).get(_MARK, "")),
        valid=int(spec.leaseDurationSeconds or 0),
        renewed=spec.renewTime.isoformat() if spec.renewTime else "",
        version=str(there.metadata.resourceVersion),
    )


def _time(text: str) -> datetime.datetime:
    """A MicroTime: the API takes no other number of digits than six, and they are left away where there is nothing."""
    time = datetime.datetime.fromisoformat(text)
    return time.replace(microsecond=max(time.microsecond, 1))
