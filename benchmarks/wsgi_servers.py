"""Which WSGI server can be moved behind HAProxy without losing a request? Measure, side by side.

    python benchmarks/wsgi_servers.py [--venv-keystone DIR] [--venv-glance DIR] [--only NAME]... [--parts abcdefhs]

Builds a small virtual environment with `uv`, runs each candidate with two worker processes behind a HAProxy of its own
(one frontend with `option http-server-close` to the server, one with HAProxy's defaults, one with
`option http-buffer-request`), and prints one markdown table. Everything is bounded in count and time, stays on the
loopback address, and lives in one temporary directory. The parts:

    a  POST bodies from keep-alive clients        e  kill -9 of a worker or of the master, SIGTERM
    b  a body that the application does not read  f  speed, memory, time to the first answer
    c  200 MB up and down (an application's sink) h  HTTP hygiene
    d  ten graceful reloads under load            s  real services: Keystone, Glance (need --venv-…)

--json FILE keeps the figures, and a later run with other parts adds to them.
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import hashlib
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

MB = 1 << 20
THREADS = 4
HOST = "127.0.0.1"

APP = '''
import hashlib, os, time
try:
    import uwsgi
except ImportError:
    uwsgi = None
BLOCK = b"planeshift-bench" * 4096

def body(env):
    """As Glance reads: uWSGI hands chunked bodies out through a module of its own."""
    if uwsgi and env.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
        while data := uwsgi.chunked_read():
            yield data
        return
    left = int(env["CONTENT_LENGTH"]) if env.get("CONTENT_LENGTH") else None
    while left is None or left > 0:
        data = env["wsgi.input"].read(65536 if left is None else min(65536, left))
        if not data:
            return
        left = None if left is None else left - len(data)
        yield data

def application(env, start_response):
    path, status, headers = env["PATH_INFO"], "200 OK", []
    if path in ("/echo", "/sink"):
        digest = hashlib.sha256()
        for data in body(env):
            digest.update(data)
        out = digest.hexdigest().encode()
    elif path == "/noread":
        status, out = "401 Unauthorized", b"who are you"
    elif path == "/slow":
        time.sleep(5)
        out = b"slow"
    elif path == "/204":
        start_response("204 No Content", [])
        return []
    elif path == "/blob":
        count = int(env["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(count * len(BLOCK)))])
        return (BLOCK for _ in range(count))
    elif path == "/env":
        out = "\\n".join(f"{k}={v}" for k, v in sorted(env.items()) if isinstance(v, str)).encode()
    elif path == "/pid":
        out = str(os.getpid()).encode()
    else:
        out = b"ok"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(out)))])
    return [out]
'''

# Keystone parses the command line of whatever runs it (oslo.config), so a worker forgets gunicorn's; and each says when
# it has loaded the application, which is what a rolling reload waits for.
BOOTED = """
import sys

def post_fork(server, worker):
    del sys.argv[1:]

def post_worker_init(worker):
    with open({!r}, "a") as booted:
        booted.write("up\\n")
"""

# The same for granian and waitress, which have no such hook.
TRIMMED = (
    "import os, sys, importlib\ndel sys.argv[1:]\nm, a = os.environ['TARGET'].split(':')\n"
    "application = getattr(importlib.import_module(m), a)\n"
)

WAITRESS = (
    "import sys, waitress, importlib; m, a = sys.argv[1].split(':'); "
    f"waitress.serve(getattr(importlib.import_module(m), a), listen=sys.argv[2], threads={THREADS})"
)


# ---------------------------------------------------------------------------------------------- the candidates


def uwsgi(*how: str) -> Callable[[Path, str, list[str], Path], list[list[str]]]:
    """uWSGI as upstream's test installations configure it, with graceful SIGTERM."""

    def command(bin_dir: Path, app: str, addresses: list[str], home: Path) -> list[list[str]]:
        # Without --binary-path (the python, since the arguments name the script) a reload of pyuwsgi in a virtual
        # environment ends it (unbit/uwsgi#2478); without --listen
        # 100 connections may wait, without --socket-timeout a client may be silent for 4 s.
        return [
            [
                str(bin_dir / "uwsgi"),
                *[a.format(addresses[0]) for a in how],
                "--module",
                app,
                "--master",
                "--binary-path",
                str(bin_dir / "python"),
                "--listen",
                "1024",
                "--socket-timeout",
                "60",
                "--http-timeout",
                "60",
                "--master-fifo",
                str(home / "fifo"),
                "--processes",
                "2",
                "--threads",
                str(THREADS),
                "--enable-threads",
                "--lazy-apps",
                "--need-app",
                "--thunder-lock",
                "--die-on-term",
                "--worker-reload-mercy",
                "60",
                "--buffer-size",
                "65535",
                "--hook-master-start",
                "unix_signal:15 gracefully_kill_them_all",
                "--disable-logging",
                "--no-orphans",
            ]
        ]

    return command


