"""This machine as a host: files, programs from PyPI, a supervisor. Implements `ports.Host`."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local import gunicorn, install, processes
from planeshift.drivers.local.command import run
from planeshift.drivers.local.supervision import Supervisor
from planeshift.drivers.local.supervisord import Supervisord
from planeshift.drivers.local.systemd import Systemd
from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.plan.observed import Process, UnitState
from planeshift.ports import Say
from planeshift.render.desired import AUTHORITY, LEAVES, Bind, Environment, File, HostPaths, Program, digest
from planeshift.render.supervisor import supervision

READY_SECONDS = 180
LEFTOVER_SECONDS = 300
SETTLED_SECONDS = 3
_LOADED, _SUPERVISION = ".loaded", ".supervision"
_NOT_OURS = (".pid", ".sock", ".pyc")  # made by the programs beside our files


class LocalHost:
    """A `via: local` host. `paths.runtime` and `paths.state` are ours alone."""

    def __init__(self, name: str, paths: HostPaths, environment: Mapping[str, str]) -> None:
        self.name, self._paths = name, paths
        self._environment = dict(environment)  # of this process, for package clients: proxies, indexes
        self.runtime, self.state = Path(paths.runtime), Path(paths.state)

    @property
    def paths(self) -> HostPaths:
        return self._paths

    # --- looking

    def units(self, key: bytes) -> Mapping[str, UnitState]:
        found: dict[str, list[processes.Marked]] = {}
        for process in processes.marked(f"{self.runtime}/{self.name}/"):
            found.setdefault(process.place, []).append(process)
        places = set(self.runtime.glob(f"{self.name}/*/*")) | {Path(place) for place in found}
        return {
            str(place.relative_to(self.runtime)): self._unit(place, found.get(str(place), []), key)
            for place in sorted(places)
        }

    def _unit(self, place: Path, there: list[processes.Marked], key: bytes) -> UnitState:
        supervisor = self._supervisor_in(place)
        programs = supervisor.programs()
        held = supervisor.held(there) if programs is not None else frozenset()
        orphans = tuple(Process(p.pid, p.started, p.program) for p in there if p.pid not in held)
        states = programs or {}
        return UnitState(
            files={path: self._digest(place / path, key) for path in self._paths_of(place)},
            supervised=programs is not None,
            running={name: s.pid for name, s in states.items() if s.running},
            loaded=_read(place / _LOADED),
            supervision=_read(place / _SUPERVISION),
            # What ended since it was listed, such as an old worker after a reload, descends from nobody: it is no orphan.
            orphans=tuple(o for o in orphans if processes.lives(o)),
            problem="; ".join(f"{name}: {s.problem}" for name, s in states.items() if s.problem),
        )

    def _paths_of(self, place: Path) -> Iterator[str]:
        for directory, names, files_ in os.walk(place):
            names[:] = sorted(n for n in names if n != "__pycache__" and not n.startswith(".cache"))
            for name in sorted(files_):
                path = Path(directory, name)
                mode = path.lstat().st_mode
                ours = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
                top = directory == str(place)
                beside = top and (name.endswith(_NOT_OURS) or name.startswith((".", "wgunicorn-")))
                if ours and not beside:
                    yield str(path.relative_to(place))

    def _digest(self, path: Path, key: bytes) -> str:
        try:
            if path.is_symlink():
                return "a link"
            mode = stat.S_IMODE(path.stat().st_mode)
            return digest(path.read_bytes(), mode, b"" if mode & 0o077 else key)
        except OSError as error:
            return f"unreadable: {error.strerror}"

    # --- files

    def lay_out(self, unit: str, files_: Mapping[str, File]) -> None:
        place = self._place(unit)
        for path, file in files_.items():
            target = place / path
            if self._digest(target, b"") != digest(file.content, file.mode, b""):
                files.write(target, file.content, file.mode)
        for path in set(self._paths_of(place)) - set(files_):
            (place / path).unlink()

    def _place(self, unit: str) -> Path:
        place = self.runtime
        files.private(place.parent)  # its owner could put another directory in the place of ours
        files.private(place)
        for part in unit.split("/"):
            place /= part
            files.private(place)
        return place

    def lay_out_authority(self, pem: str) -> None:
        target = self.state / AUTHORITY
        if not target.exists() or target.read_text() != pem:
            files.write(target, pem.encode(), 0o644)

    def make_directories(self, directories: Iterable[str]) -> None:
        for directory in directories:
            files.private(Path(directory))

    def remove(self, unit: str) -> None:
        place = self.runtime / unit
        with files.failing(f"{place} cannot be removed"):
            for left in _left(place):
                left.unlink(missing_ok=True)
            if place.exists():
                shutil.rmtree(place)
        for parent in list(place.parents)[:2]:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()

    # --- programs

    def environments(self) -> frozenset[str]:
        root = self.state / "environments"
        return frozenset(p.name for p in root.iterdir() if not p.name.startswith(".")) if root.is_dir() else frozenset()

    def install(self, environment: Environment, say: Say) -> None:
        marked = self._environment | {processes.RUN_MARKER: f"{self.state}#install"}
        install.install(environment, self.state / "environments", marked, say)

    def run(self, argv: Sequence[str], environment: Mapping[str, str], directory: str, say: Say) -> None:
        run(argv, {**environment, processes.RUN_MARKER: f"{self.state}#{Path(argv[0]).name}"}, directory, say)

    def settle(self, say: Say) -> None:
        own = os.getpid()
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while True:
            left = [p for p in processes.marked(str(self.state), processes.RUN_MARKER) if not _below(p.pid, own)]
            if not left:
                return
            slow = [p for p in left if p.program != "install"]
            if not slow or time.monotonic() > deadline:
                processes.end([Process(p.pid, p.started) for p in left], grace=5)
                continue
            say(f"waiting for {slow[0].program} (pid {slow[0].pid}), which an interrupted run had begun")
            time.sleep(0.5)

    # --- processes

    def start(self, unit: str, programs: Sequence[Program]) -> None:
        supervisor = self._declared(unit)
        runs = supervisor.programs() is not None
        if runs:
            supervisor.update()
        else:
            self._note_supervision(unit)  # before: a supervisor that outlives us has read just this
        supervisor.start()
        if runs:
            self._note_supervision(unit)

    def reload(self, unit: str, programs: Sequence[Program]) -> None:
        supervisor = self._supervisor(unit)
        states = supervisor.programs() or {}
        for program in programs:
            if program.name in states and states[program.name].running:
                if not program.reload_signal:
                    supervisor.again(program.name)
                elif program.workers and gunicorn.settings_read(self.runtime / unit):
                    gunicorn.replace_workers(supervisor, program)
                else:
                    supervisor.signal(program.name, program.reload_signal)
        supervisor.start()

    def restart(self, unit: str, programs: Sequence[Program]) -> None:
        self._declared(unit).restart()
        self._note_supervision(unit)

    def stop(self, unit: str) -> None:
        supervisor = self._supervisor(unit)
        supervisor.shut_down(LEFTOVER_SECONDS)
        place = f"{self.runtime}/{unit}"
        self.end(unit, [Process(p.pid, p.started) for p in processes.marked(place) if p.place == place])

    def end(self, unit: str, orphans: Sequence[Process]) -> None:
        processes.end(orphans, grace=15)

    def mark_loaded(self, unit: str, digest_: str) -> None:
        self._note(unit, _LOADED, digest_)

    def _note_supervision(self, unit: str) -> None:
        place = self.runtime / unit
        self._note(
            unit, _SUPERVISION, supervision({path: self._digest(place / path, b"") for path in self._paths_of(place)})
        )

    def _note(self, unit: str, name: str, text: str) -> None:
        files.write(self.runtime / unit / name, text.encode(), 0o600)

    def _supervisor(self, unit: str) -> Supervisor:
        return self._supervisor_in(self.runtime / unit)

    def _declared(self, unit: str) -> Supervisor:
        """The supervisor that the host should have; another one, of before, is ended."""
        declared, other = self._supervisors(self.runtime / unit)
        if other.programs() is not None:
            other.shut_down(LEFTOVER_SECONDS)
        return declared

    def _supervisor_in(self, place: Path) -> Supervisor:
        """The one that looks after a unit by now."""
        declared, other = self._supervisors(place)
        return other if other.programs() is not None and declared.programs() is None else declared

    def _supervisors(self, place: Path) -> tuple[Supervisor, Supervisor]:
        systemd, supervisord = Systemd(place), Supervisord(place)
        return (systemd, supervisord) if self._paths.supervisor == "systemd" else (supervisord, systemd)

    # --- waiting

    def wait_ready(self, url: str, unit: str, say: Say) -> None:
        began, told, failed = time.monotonic(), 0.0, set[int]()
        while not (_answers(url) and self._serves(unit, url) if url else self._settled(unit)):
            waited = time.monotonic() - began
            states = self._supervisor(unit).programs() or {}
            failed |= {s.started for s in states.values() if s.failing}
            if waited > READY_SECONDS or len(failed) > 3:
                words = "\n".join(self.tail(unit, 15))
                missed = "answer 200" if url else "stay up"
                what = "ended again and again" if len(failed) > 3 else f"did not {missed} in {READY_SECONDS} s"
                raise PlaneshiftError(Problem("PS604", f"{unit} {what}{f' ({url})' if url else ''}", why=words))
            if waited - told > 2:
                told = waited
                last = (self.tail(unit, 1) or [""])[0]
                say(f"waiting for {url or 'its programs'} since {waited:.0f} s; last log line: {last}")
            time.sleep(0.03)

    def _settled(self, unit: str) -> bool:
        """Whether each of its programs has run for some seconds: what serves no HTTP cannot be asked."""
        states = self._supervisor(unit).programs() or {}
        return bool(states) and all(s.running and s.seconds >= SETTLED_SECONDS for s in states.values())

    def _serves(self, unit: str, url: str) -> bool:
        """Whether it is really the unit that answers, and not what was left of an older one, or a stranger."""
        parts = urllib.parse.urlsplit(url)
        here = set(_listening(Bind(parts.hostname or "", parts.port or 80)))
        if not here:
            return True  # the edge's address may be a name, or on another machine
        place = f"{self.runtime}/{unit}"
        return any(
            here & set(_sockets(processes.PROC / str(p.pid)))
            for p in processes.marked(str(self.runtime))
            if p.place == place or "/edge/" in p.place
        )

    def tail(self, unit: str, lines: int) -> list[str]:
        said = self._supervisor(unit).tail(lines)
        if said is not None:
            return said
        logs = sorted((self.state / "logs" / unit).glob("*.log"), key=lambda p: (p.name == "supervisord.log", p.name))
        return _tail(logs[0], lines) if logs else []

    def listener(self, bind: Bind) -> str | None:
        if not _listens(bind.address, bind.port):
            return None
        return _holder(bind, str(self.runtime))


def _left(place: Path) -> Iterator[Path]:
    """The files that a unit's programs have left elsewhere, as the unit says."""
    for pattern in _read(place / LEAVES).split():
        yield from (found for found in Path("/").glob(pattern.lstrip("/")) if found.is_file())


