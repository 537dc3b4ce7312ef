"""Commands of a service, run in the cluster as Jobs, with the service's own files."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, Secret
from lightkube.types import CascadeType

from planeshift import catalog
from planeshift.drivers.kubernetes import api, objects, pods
from planeshift.drivers.kubernetes.helm import Helm
from planeshift.drivers.kubernetes.patience import patient
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.drivers.kubernetes.watching import news
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.render.chart import PROGRAMS, chart
from planeshift.render.desired import DesiredPods
from planeshift.render.pods import own_values

COMMAND_SECONDS = 3600
_ENVIRONMENT = "planeshift.dev/environment-of"


class Jobs:
    """Runs one command at a time."""

    def __init__(self, talk: Talk, cloud: str, helm: Callable[[], Helm]) -> None:
        self._talk, self._cloud, self._helm = talk, cloud, helm

    def settle(self, say: Say) -> None:
        """Wait for jobs that an interrupted run had begun, and remove the variables that it left."""
        began = time.monotonic()
        while True:
            with api.answering(self._talk.name):
                jobs = [j for j in self._talk.client.list(Job, labels={api.CLOUD: self._cloud}) if not ended(j)]
            if not jobs or time.monotonic() - began > COMMAND_SECONDS:
                break
            say(f"waiting for the job {jobs[0].metadata.name}, which an interrupted run had begun")
            time.sleep(1)
        with api.answering(self._talk.name):
            for left in self._talk.client.list(Secret, labels={api.CLOUD: self._cloud, _ENVIRONMENT: None}):
                self._talk.delete(Secret, left.metadata.name)

    def run(
        self, desired: DesiredPods, key: bytes, argv: Sequence[str], environment: Mapping[str, str], say: Say
    ) -> None:
        """Run a command to its end. Raises PlaneshiftError (PS717) with its last lines where it fails."""
        release, suffix = desired.pods.name, secrets.token_hex(3)
        name = f"{release}-{argv[0]}-{suffix}"[:63]
        job = {"name": name, "argv": [f"{PROGRAMS}/bin/{argv[0]}", *argv[1:]], "deadline": COMMAND_SECONDS}
        if environment:
            job["environmentFrom"] = name
        values = own_values(desired, key) | {"job": job}
        text = self._helm().template(release, chart(catalog.service(desired.pods.service)), values, "job.yaml")
        body = next(filter(None, yaml.safe_load_all(text)))
        body["metadata"]["labels"] |= objects.labels(self._cloud, desired)
        with api.answering(self._talk.name), patient(say):
            if environment:
                marks = {api.CLOUD: self._cloud, _ENVIRONMENT: "command"}
                self._talk.create(Secret(metadata=ObjectMeta(name=name, labels=marks), stringData=dict(environment)))
            try:
                self._talk.create(Job.from_dict(body))
                self._follow(name, " ".join(argv), say)
            finally:
                if environment:
                    self._talk.delete(Secret, name)

    def _follow(self, name: str, what: str, say: Say) -> None:
        """Wait for a job's end; its last lines are the reason where it fails."""
        began, told, lines = time.monotonic(), 0.0, list[str]()
        kinds = {Job: {"fields": {"metadata.name": name}}, Pod: {"labels": {"job-name": name}}}
        with news(self._talk, kinds) as wait:
            while (job := self._talk.get(Job, name)) is not None and not ended(job):
                there = list(self._talk.client.list(Pod, labels={"job-name": name}))
                stuck = next(filter(pods.hopeless, there), None)
                if stuck:
                    self._talk.delete(Job, name, cascade=CascadeType.BACKGROUND)
                    raise PlaneshiftError(
                        Problem("PS717", f"{what} cannot run in {self._talk.name}", why=pods.reason(stuck))
                    )
                waited = time.monotonic() - began
                if waited - told > 5:
                    told = waited
                    lines = self._lines(there) or lines
                    reasons = [pods.reason(p) for p in there if pods.reason(p)]
                    say(f"waiting for {what} since {waited:.0f} s; {(reasons or lines[-1:] or ['no word yet'])[0]}")
                wait(3)
        succeeded = job is not None and bool(job.status and job.status.succeeded)
        # Of one that took too long the cluster removes the pod, with its log.
        lines = self._lines(self._talk.client.list(Pod, labels={"job-name": name})) or lines
        if not succeeded:
            why = "\n".join([*lines, *_failure(job)]) or "it left no line"
            raise PlaneshiftError(Problem("PS717", f"{what} failed in {self._talk.name} (job {name})", why=why))
        for line in lines[-3:]:
            say(line)
        self._talk.delete(Job, name, cascade=CascadeType.BACKGROUND)  # one that failed stays, to be looked at

    def _lines(self, there: Iterable[Any]) -> list[str]:
        return [line for p in there for line in pods.tail(self._talk.client, p.metadata.name, 15)]

    def remove(self, labels: Mapping[str, str]) -> None:
        """Remove the jobs that failed and were left to be looked at."""
        for job in self._talk.client.list(Job, labels=dict(labels)):
            self._talk.delete(Job, job.metadata.name, cascade=CascadeType.BACKGROUND)


def _failure(job: Any) -> list[str]:
    """Why the cluster says that a job failed, where that is not for its command's own exit code."""
    conditions = (job and job.status and job.status.conditions) or []
    failed = next((c for c in conditions if c.type == "Failed" and c.status == "True"), None)
    return [f"{failed.reason}: {failed.message}"] if failed and failed.reason != "BackoffLimitExceeded" else []


def ended(job: Any) -> bool:
    """Whether a job is over."""
    return any(
        c.type in ("Complete", "Failed") and c.status == "True" for c in (job.status and job.status.conditions) or []
    )
