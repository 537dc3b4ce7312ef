"""The logs of a cloud's shifts, at `.planeshift/shifts`: written by the one that moves traffic, read by anybody meanwhile.

A directory a shift, `<UTC time>-<service>`, 0700, with `events.jsonl` and, at the end, `report.html`, 0600. A lock of the
kernel's on the log tells that its writer lives, and ends with it.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from planeshift.drivers import files
from planeshift.traffic.events import Event, read

SHIFTS = "shifts"  # their directory, below the cloud's
KEPT = 200  # shifts; the logs of older ones go when a new one begins
MOMENT = "%Y%m%dT%H%M%SZ"
LOG, REPORT = "events.jsonl", "report.html"


class Writer:
    """A new log of a shift. Implements `ports.ShiftLog`."""

    def __init__(self, root: Path, service: str, at: str) -> None:
        """`at`: the time in ISO 8601, UTC. Raises PlaneshiftError where there is no room for a log."""
        files.private(root.parent)
        files.private(root)
        for old in shift_logs(root)[: -KEPT + 1]:
            shutil.rmtree(old.directory, ignore_errors=True)
        self._log = ShiftLog(_make(root, f"{_moment(root, at)}-{service}"))
        with files.failing(f"{self._log.path} cannot be written"):
            new = self._log.directory / f".{LOG}.new"  # locked before anybody can find it
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = open(os.open(new, flags, 0o600), "wb", buffering=0)  # noqa: PTH123, SIM115
            fcntl.flock(self._file, fcntl.LOCK_EX)
            new.rename(self._log.path)

    @property
    def place(self) -> str:
        """Where it lies."""
        return str(self._log.directory)

    def write(self, line: str) -> None:
        """Add an event; it is there when this returns, whatever becomes of us."""
        with files.failing(f"{self._log.path} cannot be written"):
            self._file.write(line.rstrip("\n").encode() + b"\n")

    def finish(self, report: str) -> None:
        """Keep the report beside the events; the log is no longer being written."""
        try:
            files.write(self._log.report, report.encode(), 0o600)
        finally:
            self._file.close()


@dataclass(frozen=True)
class ShiftLog:
    """A shift's log, to be read. `directory` is `<UTC time>-<service>`."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def service(self) -> str:
        return self.name.partition("-")[2].partition(".")[0]

    @property
    def path(self) -> Path:
        return self.directory / LOG

    @property
    def report(self) -> Path:
        return self.directory / REPORT

    def is_live(self) -> bool:
        """Whether its writer lives."""
        with files.failing(f"{self.path} cannot be read"), self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def shift_logs(root: Path) -> list[ShiftLog]:
    """Every shift that is remembered, oldest first."""
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [ShiftLog(path) for path in found if (path / LOG).is_file()]


class Tail:
    """What comes to a log after it was last looked at."""

    def __init__(self, log: ShiftLog) -> None:
        self.log = log
        self._at = 0

    def read(self) -> list[Event]:
        """The events since the last call. Half of a line is left until it is whole."""
        with files.failing(f"{self.log.path} cannot be read"), self.log.path.open("rb") as file:
            file.seek(self._at)
            whole, end, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(end)
        return list(read(whole.splitlines()))


def _moment(root: Path, at: str) -> str:
    """A name's moment: `at`; where the clock was set back, a second after the newest log's, so that names stay in order."""
    found = f"{at.replace('-', '').replace(':', '')[:15]}Z"
    newest = max((log.name.partition("-")[0] for log in shift_logs(root)), default="")
    if newest > found:
        with contextlib.suppress(ValueError):
            later = datetime.datetime.strptime(newest, MOMENT) + datetime.timedelta(seconds=1)
            return later.strftime(MOMENT)
    return found


def _make(root: Path, name: str) -> Path:
    """A directory of its own, also where several shifts of a service begin within a second."""
    number = 1
    while True:
        directory = root / (name if number == 1 else f"{name}.{number}")
        with files.failing(f"{directory} cannot be made"), contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            return directory
        number += 1
