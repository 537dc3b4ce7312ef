"""The repositories of a server, one a tenant, each loaded when it is first asked for."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import multiprocessing
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from planeshift.charts.index import Entry
from planeshift.charts.ledger import Ledger
from planeshift.charts.repository import Repository, Rules
from planeshift.charts.shared import SharedLedger
from planeshift.charts.store import Stat, Store, StoreError
from planeshift.charts.store.directory import DirectoryStore

log = logging.getLogger("planeshift.charts")
_MANY = 2_000  # charts to read from a directory that are worth processes of their own
_PIECE = 250
MAX_DEPTH = 8


class Museum:
    """All tenants' repositories over one store."""

    def __init__(self, store: Store, rules: Rules, state: Path | None) -> None:
        """`state`: where what is known of the store is kept from one start to the next."""
        self.store = store
        self.rules = rules
        self._state = state
        self._repositories: dict[str, Repository] = {}
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}

    def known(self, tenant: str) -> Repository | None:
        """A tenant's repository, if it is loaded."""
        return self._repositories.get(tenant)

    def all(self) -> list[Repository]:
        """Every repository that is loaded."""
        return list(self._repositories.values())

    def open(self, tenant: str, create: bool = False) -> Repository:
        """A tenant's repository, loaded; one that is empty is kept only if somebody is about to write to it."""
        found = self._repositories.get(tenant)
        if found is not None:
            return found
        with self._lock:
            lock = self._loading.setdefault(tenant, threading.Lock())
        try:
            with lock:
                found = self._repositories.get(tenant)
                if found is not None:
                    return found
                exists = create or not tenant or self._exists(tenant)
                found = Repository(self.store, tenant, self.rules, self._ledger(tenant) if exists else None)
                if exists:
                    with _uncollected():
                        found.load(lambda r, stats: read_many(self.store, r, stats))
                    self._repositories[tenant] = found
                return found
        finally:
            with self._lock:
                self._loading.pop(tenant, None)

    def forget(self, tenant: str) -> None:
        """Let go of a tenant's repository that nothing came to be in: its name may have been made up."""
        found = self._repositories.get(tenant)
        if tenant and found is not None and not found.index.versions:
            with self._lock:
                if found.idle and not found.index.versions and self._repositories.get(tenant) is found:
                    del self._repositories[tenant]
                    found.discard()

    def discover(self, depth: int | None) -> Iterator[str]:
        """The tenants that the store has folders for."""
        level = [""]
        for at in range(MAX_DEPTH + 1 if depth is None else depth + 1):
            if depth is None or at == depth:
                yield from level
            if at == depth:
                return
            level = [f"{t}/{f}".lstrip("/") for t in level for f in self.store.folders(t)]

    def look(self, whole: bool = False) -> None:
        """Look for what others did to the store: everywhere, or where it says that something changed."""
        for repository in self.all():
            try:
                repository.look() if whole else repository.look_if_changed()
            except StoreError as error:
                log.warning("the store cannot be looked over: %s", error)

    def close(self) -> None:
        """Leave everything in order."""
        for repository in self.all():
            repository.close()
        self.store.close()

    def _exists(self, tenant: str) -> bool:
        parent, _, last = tenant.rpartition("/")
        return last in self.store.folders(parent)

    def _ledger(self, tenant: str) -> Ledger | None:
        if self._state is None:
            return None
        name = hashlib.sha256(f"{self.store.name}\0{tenant}".encode()).hexdigest()[:32]
        path = self._state / f"{name}.ledger"
        if isinstance(self.store, DirectoryStore):  # the ledger itself lies in the store
            return Ledger(path, self.rules.base)
        return SharedLedger(path, self.rules.base, self.store, tenant)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would look at a hundred thousand new entries again and again, now and later."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def read_many(store: Store, repository: Repository, stats: Sequence[Stat]) -> Iterator[tuple[Stat, Entry | str]]:
    """Read many charts: a directory's by processes, since unpacking takes time; others' by threads, since waiting does."""
    if len(stats) < (_MANY if isinstance(store, DirectoryStore) else 8):
        yield from _read(repository, stats)
        return
    began = time.monotonic()
    pieces = [stats[at : at + _PIECE] for at in range(0, len(stats), _PIECE)]
    pool: Executor
    if isinstance(store, DirectoryStore):
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            mp_context=context, initializer=_begin, initargs=(store.root, repository.tenant, repository.rules.base)
        )
        results: Iterable[list[tuple[Stat, Entry | str]]] = pool.map(_read_piece, pieces)
    else:
        pool = ThreadPoolExecutor(32)
        results = pool.map(lambda s: list(_read(repository, [s])), stats)
    try:
        with pool:
            for result in results:
                yield from result
    except BrokenProcessPool:  # processes that cannot be had, or were ended by the system for want of memory
        log.warning("reading the charts without further processes")
        yield from _read(repository, stats)
    log.info("read %d charts in %.1f s", len(stats), time.monotonic() - began)


def _read(repository: Repository, stats: Sequence[Stat]) -> Iterator[tuple[Stat, Entry | str]]:
    for stat in stats:
        found = repository.read_entry(stat)
        if found is not None:
            yield stat, found


_mine: Repository | None = None  # of a process that reads for another


def _begin(root: Path, tenant: str, base: str) -> None:
    global _mine
    _mine = Repository(DirectoryStore(root), tenant, Rules(base=base))
    parent = multiprocessing.parent_process()
    if parent is not None:  # a server that is killed takes its readers with it
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: multiprocessing.process.BaseProcess) -> None:
    import os

    parent.join()
    os._exit(1)


def _read_piece(stats: Sequence[Stat]) -> list[tuple[Stat, Entry | str]]:
    assert _mine is not None  # noqa: S101 - set by the pool's initializer
    return list(_read(_mine, stats))
