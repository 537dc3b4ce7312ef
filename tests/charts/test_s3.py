"""A real S3 server, versitygw, and faults between it and ours."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import obstore
import pytest
from chartrig import SOAK, Server, form, make, tool
from obstore.store import S3Store as Bucket
from test_api import PROV

from planeshift.charts import shared
from planeshift.charts.repository import Rules
from planeshift.charts.server import museum
from planeshift.charts.store import KNOWN, Exists, Missing, StoreError
from planeshift.charts.store.directory import DirectoryStore
from planeshift.charts.store.lease import VOID, Lease
from planeshift.charts.store.s3 import S3Store

USER, PASSWORD = "somebody", "a-password-of-tests"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """versitygw over a directory; its port."""
    program = tool("versitygw")
    root = tmp_path_factory.mktemp("s3")
    (root / "data" / "charts").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**os.environ, "ROOT_ACCESS_KEY": USER, "ROOT_SECRET_KEY": PASSWORD}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--port", f"127.0.0.1:{port}", "posix", str(root / "data")], env=env, stdout=log, stderr=log
        )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    yield port
    process.kill()
    process.wait()


class Faulty:
    """A proxy in front of the gateway, in which things go wrong."""

    def __init__(self, target: int) -> None:
        self.lose_answers = 0  # of how many PUTs of charts the answer is lost
        self.fail = 0  # how many requests are answered 500
        self.delay = 0.0
        self.stale: dict[str, tuple[int, bytes]] | None = None  # lists as they were when this was set
        self.no_conditions = False
        self.full = False
        self.plain = Bucket(
            "charts",
            endpoint=f"http://127.0.0.1:{target}",
            access_key_id=USER,
            secret_access_key=PASSWORD,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(outer.delay)
                if outer.fail > 0:
                    outer.fail -= 1
                    return self.answer(500, {}, b"")
                if outer.full and self.command == "PUT":
                    return self.answer(507, {}, b"<Error><Code>QuotaExceeded</Code></Error>")
                listing = "list-type" in self.path
                if listing and outer.stale is not None and self.path in outer.stale:
                    return self.answer(*outer.stale[self.path])
                headers = dict(self.headers)
                if outer.no_conditions and self.headers.get("If-None-Match"):  # signed: it cannot be taken out
                    marks = {k.lower()[11:]: v for k, v in headers.items() if k.lower().startswith("x-amz-meta-")}
                    path = unquote(self.path.split("?")[0]).removeprefix("/charts/")
                    obstore.put(outer.plain, path, body, attributes=marks, use_multipart=False)
                    return self.answer(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b"")
                connection = http.client.HTTPConnection("127.0.0.1", target)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body or None)
                answer = connection.getresponse()
                content = answer.read()
                if self.command == "PUT" and ".tgz" in self.path and outer.lose_answers > 0:
                    outer.lose_answers -= 1
                    self.close_connection = True
                    return None
                kept = {
                    k: v for k, v in answer.getheaders() if k.lower() not in ("content-length", "connection", "date")
                }
                if self.command == "HEAD":
                    kept["Content-Length"] = answer.getheader("Content-Length") or "0"
                if listing and outer.stale is not None:
                    outer.stale[self.path] = (answer.status, kept, content)
                self.answer(answer.status, kept, content)
                return None

            def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@pytest.fixture
def faulty(gateway: int) -> Iterator[Faulty]:
    proxy = Faulty(gateway)
    yield proxy
    proxy.server.shutdown()
    proxy.server.server_close()


def environment(port: int) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": USER,
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """A place of the test's own."""
    return f"s3://charts/{re.sub('[^a-z0-9]', '-', request.node.name.lower())}"


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Each kind of store, under the same contract."""
    if request.param == "directory":
        made: DirectoryStore | S3Store = DirectoryStore(tmp_path / "store")
    else:
        port = request.getfixturevalue("gateway")
        for name, value in environment(port).items():
            monkeypatch.setenv(name, value)
        made = S3Store.open(request.getfixturevalue("bucket"), os.environ)
    yield made
    made.close()


def test_the_contract_of_stores(store: DirectoryStore | S3Store) -> None:
    assert list(store.list("")) == [] and list(store.folders("")) == []
    assert store.stat("", "a.tgz") is None
    with pytest.raises(Missing):
        store.read("", "a.tgz")
    (saved,) = store.save("", [("a.tgz", b"one")], replace=False)
    assert store.stat("", "a.tgz") == saved and list(store.list("")) == [saved]
    assert store.read("", "a.tgz") == (b"one", saved)
    with pytest.raises(Exists):
        store.save("", [("a.tgz", b"two")], replace=False)
    with pytest.raises(Exists):
        store.save("", [("a.tgz", b"two"), ("a.tgz.prov", b"p")], replace=False)
    assert store.read("", "a.tgz")[0] == b"one" and store.stat("", "a.tgz.prov") is None
    changed = store.save("", [("a.tgz", b"three"), ("a.tgz.prov", b"p")], replace=True)
    assert changed[0].stamp != saved.stamp and store.read("", "a.tgz.prov")[0] == b"p"
    store.save("org/team", [("b@1.0.0-1.tgz", b"b"), ("b@1.0.0-1.tgz.prov", b"q")], replace=False)
    assert list(store.folders("")) == ["org"] and list(store.folders("org")) == ["team"]
    assert sorted(s.file for s in store.list("org/team")) == ["b@1.0.0-1.tgz", "b@1.0.0-1.tgz.prov"]
    assert [s.file for s in store.list("org")] == []
    assert store.delete("org/team", ["b@1.0.0-1.tgz", "b@1.0.0-1.tgz.prov"])
    assert not store.delete("org/team", ["b@1.0.0-1.tgz"])
    assert [s.file for s in store.list("org/team")] == []
    for folder in ("..", "a/../..", "/etc", ".planeshiftx/..", "a//b"):
        with pytest.raises(Missing):
            store.read(folder, "x.tgz")


def test_a_directory_acknowledges_what_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file, and then the directory that names it, before `save` returns; else a loss of power loses them."""
    flushed: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = DirectoryStore(tmp_path / "store")
    store.save("org", [("a.tgz", b"one"), ("a.tgz.prov", b"p")], replace=False)
    aside = str(tmp_path / "store" / ".planeshift" / "new")
    assert [p.startswith(aside) for p in flushed] == [True, True, False, False]
    assert flushed[2:] == [str(tmp_path / "store"), str(tmp_path / "store" / "org")]
    store.close()


