"""The edge's log as it is written, from the ring in HAProxy's memory. Implements `ports.Traffic`.

`show events`: https://docs.haproxy.org/2.6/management.html#9.3. The ring keeps some ten thousand lines for a reader that is
late; those that it cannot keep, it counts. It belongs to one process of HAProxy, so that after a reload the next one's is
read beside it. A reader keeps an older process alive, so it leaves once that one has had nothing to say for a while.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from planeshift.drivers.haproxy import ask, connect, rows
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Collector
from planeshift.render.haproxy import RING
from planeshift.traffic.gates import Counters
from planeshift.traffic.lines import Request, read

LIMIT_BYTES = 64 << 20  # of what nobody has taken
LOOK_SECONDS = 0.5  # how often it is looked whether HAProxy is another process
QUIET_SECONDS = 2  # after which an older process is left
_Counts = Mapping[tuple[str, str], Counters]


class RingTraffic:
    """The edges of a cloud.

    `runtimes` maps a host's name to its runtime directory; `sockets` the unit of an edge that is somebody else's to its
    runtime socket: such a one has no ring of ours, so it tells its counters alone.
    """

    def __init__(self, runtimes: Mapping[str, str], sockets: Mapping[str, str] | None = None) -> None:
        self.runtimes, self.sockets = runtimes, sockets or {}

    @contextlib.contextmanager
    def collect(self, unit: str) -> Iterator[Collector]:
        driven = self.sockets.get(unit)
        path = driven or str(Path(self.runtimes[unit.split("/", 1)[0]]) / unit / "admin.sock")
        collector: CountCollector | RingCollector
        try:
            collector = CountCollector(path) if driven else RingCollector(path)
        except OSError as error:
            why = f"its runtime socket: {error.strerror}"
            raise PlaneshiftError(Problem("PS607", f"HAProxy of {unit} cannot be reached", why=why)) from error
        try:
            yield collector
        finally:
            collector.close()


class CountCollector:
    """The counters of an edge that keeps no log for us."""

    def __init__(self, path: str) -> None:
        """Begin. Raises OSError where HAProxy does not answer."""
        self._path, self._tally = path, _Tally(*_counts(path))

    def take(self) -> list[Request]:
        return []

    def lost(self) -> int:
        return 0

    def counters(self) -> _Counts | None:
        return self._tally.look(self._path)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class _Stream:
    """A reader of one process's ring. `rest` is the line that has not ended yet."""

    socket: socket.socket
    heard: float
    rest: bytes = b""


class RingCollector:
    """One edge's."""

    def __init__(self, path: str) -> None:
        """Begin. Raises OSError where HAProxy does not answer."""
        self._path = path
        self._chunks: deque[bytes] = deque()
        self._held = self._dropped = self._unreadable = 0
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}  # by HAProxy's process
        pid = _pid(ask(path, "show info"))
        self._streams[pid] = _Stream(self._ring(from_now=True), time.monotonic())
        # Counted after the ring was opened: what is answered in between has a line, which is told and not counted.
        self._tally = _Tally(*_counts(path), known=pid)
        self._over, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def take(self) -> list[Request]:
        with self._lock:
            chunks, self._held = list(self._chunks), 0
            self._chunks.clear()
        found = read(b"".join(chunks).decode("utf-8", "replace").split("\n")[:-1])
        with self._lock:
            self._unreadable += found.unreadable
            self._dropped += found.dropped
        return list(found.requests)

    def lost(self) -> int:
        with self._lock:
            return self._dropped + self._unreadable

    def counters(self) -> _Counts | None:
        return self._tally.look(self._path)

    def close(self) -> None:
        """End."""
        self._end.close()
        self._thread.join()
        self._over.close()
        for stream in self._streams.values():
            stream.socket.close()

    # --- the thread

    def _run(self) -> None:
        looked = time.monotonic()
        while True:
            by_socket = {stream.socket: pid for pid, stream in self._streams.items()}
            ready, _, _ = select.select([self._over, *by_socket], [], [], LOOK_SECONDS)
            if self._over in ready:
                return
            for found in ready:
                self._receive(by_socket[found])
            if time.monotonic() - looked >= LOOK_SECONDS:
                with contextlib.suppress(OSError):
                    self._look()
                looked = time.monotonic()

    def _look(self) -> None:
        """See that the present process is read, and leave older ones that have nothing more to say."""
        pid = _pid(ask(self._path, "show info"))
        if pid not in self._streams:
            # What a new process has served belongs to us from its first line; one that is known was read before.
            self._open(pid, from_now=pid == self._tally.known)
        for old in [p for p, s in self._streams.items() if p != pid and time.monotonic() - s.heard > QUIET_SECONDS]:
            self._streams.pop(old).socket.close()

    def _open(self, pid: str, *, from_now: bool) -> None:
        self._streams[pid] = _Stream(self._ring(from_now=from_now), time.monotonic())
        self._tally.known = pid

    def _ring(self, *, from_now: bool) -> socket.socket:
        return connect(self._path, f"show events {RING} -w{' -n' if from_now else ''}")

    def _receive(self, pid: str) -> None:
        stream = self._streams[pid]
        try:
            data = stream.socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._streams.pop(pid).socket.close()
            return
        stream.heard = time.monotonic()
        whole, end, rest = (stream.rest + data).rpartition(b"\n")
        stream.rest = rest
        with self._lock:
            if self._held + len(whole) > LIMIT_BYTES:
                self._dropped += whole.count(b"\n") + 1
            elif end:
                self._chunks.append(whole + end)
                self._held += len(whole)


class _Tally:
    """Counts since a beginning, although they begin anew with each process of HAProxy."""

    def __init__(self, pid: str, counts: _Counts, known: str = "") -> None:
        self.known = known  # the process whose ring was opened last
        self._pid = pid
        self._before: dict[tuple[str, str], Counters] = {k: _less(Counters(), c) for k, c in counts.items()}
        self._now = dict(counts)

    def look(self, path: str) -> _Counts | None:
        """What is counted since the beginning; None where HAProxy does not answer."""
        try:
            pid, counts = _counts(path)
        except OSError:
            return None
        if pid != self._pid or any(c.requests < self._now.get(k, c).requests for k, c in counts.items()):
            self._before = dict(self._whole())
            self._pid = pid
        self._now = dict(counts)
        return self._whole()

    def _whole(self) -> _Counts:
        """Since the beginning."""
        return {
            k: replace(_plus(self._before.get(k, Counters()), c), in_flight=c.in_flight) for k, c in self._now.items()
        }


def _plus(one: Counters, other: Counters) -> Counters:
    return Counters(one.requests + other.requests, one.failed + other.failed)


def _less(one: Counters, other: Counters) -> Counters:
    return Counters(one.requests - other.requests, one.failed - other.failed)


def _pid(info: str) -> str:
    return next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("Pid:")), "")


def _counts(path: str) -> tuple[str, _Counts]:
    """HAProxy's process, and its counts by (frontend, server). Statistics: .../management.html#9.1."""
    info, _, statistics = ask(path, "show info;show stat").partition("\n\n")
    return _pid(info), {
        (row["pxname"], row["svname"]): Counters(
            requests=sum(_number(row, f"hrsp_{c}") for c in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")),
            failed=sum(_number(row, name) for name in ("hrsp_5xx", "econ", "eresp")),
            in_flight=_number(row, "scur"),
        )
        for row in rows(statistics)
        if row.get("svname") not in ("FRONTEND", "BACKEND")
    }


def _number(row: Mapping[str, str], name: str) -> int:
    return int(row.get(name) or 0)