def gunicorn(*how: str) -> Callable[[Path, str, list[str], Path], list[list[str]]]:
    def command(bin_dir: Path, app: str, addresses: list[str], home: Path) -> list[list[str]]:
        (home / "gunicorn.conf.py").write_text(BOOTED.format(str(home / "booted")))
        return [
            [
                str(bin_dir / "gunicorn"),
                "--bind",
                addresses[0],
                "--workers",
                "2",
                *how,
                "--graceful-timeout",
                "60",
                "--config",
                str(home / "gunicorn.conf.py"),
                "--keep-alive",
                "75",
                "--timeout",
                "60",
                "--no-control-socket",
                "--worker-tmp-dir",
                "/dev/shm",
                "--limit-request-line",
                "8190",
                "--limit-request-field_size",
                "16380",
                app,
            ]
        ]

    return command


def granian(bin_dir: Path, app: str, addresses: list[str], home: Path) -> list[list[str]]:
    host, port = addresses[0].rsplit(":", 1)
    return [
        [
            str(bin_dir / "granian"),
            "--interface",
            "wsgi",
            "--host",
            host,
            "--port",
            port,
            "--workers",
            "2",
            "--blocking-threads",
            str(THREADS),
            "--respawn-failed-workers",
            "--workers-kill-timeout",
            "60",
            "--no-ws",
            "--http",
            "1",
            app,
        ]
    ]


def waitress(bin_dir: Path, app: str, addresses: list[str], home: Path) -> list[list[str]]:
    """One process a server: HAProxy balances over two of them."""
    return [[str(bin_dir / "python"), "-c", WAITRESS, app, address] for address in addresses]


CANDIDATES = {
    "uwsgi http-socket": uwsgi("--http-socket", "{}"),
    "uwsgi http-socket, close": uwsgi("--http-socket", "{}", "--add-header", "Connection: close"),
    "uwsgi http11-socket": uwsgi("--http11-socket", "{}"),
    "uwsgi http router": uwsgi("--http", "{}", "--http-keepalive", "--http-chunked-input"),
    "gunicorn gthread": gunicorn("--worker-class", "gthread", "--threads", str(THREADS)),
    "gunicorn sync": gunicorn("--worker-class", "sync"),
    "granian": granian,
    "waitress": waitress,
}


# ---------------------------------------------------------------------------------------------- processes


def free_ports(count: int) -> list[int]:
    """Ports below the ephemeral range: a client's own port must not take one that a restarted server wants back."""
    found: list[int] = []
    while len(found) < count:
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            if port not in found:
                found.append(port)
    return found


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def family(pid: int) -> list[int]:
    return [pid, *(q for p in children(pid) for q in family(p))]


