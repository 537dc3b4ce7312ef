"""Shifts as anybody may watch them, whoever moves the traffic: what their logs tell, while they grow and afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planeshift.app.site import STATE, find
from planeshift.drivers import files
from planeshift.drivers.control import LocalControl
from planeshift.drivers.shiftlogs import SHIFTS, ShiftLog, Tail, shift_logs
from planeshift.errors import PlaneshiftError, Problem
from planeshift.model.load import load
from planeshift.plan.observed import Hold
from planeshift.traffic.course import Course
from planeshift.traffic.events import Event
from planeshift.traffic.report import report

LOOK = 0.2  # seconds between two looks


@dataclass
class Seen:
    """A shift's log and what it came to so far. `live`: its writer lives."""

    log: ShiftLog
    course: Course
    live: bool


def place(file: str | None) -> Path:
    """Where the logs of a cloud's shifts are; its file need not be valid. Raises PlaneshiftError (PS105)."""
    path = find(file)
    if not path.is_file():
        raise PlaneshiftError(Problem("PS105", f"there is no file {path}"))
    return path.parent / STATE / SHIFTS


def name(file: str | None) -> str:
    """The cloud's name; that of its directory, where the file is not valid just now."""
    path = find(file)
    try:
        return load(path.read_text("utf-8"), path.name).cloud.metadata.name
    except (PlaneshiftError, OSError, UnicodeDecodeError):
        return path.parent.name


def holds(root: Path) -> dict[str, Hold]:
    """The services whose traffic a failed gate holds."""
    standing = LocalControl(root.parent).standing()
    return {service: record.hold for service, record in standing.items() if record.hold}


class Watch:
    """Every shift of a cloud, or of one of its services, each log read once as far as it has come.

    `ended`: those, too, that were over at the first look; else they are seen, but not read.
    """

    def __init__(self, root: Path, service: str = "", *, ended: bool = True) -> None:
        self._root, self._service, self._ended = root, service, ended
        self._tails: dict[str, Tail] = {}
        self.seen: dict[str, Seen] = {}

    def look(self) -> list[tuple[Seen, list[Event]]]:
        """What is new, by shift, oldest first; a shift whose writer is gone since the last look is among it, too.

        The log of a shift that is remembered no longer is forgotten.
        """
        found = {log.name: log for log in shift_logs(self._root) if self._service in ("", log.service)}
        for name in self.seen.keys() - found.keys():
            del self.seen[name], self._tails[name]
        news = []
        for name, log in found.items():
            before = self.seen.get(name)
            if before is not None and not before.live:
                continue
            live = log.is_live()  # before the log is read, so that nothing is written after the last look
            wanted = live or before is not None or self._ended
            events = self._tails.setdefault(name, Tail(log)).read() if wanted else []
            seen = before or Seen(log, Course(), live)
            for event in events:
                seen.course.add(event)
            if before is None or events or live != seen.live:
                news.append((seen, events))
            seen.live = live
            self.seen[name] = seen
        return news


def follow(root: Path, service: str = "", *, wait: bool = False) -> Iterator[tuple[Seen, Event | None]]:
    """The events of the shifts in progress, from their begin until they are over; None where a writer ended without a word.

    `wait`: where no shift is in progress, for the next one.
    """
    watch, followed = Watch(root, service, ended=False), set[str]()
    while True:
        for seen, events in watch.look():
            name = seen.log.name
            if seen.live or name in followed:
                followed.add(name)
                for event in events:
                    yield seen, event
                if not seen.live and seen.course.end is None:
                    yield seen, None
        going_on = any(seen.live and seen.course.end is None for seen in watch.seen.values())
        if not going_on and (followed or not wait):
            return
        time.sleep(LOOK)


def past(root: Path, service: str = "") -> list[Seen]:
    """Every shift that is remembered, newest first."""
    watch = Watch(root, service)
    watch.look()
    return list(reversed(watch.seen.values()))


def last(root: Path, service: str = "") -> Seen | None:
    """The newest shift."""
    for log in reversed(shift_logs(root)):
        if service in ("", log.service):
            return read(log)
    return None


def read(log: ShiftLog) -> Seen:
    """A shift by all that its log tells by now."""
    live = log.is_live()
    return Seen(log, Course.of(Tail(log).read()), live)


def report_of(seen: Seen) -> Path:
    """Where the report of a shift lies; one whose process was ended before it could write it is given one now."""
    if not seen.log.report.is_file() and not seen.live:
        files.write(seen.log.report, report(Tail(seen.log).read()).encode(), 0o600)
    return seen.log.report
