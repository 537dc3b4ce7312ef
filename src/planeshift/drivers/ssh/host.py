"""A host that is reached by ssh. Implements `ports.Host` by an agent there, which is carried over when it is missing.

Calls and answers, secrets among them, are lines between the agent and us, inside the connection.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from planeshift.drivers.remote import RemoteHost
from planeshift.drivers.ssh import luggage
from planeshift.drivers.ssh.client import Client, last_words, spoken
from planeshift.errors import PlaneshiftError, Problem
from planeshift.ports import Say, quiet
from planeshift.render.desired import Environment, HostPaths

HERE = Path(__file__).parent
PATIENCE = 60  # seconds that an agent works on without hearing of us
_MEMORY_SECONDS = 2  # that a failure to connect is remembered, since many ask at once
_BANNER_LINES = 200


class SshHost(RemoteHost):
    """A `via: ssh` host. `directory` is what we keep there of all clouds; `environment` is for uv, here."""

    def __init__(
        self, name: str, paths: HostPaths, client: Client, directory: str, environment: Mapping[str, str]
    ) -> None:
        super().__init__(name, paths, list, patience=PATIENCE)
        self.client, self.directory, self._environment = client, directory, environment
        self.facts: dict[str, str] = {}
        self._said: IO[bytes] | None = None
        self._failed: tuple[float, PlaneshiftError] | None = None
        self._offline = False  # whether it has no registry
        self._carrying = threading.Lock()

    def install(self, environment: Environment, say: Say) -> None:
        """Install from the registry that the host reaches, else carry what it needs over."""
        if not self._offline:
            try:
                self._ask("install", {"environment": environment}, say)
                return
            except PlaneshiftError as error:
                if error.problems[0].code != "PS405":
                    raise
                say(f"{self.name} reaches no package registry: what it needs is carried over")
                self._offline = True
        with self._carrying:  # the way there is one
            tree = luggage.environment(environment, self._target(), self._environment, say)
            say(f"carrying {environment.service} {environment.version} to {self.name}")
            python = "/usr/bin/python3" if environment.system_packages else self.facts["interpreter"]
            self._send(tree, f"{self.paths.state}/environments/{environment.id}", python, environment.system_packages)

    def purge(self) -> None:
        """Remove what we keep there of this cloud, and what all clouds share where this is the last one."""
        self.close()
        self.client.run(_script("remove"), self.paths.runtime, self.paths.state, self.directory)

    def look(self) -> Mapping[str, str]:
        """Connect, and tell what the host is: python, version, machine, libc, systemd, free (MiB), system, uid."""
        self.environments()
        return self.facts

    def close(self) -> None:
        super().close()
        self.client.close()

    def _begin(self) -> subprocess.Popen[bytes]:
        if self._failed and time.monotonic() - self._failed[0] < _MEMORY_SECONDS:
            raise self._failed[1]
        try:
            process = self._enter()
            if process is None:
                tree = luggage.agent(self._target(), self._environment, quiet)
                name = f"{luggage.agent_name()}-py{self.facts['python']}"
                self._send(tree, f"{self.directory}/agents/{name}", self.facts["interpreter"], False)
                process = self._enter()
            if process is None:
                raise PlaneshiftError(Problem("PS474", f"the agent does not stay on {self.name}"))
            return process
        except PlaneshiftError as error:
            self._failed = time.monotonic(), error
            raise

    def _enter(self) -> subprocess.Popen[bytes] | None:
        """The agent there; None where it is missing."""
        process, said = self.client.start(_script("enter"), self.directory, luggage.agent_name(), stdin=subprocess.PIPE)
        word, facts = _greeting(process.stdout)
        if word != "ready":
            assert process.stdin  # noqa: S101 - a pipe
            process.stdin.close()
            process.wait()
        if not word:
            raise self.client.failure(said, facts.get("instead", ""))
        if word == "lacks":
            found = f"its python3 is {facts['python']}" if facts.get("python") else "it has no python3"
            hint = "apt-get install python3, of Debian 12, Ubuntu 24.04 or later"
            raise PlaneshiftError(Problem("PS474", f"{self.name} has no Python 3.11 or later: {found}", hint=hint))
        if self.paths.supervisor == "systemd" and facts["systemd"] != "yes":
            process.kill()
            process.wait()
            raise self._without_systemd(facts)
        self.facts, self._said = facts, said
        return process if word == "ready" else None

    def _without_systemd(self, facts: Mapping[str, str]) -> PlaneshiftError:
        user = self.client.user
        if facts.get("uid") == "0":
            what, hint = f"{self.name} is not run by systemd", "`supervisor: supervisord` of the host needs none."
        else:
            what = f"no systemd of the user {user} runs on {self.name}"
            hint = f"As root there: loginctl enable-linger {user}; or `supervisor: supervisord` of the host."
        return PlaneshiftError(Problem("PS474", what, hint=hint))

    def _target(self) -> luggage.Target:
        return luggage.Target(self.facts["python"], self.facts["machine"], self.facts["libc"])

    def _send(self, tree: Path, final: str, python: str, system_packages: bool) -> None:
        with tree.open("rb") as file:
            self.client.run(_script("receive"), final, python, "yes" if system_packages else "no", stdin=file)

    def _gone(self) -> PlaneshiftError:
        why = last_words(self._said) if self._said else ""
        hint = "What was begun there comes to an end by itself; `planeshift up` goes on from there."
        return PlaneshiftError(Problem("PS409", f"{self.name} does not answer any more", why=why, hint=hint))


def _script(name: str) -> str:
    return (HERE / f"{name}.sh").read_text()


def _greeting(stdout: IO[bytes] | None) -> tuple[str, dict[str, str]]:
    """Our script's first words, after whatever the login shell says; what it said `instead`, where they do not come."""
    banner: list[bytes] = []
    for _, line in zip(range(_BANNER_LINES), stdout or (), strict=False):
        words = line.decode("utf-8", "replace").split()
        if words[:1] == ["planeshift"] and len(words) > 1:
            return words[1], dict(w.split("=", 1) for w in words[2:] if "=" in w)
        banner.append(line)
    return "", {"instead": spoken(b"".join(banner))}
