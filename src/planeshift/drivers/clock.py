"""The time and the user of this machine. Implements `ports.Clock`."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator


class SystemClock:
    """The system's clocks: UTC to tell people, the monotonic one to measure and wait by."""

    def now(self) -> str:
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    @contextlib.contextmanager
    def every(self, seconds: float, work: Callable[[], None]) -> Iterator[None]:
        over = threading.Event()

        def go() -> None:
            while not over.wait(seconds):
                work()

        thread = threading.Thread(target=go, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def who(self) -> str:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        return f"{user}@{socket.gethostname()} (pid {os.getpid()}, since {self.now()[:19]}Z)"
