"""supervisord of one unit, by XML-RPC over its socket. API: http://supervisord.org/api.html.

Implements `local.supervision.Supervisor`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from planeshift.drivers.local import processes
from planeshift.drivers.local.supervision import ProgramState
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.supervisor import MARKER

_RUNNING = {10, 20}  # STARTING, RUNNING
_ALIVE = {10, 20, 40}  # and STOPPING
START_SECONDS = 20


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("supervisor", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisord:
    """The supervisord of the unit in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "supervisor.sock"

    def programs(self) -> dict[str, ProgramState] | None:
        with self._answering() as api:
            return {
                str(p["name"]): ProgramState(
                    running=p["state"] in _RUNNING,
                    pid=int(p["pid"]),
                    failing=p["state"] in (30, 200),  # BACKOFF, FATAL
                    started=int(p["start"]),
                    seconds=int(p["now"]) - int(p["start"]),
                    problem=str(p["spawnerr"] or p["description"]) if p["state"] not in _RUNNING else "",
                )
                for p in api.supervisor.getAllProcessInfo()
            }
        return None

    def held(self, there: Sequence[processes.Marked]) -> frozenset[int]:
        master = self.pid()
        return frozenset(p.pid for p in there if master and processes.descends(p.pid, master))

    def pid(self) -> int:
        """The supervisor's process id; 0 where none answers."""
        with self._answering() as api:
            return int(api.supervisor.getPID())
        return 0

    def start(self) -> None:
        if self.programs() is None:
            self._launch()
        for name, state in (self.programs() or {}).items():
            if not state.running:
                with contextlib.suppress(xmlrpc.client.Fault):  # ALREADY_STARTED: it was quicker
                    self._api().supervisor.startProcess(name, False)

    def update(self) -> None:
        api = self._api()
        [[added, changed, removed]] = api.supervisor.reloadConfig()
        self._stop([*changed, *removed])
        for name in [*changed, *removed]:
            api.supervisor.removeProcessGroup(name)
        for name in [*added, *changed]:
            api.supervisor.addProcessGroup(name)

    def restart(self) -> None:
        before = self.programs()
        if before is not None:
            self.update()
            now = self.programs() or {}
            self._stop([name for name, s in now.items() if s.running and name in before and s.pid == before[name].pid])
        self.start()

    def _stop(self, programs: Sequence[str]) -> None:
        """Let programs end. One that takes longer than it may is killed by the supervisor, so this comes to an end."""
        for name in programs:
            with contextlib.suppress(xmlrpc.client.Fault):  # NOT_RUNNING
                self._api().supervisor.stopProcess(name, False)  # waiting is up to us: a call has its time limit
        while any(p["name"] in programs and p["state"] in _ALIVE for p in self._api().supervisor.getAllProcessInfo()):
            time.sleep(0.02)

    def again(self, program: str) -> None:
        self._stop([program])
        self._api().supervisor.startProcess(program, False)

    def signal(self, program: str, name: str) -> None:
        self._api().supervisor.signalProcess(program, name)

    def shut_down(self, seconds: float) -> None:
        pid = self.pid()
        found = processes.identity(pid) if pid else None
        with self._answering() as api:
            api.supervisor.shutdown()
        deadline = time.monotonic() + seconds
        while found and processes.identity(pid) == found and time.monotonic() < deadline:
            time.sleep(0.02)

    def tail(self, lines: int) -> list[str] | None:
        return None

    def _launch(self) -> None:
        if len(os.fsencode(self.socket)) > 90:  # sun_path has 108, and supervisord adds its pid while it binds
            raise PlaneshiftError(
                Problem(
                    "PS403", f"{self.socket} is too long for a socket", hint="Shorten the host's or backend's name."
                )
            )
        self.socket.unlink(missing_ok=True)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        environment[MARKER] = f"{self.directory}#supervisord"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(self.directory / "supervisord.conf")],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
            timeout=60,
        )
        if done.returncode:
            words = done.stdout.decode("utf-8", "replace").strip()[-2000:]
            raise PlaneshiftError(Problem("PS602", f"the supervisor of {self.directory.name} did not start", why=words))
        deadline = time.monotonic() + START_SECONDS
        while self.programs() is None:
            if time.monotonic() > deadline:
                raise PlaneshiftError(Problem("PS602", f"the supervisor in {self.directory} does not answer"))
            time.sleep(0.02)

    def _api(self) -> Any:
        return xmlrpc.client.ServerProxy("http://supervisor", transport=_Transport(str(self.socket)))

    @contextlib.contextmanager
    def _answering(self) -> Iterator[Any]:
        """The API, and silence where nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            yield self._api()