def test_a_stranger_who_writes_in_between_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who heeds no lock of ours puts the file there after we have looked."""
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "store" / "a.tgz").write_bytes(b"theirs")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(Exists):
        store.save("", [("a.tgz", b"ours")], replace=False)
    assert store.read("", "a.tgz")[0] == b"theirs"
    store.close()


def test_racing_writers_of_one_store(store: DirectoryStore | S3Store) -> None:
    def write(number: int) -> bool:
        try:
            store.save(
                "",
                [(f"x-{number // 20}.tgz", str(number).encode()), (f"x-{number // 20}.tgz.prov", b"p")],
                replace=False,
            )
        except Exists:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        won = list(pool.map(write, range(200)))
    assert [sum(won[at : at + 20]) for at in range(0, 200, 20)] == [1] * 10
    for at in range(10):
        assert won[int(store.read("", f"x-{at}.tgz")[0])]


def test_a_server_over_a_bucket(serve: Callable[..., Server], gateway: int, bucket: str, tmp_path: Path) -> None:
    env = environment(gateway) | {"XDG_CACHE_HOME": str(tmp_path / "one")}
    server = serve("--cache-interval", "1", storage=bucket, env=env)
    body, kind = form(chart=make(), prov=PROV)
    assert server.post("/api/charts", body, content_type=kind).status == 201
    assert server.post("/api/charts", make()).status == 409
    assert server.get("/charts/alpha-1.0.0.tgz").body == make()
    assert server.get("/charts/alpha-1.0.0.tgz.prov").body == PROV
    other = serve("--cache-interval", "1", storage=bucket, env=env | {"XDG_CACHE_HOME": str(tmp_path / "two")})
    assert other.index()["entries"] == server.index()["entries"]
    assert other.get("/index.yaml").headers["etag"] == server.get("/index.yaml").headers["etag"]
    assert other.post("/api/charts", make("beta")).status == 201
    assert server.get("/charts/beta-1.0.0.tgz").status == 200  # at once
    assert server.post("/api/charts", make("beta")).status == 409
    assert other.ask("DELETE", "/api/charts/alpha/1.0.0").status == 200
    deadline = time.monotonic() + 20
    while list(server.index()["entries"]) != ["beta"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.stop()
    server.start()
    assert list(server.index()["entries"]) == ["beta"]


def test_of_racing_servers_over_a_bucket_one_wins(
    serve: Callable[..., Server], gateway: int, bucket: str, tmp_path: Path
) -> None:
    servers = [
        serve(storage=bucket, env=environment(gateway) | {"XDG_CACHE_HOME": str(tmp_path / str(n))}) for n in range(2)
    ]
    for number in range(100 if SOAK else 3):
        bodies = [make("alpha", f"1.0.{number}", {"who": str(n).encode()}) for n in range(20)]
        with ThreadPoolExecutor(20) as pool:
            jobs = [pool.submit(servers[n % 2].post, "/api/charts", body) for n, body in enumerate(bodies)]
            statuses = [job.result().status for job in jobs]
        assert sorted(statuses) == [201] + [409] * 19
        won = bodies[statuses.index(201)]
        assert all(s.get(f"/charts/alpha-1.0.{number}.tgz").body == won for s in servers)


def test_a_lost_answer_is_no_lost_upload_and_no_second_one(
    faulty: Faulty, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(faulty.port).items():
        monkeypatch.setenv(name, value)
    store = S3Store.open(bucket, os.environ)
    faulty.lose_answers = 1
    store.save("", [("a.tgz", b"one")], replace=False)
    assert faulty.lose_answers == 0 and store.read("", "a.tgz")[0] == b"one"
    with pytest.raises(Exists):
        store.save("", [("a.tgz", b"one")], replace=False)


def test_a_bucket_that_fails_is_slow_or_full(
    serve: Callable[..., Server], faulty: Faulty, bucket: str, tmp_path: Path
) -> None:
    server = serve(storage=bucket, env=environment(faulty.port) | {"XDG_CACHE_HOME": str(tmp_path)})
    faulty.fail = 2
    assert server.post("/api/charts", make("alpha")).status == 201  # tried again
    faulty.delay = 0.3
    assert server.post("/api/charts", make("beta")).status == 201
    faulty.delay = 0
    faulty.full = True
    answer = server.post("/api/charts", make("gamma"))
    assert answer.status == 507
    faulty.full = False
    faulty.fail = 10_000
    assert server.get("/index.yaml").status == 200  # from what is known
    assert server.post("/api/charts", make("delta")).status == 500
    faulty.fail = 0
    assert sorted(server.index()["entries"]) == ["alpha", "beta"]
    assert server.post("/api/charts", make("delta")).status == 201


def test_a_late_listing_forgets_nothing(
    serve: Callable[..., Server], faulty: Faulty, bucket: str, tmp_path: Path
) -> None:
    env = environment(faulty.port) | {"XDG_CACHE_HOME": str(tmp_path)}
    server = serve("--cache-interval", "1", storage=bucket, env=env)
    server.post("/api/charts", make("old"))
    faulty.stale = {}
    until = time.monotonic() + 60
    while not faulty.stale and time.monotonic() < until:  # it looks, and from now on sees what it saw then
        time.sleep(0.1)
    assert faulty.stale
    assert server.post("/api/charts", make("alpha")).status == 201
    assert server.ask("DELETE", "/api/charts/old/1.0.0").status == 200
    for _ in range(6):
        time.sleep(0.5)
        assert list(server.index()["entries"]) == ["alpha"]


class Counted:
    """A store that notes which charts are read."""

    def __init__(self, store: S3Store) -> None:
        self.read_charts: list[str] = []
        self.inner, self.name = store, store.name

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def read(self, folder: str, file: str) -> tuple[bytes, object]:
        if file.endswith(".tgz"):
            self.read_charts.append(file)
        return self.inner.read(folder, file)


def test_a_server_that_starts_with_nothing_reads_what_another_one_left_in_the_bucket(
    gateway: int, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reads anew what that does not fit: a chart that was replaced, added, deleted meanwhile, a damaged copy."""
    for name, value in environment(gateway).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shared, "_FEW", 2)
    made = iter(range(100))

    def start() -> tuple[museum.Museum, Counted]:
        store = Counted(S3Store.open(bucket, os.environ))
        return museum.Museum(store, Rules(), tmp_path / str(next(made))), store

    first, _ = start()
    for number in range(20):
        first.open("", create=True).add(make(f"chart{number}"))
    tag = first.open("").index.etag()
    first.close()

    second, store = start()
    assert second.open("").index.etag() == tag and store.read_charts == []
    plain = S3Store.open(bucket, os.environ)
    plain.save("", [("chart1-1.0.0.tgz", make("chart1", files={"x": b"y"}))], replace=True)
    plain.save("", [("new-1.0.0.tgz", make("new"))], replace=False)
    plain.delete("", ["chart2-1.0.0.tgz"])
    second.look()
    assert sorted(store.read_charts) == ["chart1-1.0.0.tgz", "new-1.0.0.tgz"]
    names = set(second.open("").index.names())
    assert names == {f"chart{n}" for n in range(20) if n != 2} | {"new"}

    # It knew of three changes, more than few, and wrote a copy of its own.
    third, store = start()
    assert set(third.open("").index.names()) == names and store.read_charts == []
    [copy] = plain.list(KNOWN)
    whole = plain.read(KNOWN, copy.file)[0]
    for damage in (b"", b"nonsense", whole[: len(whole) // 2], whole[:-1] + b"\xff"):
        plain.save(KNOWN, [(copy.file, damage)], replace=True)
        fourth, _ = start()
        fourth.open("")
        fourth.look()
        assert set(fourth.open("").index.names()) == names


def test_without_conditions_one_server_writes(
    serve: Callable[..., Server], faulty: Faulty, bucket: str, tmp_path: Path
) -> None:
    faulty.no_conditions = True
    env = environment(faulty.port)
    one = serve(storage=bucket, env=env | {"XDG_CACHE_HOME": str(tmp_path / "1")})
    two = serve(storage=bucket, env=env | {"XDG_CACHE_HOME": str(tmp_path / "2")})
    assert one.post("/api/charts", make()).status == 201
    answer = two.post("/api/charts", make("beta"))
    assert answer.status == 503 and answer.headers["retry-after"]
    assert one.post("/api/charts", make()).status == 409
    assert two.get("/charts/alpha-1.0.0.tgz").status == 200
    one.stop()
    assert two.post("/api/charts", make("beta")).status == 201


def test_what_a_server_knows_is_left_without_the_lease_that_another_one_has(
    faulty: Faulty, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(faulty.port).items():
        monkeypatch.setenv(name, value)
    faulty.no_conditions = True
    reader, writer = S3Store.open(bucket, os.environ), S3Store.open(bucket, os.environ)
    reader.save(KNOWN, [("x.ledger.zst", b"1")], replace=True)
    writer.save("", [("a.tgz", b"one")], replace=False)
    reader.save(KNOWN, [("x.ledger.zst", b"2")], replace=True)
    with pytest.raises(StoreError, match="another server writes"):
        reader.save("", [("b.tgz", b"one")], replace=False)
    writer.close()


class Memory:
    """Claims in memory, seen by all, with a clock of the test's."""

    def __init__(self) -> None:
        self.claims: dict[str, tuple[bytes, float]] = {}
        self.now = 0.0
        self.lock = threading.Lock()

    def put(self, server: str, content: bytes) -> None:
        with self.lock:
            self.claims[server] = (content, self.now)

    def delete(self, server: str) -> None:
        with self.lock:
            self.claims.pop(server, None)

    def all(self) -> dict[str, tuple[bytes, float]]:
        with self.lock:
            return {k: (c, self.now - t) for k, (c, t) in self.claims.items()}


def test_a_lease_has_one_holder() -> None:
    for _ in range(200):
        claims = Memory()
        leases = [Lease(claims, lambda claims=claims: claims.now) for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            held = list(pool.map(lambda lease: lease.hold(), leases))
        assert sum(held) <= 1
        holder = next((one for one in leases if one.hold()), None)
        assert holder is not None
        assert [one.hold() for one in leases].count(True) == 1
        claims.now += VOID + 1
        assert next(one for one in leases if one is not holder).hold()
        assert not holder.hold()


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("lower", [True, False])
def test_two_who_claim_at_once_do_not_both_hold(step: int, lower: bool) -> None:
    """The second claims as a whole between any two steps of the first, whose name is the lower or the higher."""

    class Watched(Memory):
        steps = 0

        def tick(self) -> None:
            self.steps += 1
            if self.steps == step + 1:
                held.append(second.hold())

        def put(self, server: str, content: bytes) -> None:
            self.tick()
            super().put(server, content)

        def all(self) -> dict[str, tuple[bytes, float]]:
            self.tick()
            return super().all()

    claims = Watched()
    first, second = Lease(claims, lambda: 0.0), Lease(claims, lambda: 0.0)
    first._me, second._me = ("a", "b") if lower else ("b", "a")
    held: list[bool] = []
    held.append(first.hold())
    assert sum(held) <= 1


def test_what_is_no_bucket(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(gateway).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match="names no bucket"):
        S3Store.open("s3://", {})
    with pytest.raises(StoreError, match="there is no such bucket"):
        S3Store.open("s3://none-of-this-name/x", os.environ)


def test_one_server_writes_where_it_is_said_so(gateway: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(gateway).items():
        monkeypatch.setenv(name, value)
    one, two = (S3Store.open(bucket, os.environ, one_writer=True) for _ in range(2))
    one.save("", [("a.tgz", b"one")], replace=False)
    with pytest.raises(StoreError, match="another server writes"):
        two.save("", [("b.tgz", b"two")], replace=False)
    one.close()
    two.save("", [("b.tgz", b"two")], replace=False)
    two.close()