def pss(pid: int) -> int:
    """Proportional set size in MB: what forking shares is counted once."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found[1]) // 1024 if found else 0
    return 0


def spooled(pid: int) -> int:
    """Bytes of deleted (temporary) regular files that a process holds open."""
    total = 0
    with contextlib.suppress(OSError):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if "(deleted)" in str(fd.readlink()):
                    total += fd.stat().st_size
    return total


@dataclass
class Stack:
    """One candidate and its HAProxy."""

    name: str
    home: Path
    bin_dir: Path
    app: str = "app:application"
    env: dict[str, str] = field(default_factory=dict)
    procs: list[subprocess.Popen[bytes]] = field(default_factory=list)
    haproxy: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "tmp").mkdir(exist_ok=True)
        *servers, self.close, self.keep, self.buffer = free_ports(5)
        self.servers = servers
        addresses = [f"{HOST}:{p}" for p in servers]
        self.commands = CANDIDATES[self.name](self.bin_dir, self.app, addresses, self.home)
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(self.home.parent),
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            **self.env,
        }

    def spawn(self, index: int) -> subprocess.Popen[bytes]:
        log = (self.home / f"server{index}.log").open("ab")
        return subprocess.Popen(
            self.commands[index],
            cwd=self.home,
            env=self.environ,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self) -> float:
        """Start both; the seconds to the server's first answer."""
        lines = "\n".join(f"  server s{i} {HOST}:{self.servers[i]}" for i in range(len(self.commands)))
        listen = "".join(
            f"listen {n}\n  bind {HOST}:{port}\n  option {o}\n{lines}\n"
            for n, port, o in (
                ("close", self.close, "http-server-close"),
                ("keep", self.keep, "http-keep-alive"),
                ("buffer", self.buffer, "http-buffer-request"),
            )
        )
        (self.home / "haproxy.cfg").write_text(
            f"global\n  maxconn 400\n  stats socket {self.home}/ha.sock\n  log stdout format raw local0\n"
            "defaults\n  mode http\n  log global\n  option httplog\n  option dontlog-normal\n  option redispatch\n"
            "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  timeout http-keep-alive 15s\n" + listen
        )
        begin = time.monotonic()
        self.procs = [self.spawn(i) for i in range(len(self.commands))]
        for port in self.servers[: len(self.commands)]:
            self.wait(port, begin)
        took = time.monotonic() - begin
        log = (self.home / "haproxy.log").open("ab")
        self.haproxy = subprocess.Popen(
            ["haproxy", "-db", "-f", "haproxy.cfg"], cwd=self.home, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        self.wait(self.keep, time.monotonic())
        return took

    def wait(self, port: int, begin: float) -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if once(port, "GET", "/", timeout=5)[0] < 500:
                    return
            if time.monotonic() - begin > 60:
                raise RuntimeError(f"{self.name} did not answer: {self.home}")
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """Processes that serve the application (not the master, not uWSGI's router)."""
        if self.name == "waitress":
            return [p.pid for p in self.procs]
        found = {int(p) for _ in range(60) for p in [once(self.servers[0], "GET", "/pid")[1]] if p.isdigit()}
        return sorted(found) or family(self.procs[0].pid)[1:]

    def everyone(self) -> list[int]:
        return [q for p in self.procs for q in family(p.pid)]

    def booted(self) -> int:
        """How many workers have loaded the application since the start: gunicorn's say it in a file, uWSGI's in the log."""
        if self.name.startswith("gunicorn"):
            return (self.home / "booted").read_text().count("up")
        return (self.home / "server0.log").read_text(errors="replace").count(") ready in ")

    def settle(self, want: int) -> None:
        deadline = time.monotonic() + 60
        while self.booted() < want and time.monotonic() < deadline and self.procs[0].poll() is None:
            time.sleep(0.05)

    def reload(self, index: int, rolling: bool = False) -> None:
        """SIGHUP; or, rolling, new workers first: uWSGI's chain reload, gunicorn's TTIN and then TTOU (oldest go)."""
        if rolling and self.name.startswith("uwsgi"):
            (self.home / "fifo").write_text("c")
            return None
        if rolling and self.name.startswith("gunicorn"):
            before = self.booted()
            for sent in (signal.SIGTTIN, signal.SIGTTOU):
                for _ in range(2):
                    self.procs[0].send_signal(sent)
                    time.sleep(0.1)
                self.settle(before + 2)
            return None
        if self.name != "waitress":
            return self.procs[0].send_signal(signal.SIGHUP)
        turn = index % 2
        self.procs[turn].terminate()
        self.procs[turn].wait(30)
        self.procs[turn] = self.spawn(turn)

    def stop(self) -> None:
        everyone = self.everyone()
        for proc in self.procs:
            proc.terminate()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and any(p.poll() is None for p in self.procs):
            time.sleep(0.05)
        for pid in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for proc in self.procs:
            proc.wait()
        if self.haproxy:
            self.haproxy.terminate()
            self.haproxy.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[float]:
        try:
            yield self.start()
        finally:
            self.stop()


# ---------------------------------------------------------------------------------------------- clients


def once(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    timeout: float = 30,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes, http.client.HTTPResponse]:
    conn = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        conn.request(method, path, body, headers or {})
        reply = conn.getresponse()
        return reply.status, reply.read(), reply
    finally:
        conn.close()


class Client(threading.Thread):
    """A keep-alive client: sends until told to stop, or `count` times, and counts what comes back."""

    def __init__(
        self,
        port: int,
        method: str,
        path: str,
        body: bytes | None = None,
        count: int = 10**9,
        pause: float = 0.0,
        headers: dict[str, str] | None = None,
        good: int = 200,
    ) -> None:
        super().__init__(daemon=True)
        self.port, self.method, self.path, self.body, self.count = port, method, path, body, count
        self.pause, self.headers, self.good = pause, headers or {}, good
        self.seen: Counter[str] = Counter()
        self.longest = 0.0
        self.halt = threading.Event()

    def run(self) -> None:
        conn = http.client.HTTPConnection(HOST, self.port, timeout=30)
        for _ in range(self.count):
            if self.halt.is_set():
                break
            begin = time.monotonic()
            try:
                conn.request(self.method, self.path, self.body, self.headers)
                reply = conn.getresponse()
                reply.read()
                self.seen["ok" if reply.status == self.good else str(reply.status)] += 1
            except (OSError, http.client.HTTPException) as e:
                self.seen[type(e).__name__] += 1
                conn.close()
            self.longest = max(self.longest, time.monotonic() - begin)
            if self.pause:
                time.sleep(self.pause)
        conn.close()


def total(clients: list[Client]) -> Counter[str]:
    seen: Counter[str] = Counter()
    for client in clients:
        client.join(60)
        seen += client.seen
    return seen


def lost(seen: Counter[str]) -> str:
    bad = {k: v for k, v in seen.items() if k != "ok"}
    said = f" ({', '.join(f'{v} {k}' for k, v in sorted(bad.items()))})" if bad else ""
    return f"{sum(bad.values())} of {sum(seen.values())}{said}"


def send(
    port: int,
    path: str,
    size: int,
    chunked: bool,
    pause: float = 0.0,
    expect: bool = False,
    method: str = "PUT",
    headers: str = "",
) -> tuple[str, bytes, str]:
    """Upload as a plain client does: send all of it, then read. On a send error, look whether an answer came."""
    block = os.urandom(65536)
    digest = hashlib.sha256()
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    with socket.create_connection((HOST, port), timeout=60) as sock:
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{framing}\r\n{headers}"
        sock.sendall((head + ("Expect: 100-continue\r\n" if expect else "") + "\r\n").encode())
        note = ""
        if expect:
            sock.settimeout(5)
            try:
                note = sock.recv(4096).split(b"\r\n")[0].decode()
            except TimeoutError:
                note = "no 100"
            sock.settimeout(60)
            if note.startswith("HTTP/1.1") and "100" not in note:
                return note[9:12], b"", ""
        try:
            for start in range(0, size, len(block)):
                data = block[: min(len(block), size - start)]
                digest.update(data)
                sock.sendall(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                if pause:
                    time.sleep(pause)
            if chunked:
                sock.sendall(b"0\r\n\r\n")
        except OSError as e:
            note = type(e).__name__
        try:
            reply = http.client.HTTPResponse(sock)
            reply.begin()
            return str(reply.status), reply.read(), digest.hexdigest()
        except (OSError, http.client.HTTPException) as e:
            return f"{note or ''} {type(e).__name__}".strip(), b"", ""


def raw(port: int, data: bytes, timeout: float = 3.0) -> bytes:
    """Send bytes, return all that comes back until close or silence."""
    got = b""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=timeout) as sock:
        sock.sendall(data)
        while piece := sock.recv(65536):
            got += piece
    return got


def statuses(got: bytes) -> str:
    return "+".join(m.decode() for m in re.findall(rb"HTTP/1\.[01] (\d{3})", got)) or "closed"


class Watch(threading.Thread):
    """Peak memory and temporary files of a process tree, every 50 ms."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self.stack, self.memory, self.files, self.halt = stack, 0, 0, threading.Event()

    def run(self) -> None:
        while not self.halt.wait(0.05):
            pids = self.stack.everyone()
            self.memory = max([self.memory, *(pss(p) for p in pids)])
            tmp = sum(p.stat().st_size for p in (self.stack.home / "tmp").rglob("*") if p.is_file())
            self.files = max([self.files, tmp, *(spooled(p) for p in pids)])

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.halt.set()
        self.join()

    def said(self) -> str:
        return f"{self.memory} MB" + (f", {self.files // MB} MB on disk" if self.files > MB else "")


# ---------------------------------------------------------------------------------------------- the parts

Figures = dict[str, str]


def part_a(stack: Stack) -> Figures:
    """2,000 POSTs of 1 KB by two keep-alive clients; the same unread; pauses about the length of a keep-alive."""
    out: Figures = {}
    body = json.dumps({"auth": {"identity": {"methods": ["password"]}, "pad": "x" * 900}}).encode()
    with stack.running():
        for label, port in (("server-close", stack.close), ("keep-alive", stack.keep)):
            for what, path, good, count in (
                ("POST read", "/echo", 200, 1000),
                ("POST unread 1 KB", "/noread", 401, 250),
            ):
                clients = [Client(port, "POST", path, body, count, good=good) for _ in range(2)]
                for client in clients:
                    client.start()
                out[f"a. {what}, {label}: lost"] = lost(total(clients))
        gaps = [Client(stack.keep, "POST", "/echo", body, 5, pause=1.94 + 0.01 * i) for i in range(12)]
        for client in gaps:
            client.start()
        out["a. POST every 2 s, keep-alive: lost"] = lost(total(list(gaps)))
    return out


def part_b(stack: Stack) -> Figures:
    """PUT of 50 MB that is answered 401 without being read, twenty times each."""
    out: Figures = {}
    with stack.running():
        for label, port in (("server-close", stack.close), ("keep-alive", stack.keep)):
            for framing, chunked in (("length", False), ("chunked", True)):
                seen = Counter(send(port, "/noread", 50 * MB, chunked)[0] for _ in range(20))
                out[f"b. unread PUT 50 MB, {framing}, {label}"] = ", ".join(f"{v}×{k}" for k, v in seen.items())
    return out


def part_c(stack: Stack) -> Figures:
    """200 MB to the sink and back."""
    out: Figures = {}
    with stack.running():
        for framing, chunked in (("length", False), ("chunked", True)):
            with Watch(stack) as watch:
                begin = time.monotonic()
                status, got, sent = send(stack.close, "/sink", 200 * MB, chunked)
                took = time.monotonic() - begin
            good = "right" if got.decode(errors="replace") == sent else f"WRONG ({status})"
            out[f"c. upload 200 MB, {framing}"] = f"{good}, {200 / took:.0f} MB/s, peak {watch.said()}"
        with Watch(stack) as watch:
            begin = time.monotonic()
            _, data, _ = once(stack.close, "GET", "/blob?3200", timeout=60)
            took = time.monotonic() - begin
        out["c. download 200 MB"] = f"{len(data) // MB / took:.0f} MB/s, peak {watch.said()}"
    return out


class Prober(threading.Thread):
    """Connects to the server itself, 20 times a second: is anybody listening?"""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port, self.refused, self.tried, self.halt = port, 0, 0, threading.Event()

    def run(self) -> None:
        while not self.halt.wait(0.05):
            self.tried += 1
            try:
                socket.create_connection((HOST, self.port), timeout=5).close()
            except OSError:
                self.refused += 1


def part_d(stack: Stack) -> Figures:
    """By SIGHUP, and where there is a rolling way, that too."""
    out = reloads(stack, rolling=False)
    if stack.name.startswith(("uwsgi", "gunicorn")):
        out |= reloads(
            replace(stack, home=stack.home.with_name(stack.home.name + "-rolling"), procs=[], haproxy=None),
            rolling=True,
        )
    return out


def reloads(stack: Stack, rolling: bool, rounds: int = 10) -> Figures:
    """Ten reloads; two keep-alive clients all the time, a request of 5 s and an upload of 5 s in flight each time."""
    out: Figures = {}
    how = "rolling" if rolling else "SIGHUP"
    with stack.running():
        for label, port in (("server-close", stack.close), ("keep-alive", stack.keep)):
            clients = [Client(port, "GET", "/", pause=0.02), Client(port, "POST", "/echo", b"x" * 900, pause=0.02)]
            prober = Prober(stack.servers[0])
            for thread in (*clients, prober):
                thread.start()
            slow: Counter[str] = Counter()
            sent: Counter[str] = Counter()
            for turn in range(rounds):
                with ThreadPoolExecutor(2) as pool:
                    wait = pool.submit(send, port, "/slow", 0, False, method="GET")
                    load = pool.submit(send, port, "/sink", 50 * 65536, turn % 2 == 1, 0.1)
                    time.sleep(0.5)
                    stack.reload(turn, rolling)
                    time.sleep(0.1)
                    slow["ok" if wait.result()[0] == "200" else wait.result()[0]] += 1
                    status, got, digest = load.result()
                    sent["ok" if got and got.decode() == digest else status or "wrong"] += 1
                time.sleep(0.5)
            prober.halt.set()
            for client in clients:
                client.halt.set()
            out[f"d. 10 reloads by {how}, {label}: lost"] = lost(total(clients))
            out[f"d. 10 reloads by {how}, {label}: in-flight lost"] = f"slow {lost(slow)}, upload {lost(sent)}"
            out[f"d. 10 reloads by {how}, {label}: connects refused"] = f"{prober.refused} of {prober.tried}"
            out[f"d. 10 reloads by {how}, {label}: longest wait"] = f"{max(c.longest for c in clients):.2f} s"
    return out


def part_e(stack: Stack) -> Figures:
    """kill -9 of one worker, SIGTERM with work in flight, kill -9 of the master."""
    out: Figures = {}
    with stack.running():
        clients = [
            Client(stack.close, "GET", "/", pause=0.005),
            Client(stack.close, "POST", "/echo", b"x" * 900, pause=0.005),
        ]
        for client in clients:
            client.start()
        time.sleep(1)
        victim = stack.workers()[0]
        os.kill(victim, signal.SIGKILL)
        begin = time.monotonic()
        back = "never"
        while time.monotonic() - begin < 8:
            with contextlib.suppress(OSError, http.client.HTTPException):
                now = stack.workers()
                if len(now) >= 2 and victim not in now and stack.name != "waitress":
                    back = f"{time.monotonic() - begin:.1f} s"
                    break
            time.sleep(0.1)
        time.sleep(2)
        for client in clients:
            client.halt.set()
        out["e. kill -9 of a worker: lost"] = lost(total(clients))
        out["e. kill -9 of a worker: second worker back"] = back
    with stack.running():
        with ThreadPoolExecutor(2) as pool:
            wait = pool.submit(send, stack.close, "/slow", 0, False, method="GET")
            load = pool.submit(send, stack.close, "/sink", 50 * 65536, False, 0.1)
            time.sleep(1)
            begin = time.monotonic()
            for proc in stack.procs:
                proc.terminate()
            for proc in stack.procs:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    proc.wait(20)
            took = time.monotonic() - begin
            status, got, digest = load.result()
            done = "done" if got and got.decode() == digest else f"LOST ({status})"
            ok = "done" if wait.result()[0] == "200" else f"LOST ({wait.result()[0]})"
        out["e. SIGTERM: in-flight"] = f"slow {ok}, upload {done}, gone after {took:.1f} s"
    if stack.name != "waitress":
        with stack.running():
            before = stack.everyone()
            os.kill(before[0], signal.SIGKILL)
            stack.procs[0].wait()
            begin = time.monotonic()
            while time.monotonic() - begin < 5 and any(Path(f"/proc/{p}").exists() for p in before):
                time.sleep(0.05)
            orphans = [p for p in before if Path(f"/proc/{p}").exists()]
            out["e. kill -9 of the master: orphans after 5 s"] = str(len(orphans))
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
    return out


def wrk(port: int, path: str, seconds: int) -> str:
    if not shutil.which("wrk"):
        return "no wrk"
    ran = subprocess.run(
        ["wrk", "-t1", "-c4", f"-d{seconds}s", "--latency", f"http://{HOST}:{port}{path}"],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout)
    half, most = (re.search(rf"^\s+{p}%\s+(\S+)", ran.stdout, re.M) for p in ("50", "99"))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", ran.stdout)
    if not (rate and half and most):
        return "wrk failed"
    return f"{float(rate[1]):,.0f}/s, {half[1]}, {most[1]}" + (f", {bad[1]} bad" if bad else "")


def part_f(stack: Stack) -> Figures:
    with stack.running() as took:
        out = {"f. first answer": f"{took:.2f} s"}
        for label, port in (("server-close", stack.close), ("keep-alive", stack.keep)):
            out[f"f. GET trivial, {label}: rate, p50, p99"] = wrk(port, "/", 3)
        out["f. PSS of all processes after load"] = f"{sum(pss(p) for p in stack.everyone())} MB"
    return out


def part_h(stack: Stack) -> Figures:
    """Framing tricks go to the server itself, as HAProxy would refuse them; the rest goes through HAProxy."""
    out: Figures = {}
    with stack.running():
        direct = stack.servers[0]
        inner = b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n"
        both = (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            % (5 + len(inner))
        ) + inner
        for label, port in (("direct", direct), ("HAProxy", stack.keep)):
            out[f"h. Content-Length and chunked, {label}"] = statuses(raw(port, both, 1.5))
        two = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"
        out["h. two Content-Lengths, direct"] = statuses(raw(direct, two, 1.5))
        env = raw(
            stack.close, b"GET /env HTTP/1.1\r\nHost: a\r\nX_Under: spoof\r\nX-Dash: ok\r\nConnection: close\r\n\r\n"
        )
        out["h. header with an underscore"] = "passed" if b"spoof" in env else "dropped"
        status, got, digest = send(stack.close, "/sink", 20 * MB, False, expect=True)
        out["h. 100-continue, PUT 20 MB"] = "right" if got.decode() == digest and got else status
        status, _, _ = send(stack.close, "/noread", 20 * MB, False, expect=True)
        out["h. 100-continue, refused unread"] = status
        head = raw(
            stack.keep, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        none = raw(
            stack.keep, b"GET /204 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        out["h. HEAD, then GET"] = statuses(head) + ("" if head.count(b"ok") == 1 else " BODY")
        out["h. 204, then GET"] = statuses(none)
        for size in (4000, 8000, 14000):
            out[f"h. URL of {size:,} bytes"] = str(once(stack.close, "GET", "/" + "u" * size)[0])
        for label, port in (("streamed", stack.close), ("http-buffer-request", stack.buffer)):
            out[f"h. GET beside 12 stalled POSTs, {label}"] = stalled(port)
    return out


def stalled(port: int) -> str:
    """Twelve clients send a header and one byte of the body, then nothing: is there a worker left for a GET?"""
    socks = [socket.create_connection((HOST, port), timeout=10) for _ in range(12)]
    for sock in socks:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nx")
    time.sleep(0.3)
    begin = time.monotonic()
    try:
        once(port, "GET", "/", timeout=4)
        return f"{(time.monotonic() - begin) * 1000:.0f} ms"
    except OSError:
        return "none in 4 s"
    finally:
        for sock in socks:
            sock.close()


# ---------------------------------------------------------------------------------------------- real services


def run(command: list[str], env: dict[str, str], cwd: Path) -> None:
    ran = subprocess.run(command, env={**os.environ, **env}, cwd=cwd, capture_output=True, text=True, timeout=180)
    if ran.returncode:
        raise RuntimeError(f"{command[0]} failed: {ran.stderr[-2000:]}")


def copy_venv(uv: str, source: Path, target: Path) -> Path:
    """The same packages, plus all the candidates: from uv's cache, so in seconds. The given one stays untouched."""
    frozen = subprocess.run(
        [uv, "pip", "freeze", "-q", "-p", str(source / "bin/python")], check=True, capture_output=True, text=True
    ).stdout
    (target.parent / f"{target.name}.txt").write_text(frozen)
    subprocess.run([uv, "venv", "-q", "-p", str(source / "bin/python"), str(target)], check=True)
    subprocess.run(
        [
            uv,
            "pip",
            "install",
            "-q",
            "-p",
            str(target / "bin/python"),
            "-r",
            f"{target}.txt",
            "granian",
            "waitress",
            "pyuwsgi",
            "gunicorn",
        ],
        check=True,
    )
    return target


def setup_keystone(venv: Path, home: Path) -> dict[str, str]:
    home.mkdir()
    keys = "".join(f"[{s}]\nkey_repository = {home}/{s}\n" for s in ("fernet_tokens", "fernet_receipts", "credential"))
    (home / "keystone.conf").write_text(
        f"[DEFAULT]\nlog_file = {home}/keystone.log\n[database]\nconnection = sqlite:///{home}/k.db\n{keys}"
        "[identity]\npassword_hash_rounds = 4\n"
    )
    env = {"OS_KEYSTONE_CONFIG_FILES": str(home / "keystone.conf"), "HOME": str(home)}
    manage = [str(venv / "bin/keystone-manage"), "--config-file", str(home / "keystone.conf")]
    for name in ("fernet_tokens", "fernet_receipts", "credential"):
        (home / name).mkdir(mode=0o700)
    user = ["--keystone-user", pwd.getpwuid(os.getuid()).pw_name, "--keystone-group", grp.getgrgid(os.getgid()).gr_name]
    for step in (
        ["db_sync"],
        ["fernet_setup", *user],
        ["credential_setup", *user],
        ["bootstrap", "--bootstrap-password", "bench", "--bootstrap-region-id", "R"],
    ):
        run([*manage, *step], env, home)
    return env


def setup_glance(venv: Path, home: Path) -> dict[str, str]:
    """No authentication, SQLite, a file store."""
    (home / "images").mkdir(parents=True)
    (home / "glance-api.conf").write_text(
        f"[DEFAULT]\nlog_file = {home}/glance.log\nenabled_import_methods = []\nworker_self_reference_url = http://a\n"
        f"[database]\nconnection = sqlite:///{home}/g.db\n[paste_deploy]\nflavor =\n"
        f"config_file = {home}/glance-api-paste.ini\n[oslo_policy]\npolicy_file = {home}/policy.yaml\n"
        f"[glance_store]\nstores = file\ndefault_store = file\nfilesystem_store_datadir = {home}/images\n"
    )
    (home / "policy.yaml").write_text(
        '"default": "@"\n'
        + "".join(
            f'"{rule}": "@"\n'
            for rule in (
                "add_image",
                "get_image",
                "get_images",
                "modify_image",
                "upload_image",
                "download_image",
                "delete_image",
                "publicize_image",
                "context_is_admin",
            )
        )
    )
    shutil.copy(venv / "etc/glance/glance-api-paste.ini", home)
    run(
        [str(venv / "bin/glance-manage"), "--config-file", str(home / "glance-api.conf"), "db_sync"],
        {"HOME": str(home)},
        home,
    )
    return {"OS_GLANCE_CONFIG_DIR": str(home), "HOME": str(home)}


def measure_keystone(stack: Stack) -> Figures:
    auth = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "bench"}},
            },
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
        }
    }
    out: Figures = {}
    with stack.running() as took:
        out["s. Keystone: first answer"] = f"{took:.1f} s"
        for label, port in (("server-close", stack.close), ("keep-alive", stack.keep)):
            clients = [
                Client(
                    port,
                    "POST",
                    "/v3/auth/tokens",
                    json.dumps(auth).encode(),
                    25,
                    good=201,
                    headers={"Content-Type": "application/json"},
                )
                for _ in range(2)
            ]
            for client in clients:
                client.start()
            out[f"s. Keystone: 50 tokens, {label}: lost"] = lost(total(clients))
        out["s. Keystone: GET /v3, keep-alive: rate, p50, p99"] = wrk(stack.keep, "/v3", 3)
        pids = stack.everyone()
        out["s. Keystone: PSS of all, of the largest"] = f"{sum(map(pss, pids))} MB, {max(map(pss, pids))} MB"
        if stack.name != "waitress":
            conf = Path(stack.env["OS_KEYSTONE_CONFIG_FILES"])
            good = conf.read_text()
            conf.write_text("[DEFAULT]\ndebug = [broken\nthis is no configuration")
            stack.reload(0)
            time.sleep(25)  # loading Keystone takes 7 s of processor time
            try:
                broken = "serves" if once(stack.close, "GET", "/v3", timeout=10)[0] == 200 else "DOWN"
            except OSError:
                broken = "DOWN"
            conf.write_text(good)
            out["s. Keystone: after a reload with a broken file"] = broken
    knows = stack.name.startswith(("uwsgi", "gunicorn"))
    for rolling in (False, True) if knows else (False,):
        how = "rolling" if rolling else "SIGHUP"
        fresh = replace(stack, home=stack.home.with_name(f"{stack.home.name}-{how}"), procs=[], haproxy=None)
        with fresh.running():
            if knows:
                fresh.settle(2)
            clients = [Client(fresh.keep, "GET", "/v3", pause=0.02) for _ in range(2)]
            for client in clients:
                client.start()
            begin = time.monotonic()
            for turn in range(2):
                before = fresh.booted() if knows else 0
                fresh.reload(turn, rolling)
                if knows:
                    fresh.settle(before + 2)
                time.sleep(2 if knows else 12)
            for client in clients:
                client.halt.set()
            out[f"s. Keystone: 2 reloads by {how}: lost, longest wait"] = (
                f"{lost(total(clients))}, {max(c.longest for c in clients):.1f} s"
            )
            print(f"{stack.name} {how} {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return out


def measure_glance(stack: Stack) -> Figures:
    out: Figures = {}
    with stack.running():
        for framing, chunked in (("length", False), ("chunked", True)):
            made = once(
                stack.close,
                "POST",
                "/v2/images",
                headers={"Content-Type": "application/json"},
                body=b'{"disk_format": "raw", "container_format": "bare", "name": "bench"}',
            )
            if made[0] != 201:
                out[f"s. Glance: upload 200 MB, {framing}"] = f"create: {made[0]} {made[1][:80]!r}"
                continue
            path = f"/v2/images/{json.loads(made[1])['id']}/file"
            with Watch(stack) as watch:
                begin = time.monotonic()
                status, _, sent = send(
                    stack.close, path, 200 * MB, chunked, headers="Content-Type: application/octet-stream\r\n"
                )
                took = time.monotonic() - begin
            with Watch(stack) as down:
                begin = time.monotonic()
                got = once(stack.close, "GET", path, timeout=60)[1] if status == "204" else b""
                back = time.monotonic() - begin
            good = "right" if hashlib.sha256(got).hexdigest() == sent else f"WRONG ({status}, {len(got) // MB} MB back)"
            out[f"s. Glance: upload 200 MB, {framing}"] = f"{good}, {200 / took:.0f} MB/s, peak {watch.said()}"
            if got:
                out["s. Glance: download 200 MB"] = f"{200 / back:.0f} MB/s, peak {down.said()}"
            once(stack.close, "DELETE", path.removesuffix("/file"))
    return out


# ---------------------------------------------------------------------------------------------- the whole


def machine(tools: list[str]) -> str:
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    haproxy = subprocess.run(["haproxy", "-v"], capture_output=True, text=True).stdout.split()[2]
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {int(memory[1]) // MB if memory else '?'} GiB, "
        f"Linux {os.uname().release.split('-')[0]}, Python {sys.version.split()[0]}, HAProxy {haproxy}, "
        + ", ".join(tools)
    )


def table(figures: dict[str, Figures], names: list[str]) -> str:
    rows = sorted({row for name in names for row in figures.get(name, {})}, key=lambda r: r[:1])
    order = [r for name in names for r in figures.get(name, {})]
    rows.sort(key=lambda r: (r[:1], order.index(r)))
    lines = ["| measured | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {row} | " + " | ".join(figures.get(n, {}).get(row, "–") for n in names) + " |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv-keystone", type=Path, help="a virtual environment with Keystone")
    parser.add_argument("--venv-glance", type=Path, help="a virtual environment with Glance")
    parser.add_argument("--only", action="append", choices=list(CANDIDATES), help="a candidate; may be repeated")
    parser.add_argument("--parts", default="abcdefhs")
    parser.add_argument("--json", type=Path, help="keep the figures here, and add to what it holds")
    parser.add_argument("--keep", action="store_true", help="leave the temporary directory (logs) behind")
    options = parser.parse_args()
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    missing = [t for t in ("haproxy", uv) if not shutil.which(t)]
    if missing:
        print("skipped: not installed:", ", ".join(missing))
        return 0
    names = options.only or list(CANDIDATES)
    figures: dict[str, Figures] = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    root = Path(tempfile.mkdtemp(prefix="wsgi-bench-"))
    lock = threading.Lock()

    def keep(name: str, found: Figures) -> None:
        with lock:
            figures.setdefault(name, {}).update(found)
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1))

    def attempt(part: str, name: str, measure: Callable[[Stack], Figures], **more: Any) -> None:
        print(f"{time.strftime('%H:%M:%S')} {part} {name}", file=sys.stderr, flush=True)
        home = root / f"{part}-{re.sub(r'[^a-z0-9]+', '-', name)}"
        try:
            keep(name, measure(Stack(name, home, **more)))
        except Exception as e:  # one candidate's failure is a figure too
            keep(name, {f"{part}. failed": f"{type(e).__name__}: {e}".replace("|", "/")[:200]})

    try:
        subprocess.run([uv, "venv", "-q", "-p", sys.executable, str(root / "venv")], check=True)
        subprocess.run(
            [
                uv,
                "pip",
                "install",
                "-q",
                "-p",
                str(root / "venv/bin/python"),
                "pyuwsgi",
                "gunicorn",
                "granian",
                "waitress",
            ],
            check=True,
        )
        (root / "app.py").write_text(APP)
        (root / "trimmed.py").write_text(TRIMMED)
        listed = subprocess.run(
            [uv, "pip", "freeze", "-q", "-p", str(root / "venv/bin/python")], capture_output=True, text=True
        )
        tools = [t.replace("==", " ") for t in listed.stdout.split() if t.split("=")[0] != "click"]
        parts: dict[str, Callable[[Stack], Figures]] = {
            "a": part_a,
            "b": part_b,
            "c": part_c,
            "e": part_e,
            "f": part_f,
            "h": part_h,
        }
        for part, measure in parts.items():
            for name in names if part in options.parts else []:
                attempt(part, name, measure, bin_dir=root / "venv/bin")
        if "d" in options.parts:  # mostly waiting, so all at a time
            with ThreadPoolExecutor(8) as pool:
                for name in names:
                    pool.submit(attempt, "d", name, part_d, bin_dir=root / "venv/bin")
        skipped = []
        for service, venv, setup, app, real in (
            ("keystone", options.venv_keystone, setup_keystone, "keystone.wsgi.api:application", measure_keystone),
            ("glance", options.venv_glance, setup_glance, "glance.wsgi.api:application", measure_glance),
        ):
            if "s" not in options.parts or venv is None:
                skipped.append(f"{service}: " + ("no --venv-" + service if venv is None else "not asked for"))
                continue
            copy = copy_venv(uv, venv, root / f"venv-{service}")
            env = setup(copy, root / service)
            for name in names:
                own = name.startswith(("uwsgi", "gunicorn"))
                attempt(
                    f"s-{service}",
                    name,
                    real,
                    bin_dir=copy / "bin",
                    app=app if own else "trimmed:application",
                    env={**env, "TARGET": app},
                )
    finally:
        if options.keep:
            print("kept:", root, file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)
    print(f"{machine(tools)}\n\n{table(figures, names)}")
    for line in skipped:
        print(f"\nSkipped: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
