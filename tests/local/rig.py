"""A cloud in a directory of its own, driven by the real program as a subprocess, and what tests look at it with.

Nothing here knows the clock: whatever is waited for is polled up to a generous limit, with a message.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import itertools
import json
import os
import random
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from planeshift.app.site import runtime

PLANESHIFT = [sys.executable, "-m", "planeshift"]
LIMIT = 180  # seconds that anything may take before a test gives up
PROC = Path("/proc")
_COUNT = itertools.count()


def addresses() -> tuple[str, str]:
    """Two loopback addresses that nobody else uses: of the edge and of the services behind it."""
    pid, number = os.getpid(), next(_COUNT)
    base = f"127.{64 + (pid >> 8) % 128}.{pid & 0xFF}"
    return f"{base}.{2 * number + 1}", f"{base}.{2 * number + 2}"


def until(condition: Callable[[], Any], what: str | Callable[[], object], limit: float = LIMIT) -> Any:
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain until {what if isinstance(what, str) else what()}"
        time.sleep(0.05)


# --- the program


@dataclass(frozen=True)
class Done:
    """What came of one run of the program."""

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"planeshift {' '.join(self.arguments)} exited {self.code}\n{self.out}\n{self.err}"

    @property
    def problems(self) -> dict[str, str]:
        """Code → everything said of it: message, cause, hint."""
        found: dict[str, str] = {}
        for part in re.split(r"(?m)^(?=error\[)", self.err):
            match = re.match(r"error\[(PS\d+)\]", part)
            if match:
                found[match[1]] = found.get(match[1], "") + part
        return found

    def refused(self, code: str, *words: str) -> str:
        """Assert that it failed with this problem, which says these words and a next step; return what it said."""
        assert self.code == 1, self.text
        assert code in self.problems, self.text
        said = self.problems[code]
        missing = [w for w in words if w not in said]
        assert not missing, f"{missing} missing in:\n{self.text}"
        assert re.search(r"(?m)^  hint: \S", said), f"no next step in:\n{self.text}"
        assert "PS901" not in self.err, self.text
        return said


class Cloud:
    """A cloud of its own directory, addresses and processes."""

    def __init__(self, name: str, services: Iterable[str]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"planeshift-{name}-"))
        self.name, self.services = name, list(services)
        self.edge, self.host = addresses()
        self.file = self.root / "cloud.yaml"
        self.state = self.root / ".planeshift"
        self.runtime = runtime(self.file)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("OS_")} | {"NO_COLOR": "1"}
        self.failures = 0  # of tests, when it was last seen to be well
        self.secure = False  # its edge speaks TLS, with a certificate of a trial authority
        self.wrap: list[str] = []  # a command in front of every run, such as one that enters a namespace
        self.inits()

    def inits(self) -> None:
        done = self.run("init", str(self.root), "--name", self.name, "--services", ",".join(self.services), file=False)
        assert done.code == 0, done.text
        with self.edited() as spec:
            spec["hosts"][0]["address"] = self.host
            spec["edges"][0]["address"] = self.edge

    @contextlib.contextmanager
    def edited(self) -> Iterator[dict[str, Any]]:
        """Change the cloud file's spec."""
        data = yaml.safe_load(self.file.read_text())
        yield data["spec"]
        self.file.write_text(yaml.safe_dump(data, sort_keys=False))

    # --- runs

    def run(self, *arguments: str, file: bool = True, environment: Mapping[str, str] | None = None) -> Done:
        given = (*arguments, "-f", str(self.file)) if file else arguments
        with subprocess.Popen(
            [*self.wrap, *PLANESHIFT, *given],
            # A run that hangs is ended with SIGABRT, and then says where it was.
            env={**self.environment, "PYTHONFAULTHANDLER": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=2 * LIMIT)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)
                out, err = process.communicate()
                raise AssertionError(f"planeshift {' '.join(arguments)} hangs\n{out}\n{err}") from None
        return Done(arguments, process.returncode, out, err)

    def does(self, *arguments: str) -> Done:
        """A run that must succeed."""
        done = self.run(*arguments)
        assert done.code == 0, done.text
        return done

    def up(self) -> Done:
        return self.does("up", "--yes")

    @contextlib.contextmanager
    def events(self) -> Iterator[Run]:
        """An `up` whose events are followed as they come."""
        with (self.root / "events.err").open("wb") as errors:
            process = subprocess.Popen(
                [*self.wrap, *PLANESHIFT, "up", "--yes", "-o", "json", "-f", str(self.file)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield Run(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()
            (self.root / "events.err").unlink()

    def plan(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.does("plan", "-o", "json").out)
        return found

    def kinds(self) -> set[str]:
        """The kinds of operations that `up` would carry out now."""
        return {o["kind"] for o in self.plan()["operations"]}

    def rows(self) -> list[dict[str, str]]:
        done = self.run("status", "-o", "json")
        assert done.code in (0, 1) and done.out, done.text
        found: list[dict[str, str]] = json.loads(done.out)
        assert (done.code == 0) == all(r["health"] == "up" for r in found), done.text
        return found

    def health(self) -> dict[str, str]:
        """service/backend → health, as `status` says it."""
        return {f"{r['service']}/{r['backend']}": r["health"] for r in self.rows()}

    def wait_up(self) -> None:
        until(lambda: set(self.health().values()) == {"up"}, lambda: f"all is up: {self.health()}")

    def settles(self) -> None:
        """`up` finds nothing to do, and changes no file time and no process."""
        until(lambda: not self.leaving(), lambda: f"old workers end: {self.leaving()}")
        before = self.snapshot()
        done = self.up()
        assert "Nothing to do" in done.out, done.text
        after = self.snapshot()
        assert after == before, difference(before, after)

    def mends(self) -> Done:
        """The next `up` converges, and the one after it finds nothing to do."""
        done = self.up()
        assert "Nothing to do" not in done.out, done.text
        self.wait_up()
        self.settles()
        return done

    # --- looking

    def processes(self) -> dict[int, str]:
        """Processes that are of this cloud: pid → what they are. Found by their environment, without our own code."""
        return dict(sorted(marked(str(self.runtime), str(self.state))))

    def pids(self, unit: str, program: str) -> list[int]:
        """Processes of one program of a unit, the oldest (which is the master) first."""
        wanted = f"{self.runtime}/here/{unit}#{program}"
        return sorted((p for p, what in self.processes().items() if what == wanted), key=started)

    def leaving(self) -> list[str]:
        """Programs with more workers than they shall have: those of before a reload end what they began."""
        there = Counter(self.processes().values())
        found = []
        for path in self.runtime.glob("*/*/*/gunicorn.conf.py"):
            [workers] = re.findall(r"^workers = (\d+)$", path.read_text(), re.MULTILINE)
            named = [(what, n) for what, n in there.items() if what.startswith(f"{path.parent}#")]
            found += [what for what, n in named if n > 1 + int(workers)]
        return found

    def supervisor(self, unit: str) -> int:
        [pid] = self.pids(unit, "supervisord")
        return pid

    def snapshot(self) -> dict[str, Any]:
        """Everything that an `up` could touch: file times and contents' places, links, processes.

        Left out: what the services themselves write (logs, databases, byte code), and the lease, which names its last
        holder.
        """
        found: dict[str, Any] = {}
        for root in (self.state, self.runtime):
            for path in walk(root, skip={"logs", "data", "environments", "__pycache__"}):
                about = path.lstat()
                if path.name != "lease":
                    found[str(path)] = (about.st_mtime_ns, about.st_ino, about.st_size, oct(about.st_mode))
        environments = self.state / "environments"
        for path in environments.iterdir() if environments.is_dir() else ():
            found[str(path)] = (path.lstat().st_mtime_ns, path.lstat().st_ino)
        return found | {f"pid {pid}": (what, started(pid)) for pid, what in self.processes().items()}

    def secret(self, service: str, name: str) -> Any:
        return self.secrets(service)[name]

    def secrets(self, service: str) -> dict[str, Any]:
        path = self.root / "secrets" / f"{service}.yaml"
        found: dict[str, Any] = yaml.safe_load(path.read_text()) if path.exists() else {}
        return found

    def secret_values(self) -> dict[str, str]:
        """Every secret of this cloud: the secret itself → where it stands."""
        found: dict[str, str] = {}
        for path in sorted((self.root / "secrets").glob("*.yaml")):
            for name, value in _leaves(yaml.safe_load(path.read_text())):
                if name.rpartition("/")[2] not in ("ca_certificate", "certificate"):
                    found[value] = f"{path.name} {name}"
        return found

    def secret_digests(self) -> dict[str, str]:
        return {p.name: digest(p) for p in sorted((self.root / "secrets").glob("*.yaml"))}

    # --- its services

    def url(self, port: int, path: str = "") -> str:
        return f"{'https' if self.secure else 'http'}://{self.edge}:{port}{path}"

    def request(
        self,
        method: str,
        port: int,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        chunked: bool = False,
    ) -> Answer:
        """One request to the edge on a connection of its own."""
        connection = http.client.HTTPConnection(self.edge, port, timeout=LIMIT)
        if self.secure and port != 8404:
            context = ssl.create_default_context(cafile=str(self.state / "ca.pem"))
            connection = http.client.HTTPSConnection(self.edge, port, timeout=LIMIT, context=context)
        try:
            sent = dict(headers or {}) | ({"Transfer-Encoding": "chunked"} if chunked else {})
            connection.request(method, path, body=body, headers=sent, encode_chunked=chunked)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, headers, answer.read())
        finally:
            connection.close()

    def token(self) -> str:
        password = self.secret("keystone", "admin_password")
        user = {"name": "admin", "domain": {"name": "Default"}, "password": password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin", "domain": {"name": "Default"}}},
            }
        }
        answer = self.request("POST", 5000, "/v3/auth/tokens", json.dumps(body), {"Content-Type": "application/json"})
        assert answer.status == 201, answer
        return answer.headers["x-subject-token"]

    def image(self, token: Mapping[str, str]) -> str:
        """An image of Glance's without content."""
        body = json.dumps({"name": "x", "disk_format": "raw", "container_format": "bare"})
        answer = self.request("POST", 9292, "/v2/images", body, {**token, "Content-Type": "application/json"})
        assert answer.status == 201, answer
        return str(answer.json["id"])

    def read_in_halves(self, path: str, token: Mapping[str, str], go: threading.Event) -> bytes:
        """What Glance answers, by a client that stops reading until the event is set."""
        asked = urllib.request.Request(self.url(9292, path), headers=dict(token))
        with urllib.request.urlopen(asked, timeout=300) as answer:
            first: bytes = answer.read(1000)
            assert go.wait(300)
            return first + bytes(answer.read())

    def statistics(self) -> dict[tuple[str, str], dict[str, str]]:
        """HAProxy's own: (frontend or backend, server) → values."""
        lines = self.request("GET", 8404, "/;csv").body.decode().splitlines()
        names = lines[0].lstrip("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return {(r["pxname"], r["svname"]): r for r in rows}

    def edge_log(self) -> str:
        return (self.state / "logs/here/edge/edge/haproxy.log").read_text("utf-8", "replace")

    # --- the end

    def remove(self) -> None:
        """Take it down for good, and assert that nothing is left but what is the operator's."""
        self.does("down", "--purge", "--yes")
        self.assert_nothing_left()
        shutil.rmtree(self.root)

    def assert_nothing_left(self) -> None:
        assert self.processes() == {}
        assert not self.runtime.exists()
        assert not self.state.exists()
        assert listening((self.edge, self.host)) == []
        theirs = {"cloud.yaml", ".gitignore", "config", "secrets", "tls"}
        left = [p.name for p in self.root.iterdir() if p.name not in theirs]
        assert left == []

    def end(self) -> None:
        """After a test that failed: end what is ours whatever state it is in. Asserts nothing."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.run("down", "--purge", "--yes")
        for pid in self.processes():
            kill(pid)
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)


@dataclass(frozen=True)
class Answer:
    """What came back for a request; names of headers in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Run:
    """A running `up -o json`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.seen = process, list[dict[str, Any]]()

    @property
    def pid(self) -> int:
        return self.process.pid

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout
        for line in self.process.stdout:
            self.seen.append(json.loads(line))
            yield self.seen[-1]

    def until_begin(self, operation: str) -> str | None:
        """Follow it until an operation whose id begins so begins; None where it ends without."""
        for event in self:
            if event["event"] == "begin" and event["operation"].startswith(operation):
                return str(event["operation"])
        return None

    def end(self) -> int:
        """Follow it to its end."""
        for _ in self:
            pass
        return self.process.wait()

    def kill(self) -> int:
        """kill -9. Returns how it ended: -9, or its own exit code where that was quicker."""
        self.process.kill()
        return self.process.wait()


# --- processes


def marked(*places: str) -> Iterator[tuple[int, str]]:
    """Processes whose environment names one of these places as that of their unit or run."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            for variable in blob(entry / "environ").split(b"\0"):
                name, _, value = variable.decode("utf-8", "replace").partition("=")
                if name in ("PLANESHIFT_UNIT", "PLANESHIFT_RUN") and value.startswith(places) and started(entry.name):
                    yield int(entry.name), value


def blob(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def started(pid: int | str) -> int:
    """A process's start time; 0 for one that is gone or a zombie."""
    fields = blob(PROC / str(pid) / "stat").rpartition(b")")[2].split()
    return 0 if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def kill(pid: int) -> None:
    """kill -9, and wait until it is gone."""
    when = started(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: started(pid) != when or not when, f"{pid} is gone", 10)


def listening(hosts: Iterable[str]) -> list[str]:
    """Listening TCP sockets on these addresses."""
    wanted = {"".join(f"{int(part):02X}" for part in reversed(host.split("."))) for host in hosts}
    lines = [line.split() for line in (PROC / "net/tcp").read_text().splitlines()[1:]]
    return [f[1] for f in lines if f[3] == "0A" and f[1].split(":")[0] in wanted]


# --- files


def walk(root: Path, skip: Iterable[str] = ()) -> Iterator[Path]:
    """Every file and directory below, not entering directories of these names."""
    for directory, names, files in os.walk(root):
        names[:] = [n for n in names if n not in set(skip)]
        yield Path(directory)
        yield from (Path(directory, name) for name in files)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def random_file(path: Path, megabytes: int) -> Path:
    """A file that does not compress, the same every time."""
    source = random.Random(megabytes)
    block = source.randbytes(1024 * 1024)
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(number.to_bytes(8, "big") + block[8:])
    return path


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}/{key}" if name else str(key))
    elif value is not None:
        yield name, str(value)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    return "\n".join(f"{k}: {before.get(k)} -> {after.get(k)}" for k in changed)


# --- traffic


@dataclass
class Traffic:
    """Requests in a loop, each on a connection of its own, until the block ends."""

    cloud: Cloud
    targets: list[tuple[int, str, dict[str, str]]]
    clients: int = 2
    count: int = 0
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> Traffic:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._loop, args=(n,)) for n in range(self.clients)]
        for thread in self._threads:
            thread.start()
        self.flow()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def flow(self, more: int = 10) -> None:
        """Wait until that many more requests were answered."""
        wanted = self.count + more
        until(lambda: self.count >= wanted, lambda: f"{more} more requests came back; {self.failures[-3:]}")

    def _loop(self, number: int) -> None:
        for port, path, headers in itertools.cycle(self.targets):
            if self._stop.wait(0.1):  # the services share two cores with what is tested
                return
            try:
                status = self.cloud.request("GET", port, path, headers=headers).status
                problem = "" if status in (200, 300) else f"{port}{path} answered {status}"
            except (OSError, http.client.HTTPException) as error:
                problem = f"{port}{path}: {type(error).__name__} {error}"
            with self._lock:
                self.count += 1
                if problem:
                    self.failures.append(problem)


