"""OpenSSH's client: how it is called, and what its failures mean. Options: ssh_config(5).

The operator's own configuration holds, with these exceptions: a host's key is always checked, nothing is asked at a
terminal, and nothing of this machine is forwarded.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from planeshift.drivers import files
from planeshift.errors import PlaneshiftError, Problem, control_free

CONNECT_SECONDS = 10
ALIVE_SECONDS = 5  # between questions whether the other side is there; three without an answer end the connection
PERSIST_SECONDS = 30  # that a connection stays open for the next command
# Of our environment ssh gets what it and the programs of its configuration (ProxyCommand, Kerberos) may need.
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "SSH_AUTH_SOCK", "KRB5CCNAME", "XDG_RUNTIME_DIR")
_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
    "ConnectTimeout": str(CONNECT_SECONDS),
    "ServerAliveInterval": str(ALIVE_SECONDS),
    "ServerAliveCountMax": "3",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "ControlMaster": "auto",
    "ControlPersist": str(PERSIST_SECONDS),
}


@dataclass(frozen=True)
class Client:
    """The way to one host. Paths are absolute; empty is what ssh's own configuration says."""

    name: str  # the host's, for people
    host: str
    user: str
    sockets: Path  # a directory of ours for shared connections
    port: int | None = None
    key: str = ""
    known_hosts: str = ""
    config: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    def start(self, script: str, *arguments: str, stdin: int | IO[bytes]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        """Run a script there, and a file of what is said to standard error. Raises PlaneshiftError (PS470) without ssh.

        Nothing of it is secret: `ps` shows it on both sides.
        """
        files.private(self.sockets)
        said = tempfile.TemporaryFile()  # noqa: SIM115 - no pipe, since the shared connection keeps it open
        # The login shell may be any: what it is given is one word after the other, in single quotes.
        argv = self.argv(shlex.join(["sh", "-c", script, "sh", *arguments]))
        passed = {name: self.environment[name] for name in _PASSED if name in self.environment}
        try:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=said,
                cwd="/",
                env=passed,
                start_new_session=True,
            )
        except OSError as error:
            hint = "apt-get install openssh-client"
            raise PlaneshiftError(Problem("PS470", f"ssh cannot be run: {error.strerror}", hint=hint)) from error
        return process, said

    def run(self, script: str, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> None:
        """Run a script there to its end. Raises PlaneshiftError (PS404, PS470 to PS474) where it fails."""
        process, said = self.start(script, *arguments, stdin=stdin)
        with process, said:
            process.communicate()
            if process.returncode:
                raise self.failure(said)

    def argv(self, command: str) -> list[str]:
        """The command that runs `command` there."""
        return ["ssh", "-T", *self._flags(), "--", self.host, command]

    def close(self) -> None:
        """End the shared connection."""
        argv = ["ssh", *self._flags(), "-O", "exit", "--", self.host]
        subprocess.run(argv, capture_output=True, check=False, stdin=subprocess.DEVNULL, env={"PATH": os.defpath})

    def _flags(self) -> list[str]:
        flags = [f"-o{name}={value}" for name, value in _OPTIONS.items()]
        flags += ["-l", self.user]
        flags += ["-F", self.config] if self.config else []
        flags += ["-p", str(self.port)] if self.port else []
        flags += ["-i", self.key, "-oIdentitiesOnly=yes"] if self.key else []
        if self.known_hosts:
            flags += [f'-oUserKnownHostsFile="{self.known_hosts}"', "-oGlobalKnownHostsFile=none"]
        # Who connects otherwise must not share a connection that was made under other rules.
        return [*flags, f"-oControlPath={self.sockets}/{_digest([self.host, *flags])}"]

    def failure(self, said: IO[bytes], besides: str = "") -> PlaneshiftError:
        """What a connection or a script that failed means, by what it said, to standard error and `besides`."""
        words = "\n".join(filter(None, [last_words(said), besides]))
        low, where = words.lower(), f"{self.name} ({self.user}@{self.host})"
        if "identification has changed" in low:
            hint = f"If it was made anew: ssh-keygen -R {self.host}, and compare its new key before you trust it."
            problem = Problem("PS471", f"{where} has another key than is known", why=words, hint=hint)
        elif "host key" in low and ("verification failed" in low or "is known for" in low):
            hint = f"Compare its key's fingerprint with the host's own: ssh {self.user}@{self.host}"
            problem = Problem("PS471", f"the key of {where} is not known", why=words, hint=hint)
        elif "permission denied" in low and "(" in low:  # with the methods that the server would take
            hint = "A key file, or one in the agent (`ssh-add -l` lists them), must be among its authorized_keys."
            problem = Problem("PS472", f"{where} refuses us", why=words, hint=hint)
        elif "no space left on device" in low or "disk quota exceeded" in low:
            hint = "Free some space; nothing was half-written."
            problem = Problem("PS404", f"the disk of {where} is full", why=words, hint=hint)
        elif any(w in low for w in _UNREACHABLE):
            problem = Problem("PS473", f"{where} cannot be reached", why=words, hint="planeshift doctor")
        else:
            problem = Problem("PS474", f"{where} cannot be worked on", why=words, hint="planeshift doctor")
        return PlaneshiftError(problem)


_UNREACHABLE = (
    "connect to host",
    "could not resolve",
    "timed out",
    "timeout",
    "connection closed",
    "connection reset",
    "connection refused",
    "broken pipe",
    "no route to host",
    "not responding",
)


def last_words(said: IO[bytes]) -> str:
    """The end of what was said, fit for a terminal."""
    said.seek(0)
    return spoken(said.read())


def spoken(text: bytes) -> str:
    """The end of a text of a host's, fit for a terminal."""
    lines = text[-4000:].decode("utf-8", "replace").splitlines()
    return "\n".join(control_free(line)[:300] for line in lines if line.strip("@ "))[-1500:]


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
