"""When things go wrong: races, kills, full disks, slow clients, changes behind the server's back."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import random
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chartrig import SOAK, Server, form, make
from test_api import prov_of

from planeshift.charts import names
from planeshift.charts.repository import Rules
from planeshift.charts.server import museum
from planeshift.charts.store.directory import DirectoryStore


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def upload(connection: http.client.HTTPConnection, body: bytes) -> int:
    connection.request("POST", "/api/charts", body=body)
    answer = connection.getresponse()
    answer.read()
    return answer.status


@pytest.mark.parametrize("servers", [1, 2])
def test_of_racing_uploads_of_one_version_one_wins(serve: Callable[..., Server], servers: int) -> None:
    """Over one server, and over two that share the directory; each racer's bytes are its own."""
    rounds, racers = (1000 // servers, 200) if SOAK else (4, 40)
    running = [serve() for _ in range(servers)]
    connections = [http.client.HTTPConnection("127.0.0.1", running[n % servers].port) for n in range(racers)]
    start = threading.Barrier(racers)
    with ThreadPoolExecutor(racers) as pool:
        for number in range(rounds):
            bodies = [make("alpha", f"1.0.{number}", {"who": str(n).encode()}) for n in range(racers)]

            def race(n: int, bodies: list[bytes] = bodies) -> int:
                start.wait()
                return upload(connections[n], bodies[n])

            statuses = list(pool.map(race, range(racers)))
            assert sorted(statuses) == [201] + [409] * (racers - 1)
            won = bodies[statuses.index(201)]
            for server in running:
                assert server.get(f"/charts/alpha-1.0.{number}.tgz").body == won
                assert server.get(f"/api/charts/alpha/1.0.{number}").json["digest"] == digest(won)
    for connection in connections:
        connection.close()


def test_what_was_acknowledged_survives_kill_9_and_halves_are_never_seen(serve: Callable[..., Server]) -> None:
    server = serve()
    acknowledged: dict[str, bytes] = {}
    sent: dict[str, bytes] = {}
    dice = random.Random(7)
    for kill in range(500 if SOAK else 4):
        with_prov = kill % 2 == 1
        stop = threading.Event()

        def client(number: int, kill: int = kill, with_prov: bool = with_prov, stop: threading.Event = stop) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            for patch in range(10_000):
                if stop.is_set():
                    return
                version = f"{kill}.{number}.{patch}"
                body = make("alpha", version, {"x": os.urandom(3000)})
                sent[version] = body
                kind = "application/x-tar"
                chart = body
                if with_prov:
                    prov = prov_of(chart).replace(b"version: 1.0.0", f"version: {version}".encode())
                    prov = prov.replace(b"alpha-1.0.0", f"alpha-{version}".encode())
                    body, kind = form(chart=chart, prov=prov)
                try:
                    connection.request("POST", "/api/charts", body=body, headers={"Content-Type": kind})
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException):
                    return
                assert answer.status == 201
                acknowledged[version] = chart

        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(dice.uniform(0.02, 0.25))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.start()
        listed = {e["version"]: e for e in server.index()["entries"].get("alpha", [])}
        assert set(acknowledged) <= set(listed) <= set(sent)
        for version in [v for v in listed if v.startswith(f"{kill}.")]:
            body = server.get(f"/charts/alpha-{version}.tgz").body
            assert body == sent[version] and digest(body) == listed[version]["digest"]
            prov = server.get(f"/charts/alpha-{version}.tgz.prov")
            assert prov.status == (200 if with_prov else 404)
            assert not with_prov or digest(body).encode() in prov.body
        if SOAK and kill % 20 == 19:  # so that each start has no more than some thousand charts
            for version in listed:
                server.ask("DELETE", f"/api/charts/alpha/{version}")
            acknowledged.clear()  # not `sent`: what the kill left named, and unacknowledged, may be listed from now on
    assert acknowledged or SOAK


def soon(right: Callable[[], bool]) -> None:
    """Something becomes true before long."""
    deadline = time.monotonic() + 20
    while not right():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_changes_behind_its_back_are_noticed(server: Server) -> None:
    store = Path(server.storage)
    server.post("/api/charts", make("alpha"))
    server.post("/api/charts", make("beta"))

    (store / "gamma-1.0.0.tgz").write_bytes(make("gamma"))
    (store / "alpha-1.0.0.tgz").unlink()
    soon(lambda: sorted(server.index()["entries"]) == ["beta", "gamma"])
    new = make("beta", files={"x": b"y"})
    (store / "new").write_bytes(new)
    (store / "new").replace(store / "beta-1.0.0.tgz")
    soon(lambda: server.index()["entries"]["beta"][0]["digest"] == digest(new))
    assert server.get("/charts/beta-1.0.0.tgz").body == new
    (store / "gamma-1.0.0.tgz.prov").write_bytes(b"signed")
    soon(lambda: server.get("/charts/gamma-1.0.0.tgz.prov").status == 200)
    (store / "delta-1.0.0.tgz").write_bytes(make("delta"))
    assert server.get("/charts/delta-1.0.0.tgz").status == 200  # at once, when asked for


