"""A chart repository: a store's folder, and the index of what is in it. For several threads, beside several servers.

The store is the truth. What this server writes goes to the store first and then, at once, to the index; what others
write is found by looking the store over (`look`), and when somebody asks for it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from planeshift.charts import archive, names, provenance
from planeshift.charts.archive import Chart
from planeshift.charts.index import Entry, Index, entry
from planeshift.charts.ledger import Ledger
from planeshift.charts.metadata import Invalid
from planeshift.charts.provenance import Statement
from planeshift.charts.store import Exists, Missing, Stat, Store

log = logging.getLogger("planeshift.charts")
Keyring = Callable[[], Sequence[object]]


class Conflict(Exception):
    """The version is there already, and was not to be replaced."""


class LimitReached(Exception):
    """A quota of the tenant's stands against it."""


@dataclass(frozen=True)
class Rules:
    """What a repository takes, and how it names what it has."""

    base: str = ""  # of the URLs in the index; empty: relative ones
    context: str = ""  # the path that the server's routes are below
    as_json: bool = False
    max_objects: int = 0
    max_bytes: int = 0
    max_versions: int = 0  # of one chart; the oldest go
    provenance: str = "off"  # off | warn | enforce
    keyring: Sequence[object] = ()


class Repository:
    """One tenant's charts. `tenant` is its path, empty where there is only one."""

    def __init__(self, store: Store, tenant: str, rules: Rules, ledger: Ledger | None = None) -> None:
        self.store = store
        self.tenant = tenant
        self.rules = rules
        self.index = self._indexed([])
        self._ledger = ledger
        self._unusable: dict[str, str] = {}  # files that are no charts, with the stamp that they had
        self._promised = 0  # bytes of uploads under way
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._token: str | None = None
        self._unlooked = True  # what the ledger says was not yet held against the store
        self._read_many: ReadMany | None = None
        self._writing = 0  # uploads under way: until they end, the store's changes are ours

    def load(self, read_many: ReadMany | None = None) -> None:
        """Learn what is in the store: from the ledger at once, to be held against the store soon; else by reading all."""
        self._read_many = read_many
        if self._ledger is not None:
            known, self._unusable = self._ledger.load()
            self.index = self._indexed(known.values())
        if not self.index.versions:
            self.look()

    def close(self) -> None:
        """Leave everything in order."""
        if self._ledger is not None:
            self._ledger.compact(self.index.all(), self._unusable, closing=True)
            self._ledger.close()

    @property
    def idle(self) -> bool:
        """Whether no upload is under way."""
        return self._writing == 0

    def discard(self) -> None:
        """Keep nothing of it."""
        if self._ledger is not None:
            self._ledger.discard()

    # --- uploads

    def add(self, data: bytes, prov: bytes | None = None, *, force: bool = False) -> Entry:
        """Judge and keep a chart, and its provenance; durable when this returns, in the index at once.

        Raises Invalid, Conflict, LimitReached or StoreError; then nothing was kept.
        """
        chart = archive.load(data)
        if prov is not None:
            statement = provenance.parse(prov)
            if (statement.name, statement.version) != (chart.name, chart.version):
                raise Invalid("the provenance file is that of another chart")
        self._judge(chart, data, prov)
        old = self.index.get(chart.name, chart.version)
        if old is not None and not force:
            raise Conflict(old.file)
        file = old.file if old is not None else names.filename(chart.name, chart.version)
        size = len(data) + len(prov or b"")
        with self._room(size, 1, old):
            files = [(file, data)] + ([(file + ".prov", prov)] if prov is not None else [])
            try:
                stats = self.store.save(self.tenant, files, replace=force)
            except Exists:
                self._adopt(chart.name, chart.version)
                raise Conflict(file) from None
            if prov is None and (left := self._left(file, data)) is not None:
                stats = [*stats, left]
            found = self._entry(chart.metadata, hashlib.sha256(data).hexdigest(), *stats)
            self._put(found)
        self._thin(chart.name)
        return found

    def add_provenance(self, prov: bytes, *, force: bool = False) -> Entry | None:
        """Keep a provenance file; None where its chart is not there (yet): kept all the same, as ChartMuseum does.

        Raises Invalid, Conflict, LimitReached or StoreError.
        """
        statement = provenance.parse(prov)
        known = self.index.get(statement.name, statement.version) or self._adopt(statement.name, statement.version)
        if self.rules.provenance != "off":
            self._judge_statement(statement, prov, self.read(known)[0] if known else None)
        file = (known.file if known else names.filename(statement.name, statement.version)) + ".prov"
        with self._room(len(prov), 0, None):
            try:
                stats = self.store.save(self.tenant, [(file, prov)], replace=force)
            except Exists:
                raise Conflict(file) from None
        if known is not None:
            self._put(replace(known, prov=stats[0].stamp))
        return known

    def remove(self, name: str, version: str) -> bool:
        """Delete a version and its provenance; whether it was there. Raises StoreError."""
        known = self.index.get(name, version)
        if known is None and not (names.is_name(name) and names.is_version(version)):
            return False
        file = known.file if known else names.filename(name, version)
        there = self.store.delete(self.tenant, [file, file + ".prov"])
        if self.index.remove(name, version) is not None and self._ledger:
            self._ledger.drop(file)
        return there

    # --- downloads

    def find(self, name: str, version: str) -> Entry | None:
        """A version that the index has, or that another server has just put into the store."""
        return self.index.get(name, version) or self._adopt(name, version)

    def read(self, found: Entry) -> tuple[bytes, Entry]:
        """A chart's archive, and the entry that fits it: somebody may have replaced it. Raises Missing, StoreError."""
        data, stat = self.store.read(self.tenant, found.file)
        if stat.stamp == found.stamp:
            return data, found
        try:
            fresh = self._read_entry(data, stat)
        except Invalid:
            raise Missing(found.file) from None
        if self.index.swap(found, fresh, found.name, found.version) and self._ledger:
            self._ledger.add(fresh)
        return data, fresh

    def read_provenance(self, found: Entry) -> bytes:
        """A chart's provenance file. Raises Missing, StoreError."""
        return self.store.read(self.tenant, found.file + ".prov")[0]

    def verdict(self, found: Entry) -> tuple[str, str]:
        """What is to be said of a version's provenance, for a person: a word, and the reason or signer."""
        if not found.prov:
            return "unsigned", ""
        try:
            prov, chart = self.read_provenance(found), self.read(found)[0]
            if not self.rules.keyring:
                return (
                    ("signed", "no keyring to verify it with")
                    if provenance.parse(prov).fits(chart)
                    else ("bad", "the provenance file is that of another archive")
                )
            signer = provenance.verify(prov, chart, self.rules.keyring)  # type: ignore[arg-type]
        except Invalid as error:
            return "bad", str(error)
        except Missing:
            return "unsigned", ""
        return "good", signer.user or signer.fingerprint

    # --- what others do to the store

    def look_if_changed(self) -> None:
        """Look the store over if it says that somebody added or removed files, not counting ourselves."""
        token = self.store.token(self.tenant)
        if self._unlooked or (token is not None and token != self._token and not self._writing):
            self.look()

    def look(self) -> None:
        """Compare the index with the store's listing, and read what is new or changed. Raises StoreError."""
        with self._looking:
            token = self.store.token(self.tenant)
            listed = {s.file: s for s in self.store.list(self.tenant)}
            known = {e.file: e for e in self.index.all()}
            self._look_at_charts(listed, known, self._read_many or _read_each)
            for file, e in known.items():
                prov = listed.get(file + ".prov")
                if file in listed and e.prov != (prov.stamp if prov else ""):
                    now = self.store.stat(self.tenant, file + ".prov") if self._is_own(e) else prov
                    if (
                        self.index.swap(e, replace(e, prov=now.stamp if now else ""), e.name, e.version)
                        and self._ledger
                    ):
                        self._ledger.add(replace(e, prov=now.stamp if now else ""))
            for file, e in known.items():
                # A listing may be late: what it leaves out is asked for by name before it is forgotten.
                gone = file not in listed and self.store.stat(self.tenant, file) is None
                if gone and self.index.swap(e, None, e.name, e.version) and self._ledger:
                    self._ledger.drop(file)
            self._token = token
            self._unlooked = False
            if self._ledger is not None:
                self._ledger.compact(self.index.all(), self._unusable)

    def _look_at_charts(self, listed: dict[str, Stat], known: dict[str, Entry], read_many: ReadMany) -> None:
        changed = [
            s
            for s in listed.values()
            if s.file.endswith(names.CHART)
            and (s.file not in known or known[s.file].stamp != s.stamp)
            and self._unusable.get(s.file) != s.stamp
        ]
        for stat, found in read_many(self, changed):
            if isinstance(found, str):
                if self._unusable.get(stat.file) != stat.stamp:
                    log.warning("%s is not served: %s", f"{self.tenant}/{stat.file}".lstrip("/"), found)
                self._unusable[stat.file] = stat.stamp
                if self._ledger:
                    self._ledger.unusable(stat.file, stat.stamp)
                continue
            prov = listed.get(stat.file + ".prov")
            fresh = replace(found, prov=prov.stamp) if prov else found
            other = self.index.get(fresh.name, fresh.version)
            if (
                other is not None
                and other.file != fresh.file
                and other.file == names.filename(fresh.name, fresh.version)
            ):
                continue  # the same version lies there twice; the one that is named as we name it is served
            if self.index.swap(other, fresh, fresh.name, fresh.version) and self._ledger:
                self._ledger.add(fresh)

    def read_entry(self, stat: Stat) -> Entry | str | None:
        """The entry of a listed file; the reason where it is no chart; None where it is gone."""
        try:
            data, now = self.store.read(self.tenant, stat.file)
            return self._read_entry(data, now)
        except Missing:
            return None
        except Invalid as error:
            return str(error)

    # --- inside

    def _read_entry(self, data: bytes, stat: Stat) -> Entry:
        found = archive.peek(data)
        name, version = found["name"], found["version"]
        if stat.file not in (names.filename(name, version), f"{name}-{version}{names.CHART}"):
            raise Invalid(f"it contains {name} {version}")
        return self._entry(found, hashlib.sha256(data).hexdigest(), stat)

    def _entry(self, found: dict[str, object], digest: str, stat: Stat, prov: Stat | None = None) -> Entry:
        return entry(
            found,
            stat.file,
            size=stat.size,
            stamp=stat.stamp,
            created=stat.created,
            digest=digest,
            base=self.rules.base,
            prov=prov.stamp if prov else "",
        )

    def _adopt(self, name: str, version: str) -> Entry | None:
        """Take a version from the store that the index does not have."""
        if not (names.is_name(name) and names.is_version(version)):
            return None
        stat = self.store.stat(self.tenant, names.filename(name, version))
        found = self.read_entry(stat) if stat else None
        if not isinstance(found, Entry):
            return None
        prov = self.store.stat(self.tenant, found.file + ".prov")
        found = replace(found, prov=prov.stamp if prov else "")
        if self.index.swap(None, found, name, version) and self._ledger:
            self._ledger.add(found)
        return self.index.get(name, version)

    def _put(self, found: Entry) -> None:
        self.index.add(found)
        if self._ledger is not None:
            self._ledger.add(found)

    def _left(self, file: str, data: bytes) -> Stat | None:
        """The provenance that lay there before its chart came. One of other bytes (of the chart that was replaced, of an
        upload that was killed) is removed."""
        stat = self.store.stat(self.tenant, file + ".prov")
        if stat is not None:
            try:
                if provenance.parse(self.store.read(self.tenant, stat.file)[0]).fits(data):
                    return stat
            except (Invalid, Missing):
                pass
            self.store.delete(self.tenant, [stat.file])
        return None

    def _indexed(self, entries: Iterable[Entry]) -> Index:
        return Index(entries, as_json=self.rules.as_json, context=self.rules.context)

    def _is_own(self, e: Entry) -> bool:
        return self.index.get(e.name, e.version) is e

    def _room(self, size: int, versions: int, old: Entry | None) -> _Promise:
        """Hold room for an upload against the tenant's quotas. Raises LimitReached."""
        with self._lock:
            added = size - (old.size if old else 0)
            if self.rules.max_bytes and self.index.bytes + self._promised + added > self.rules.max_bytes:
                raise LimitReached("repo has reached storage limit")
            added_versions = versions if old is None else 0
            if self.rules.max_objects and added_versions and self.index.versions >= self.rules.max_objects:
                raise LimitReached("repo has reached storage limit")
            self._promised += size
            self._writing += 1
        return _Promise(self, size)

    def release(self, size: int) -> None:
        """Give back room that was held: an upload ended."""
        token = self.store.token(self.tenant)
        with self._lock:
            self._promised -= size
            self._writing -= 1
            self._token = token

    def _thin(self, name: str) -> None:
        """Remove the oldest versions above the limit."""
        if not self.rules.max_versions:
            return
        oldest = sorted(self.index.chart(name), key=lambda e: e.created)
        for old in oldest[: max(len(oldest) - self.rules.max_versions, 0)]:
            self.remove(old.name, old.version)

    def _judge(self, chart: Chart, data: bytes, prov: bytes | None) -> None:
        """Hold an upload against the policy for provenance. Raises Invalid where it is enforced."""
        if self.rules.provenance == "off":
            return
        if prov is None:
            self._object(f"{chart.name} {chart.version} comes without provenance")
        else:
            self._judge_statement(provenance.parse(prov), prov, data)

    def _judge_statement(self, statement: Statement, prov: bytes, data: bytes | None) -> None:
        try:
            provenance.verify(prov, data, self.rules.keyring)  # type: ignore[arg-type]
        except Invalid as error:
            self._object(f"the provenance of {statement.name} {statement.version} is not accepted: {error}")

    def _object(self, reason: str) -> None:
        if self.rules.provenance == "enforce":
            raise Invalid(reason)
        log.warning("%s", reason)


_Pairs = Iterable[tuple[Stat, Entry | str]]
ReadMany = Callable[[Repository, Sequence[Stat]], _Pairs]


def _read_each(repository: Repository, stats: Sequence[Stat]) -> _Pairs:
    for stat in stats:
        found = repository.read_entry(stat)
        if found is not None:
            yield stat, found


class _Promise:
    """Room that is held while an upload is written."""

    def __init__(self, repository: Repository, size: int) -> None:
        self._repository, self._size = repository, size

    def __enter__(self) -> None:
        """Nothing to do: it is held already."""

    def __exit__(self, *_: object) -> None:
        self._repository.release(self._size)