def _answers(url: str) -> bool:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "tcp":
        return _listens(parts.hostname or "", parts.port or 0)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a look at our own address, nothing is sent
    make: Callable[[], http.client.HTTPConnection] = lambda: (  # noqa: E731
        http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    )
    connection = make()
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=10):
            return True
    except OSError:
        return False


def _tail(path: Path, lines: int) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [control_free(line)[:500] for line in text.splitlines()[-lines:]]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def _below(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        found = processes.identity(pid)
        pid = found[1] if found else 0
    return pid == ancestor


def _holder(bind: Bind, runtime: str) -> str:
    """Who listens there: a program's name and pid; empty for one of ours. Format: proc_net(5)."""
    inodes = set(_listening(bind))
    if not inodes:
        return "a program of another machine or namespace"
    ours = {p.pid for p in processes.marked(runtime)}
    for entry in processes.PROC.iterdir():
        if entry.name.isdigit() and inodes & set(_sockets(entry)):
            return "" if int(entry.name) in ours else f"{_read(entry / 'comm')} (pid {entry.name})"
    return "a program of another user"


def _listening(bind: Bind) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in _read(processes.PROC / "net" / table).splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[3] == "0A" and int(port, 16) == bind.port and _same(address, bind.address):
                yield fields[9]


def _same(packed: str, address: str) -> bool:
    if set(packed) == {"0"}:
        return True
    words = bytes.fromhex(packed)
    raw = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, raw) == address


def _sockets(process: Path) -> Iterator[str]:
    try:
        for descriptor in (process / "fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target[8:-1]
    except OSError:
        return
