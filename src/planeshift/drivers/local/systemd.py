"""The host's systemd as the supervisor of a unit: a service for each program. Implements `local.supervision.Supervisor`.

The services' files are copied to where systemd reads what lasts until the next boot, as what they start from does. So a copy
says what systemd was given, and the file in the unit's directory what it should be. Interface: systemctl(1),
org.freedesktop.systemd1(5) for the properties' names; for users other than root, their own manager (`--user`).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local import processes
from planeshift.drivers.local.supervision import ProgramState
from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.render.systemd import SUFFIX, prefix

_SYSTEM = Path("/run/systemd/system")
_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,MainPID,Result,ExecMainStatus,NRestarts,ExecMainStartTimestampMonotonic"
)


class Systemd:
    """systemd's services of the unit in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._prefix = prefix(str(directory))

    def programs(self) -> dict[str, ProgramState] | None:
        given = self._given()
        if not given:
            return None
        found = self._show(sorted(given))
        states = {n.removeprefix(self._prefix).removesuffix(SUFFIX): _state(p) for n, p in found.items()}
        return states or None

    def held(self, there: Sequence[processes.Marked]) -> frozenset[int]:
        names = [f"/{name}" for name in self._given()]
        return frozenset(p.pid for p in there if any(n in _group(p.pid) for n in names))

    def start(self) -> None:
        if not self._wanted():
            raise PlaneshiftError(Problem("PS602", f"{self.directory} has no service for systemd to start"))
        self.update()
        states = self.programs() or {}
        self._tell("start", [self._name(program) for program, state in states.items() if not state.running])

    def update(self) -> None:
        wanted, given = self._wanted(), self._given()
        stale = sorted(name for name, content in given.items() if wanted.get(name) != content)
        fresh = sorted(name for name, content in wanted.items() if given.get(name) != content)
        if not stale and not fresh:
            return
        self._tell("stop", stale)
        for name in stale:
            if name not in wanted:
                self._forget(name)
        for name in fresh:
            files.write(_place() / name, wanted[name])
        self._systemctl("daemon-reload")
        self._tell("start", fresh)

    def restart(self) -> None:
        before = self.programs() or {}
        self.update()
        now = self.programs() or {}
        same = [p for p, s in now.items() if s.running and p in before and s.started == before[p].started]
        self._tell("stop", [self._name(program) for program in same])
        self.start()

    def again(self, program: str) -> None:
        self._tell("stop", [self._name(program)])
        self._tell("start", [self._name(program)])

    def signal(self, program: str, name: str) -> None:
        self._systemctl("kill", "--kill-whom=main", "--signal", f"SIG{name}", self._name(program))

    def shut_down(self, seconds: float) -> None:
        given = sorted(self._given())
        if not given:
            return
        self._tell("stop", given)
        for name in given:
            self._forget(name)
        self._systemctl("daemon-reload")
        self._systemctl("reset-failed", *given, check=False)  # so that nothing of it is remembered

    def tail(self, lines: int) -> list[str] | None:
        units = [f"--unit={name}" for name in sorted(self._given())]
        argv = ["journalctl", *_manager(), *units, "-n", str(lines), "-o", "cat", "--no-pager", "-q"]
        done = _run(argv) if units else None
        return [control_free(line)[:500] for line in done.stdout.splitlines()[-lines:]] if done else []

    def _name(self, program: str) -> str:
        return f"{self._prefix}{program}{SUFFIX}"

    def _wanted(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in self.directory.glob(f"{self._prefix}*{SUFFIX}")}

    def _given(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in _place().glob(f"{self._prefix}*{SUFFIX}")}

    def _forget(self, name: str) -> None:
        (_place() / name).unlink(missing_ok=True)

    def _show(self, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """The properties of those that systemd has loaded."""
        done = self._systemctl("show", "--property", _PROPERTIES, *names, check=False)
        blocks = [dict(line.split("=", 1) for line in b.splitlines() if "=" in line) for b in done.split("\n\n")]
        return {b["Id"]: b for b in blocks if b.get("LoadState") == "loaded"}

    def _tell(self, verb: str, names: Sequence[str]) -> None:
        if names:
            # Nothing but stopping is waited for: what does not start is told by who waits until it is ready.
            self._systemctl(verb, *(["--no-block"] if verb != "stop" else []), *names)

    def _systemctl(self, verb: str, *arguments: str, check: bool = True) -> str:
        done = _run(["systemctl", *_manager(), verb, *arguments])
        if done.returncode and check:
            where = "/".join(self.directory.parts[-3:])
            hint = "" if os.getuid() == 0 else f"As root there: loginctl enable-linger {os.getuid()}"
            words = control_free(done.stderr.strip()[-1000:])
            raise PlaneshiftError(Problem("PS602", f"systemd does not {verb} {where}", why=words, hint=hint))
        return done.stdout


def _place() -> Path:
    return _SYSTEM if os.getuid() == 0 else Path(_bus()) / "systemd" / "user"


def _manager() -> list[str]:
    return [] if os.getuid() == 0 else ["--user"]


def _bus() -> str:
    return f"/run/user/{os.getuid()}"


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    if os.getuid():
        environment["XDG_RUNTIME_DIR"] = _bus()
    try:
        return subprocess.run(
            argv,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        hint = "`supervisor: supervisord` of the host needs none."
        raise PlaneshiftError(Problem("PS602", f"{argv[0]} cannot be run: {error.strerror}", hint=hint)) from error


def _state(properties: Mapping[str, str]) -> ProgramState:
    active, sub = properties.get("ActiveState", ""), properties.get("SubState", "")
    running = active in ("active", "reloading") or (active, sub) == ("activating", "start")
    started = int(properties.get("ExecMainStartTimestampMonotonic") or 0)
    result, status = properties.get("Result", ""), properties.get("ExecMainStatus", "")
    return ProgramState(
        running=running,
        pid=int(properties.get("MainPID") or 0),
        failing=sub == "auto-restart" or active == "failed",
        started=started,
        seconds=int(time.monotonic() - started / 1e6) if running else 0,
        problem="" if running else f"systemd says {active} ({sub}): {result}, status {status}",
    )


def _group(pid: int) -> str:
    """The control groups of a process. Format: cgroups(7)."""
    try:
        return (processes.PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return ""
