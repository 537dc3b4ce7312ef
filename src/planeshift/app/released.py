"""Charts that releases are made of and that are not ours: had from the cloud's repository, once. Implements `ports.Charts`.

`charts.lock`, beside the cloud file and meant for git, has the digest of each that was released. By it an archive is
known again: those that were had lie in `.planeshift/charts`, so that a plan asks nobody, and a repository that is away
stands in nobody's way.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from planeshift.app import charts
from planeshift.app.site import Site
from planeshift.drivers import files
from planeshift.drivers.secretfiles import SecretFiles
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.desired import ChartSource, ChartView

if TYPE_CHECKING:
    from planeshift.charts.mirror import Lock
    from planeshift.charts.remote import Remote

LOCK = "charts.lock"


class RepositoryCharts:
    """The charts of one cloud file. Nobody is asked twice for one of them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._cache, self._lock = site.state / "charts", site.root / LOCK
        self._seen: dict[ChartSource, ChartView] = {}
        self._mutex = threading.Lock()

    def views(self, sources: Iterable[ChartSource]) -> Mapping[ChartSource, ChartView]:
        with self._mutex:
            for source in sources:
                if source not in self._seen:
                    self._seen[source] = self._view(source)
            return dict(self._seen)

    def record(self, source: ChartSource) -> None:
        from planeshift.charts.mirror import Locked

        view = self.views([source])[source]
        with self._mutex, self._alone():
            lock = self._read()
            if not view.archive or _recorded(lock, source):
                return
            lock.add(Locked(source.name, source.version, view.digest, source.repository))
            files.write(self._lock, lock.text().encode())

    # --- inside

    def _view(self, source: ChartSource) -> ChartView:
        recorded = ""
        try:
            recorded = _recorded(self._read(), source)
            kept = self._kept(recorded)
            if kept is not None:
                return ChartView(recorded, kept)
            archive = self._fetched(source)
            digest = hashlib.sha256(archive).hexdigest()
            if recorded not in ("", digest):
                why = f"{LOCK} has sha256:{recorded[:16]}…, {source.repository} serves sha256:{digest[:16]}…."
                hint = f"Find out why; to take it, remove its line from {LOCK}."
                problem = Problem("PS438", f"the chart {source} is not what it was", why=why, hint=hint)
                return ChartView(recorded, problems=(problem,))
            files.private(self._site.state)
            files.write(self._cache / f"{digest}.tgz", archive, 0o600)
            return ChartView(digest, archive)
        except PlaneshiftError as error:
            return ChartView(recorded, problems=error.problems)

    def _read(self) -> Lock:
        from planeshift.charts.mirror import Lock

        with files.failing(f"{LOCK} cannot be read"):
            return Lock.parse(self._lock.read_text("utf-8"), LOCK) if self._lock.is_file() else Lock()

    def _kept(self, digest: str) -> bytes | None:
        """The archive of a digest, if it was had before and is still itself."""
        path = self._cache / f"{digest}.tgz"
        if not digest or not path.is_file():
            return None
        with files.failing(f"{path} cannot be read"):
            content = path.read_bytes()
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def _fetched(self, source: ChartSource) -> bytes:
        """The archive from the repository: of the digest that its index states, and the chart that it is said to be."""
        from planeshift.charts import archive

        remote = self._remote(source.repository)
        offer = charts.pick(remote, source.name, source.version)
        with charts.telling():
            content = remote.fetch(offer)
            chart = archive.load(content)
        if (chart.name, chart.version) != (source.name, source.version):
            what = f"{source.repository} serves {chart.name} {chart.version} for {source}"
            raise PlaneshiftError(Problem("PS430", what))
        if offer.digest and hashlib.sha256(content).hexdigest() != offer.digest:
            raise PlaneshiftError(Problem("PS430", f"{source} is not of the digest that {source.repository} states"))
        return content

    def _remote(self, repository: str) -> Remote:
        from planeshift.charts.remote import Credentials, RemoteError, connect

        declared = self._site.cloud.spec.charts
        given = SecretFiles(self._site.root).read(declared.secrets) if declared.secrets else {}
        text = {name: value for name, value in given.items() if isinstance(value, str)}
        ca = str(self._site.root / declared.ca) if declared.ca else None
        credentials = Credentials(text.get("username", ""), text.get("password", ""), text.get("token", ""), ca)
        try:
            return connect(repository, credentials)
        except RemoteError as error:
            raise PlaneshiftError(Problem("PS431", str(error))) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time changes the lock file; the lock itself is replaced, so another file is held."""
        files.private(self._site.state)
        descriptor = os.open(self._site.state / "charts.writing", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _recorded(lock: Lock, source: ChartSource) -> str:
    """The digest that was recorded of a chart; empty where none was."""
    found = [c.digest for c in lock.of(source.repository) if (c.name, c.version) == (source.name, source.version)]
    return found[0] if found else ""