def test_what_is_known_is_kept_and_is_never_believed_against_the_store(serve: Callable[..., Server]) -> None:
    server = serve()
    for name in ("alpha", "beta", "gamma"):
        server.post("/api/charts", make(name))
    tag = server.get("/index.yaml").headers["etag"]
    assert server.stop() == 0
    server.start()
    assert server.get("/index.yaml").headers["etag"] == tag
    server.stop()
    store = Path(server.storage)
    (store / "alpha-1.0.0.tgz").unlink()
    (store / "beta-1.0.0.tgz").write_bytes(make("beta", files={"x": b"y"}))
    server.start()
    soon(lambda: sorted(server.index()["entries"]) == ["beta", "gamma"])
    assert server.index()["entries"]["beta"][0]["digest"] == digest(make("beta", files={"x": b"y"}))
    server.stop()
    (ledger,) = (store / names.RESERVED / "index").glob("*.ledger")
    whole = ledger.read_bytes()
    for damage in (whole[:-7], whole + b"\0" * 100, b"nonsense", whole[:200] + b"\xff" + whole[201:], b""):
        ledger.write_bytes(damage)
        server.start()
        soon(lambda: sorted(server.index()["entries"]) == ["beta", "gamma"])
        assert server.post("/api/charts?force", make("delta")).status == 201
        server.stop()
        server.start()
        soon(lambda: sorted(server.index()["entries"]) == ["beta", "delta", "gamma"])
        assert server.ask("DELETE", "/api/charts/delta/1.0.0").status == 200
        server.stop()


def _die(*_: object) -> None:
    os._exit(1)


@pytest.mark.parametrize("dying", [False, True])
def test_many_charts_are_read_by_processes_or_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dying: bool
) -> None:
    for number in range(30):
        (tmp_path / f"chart{number}-1.0.0.tgz").write_bytes(make(f"chart{number}"))
    (tmp_path / "broken-1.0.0.tgz").write_bytes(b"nonsense")
    monkeypatch.setattr(museum, "_MANY", 10)
    monkeypatch.setattr(museum, "_PIECE", 4)
    if dying:
        monkeypatch.setattr(museum, "_begin", _die)
    found = museum.Museum(DirectoryStore(tmp_path), Rules(), None).open("")
    assert found.index.names() == sorted(f"chart{n}" for n in range(30))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_whole_uploads_and_loses_none(serve: Callable[..., Server], small_disk: Path) -> None:
    server = serve(storage=small_disk / "store")
    kept: dict[str, bytes] = {}
    for number in range(40):
        body = make(f"chart{number}", files={"x": os.urandom(60_000)})
        answer = server.post("/api/charts", body)
        if answer.status == 201:
            kept[f"chart{number}"] = body
        else:
            assert (answer.status, answer.json) == (507, {"error": "the store has no space left"})
    assert 5 < len(kept) < 40
    assert sorted(server.index()["entries"]) == sorted(kept)
    for name, body in kept.items():
        assert server.get(f"/charts/{name}-1.0.0.tgz").body == body
    assert not list((Path(server.storage) / names.RESERVED / "new").iterdir())
    server.ask("DELETE", f"/api/charts/{next(iter(kept))}/1.0.0")
    assert server.post("/api/charts", make("again", files={"x": os.urandom(40_000)})).status == 201


def test_clients_that_are_slow_on_purpose(serve: Callable[..., Server]) -> None:
    server = serve("--read-timeout", "1")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as head:
        head.sendall(b"GET /index.yaml HTTP/1.1\r\nHost: x\r\nX-Slow:")
        head.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert head.recv(100) == b""  # it hung up; that it does not answer in time is a TimeoutError
    with socket.create_connection(("127.0.0.1", server.port)) as body:
        body.sendall(b"POST /api/charts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        body.settimeout(20)
        assert b" 408 " in body.recv(1000)
    assert time.monotonic() - began < 20
    assert server.get("/health").status == 200


def test_heads_without_end_are_cut_off(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as head, pytest.raises(OSError):
        head.sendall(b"GET /index.yaml HTTP/1.1\r\n")
        for number in range(100_000):
            head.sendall(f"X-{number}: {'x' * 1000}\r\n".encode())
    assert server.get("/health").status == 200


def test_names_of_tenants_that_were_made_up_leave_nothing(serve: Callable[..., Server]) -> None:
    server = serve("--depth", "1")
    for number in range(20):
        assert server.post(f"/api/tenant{number}/charts", b"nonsense").status == 400
        assert server.get(f"/other{number}/index.yaml").status == 200
    assert not list((Path(server.storage) / names.RESERVED / "index").glob("*"))
    assert b"tenant5" not in server.get("/metrics").body and b"other5" not in server.get("/metrics").body
    assert server.post("/api/tenant1/charts", make()).status == 201
    server.stop()
    server.start()
    assert list(server.index("/tenant1/index.yaml")["entries"]) == ["alpha"]
    assert len(list((Path(server.storage) / names.RESERVED / "index").glob("*"))) == 1


def test_a_thousand_idle_connections_are_no_burden(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1300:
        pytest.skip("this user may not open a thousand files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1300), hard))
    try:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
        assert server.post("/api/charts", make()).status == 201
        assert server.get("/charts/alpha-1.0.0.tgz").status == 200
        for connection in idle:
            connection.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_that_is_told_to_stop_finishes_what_it_began(server: Server) -> None:
    body = make()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            f"POST /api/charts HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:100]
        )
        time.sleep(0.3)
        assert server.process is not None
        server.process.terminate()
        time.sleep(0.3)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        connection.sendall(body[100:])
        assert b" 201 " in connection.recv(1000)
    assert server.process.wait(30) == 0
    server.start()
    assert server.get("/charts/alpha-1.0.0.tgz").body == body


def test_a_client_that_leaves_half_way_leaves_nothing(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /api/charts HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + make()[:200])
    time.sleep(0.2)
    assert server.index()["entries"] == {}
    assert not list((Path(server.storage) / names.RESERVED / "new").iterdir())
