"""A host elsewhere. Implements `ports.Host` by an agent (`planeshift.drivers.agent`) that is started when first asked."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from planeshift.drivers import agent
from planeshift.drivers.local.host import LocalHost
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say
from planeshift.render.desired import HostPaths

Command = Callable[[Sequence[str]], list[str]]


class RemoteHost:
    """A host that is reached by a command: `command` turns an argv into the one that runs it there, or raises."""

    def __init__(self, name: str, paths: HostPaths, command: Command) -> None:
        self.name, self.paths, self._command = name, paths, command
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._process: subprocess.Popen[str] | None = None
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
                assert process.stdin  # noqa: S101 - a pipe
                process.stdin.write(json.dumps({"id": number, "method": method, "arguments": asked}) + "\n")
                process.stdin.flush()
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

    def _running(self) -> subprocess.Popen[str]:
        """The agent, started where it does not run."""
        if self._process and self._process.poll() is None:
            return self._process
        argv = self._agent([sys.executable, "-m", "planeshift.drivers.agent"])
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            self._command(argv),
            stdin=pipe,
            stdout=pipe,
            text=True,
            cwd="/",
            env={"PATH": os.defpath},
            start_new_session=True,
        )
        assert process.stdin  # noqa: S101 - a pipe
        begin = {"name": self.name, "runtime": self.paths.runtime, "state": self.paths.state}
        process.stdin.write(json.dumps(begin) + "\n")
        process.stdin.flush()
        threading.Thread(target=self._read, args=(process,), daemon=True).start()
        self._process = process
        return process

    def _agent(self, argv: list[str]) -> list[str]:
        """The command that becomes the agent there."""
        return argv

    def _read(self, process: subprocess.Popen[str]) -> None:
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
