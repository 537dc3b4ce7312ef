"""What the contract suite holds its ports by: the same words for a world in memory and for a real one."""

from __future__ import annotations

import http.client
import http.server
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from sshrig import Sshd

from planeshift.drivers.haproxy import HAProxy
from planeshift.drivers.local import processes as real_processes
from planeshift.drivers.local.host import LocalHost
from planeshift.drivers.local.supervisord import Supervisord
from planeshift.drivers.memory import Memory, processes
from planeshift.drivers.memory.data import ProcessData
from planeshift.drivers.remote import RemoteHost
from planeshift.drivers.traffic import RingTraffic
from planeshift.plan.observed import UnitState
from planeshift.ports import Edge, Host, Traffic, quiet
from planeshift.render.desired import Bind, File, Frontend, HostPaths, Program, Server
from planeshift.render.haproxy import haproxy
from planeshift.render.supervisor import MARKER, supervisord
from planeshift.traffic.lines import Request, failure, kind

PORT = 18_080
KEY = b"key"
SUPERVISION = "supervisord.conf"
# Serves `page.txt` as it was when it started, where gunicorn.conf.py says; SIGHUP makes it start over, as itself.
PROGRAM = f"""#!{sys.executable}
import http.server, os, pathlib, signal, sys
bind = next(l for l in pathlib.Path("gunicorn.conf.py").read_text().splitlines() if l.startswith("bind")).split("'")[1]
page = pathlib.Path("page.txt").read_bytes()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args):
        pass

signal.signal(signal.SIGHUP, lambda *_: os.execv(sys.executable, [sys.executable, *sys.argv]))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
address, port = bind.split(":")
http.server.ThreadingHTTPServer.allow_reuse_address = True
http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
"""


def until(what: Callable[[], object]) -> None:
    """Wait until something is so; fail where it does not become so."""
    for _ in range(600):
        if what():
            return
        time.sleep(0.02)
    raise AssertionError("it did not become so")


class HostRig(ABC):
    """A host and a small web server on it: its files, its programs, and what it serves."""

    port: Host
    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}/"

    @property
    def bind(self) -> Bind:
        return Bind(self.address, PORT)

    def programs(
        self, unit: str, *, name: str = "web", setting: str = "1", environment: str = "web-1"
    ) -> list[Program]:
        """The unit's one program; a `setting` in its environment makes it another program."""
        paths = self.port.paths
        variables = {"SETTING": setting, MARKER: f"{paths.runtime}/{unit}#{name}", "PATH": "/usr/bin:/bin"}
        argv = (f"{paths.state}/environments/{environment}/bin/gunicorn",)
        return [Program(name, argv, variables, f"{paths.state}/logs/{unit}/{name}.log", "HUP", stop_seconds=5)]

    def files(self, unit: str, page: str = "first", *, port: int = PORT, **program: str) -> dict[str, File]:
        """The unit's files."""
        paths = self.port.paths
        conf = supervisord(
            f"{paths.runtime}/{unit}",
            f"{paths.state}/logs/{unit}/supervisord.log",
            unit,
            self.programs(unit, **program),
        )
        return {
            "gunicorn.conf.py": File(f"bind = '{self.address}:{port}'\n".encode()),
            "page.txt": File(page.encode()),
            SUPERVISION: File(conf),
        }

    def lay_out(self, unit: str, page: str = "first", *, port: int = PORT, **program: str) -> None:
        self.port.make_directories([f"{self.port.paths.state}/logs/{unit}"])
        self.port.lay_out(unit, self.files(unit, page, port=port, **program))

    def start(self, unit: str, page: str = "first", *, port: int = PORT) -> None:
        """Lay out, start, wait."""
        self.lay_out(unit, page, port=port)
        self.port.start(unit, self.programs(unit))
        self.port.wait_ready(f"http://{self.address}:{port}/", unit, quiet)

    def state(self, unit: str) -> UnitState:
        return self.port.units(KEY)[unit]

    def serves(self, page: str) -> None:
        """The page comes to be served."""
        until(lambda: self.page() == page)

    @abstractmethod
    def page(self) -> str:
        """What is served; empty for nothing."""

    @abstractmethod
    def install(self, environment: str) -> None:
        """Let there be programs."""

    @abstractmethod
    def kill_supervisor(self, unit: str) -> None:
        """Kill it, without a word."""

    @abstractmethod
    def stranger(self) -> str:
        """Let somebody else listen where the unit should; returns a part of their name."""

    @abstractmethod
    def clean_up(self) -> None:
        """Leave nothing, and fail where something would be left."""


