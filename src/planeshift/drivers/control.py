"""Lease, journal and audit record in a directory of this machine. Implements `ports.Control`."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from planeshift.drivers import files
from planeshift.drivers.shiftlogs import SHIFTS, Writer
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import Hold, Pause, Standing
from planeshift.ports import ShiftLog

PAUSED = "paused"


class LocalControl:
    """Control at `.planeshift/` beside the cloud file (`root`)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._standing = threading.Lock()  # cells of a wave move side by side

    @contextlib.contextmanager
    def lease(self, who: str) -> Iterator[Callable[[], None]]:
        """The lease is a lock of the kernel's: it ends with its holder, however that ends."""
        files.private(self.root)
        path = self.root / "lease"
        with files.failing(f"{path} cannot be opened"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(descriptor, 500, 0).decode("utf-8", "replace").strip() or "somebody"
                hint = "Wait until that is done, or end it; its lease ends with it."
                raise PlaneshiftError(Problem("PS801", f"{holder} is changing this cloud", hint=hint)) from error
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, who.encode(), 0)
            mine = os.fstat(descriptor)

            def keep() -> None:
                try:
                    there = path.stat()
                except OSError:
                    there = None
                if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
                    raise PlaneshiftError(Problem("PS802", f"the lease {path} was taken away"))

            yield keep
        finally:
            os.close(descriptor)

    def mark(self) -> str:
        # The same file under the same kernel is the same lock; of a copy elsewhere neither is.
        path, boot = self.root / "lease", Path("/proc/sys/kernel/random/boot_id")
        with files.failing(f"{path} cannot be read"):
            there = path.stat()
            return hashlib.sha256(f"{boot.read_text()} {there.st_dev} {there.st_ino}".encode()).hexdigest()[:32]

    def key(self) -> bytes:
        path = self.root / "key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not self.root.is_dir():
                return b"not kept yet"  # nothing was ever laid out: there is nothing to compare with
            files.write(path, os.urandom(32), 0o600)
            return path.read_bytes()
        except OSError as error:
            raise PlaneshiftError(Problem("PS401", f"{path} cannot be read: {error.strerror}")) from error

    def journal(self, event: Mapping[str, Any]) -> None:
        if event.get("what") == "begin plan":
            files.write(self.root / "journal", _line(event), 0o600)
            return
        self._append("journal", event)

    def unfinished(self) -> Mapping[str, Any] | None:
        events = list(self._events("journal"))
        if not events or events[-1].get("what") == "end plan":
            return None
        ended = [e["operation"] for e in events if e.get("what") == "end"]
        return {**events[0], "ended": ended}

    def audit(self, record: Mapping[str, Any]) -> None:
        self._append("audit", record)

    def applied(self) -> Mapping[str, str]:
        for record in reversed(list(self._events("audit"))):
            if record.get("result") == "down":
                break
            if record.get("result") == "done" and isinstance(record.get("applied"), dict):
                found: Mapping[str, str] = record["applied"]
                return found
        return {}

    def standing(self) -> Mapping[str, Standing]:
        try:
            found = json.loads((self.root / "standing").read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise PlaneshiftError(Problem("PS401", f"{self.root / 'standing'} cannot be read: {error}")) from error
        return {service: _standing(record) for service, record in found.items()}

    def stand(self, service: str, standing: Standing | None) -> None:
        with self._standing:
            found = dict(self.standing())
            if standing is None and service not in found:
                return
            found.pop(service, None)
            if standing is not None:
                found[service] = standing
            files.write(self.root / "standing", _line({name: asdict(s) for name, s in found.items()}), 0o600)

    def paused(self) -> Mapping[str, Pause]:
        found = {}
        for path in (self.root / PAUSED).glob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
                found[path.name] = self._pause(path)
        return found

    def _pause(self, path: Path) -> Pause:
        try:
            return Pause(**json.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise PlaneshiftError(Problem("PS401", f"{path} cannot be read: {error}")) from error

    def pause(self, service: str, pause: Pause | None) -> None:
        path = self.root / PAUSED / service  # a file each, since nobody asks for the lease
        if pause is None:
            path.unlink(missing_ok=True)
            return
        files.private(self.root)
        files.private(path.parent)
        files.write(path, _line(asdict(pause)), 0o600)

    def shift_log(self, service: str) -> ShiftLog:
        return Writer(self.root / SHIFTS, service, datetime.datetime.now(datetime.UTC).isoformat())

    def _append(self, name: str, event: Mapping[str, Any]) -> None:
        with files.failing(f"{name} cannot be written"):
            path = self.root / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_line(event) if _is_whole(path) else b"\n" + _line(event))

    def _events(self, name: str) -> Iterator[dict[str, Any]]:
        try:
            lines = (self.root / name).read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):  # a kill may leave half of a last line
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event


def _standing(record: Mapping[str, Any]) -> Standing:
    hold = record.get("hold")
    return Standing(record["origin"], record["target"], record["shares"], Hold(**hold) if hold else None)


def _is_whole(path: Path) -> bool:
    """Whether no half of a line, which a kill has left, stands at the end."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) in (b"", b"\n")


def _line(event: Mapping[str, Any]) -> bytes:
    return (json.dumps(event, ensure_ascii=False, sort_keys=True) + "\n").encode()
