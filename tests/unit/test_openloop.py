"""The open-loop load, against a server that does what its paths say."""

from __future__ import annotations

import http.server
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from planeshift.openloop import Flow, Load, Step, Tally, load
from planeshift.openloop.compare import added
from planeshift.openloop.openstack import CHEAP, cheap, dear
from planeshift.openloop.plan import due, from_json, noise, to_json
from planeshift.openloop.tally import Lines, milliseconds


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self.stalled = threading.Event()
        self.connections = 0
        self.seen: list[tuple[str, str]] = []
        super().__init__(("127.50.1.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.50.1.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, self.headers.get("X-Auth-Token", "")))
        if self.path == "/cut":
            self.close_connection = True
            return
        if self.path == "/stall":
            self.server.stalled.wait(30)
        status = 503 if self.path == "/bad" else 201 if self.path == "/token" else 200
        body = noise(3000) if self.path == "/noise" else b'{"id": 7}' if self.path == "/token" else b"ok" + sent[:1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Subject-Token", "fresh")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.stalled.set()
        made.shutdown()


def plan(server: Server, *paths: str, rate: float = 50, **more: object) -> Load:
    steps = [Step(name=path, url=server.url + path) for path in paths]
    return Load(flows=tuple(Flow(steps=(replace(s, **more),), rate=rate) for s in steps))  # type: ignore[arg-type]


def until(tally: Tally, count: int) -> None:
    deadline = time.monotonic() + 60
    while tally.sent < count:
        assert time.monotonic() < deadline, tally.table()
        time.sleep(0.05)


def test_what_is_due_is_spread_evenly() -> None:
    step = Step(name="a", url="http://a")
    flows = [Flow(steps=(step,), rate=10), Flow(steps=(step,), rate=10), Flow(steps=(step,), rate=1)]
    assert [round(due(flows, 0, n), 4) for n in range(3)] == [0.0167, 0.1167, 0.2167]
    assert round(due(flows, 1, 0), 4) == 0.05 and round(due(flows, 2, 1), 4) == 1.8333


def test_a_plan_is_a_line() -> None:
    made = Load(
        flows=(*cheap("http://k", "http://g", 10), *dear("http://k", "http://g", "{}", 10)), kept={"token": "t"}
    )
    line = to_json(made)
    assert "\n" not in line and from_json(line) == made
    assert sum(f.rate for f in made.flows if f.steps[0].name in CHEAP) == pytest.approx(10)
    assert sum(f.rate * len(f.steps) for f in made.flows if f.steps[0].name not in CHEAP) == pytest.approx(10)
    for bad in (
        '{"flows": [{"steps": [], "rate": 1}]}',
        '{"flows": [{"steps": [{"name": "a", "url": "b"}], "rate": 0}]}',
    ):
        with pytest.raises(ValueError):
            from_json(bad)


def test_lines_add_up() -> None:
    lines, tally = Lines(), Tally()
    for number in range(100):
        lines.add("a", 1000 + number / 10, 0.001 * (number + 1), "status 500" if number == 7 else "")
    text = lines.flush()
    lines.add("b", 1000, 2)
    tally.read(io.BytesIO((text + lines.flush()).encode()))
    assert (tally.sent, tally.failed, list(tally.by_step())) == (101, 1, ["a", "b"])
    assert [(f.at, f.why) for f in tally.failures] == [(1000.7, "status 500")]
    a = tally.figures(lambda step: step == "a")
    assert [milliseconds(a, part) for part in (0.5, 0.99, 1)] == pytest.approx([50, 99, 100], rel=1 / 64)
    assert tally.figures(begin=1002.5, end=1005).requests == 20  # two whole seconds, ten in each
    assert "101" not in tally.table() and " 100 " in tally.table()


def test_what_was_added_is_told_with_its_interval() -> None:
    generator = Random(7)
    without = [generator.uniform(5, 9) for _ in range(40)]
    mean, low, high = added([w + 2 + generator.gauss(0, 1) for w in without], without)
    assert low < 2 < high and low < mean < high and high - low < 1
    assert added([1, 1], [1, 1]) == (0, 0, 0)
    with pytest.raises(ValueError):
        added([], [])


def test_requests_are_sent_at_their_rate_on_connections_that_are_kept(server: Server) -> None:
    with load(plan(server, "/a", "/b")) as tally:
        until(tally, 100)
    assert tally.failed == 0 and list(tally.by_step()) == ["/a", "/b"]
    assert server.connections < 20 and len(server.seen) == tally.sent


def test_a_server_that_stalls_holds_no_request_up_and_its_waits_count_from_when_they_were_due(server: Server) -> None:
    with load(plan(server, "/stall", rate=40)) as tally:
        deadline = time.monotonic() + 60
        while len(server.seen) < 40:  # they are sent, although none is answered
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert tally.sent == 0
        server.stalled.set()
        until(tally, 40)
    waits = tally.figures()
    assert tally.failed == 0 and milliseconds(waits, 0.9) > milliseconds(waits, 0.2) + 300


def test_every_failure_is_told_with_its_cause(server: Server) -> None:
    with load(plan(server, "/bad", "/cut", "/noise", rate=20, answer=2)) as tally:
        until(tally, 30)
    why = {step: {f.why.partition(", ")[0] for f in tally.failures if f.step == step} for step in tally.by_step()}
    assert why == {
        "/bad": {"status 503: ok"},
        "/cut": {"EOFError: the connection was closed before the answer's end"},
        "/noise": {"other bytes than were sent: 3000 of 2"},
    }
    assert tally.failed == tally.sent
    nobody = Load(flows=(Flow(steps=(Step(name="a", url="http://127.50.1.1:1/"),), rate=20),), seconds=0.3)
    with load(nobody) as tally:
        until(tally, 3)
    assert "Connect" in tally.failures[0].why


def test_what_a_step_keeps_is_its_flows_or_everybodys(server: Server) -> None:
    keep = {"token": "header:x-subject-token", "image": "json:id"}
    token = Step(
        name="token", method="POST", url=server.url + "/token", expect=(201,), keep=keep, share=True, size=5000
    )
    ask = Step(name="ask", url=server.url + "/images/{image}", headers={"X-Auth-Token": "{token}"})
    own = replace(ask, name="own", url=server.url + "/own/{image}")
    for share in (False, True):
        server.seen.clear()
        flows = (Flow(steps=(replace(token, share=share), own), rate=20), Flow(steps=(ask,), rate=20))
        with load(Load(flows=flows, kept={"token": "old", "image": "0"})) as tally:
            until(tally, 60)
        assert tally.failed == 0
        seen = [seen for seen in server.seen if seen[0] != "/token"]
        assert {s for s in seen if s[0].startswith("/own")} == {("/own/7", "fresh")}
        others = [s for s in seen if s[0].startswith("/images")]
        assert others[-1] == (("/images/7", "fresh") if share else ("/images/0", "old"))


def test_by_hand_it_ends_when_its_time_is_over_and_refuses_what_is_no_plan(server: Server) -> None:
    argv = [sys.executable, "-m", "planeshift.openloop"]
    text = to_json(replace(plan(server, "/a"), seconds=0.5)) + "\n"
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(text.encode())
        process.stdin.flush()
        tally = Tally()
        tally.read(process.stdout)  # until it ends by itself
    assert process.returncode == 0 and tally.sent >= 20 and tally.failed == 0
    done = subprocess.run(argv, input="{}", capture_output=True, text=True, check=False)
    assert done.returncode == 64 and "error: " in done.stderr
