"""A host elsewhere. Implements `ports.Host` by an agent (`planeshift.drivers.agent`) that is started when first asked."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from planeshift.drivers import agent
from planeshift.drivers.local import host as local
from planeshift.drivers.local.host import LocalHost
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.render.desired import HostPaths

Command = Callable[[Sequence[str]], list[str]]


class RemoteHost:
    """A host that is reached by a command: `command` turns an argv into the one that runs it there, or raises."""

    def __init__(self, name: str, paths: HostPaths, command: Command, *, patience: float = 0) -> None:
        self.name, self.paths, self._command, self._patience = name, paths, command, patience
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}

    def close(self) -> None:
        """End the agent; it is started again when something is asked."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_") or method not in agent.methods():
            raise AttributeError(method)
        signature = inspect.signature(getattr(LocalHost, method))

        def call(*given: Any, **named: Any) -> Any:
            arguments = dict(signature.bind(self, *given, **named).arguments)
            del arguments["self"]
            return self._ask(method, arguments, arguments.pop("say", None))

        return call

    def _ask(self, method: str, arguments: Mapping[str, Any], say: Say | None) -> Any:
        types, result = agent.adapters(method)
        asked = {name: agent.plain(types[name], value) for name, value in arguments.items()}
        number: int = next(self._numbers)
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            process = self._running()
            self._waiting[number] = answers
            try:
                _write(process, {"id": number, "method": method, "arguments": asked})
            except OSError as error:
                raise self._gone() from error
        while True:
            answer = answers.get()
            if "say" in answer:
                if say:
                    say(answer["say"])
            elif "problems" in answer:
                raise PlaneshiftError(agent.problems_from(answer["problems"]))
            elif "result" in answer:
                return agent.back(result, answer["result"])
            else:
                raise self._gone()

    def _gone(self) -> PlaneshiftError:
        hint = "planeshift lab up"
        return PlaneshiftError(Problem("PS409", f"{self.name} ended, or what worked on it did", hint=hint))

    def _running(self) -> subprocess.Popen[bytes]:
        """The agent, started where it does not run."""
        if self._process and self._process.poll() is None:
            return self._process
        process = self._begin()
        begin = {"name": self.name, "paths": asdict(self.paths), "patience": self._patience}
        _write(process, begin | {"ready_seconds": local.READY_SECONDS})
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        if self._patience:
            threading.Thread(target=self._stay, args=(process,), daemon=True).start()
        self._process = process
        return process

    def _begin(self) -> subprocess.Popen[bytes]:
        """A process that is the agent, by its standard input and output."""
        argv = self._agent([sys.executable, "-P", "-m", "planeshift.drivers.agent"])
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._command(argv), stdin=pipe, stdout=pipe, cwd="/", env={"PATH": os.defpath}, start_new_session=True
        )

    def _agent(self, argv: list[str]) -> list[str]:
        """The command that becomes the agent there."""
        return argv

    def _stay(self, process: subprocess.Popen[bytes]) -> None:
        """Let the agent know that we are there."""
        while process.poll() is None:
            time.sleep(self._patience / 6)
            with self._lock, contextlib.suppress(OSError, ValueError):  # it ended, or was closed
                _write(process, None)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Hand each answer to who waits for it; when the agent ends, all are told."""
        for line in process.stdout or ():
            answer = json.loads(line)
            number = answer["id"]
            self._waiting[number].put(answer)
            if "say" not in answer:
                del self._waiting[number]
        process.wait()
        for answers in list(self._waiting.values()):
            answers.put({})


def _write(process: subprocess.Popen[bytes], line: object) -> None:
    assert process.stdin  # noqa: S101 - a pipe
    process.stdin.write((json.dumps(line) if line is not None else "").encode() + b"\n")
    process.stdin.flush()