def traffic(cloud: Cloud, *, glance: bool = True) -> Traffic:
    """Authenticated requests to Glance, and plain ones to Keystone."""
    targets: list[tuple[int, str, dict[str, str]]] = [(5000, "/v3", {})]
    if glance:
        targets.append((9292, "/v2/images?limit=1", {"X-Auth-Token": cloud.token()}))
    return Traffic(cloud, targets)


# --- leaks


class Watch:
    """Every command line and environment that any process shows while the block runs."""

    def __init__(self) -> None:
        self.seen: dict[bytes, set[bytes]] = {}  # what was shown → the command lines of who showed it

    def __enter__(self) -> Watch:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                command = blob(entry / "cmdline")
                for shown in {command, *blob(entry / "environ").split(b"\0")}:
                    self.seen.setdefault(shown, set()).add(command)

    def _loop(self) -> None:
        while not self._stop.wait(0.05):
            self.look()

    def showing(self, value: str) -> list[tuple[str, str]]:
        """Who showed a text: (command line, name of the variable or `argv`)."""
        found = []
        for shown, commands in self.seen.items():
            if value.encode() in shown:
                argv = shown in commands
                name = "argv" if argv else shown.split(b"=", 1)[0].decode("utf-8", "replace")
                found += [(c.replace(b"\0", b" ").decode("utf-8", "replace"), name) for c in commands]
        return found


@functools.cache
def program(name: str) -> str | None:
    """Where a program of the distribution is."""
    return shutil.which(name, path=f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ.get('PATH', '')}")


@functools.cache
def uv_cache() -> str:
    """Where uv keeps what it has downloaded."""
    uv = Path(sys.executable).with_name("uv")
    return subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
