"""The time and the user of this machine. Implements `ports.Clock`."""

from __future__ import annotations

import datetime
import getpass
import os
import socket
import time


class SystemClock:
    """The system's clocks: UTC to tell people, the monotonic one to measure and wait by."""

    def now(self) -> str:
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def who(self) -> str:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        return f"{user}@{socket.gethostname()} (pid {os.getpid()}, since {self.now()[:19]}Z)"