class MemoryHostRig(HostRig):
    """In memory."""

    def __init__(self, memory: Memory, address: str) -> None:
        self.memory, self.address = memory, address
        self.port = memory.host("here", HostPaths(runtime="/run/t", state="/var/t"))
        self.install("web-1")

    def install(self, environment: str) -> None:
        self.memory.data.environments.setdefault("here", {})[environment] = ("web", "2026.2")

    def page(self) -> str:
        found = processes.listener(self.memory.data, (self.address, PORT))
        return found.read["page.txt"].content.decode() if isinstance(found, ProcessData) else ""

    def kill_supervisor(self, unit: str) -> None:
        self.memory.mishaps.supervisor_dies(unit)

    def stranger(self) -> str:
        self.memory.mishaps.listens((self.address, PORT), "python (pid 1)")
        return "python"

    def clean_up(self) -> None:
        for unit in list(self.port.units(KEY)):
            self.port.stop(unit)
            self.port.remove(unit)
        assert not self.memory.data.processes


class RealHostRig(HostRig):
    """This machine, with real supervisors."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory, self.address = directory, address
        paths = HostPaths(runtime=str(directory / "r"), state=str(directory / "s"))
        self.port = LocalHost("here", paths, {"PATH": os.environ["PATH"]})
        self.sockets: list[socket.socket] = []
        self.install("web-1")

    def install(self, environment: str) -> None:
        program = self.directory / "s" / "environments" / environment / "bin" / "gunicorn"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)

    def page(self) -> str:
        connection = http.client.HTTPConnection(self.address, PORT, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def kill_supervisor(self, unit: str) -> None:
        pid = Supervisord(self.directory / "r" / unit).pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: real_processes.identity(pid) is None)

    def stranger(self) -> str:
        made = socket.create_server((self.address, PORT))
        self.sockets.append(made)
        return "pytest" if "pytest" in Path("/proc/self/comm").read_text() else "python"

    def clean_up(self) -> None:
        for made in self.sockets:
            made.close()
        for unit in list(self.port.units(KEY)):
            self.port.stop(unit)
            self.port.remove(unit)
        with socket.socket() as probe:
            assert probe.connect_ex((self.address, PORT)) != 0, "somebody still listens"


class AgentHostRig(RealHostRig):
    """This machine, asked by way of an agent, as hosts of a lab are."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory, address)
        self.agent = RemoteHost("here", self.port.paths, list)
        self.port = cast(Host, self.agent)

    def clean_up(self) -> None:
        super().clean_up()
        self.agent.close()


class SshHostRig(RealHostRig):
    """This machine, by way of a real sshd; under supervisord, which needs no systemd."""

    def __init__(self, directory: Path, address: str, sshd: Sshd) -> None:
        super().__init__(directory, address)
        self.ssh = sshd.host(self.port.paths)
        self.port = cast(Host, self.ssh)

    def clean_up(self) -> None:
        super().clean_up()
        self.ssh.close()


