"""Build what is missing, several modules at a time. Killed at any point, the next build goes on from Go's own cache."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from planeshift.drivers import files
from planeshift.drivers.beside import beside
from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.tools.go import toolchain
from planeshift.tools.pinning import BUILD, ENVIRONMENT, Tool
from planeshift.tools.places import bin_directory, built, cache


@dataclass(frozen=True)
class Progress:
    """What happens to a tool: it waits for another run's build, begins, compiles a package (`text`), ends or fails."""

    tool: Tool
    what: Literal["wait", "begin", "package", "done", "failed"]
    text: str = ""
    seconds: float = 0.0


Tell = Callable[[Progress], None]


def build(tools: Sequence[Tool], tell: Tell, *, jobs: int = 0) -> None:
    """Build each of these whose pinned build is not in the cache; `jobs` modules at a time (0: as the machine has cores).

    Raises PlaneshiftError with every failure (PS412–PS414, PS404) when all that could be built is.
    """
    missing = [tool for tool in tools if not built(tool).exists()]
    files.private(cache())
    if missing:
        go = toolchain(max(t.go for t in missing), lambda line: tell(Progress(missing[0], "package", line)))
        modules = [list(group) for _, group in groupby(sorted(missing, key=lambda t: t.module), lambda t: t.module)]
        modules.sort(key=len, reverse=True)  # the longest first, so that it is not what all wait for at the end
        cores = os.cpu_count() or 1
        jobs = min(jobs or max(2, cores // 2), len(modules))
        _Builder(go, max(1, cores // jobs), tell).all(modules, jobs)
    for tool in tools:
        _link(tool)


def _link(tool: Tool) -> None:
    """Let the directory for PATH have this build."""
    target = f"../{built(tool).parent.name}/{tool.name}"
    path = bin_directory() / tool.name
    if path.is_symlink() and str(path.readlink()) == target:
        return
    files.private(bin_directory())
    with files.failing(f"{path} cannot be made"):
        temporary = path.with_name(f".{tool.name}.{os.getpid()}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)


class _Builder:
    def __init__(self, go: str, parallel: int, tell: Tell) -> None:
        self.go, self.parallel, self.tell = go, parallel, tell
        self.running: set[subprocess.Popen[str]] = set()
        self.stopped = threading.Event()

    def all(self, modules: Sequence[Sequence[Tool]], jobs: int) -> None:
        problems: list[Problem] = []
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(self.module, tools) for tools in modules]
            try:
                for future in futures:
                    problems += future.result()
            except BaseException:
                self.stop()
                raise
        if problems:
            raise PlaneshiftError(problems)

    def stop(self) -> None:
        """End what runs: the rest of an interrupted build is of no use to anyone."""
        self.stopped.set()
        for process in list(self.running):
            self.end(process)

    @staticmethod
    def end(process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)

    def module(self, tools: Sequence[Tool]) -> list[Problem]:
        """Build a module's tools one after the other, since they share most of their packages; return what failed."""
        problems: list[Problem] = []
        with self.alone(tools[0]):
            for tool in tools:
                if self.stopped.is_set() or built(tool).exists():  # by another run, while we waited
                    continue
                started = time.monotonic()
                self.tell(Progress(tool, "begin"))
                try:
                    self.one(tool)
                except PlaneshiftError as error:
                    problems += error.problems
                    self.tell(Progress(tool, "failed", seconds=time.monotonic() - started))
                else:
                    self.tell(Progress(tool, "done", seconds=time.monotonic() - started))
        return problems

    @contextlib.contextmanager
    def alone(self, tool: Tool) -> Iterator[None]:
        """One build of a module at a time on this machine; the lock is the kernel's and ends with its holder."""
        with (cache() / f".{tool.module}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.tell(Progress(tool, "wait"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def one(self, tool: Tool) -> None:
        final = built(tool).parent
        with files.failing(f"{final} cannot be made"), beside(final) as partial:
            partial.mkdir()
            self.compile(tool, partial / tool.name)

    def compile(self, tool: Tool, output: Path) -> None:
        argv = [self.go, "build", "-v", *BUILD, "-p", str(self.parallel)]
        argv += ["-ldflags", " ".join(tool.link), "-o", str(output), tool.package]
        last: collections.deque[str] = collections.deque(maxlen=15)
        with subprocess.Popen(
            argv,
            cwd=tool.directory,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            text=True,
            errors="replace",
        ) as process:
            self.running.add(process)
            if self.stopped.is_set():  # just now, when this process was not known yet
                self.end(process)
            for line in process.stdout or ():
                last.append(control_free(line.rstrip()))
                self.tell(Progress(tool, "package", last[-1]))
        self.running.discard(process)
        if process.returncode:
            raise _explained(tool, "\n".join(line for line in last if " " in line))  # a lone word is a package


def _explained(tool: Tool, words: str) -> PlaneshiftError:
    low = words.lower()
    name = f"{tool.name} {tool.version}"
    if "no space left on device" in low:
        hint = "Free some space (Kubernetes takes about 6 GiB to build); what is compiled by now is kept."
        return PlaneshiftError(Problem("PS404", f"{name} cannot be built: the disk is full", why=words, hint=hint))
    if "checksum mismatch" in low or "security error" in low:
        hint = "The module proxy (GOPROXY) serves another file than is pinned; do not use it."
        return PlaneshiftError(Problem("PS413", f"a module of {name} does not match its pin", why=words, hint=hint))
    network = (
        "dial tcp",
        "no such host",
        "timeout",
        "connection re",
        "proxyconnect",
        "tls:",
        "unexpected eof",
        "reading http",
    )
    if any(w in low for w in network):
        hint = "Check network and module proxy (GOPROXY), then go on with the same command: what was got is kept."
        return PlaneshiftError(Problem("PS412", f"{name} cannot be downloaded", why=words, hint=hint))
    return PlaneshiftError(Problem("PS414", f"{name} cannot be built", why=words))
