"""A real sshd on a loopback address, for hosts `via: ssh`: with keys, and a configuration of the client's, of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from planeshift.drivers.local import processes
from planeshift.drivers.ssh.client import Client
from planeshift.drivers.ssh.host import SshHost
from planeshift.render.desired import HostPaths

SSHD = "/usr/sbin/sshd"
ROOT = os.getuid() == 0
# root's sshd wants a directory in /run, which is given to it where nobody else sees it.
_APART = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && eval "$0" && exec "$@"']


def reason() -> str:
    """Why this machine cannot have one; empty where it can."""
    there = Path(SSHD).exists() and shutil.which("ssh")
    return "" if there else "no sshd: apt-get install openssh-server openssh-client"


@dataclass
class Sshd:
    """It takes the user of these tests by `client_key`. `prepare` is what root does before, where nobody else sees it."""

    directory: Path
    address: str
    prepare: str = ":"
    process: subprocess.Popen[bytes] | None = None
    clients: list[Client] = field(default_factory=list)

    def start(self) -> None:
        for name in ("client_key", "host_key", "other_key"):
            if not (self.directory / name).exists():
                argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name)]
                subprocess.run(argv, check=True)
        shutil.copy(self.directory / "client_key.pub", self.directory / "authorized_keys")
        self.know("host_key")
        self.port = _free(self.address)
        # An alias, so that the configuration is needed.
        config = f"Host there\n  HostName {self.address}\n  Port {self.port}\n"
        (self.directory / "config").write_text(config)
        options = {
            "ListenAddress": self.address,
            "Port": str(self.port),
            "HostKey": str(self.directory / "host_key"),
            "AuthorizedKeysFile": str(self.directory / "authorized_keys"),
            "AuthenticationMethods": "publickey",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
        }
        sshd = [SSHD, "-D", "-e", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())]
        argv = [*_APART, self.prepare, *sshd] if ROOT else sshd
        with (self.directory / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(lambda: _listens(self.address, self.port) or self.process is None or self.process.poll() is not None)
        assert self.process.poll() is None, (self.directory / "sshd.log").read_text()

    def know(self, key: str) -> None:
        """Let the client know this key for the host's."""
        public = " ".join((self.directory / f"{key}.pub").read_text().split()[:2])
        port = getattr(self, "port", 0)
        (self.directory / "known_hosts").write_text(
            f"* {public}\n" if not port else f"[{self.address}]:{port} {public}\n"
        )

    def client(self, key: str = "client_key", known_hosts: str = "known_hosts", **changes: object) -> Client:
        given = {
            "name": "here",
            "host": "there",
            "user": getpass.getuser(),
            "sockets": self.directory / "sockets",
            "key": str(self.directory / key),
            "known_hosts": str(self.directory / known_hosts),
            "config": str(self.directory / "config"),
            "environment": os.environ,
        }
        self.clients.append(Client(**(given | changes)))  # type: ignore[arg-type]
        return self.clients[-1]

    def host(self, paths: HostPaths, client: Client | None = None) -> SshHost:
        kept = str(self.directory / "kept")
        return SshHost("here", paths, client or self.client(), kept, os.environ)

    def sessions(self) -> list[int]:
        """The processes of its connections."""
        assert self.process
        found = [int(p.name) for p in processes.PROC.iterdir() if p.name.isdigit()]
        return [pid for pid in found if pid != self.process.pid and processes.descends(pid, self.process.pid)]

    def cut(self) -> None:
        """End its connections, without a word to what runs in them."""
        assert self.process
        for pid in self.sessions():
            if (processes.identity(pid) or (0, 0))[1] == self.process.pid:
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        if self.process:
            until(lambda: not self.sessions())
            self.process.terminate()
            self.process.wait()


def until(what: Callable[[], object]) -> None:
    for _ in range(1000):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it did not become so")


def _free(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