class EdgeRig(ABC):
    """A HAProxy with two servers behind it."""

    unit = "here/edge/edge"
    port: Edge
    traffic: Traffic
    hosts: HostRig
    servers: Sequence[Server]

    def __init__(self, hosts: HostRig, address: Callable[[], str]) -> None:
        self.hosts = hosts
        self.servers = [
            Server(name, name, address(), PORT, weight, "here", False) for name, weight in (("one", 256), ("two", 64))
        ]
        for server in self.servers:
            self.serve(server)

    def frontend(self, *servers: Server) -> Frontend:
        return Frontend("web", (Bind(self.hosts.address, PORT),), servers or tuple(self.servers), "/", 5)

    def programs(self) -> list[Program]:
        paths = self.hosts.port.paths
        directory = f"{paths.runtime}/{self.unit}"
        return [
            Program(
                "haproxy",
                (
                    paths.haproxy,
                    "-W",
                    "-db",
                    "-S",
                    f"{directory}/master.sock,mode,600",
                    "-f",
                    f"{directory}/haproxy.cfg",
                ),
                {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", MARKER: f"{directory}#haproxy"},
                f"{paths.state}/logs/{self.unit}/haproxy.log",
                "USR2",
                stop_signal="USR1",
                stop_seconds=5,
            )
        ]

    def lay_out(self, *servers: Server, text: str = "") -> str:
        """Lay a configuration out, by default of both servers; returns its structure."""
        paths = self.hosts.port.paths
        directory = f"{paths.runtime}/{self.unit}"
        made, structure = haproxy(directory, [self.frontend(*servers)], Bind(self.hosts.address, 18_404))
        log = f"{paths.state}/logs/{self.unit}"
        files: Mapping[str, File] = {
            "haproxy.cfg": File((text or made).encode()),
            SUPERVISION: File(supervisord(directory, f"{log}/supervisord.log", self.unit, self.programs())),
        }
        self.hosts.port.make_directories([log])
        self.hosts.port.lay_out(self.unit, files)
        return structure

    def start(self) -> str:
        """A running edge; returns its structure."""
        structure = self.lay_out()
        self.hosts.port.start(self.unit, self.programs())
        self.port.wait(self.unit, structure, quiet)
        self.port.settle(self.unit, quiet)
        return structure

    def reload(self, *servers: Server) -> str:
        structure = self.lay_out(*servers)
        self.hosts.port.reload(self.unit, self.programs())
        self.port.wait(self.unit, structure, quiet)
        return structure

    def weights(self) -> dict[str, int]:
        state = self.port.state(self.unit)
        return {name: server.weight for (_, name), server in state.servers.items()} if state else {}

    def withheld(self) -> set[str]:
        state = self.port.state(self.unit)
        return {name for (_, name), server in state.servers.items() if server.withheld} if state else set()

    def up(self) -> set[str]:
        state = self.port.state(self.unit)
        return {name for (_, name), server in state.servers.items() if server.up} if state else set()

    @abstractmethod
    def request(self, path: str = "/", status: int = 200) -> None:
        """A client's request through the edge, that a server answers with this status."""

    @abstractmethod
    def serve(self, server: Server) -> None:
        """Let a server answer."""

    @abstractmethod
    def end(self, server: Server) -> None:
        """Let it answer no more."""

    def clean_up(self) -> None:
        self.hosts.clean_up()


class MemoryEdgeRig(EdgeRig):
    """In memory."""

    def __init__(self, hosts: MemoryHostRig, address: Callable[[], str]) -> None:
        self.memory = hosts.memory
        self.port = hosts.memory.edge
        self.traffic = hosts.memory.traffic
        super().__init__(hosts, address)

    def request(self, path: str = "/", status: int = 200) -> None:
        failed = failure(status, "--")
        request = Request(1.0, "web", "one", status, 1, 1, "--", failed, kind(f"GET {path} HTTP/1.1"))
        self.memory.mishaps.is_served(self.unit, request)

    def serve(self, server: Server) -> None:
        self.memory.data.elsewhere[server.address, server.port] = None

    def end(self, server: Server) -> None:
        del self.memory.data.elsewhere[server.address, server.port]


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.headers.get("X-Answer", "200")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class RealEdgeRig(EdgeRig):
    """A real HAProxy under a real supervisor."""

    def __init__(self, hosts: RealHostRig, address: Callable[[], str]) -> None:
        self.port = HAProxy({"here": hosts.port.paths.runtime})
        self.traffic = RingTraffic({"here": hosts.port.paths.runtime})
        self.made: dict[str, socketserver.BaseServer] = {}
        super().__init__(hosts, address)

    def request(self, path: str = "/", status: int = 200) -> None:
        connection = http.client.HTTPConnection(self.hosts.address, PORT, timeout=5)
        connection.request("GET", path, headers={"X-Answer": str(status)})
        assert connection.getresponse().status == status
        connection.close()

    def serve(self, server: Server) -> None:
        made = http.server.ThreadingHTTPServer((server.address, server.port), _Answer)
        self.made[server.name] = made
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()

    def end(self, server: Server) -> None:
        made = self.made.pop(server.name)
        made.shutdown()
        made.server_close()

    def clean_up(self) -> None:
        super().clean_up()
        for server in list(self.servers):
            if server.name in self.made:
                self.end(server)


def weighted(server: Server, weight: int) -> Server:
    """The same server, of another weight."""
    return replace(server, weight=weight)
