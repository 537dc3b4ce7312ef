"""Copying charts from repositories of others into one of ours, with a lock file of what was taken."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import yaml

from planeshift.charts import archive, versions
from planeshift.charts.metadata import Invalid
from planeshift.charts.remote import Offer, Remote, RemoteError, Say
from planeshift.errors import PlaneshiftError, Problem

_AT_ONCE = 4
_HEAD = "# What `planeshift chart mirror` took, and from where: the digest of each archive. Keep it in git.\n"


@dataclass(frozen=True, order=True)
class Locked:
    """A chart that was taken."""

    name: str
    version: str
    digest: str  # SHA-256 of the archive, hexadecimal
    source: str


class Lock:
    """The lock file's content. For several threads."""

    def __init__(self, found: Sequence[Locked] = ()) -> None:
        self._charts = {(c.source, c.name, c.version): c for c in found}
        self._mutex = threading.Lock()

    @classmethod
    def parse(cls, text: str, file: str) -> Lock:
        """Read a lock file. Raises PlaneshiftError (PS437)."""
        try:
            entries = (yaml.safe_load(text) or {})["charts"]
            found = [
                Locked(str(e["name"]), str(e["version"]), e["digest"].removeprefix("sha256:"), e["from"])
                for e in entries
            ]
        except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise PlaneshiftError(Problem("PS437", f"{file} is no lock file of charts", why=str(error)[:200])) from None
        return cls(found)

    def text(self) -> str:
        """The lock file, sorted."""
        with self._mutex:
            lines = [
                f'- {{name: {c.name}, version: "{c.version}", digest: sha256:{c.digest}, from: "{c.source}"}}\n'
                for c in sorted(self._charts.values())
            ]
        return _HEAD + ("charts:\n" + "".join(lines) if lines else "charts: []\n")

    def get(self, source: str, offer: Offer) -> Locked | None:
        """What was taken of an offer."""
        return self._charts.get((source, offer.name, offer.version))

    def add(self, taken: Locked) -> None:
        """Note what was taken."""
        with self._mutex:
            self._charts[taken.source, taken.name, taken.version] = taken

    def of(self, source: str) -> list[Locked]:
        """All that was taken from a repository."""
        return sorted(c for c in self._charts.values() if c.source == source)

    def pins(self) -> frozenset[tuple[str, str]]:
        """Every name and version."""
        return frozenset((c.name, c.version) for c in self._charts.values())


@dataclass
class Report:
    """What a run did."""

    copied: list[Offer] = field(default_factory=list)
    present: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """What is to be copied: `wanted` names charts, with ranges; empty for all. `newest` versions of each; 0 for all."""

    source: Remote
    target: Remote
    wanted: Mapping[str, str]
    newest: int = 0
    frozen: bool = False  # exactly what the lock says


def mirror(job: Job, lock: Lock, save: Callable[[], None], say: Say) -> Report:
    """Copy what is not there yet. `save` is called after each chart, so that a run that is cut off is gone on with.

    Problems of single charts are reported, and the others copied; raises RemoteError where a repository cannot be used.
    """
    report = Report()
    offers = list(_offers(job, lock))
    there = {name: {o.version: o for o in job.target.versions(name)} for name in {o.name for o in offers}}
    mutex = threading.Lock()

    def one(offer: Offer) -> None:
        try:
            copied = _copy(job, offer, there[offer.name].get(offer.version), lock)
        except (RemoteError, Invalid) as error:
            with mutex:
                report.problems.append(Problem("PS431", f"{offer.name} {offer.version}: {error}"))
        except PlaneshiftError as error:
            with mutex:
                report.problems += error.problems
        else:
            with mutex:
                if copied:
                    report.copied.append(offer)
                    say(f"{offer.name} {offer.version}")
                else:
                    report.present += 1
                save()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, offers))
    return report


def _offers(job: Job, lock: Lock) -> Iterator[Offer]:
    """What is to be had, as it was asked for."""
    if job.frozen:
        for taken in lock.of(job.source.url):
            known = next((o for o in job.source.versions(taken.name) if o.version == taken.version), None)
            yield known or Offer(taken.name, taken.version)
        return
    for name in job.wanted or job.source.charts():
        span = versions.parse_range(job.wanted.get(name, ""))
        if span is None:
            raise PlaneshiftError(Problem("PS434", f"{job.wanted[name]!r} is neither a version nor a range"))
        found = [
            o
            for o in job.source.versions(name)
            if o.version == job.wanted.get(name) or ((v := versions.parse(o.version)) and span.holds(v))
        ]
        if name in job.wanted and not found:
            raise PlaneshiftError(Problem("PS434", f"{job.source.url} has no {name} {job.wanted[name]}".rstrip()))
        yield from found[: job.newest or None]


def _copy(job: Job, offer: Offer, known: Offer | None, lock: Lock) -> bool:
    """Copy a chart, if it is not there; whether it was copied."""
    locked, offered = lock.get(job.source.url, offer), job.source.digest(offer)
    expected = locked.digest if locked else offered
    if locked and offered and offered != locked.digest:
        raise _changed(job, offer, locked.digest, offered)
    if known is not None and expected and (present := job.target.digest(known)):
        if present != expected:
            hint = "It was put there by somebody else, or upstream changed it. Delete one, or give it another version."
            raise PlaneshiftError(
                Problem("PS436", f"{job.target.url} has {offer.name} {offer.version} with another content", hint=hint)
            )
        lock.add(Locked(offer.name, offer.version, expected, job.source.url))
        return False
    data = job.source.fetch(offer)
    digest = hashlib.sha256(data).hexdigest()
    if expected and digest != expected:
        raise _changed(job, offer, expected, digest)
    chart = archive.load(data)
    if (chart.name, chart.version) != (offer.name, offer.version):
        raise Invalid(f"the archive is {chart.name} {chart.version}")
    copied = True
    try:
        job.target.push(offer.name, offer.version, data, job.source.fetch_provenance(offer))
    except RemoteError as error:
        if not error.conflict or known is None:
            raise
        if hashlib.sha256(job.target.fetch(known)).hexdigest() != digest:
            raise
        copied = False
    lock.add(Locked(offer.name, offer.version, digest, job.source.url))
    return copied


def _changed(job: Job, offer: Offer, expected: str, found: str) -> PlaneshiftError:
    message = f"{offer.name} {offer.version} of {job.source.url} is not what it was"
    return PlaneshiftError(Problem("PS437", message, why=f"expected sha256:{expected}\nfound    sha256:{found}"))
