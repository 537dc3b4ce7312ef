"""A host in memory. Implements `ports.Host`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from planeshift.drivers.memory import commands, processes
from planeshift.drivers.memory.data import Command, Data, ProcessData, UnitData
from planeshift.drivers.memory.faults import Faults, Port, port
from planeshift.errors import PlaneshiftError, Problem
from planeshift.plan.observed import Process, UnitState
from planeshift.ports import Say
from planeshift.render.desired import Bind, Environment, File, HostPaths, Program, digest


class MemoryHost(Port):
    """A host of the world. Its units are those whose id begins with its name."""

    role = "host"

    def __init__(self, data: Callable[[], Data], faults: Faults, name: str, paths: HostPaths) -> None:
        super().__init__(data, faults)
        self.name, self._paths = name, paths

    @property
    def paths(self) -> HostPaths:
        return self._paths

    # --- looking

    @port(changes=False)
    def units(self, key: bytes) -> Mapping[str, UnitState]:
        ours = {u for u in self.data.units if u.startswith(f"{self.name}/")}
        ours |= {p.unit for p in self.data.processes.values() if p.unit.startswith(f"{self.name}/")}
        return {unit: self._state(unit, key) for unit in sorted(ours)}

    def _state(self, unit: str, key: bytes) -> UnitState:
        there, running = self.data.units.get(unit, UnitData()), processes.supervised(self.data, unit)
        wanted = processes.programs(there.supervisor.config) if there.supervisor else {}
        return UnitState(
            files={path: _digest(file, key) for path, file in there.files.items()},
            supervised=there.supervisor is not None,
            running={name: process.pid for name, process in running.items()},
            loaded=there.loaded,
            supervision=there.supervision,
            orphans=tuple(Process(p.pid, p.started, p.program) for p in processes.orphans(self.data, unit)),
            problem="; ".join(f"{name}: does not start" for name in wanted if name not in running),
        )

    @port(changes=False)
    def environments(self) -> frozenset[str]:
        return frozenset(self.data.environments.get(self.name, {}))

    @port(changes=False)
    def listener(self, bind: Bind) -> str | None:
        found = processes.listener(self.data, (bind.address, bind.port))
        return "" if isinstance(found, ProcessData) else found

    @port(changes=False)
    def tail(self, unit: str, lines: int) -> list[str]:
        there = self.data.units.get(unit)
        known = processes.programs(there.supervisor.config) if there and there.supervisor else {}
        return [f"{name}: a line of its log" for name in known][-lines:]

    # --- files

    @port(changes=True)
    def lay_out(self, unit: str, files: Mapping[str, File]) -> None:
        there = self.data.unit(unit).files
        for number, (path, file) in enumerate(files.items()):
            if number == len(files) // 2:
                self.faults.tear()
            there[path] = file
        for path in set(there) - set(files):
            del there[path]

    @port(changes=True)
    def lay_out_authority(self, pem: str) -> None:
        self.data.authorities[self.name] = pem

    @port(changes=True)
    def make_directories(self, directories: Iterable[str]) -> None:
        self.data.directories |= {(self.name, d) for d in directories}

    @port(changes=True)
    def remove(self, unit: str) -> None:
        there = self.data.units.get(unit)
        if there is None:
            return
        for path in list(there.files)[::2]:
            del there.files[path]
        self.faults.tear()
        del self.data.units[unit]

    # --- programs

    @port(changes=True)
    def install(self, environment: Environment, say: Say) -> None:
        say(f"installing {environment.service} {environment.version}")
        self.faults.tear()  # what is half done lies beside, where nobody sees it
        there = self.data.environments.setdefault(self.name, {})
        there[environment.id] = (environment.service, environment.release)

    @port(changes=True)
    def run(self, argv: Sequence[str], environment: Mapping[str, str], directory: str, say: Say) -> None:
        command = Command(self.name, tuple(argv), dict(environment), directory)
        self.data.commands.append(command)  # it is a process of its own, and goes on where we are killed
        commands.half(self.data, command)
        self.faults.tear()
        self.data.commands.remove(command)
        commands.perform(self.data, command)

    @port(changes=False)
    def settle(self, say: Say) -> None:
        for command in [c for c in self.data.commands if c.host == self.name]:
            self.data.commands.remove(command)
            say(f"waiting for {command.argv[0].rsplit('/', 1)[-1]}, which an interrupted run had begun")
            commands.perform(self.data, command)

    # --- processes

    @port(changes=True)
    def start(self, unit: str, programs: Sequence[Program]) -> None:
        there = self._laid_out(unit)
        if there.supervisor is None:
            processes.launch(self.data, unit)
            self.faults.tear()
        else:
            self._update(unit, there)
        self._start_all(there)

    @port(changes=True)
    def reload(self, unit: str, programs: Sequence[Program]) -> None:
        there = self._laid_out(unit)
        for process in processes.supervised(self.data, unit).values():
            processes.read_again(self.data, process)
        self.faults.tear()
        if there.supervisor is None:
            processes.launch(self.data, unit)
        self._start_all(there, note=False)

    @port(changes=True)
    def restart(self, unit: str, programs: Sequence[Program]) -> None:
        there = self._laid_out(unit)
        processes.kill(self.data, *processes.supervised(self.data, unit).values())
        if there.supervisor is None:
            processes.launch(self.data, unit)
        self._update(unit, there)
        self.faults.tear()
        self._start_all(there)

    def _laid_out(self, unit: str) -> UnitData:
        """The unit, where a supervisor could be started in it."""
        there = self.data.units.get(unit, UnitData())
        file = there.files.get(processes.SUPERVISION)
        if file is None:
            raise PlaneshiftError(
                Problem("PS602", f"the supervisor of {unit} did not start", why="could not find config")
            )
        for program in processes.programs(file.content.decode()).values():
            log = program.log.rpartition("/")[0]
            if (self.name, log) not in self.data.directories:
                raise PlaneshiftError(Problem("PS602", f"the supervisor of {unit} did not start", why=f"no {log}"))
        return there

    def _update(self, unit: str, there: UnitData) -> None:
        """Let the supervisor read its configuration anew; what changed in it is stopped."""
        assert there.supervisor is not None  # noqa: S101
        config = there.files[processes.SUPERVISION].content.decode()
        before, after = processes.programs(there.supervisor.config), processes.programs(config)
        for name, process in processes.supervised(self.data, unit).items():
            if before.get(name) != after.get(name):
                processes.kill(self.data, process)
        there.supervisor.config = config
        processes.let_run(self.data)

    def _start_all(self, there: UnitData, *, note: bool = True) -> None:
        if there.supervisor:
            there.supervisor.down.clear()
        if note:
            there.supervision = _digest(there.files[processes.SUPERVISION], b"")
        processes.let_run(self.data)

    @port(changes=True)
    def stop(self, unit: str) -> None:
        there = self.data.units.get(unit)
        if there and there.supervisor:
            there.supervisor.down |= set(processes.programs(there.supervisor.config))
            processes.kill(self.data, *processes.supervised(self.data, unit).values())
            self.faults.tear()
            there.supervisor = None
        processes.kill(self.data, *processes.of(self.data, unit))
        processes.let_run(self.data)

    @port(changes=True)
    def end(self, unit: str, orphans: Sequence[Process]) -> None:
        for orphan in orphans:
            process = self.data.processes.get(orphan.pid)
            if process and process.started == orphan.started:
                processes.kill(self.data, process)
                self.faults.tear()
        processes.let_run(self.data)

    @port(changes=True)
    def mark_loaded(self, unit: str, digest: str) -> None:
        self.data.unit(unit).loaded = digest

    @port(changes=False)
    def wait_ready(self, url: str, unit: str, say: Say) -> None:
        if url and not processes.answers(self.data, url, unit):
            raise PlaneshiftError(Problem("PS604", f"{unit} did not answer 200 ({url})", why=self._why(unit)))
        if not url and self._why(unit):
            raise PlaneshiftError(Problem("PS604", f"{unit} did not stay up", why=self._why(unit)))

    def _why(self, unit: str) -> str:
        there, running = self.data.units.get(unit, UnitData()), processes.supervised(self.data, unit)
        known = processes.programs(there.supervisor.config) if there.supervisor else {}
        return "\n".join(f"{name}: does not start" for name in known if name not in running)


def _digest(file: File, key: bytes) -> str:
    return digest(file.content, file.mode, b"" if file.mode & 0o077 else key)
