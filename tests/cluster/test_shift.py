"""Live shifts on a real lab: Keystone and Glance between a host and pods, under an open-loop load that counts every loss.

The tests of this module build on one another.
"""

from __future__ import annotations

import math
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from record import recorded, requests
from sides import Cloud, cheap_and_dear

from planeshift.openloop import Flow, Load, Step, Tally, load, openstack
from planeshift.openloop.compare import added
from planeshift.openloop.tally import milliseconds
from planeshift.traffic.figures import Figures

pytestmark = pytest.mark.xdist_group("sides")

SICK_PORT = 19499
SOAK = bool(os.environ.get("PLANESHIFT_SOAK"))
USUAL = 100 if SOAK else 12
SHIFTS = int(os.environ.get("PLANESHIFT_SHIFTS", USUAL))  # each of one service, to the pods or back
CHEAP, DEAR = (n * SHIFTS // USUAL for n in ((1_000_000, 50_000) if SOAK else (50_000, 3_000)))  # requests, at least
RATE = int(os.environ.get("PLANESHIFT_RATE", "100"))  # of cheap ones a second: what two cores bear, all for it
STEP = int(os.environ.get("PLANESHIFT_STEP", "5" if SOAK else "2"))  # seconds that each step is watched
STEPS = ("--steps", "10,25,50,100", "--time", f"{STEP}s")


@pytest.fixture
def cloud(both_sides: Cloud) -> Cloud:
    return both_sides


@dataclass
class Run:
    """Shifts to and fro, each followed by as long a time without one; both as (begin, end) since 1970."""

    tally: Tally = field(default_factory=Tally)
    moving: list[tuple[float, float]] = field(default_factory=list)
    still: list[tuple[float, float]] = field(default_factory=list)
    steps_ms: list[float] = field(default_factory=list)  # from a step's order to its effect
    returned: list[str] = field(
        default_factory=list
    )  # why shifts were sent back, one text each, before they were made again

    def shift(self, cloud: Cloud, service: str, target: str) -> None:
        begin = time.time()
        done = cloud.run("shift", service, f"{target}=100", "--yes", *STEPS, check=False)
        while done.returncode == 1 and "error[PS610]" in done.stderr and len(self.returned) < SHIFTS:
            self.returned += ["; ".join(e["reasons"]) for e in cloud.log() if e["event"] == "return"]
            done = cloud.run("shift", service, "--resume", "--yes", *STEPS, check=False)
        end, events = time.time(), cloud.log()
        assert done.returncode == 0, done.stderr
        assert (max(cloud.logs(), key=lambda log: log.parent.name).parent / "report.html").is_file()
        assert events[-1]["result"] == "done" and events[-1]["failed"] == 0
        assert {name.split("-")[0] for name, weight in cloud.shares(service).items() if weight} == {target}
        self.steps_ms += [e["took_ms"] for e in events if e["event"] == "step"]
        time.sleep(end - begin)
        self.moving.append((begin, end))
        self.still.append((end, time.time()))

    def enough(self) -> bool:
        """Whether as many requests were sent as are wanted."""
        sent = cheap(self.tally).requests
        return sent >= CHEAP and self.tally.sent - sent >= DEAR

    def p99s(self) -> list[tuple[float, float]]:
        """The cheap requests' p99 in ms with shifts and without; one round of four shifts is one measurement."""

        def of(times: list[tuple[float, float]]) -> list[float]:
            rounds = [times[n : n + 4] for n in range(0, len(times), 4)]
            return [milliseconds(merged(cheap(self.tally, *t) for t in one), 0.99) for one in rounds]

        return list(zip(of(self.moving), of(self.still), strict=True))

    def record(self) -> dict[str, Any]:
        """What came of it so far."""
        found = {"shifts": len(self.moving), "returned": self.returned, "steps_ms": self.steps_ms}
        return found | {"p99s_ms": self.p99s()} | requests(self.tally)

    def told(self) -> str:
        """The same, for people."""
        mean, low, high = added(*zip(*self.p99s(), strict=True))
        steps = sorted(self.steps_ms)
        return (
            f"{len(self.moving)} shifts, {len(steps)} steps\n{self.tally.table()}\n"
            f"cheap requests' p99 with a shift going on: {mean:+.1f} ms ({low:+.1f} to {high:+.1f}, 95 %)\n"
            f"a step took effect in {steps[len(steps) // 2]:.1f} ms (median), {steps[-1]:.1f} ms (longest)\n"
            + "".join(f"sent back: {why}\n" for why in self.returned)
            + "".join(f"{failure}\n" for failure in self.tally.failures)
        )


def cheap(tally: Tally, begin: float = 0.0, end: float = math.inf) -> Figures:
    return tally.figures(openstack.CHEAP.__contains__, begin, end)


def merged(several: Iterable[Figures]) -> Figures:
    whole = Figures()
    for one in several:
        whole.merge(one)
    return whole


def test_two_services_move_to_pods_and_back_and_no_request_is_lost(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cloud.operations() == []
    run, began = Run(), time.time()
    with recorded(run.record, rate=RATE, step=STEP):
        with load(cheap_and_dear(cloud, RATE, 1.02 * RATE * DEAR / CHEAP)) as run.tally:
            for number in range(SHIFTS):
                run.shift(cloud, ("keystone", "glance")[number % 2], ("pods", "vms")[number // 2 % 2])
                if number % 4 == 3:
                    with capsys.disabled():
                        print(f"\n{number + 1} shifts: {run.tally.sent:,} requests, {run.tally.failed} failed", end="")
            while not run.enough():
                assert time.time() - began < 3 * CHEAP / RATE + 60 * SHIFTS
                time.sleep(1)
        with capsys.disabled():
            print(f"\n{time.time() - began:.0f} s, {run.told()}" + "".join(cloud.edge_failures(began)))
        assert run.tally.failures == []
        assert len(run.returned) <= SHIFTS // 4  # a machine that stalls is found, too
        assert cloud.operations() == []


class Sick(BaseHTTPRequestHandler):
    """A backend that passes on what it is asked, and fails one call in so many; its health check is green."""

    upstream = ""
    fails = 0
    count = 0
    lock = threading.Lock()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.path.startswith("/healthcheck"):
            with Sick.lock:
                Sick.count += 1
                if Sick.count % Sick.fails == 0:
                    return self._answer(500, b"")
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            request = urllib.request.Request(Sick.upstream + self.path, headers=headers)
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read())

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.mark.parametrize("fails, steps", [(50, [5, 25, 50]), (100, [25, 50])])
def test_a_backend_that_fails_one_call_in_so_many_is_found_at_the_first_steps_and_sent_back(
    cloud: Cloud, fails: int, steps: list[int]
) -> None:
    Sick.fails, Sick.upstream = fails, f"http://{cloud.vm}:19292"
    with ThreadingHTTPServer((cloud.machine, SICK_PORT), Sick) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        before = cloud.file.read_text()
        with cloud.edited() as spec:
            spec["hosts"].append({"name": "other", "via": "external", "address": cloud.machine})
            glance = spec["services"]["glance"]
            glance["backends"]["sick"] = {"hosts": ["other"], "weight": 0, "port": SICK_PORT}
            glance["shift"] = {"time": 60, "steps": steps}
        cloud.run("up", "--yes")
        asked = Step(name="versions", url=cloud.url(9292, "/"), expect=(300,))
        with load(Load(flows=(Flow(steps=(asked,), rate=200),))) as found:
            done = cloud.run("shift", "glance", "sick=100", "--yes", check=False)
        assert done.returncode == 1 and "error[PS610]" in done.stderr, done.stderr
        events = cloud.log()
        [back] = [e for e in events if e["event"] == "return"]
        assert back["shares"] == {"vms": 100.0, "pods": 0.0, "sick": 0.0}
        assert [w for name, w in cloud.shares("glance").items() if name.startswith("sick")] == [0]
        assert max(e["step"] for e in events if e["event"] == "step") <= 2
        assert all(f.why.startswith("status 500") for f in found.failures)
        assert "held" in cloud.run("plan").stdout + cloud.run("plan").stderr
        cloud.file.write_text(before)
        cloud.run("up", "--yes")
        assert cloud.operations() == []
        server.shutdown()
