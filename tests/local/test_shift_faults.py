"""Shifts of a real Glance between two backends on this machine, under an open-loop load, while something dies.

Requests that are lost are counted: none, but for those that the killed program held itself. The tests of this module share a
cloud; each begins and ends with all traffic on one side. A fault comes at one step, or at each (PLANESHIFT_SOAK=1).
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lost import held
from rig import Cloud, kill, random_file, until
from steps import at_each

from planeshift.openloop import Flow, Load, Step, load

RATE = 40
SHARES = (10, 50, 100)
ELSEWHERE = 19988  # a port from which Glance may fetch images


@pytest.fixture(scope="module")
def two(clouds: Callable[..., Cloud]) -> Iterator[Cloud]:
    """Keystone, and Glance with two backends, `old` with all of the traffic."""
    cloud = clouds("two", "keystone", "glance")
    with cloud.edited() as spec:
        spec["services"]["glance"]["shift"] = {"time": 2, "steps": list(SHARES)}
        spec["services"]["glance"]["config"] = "config/glance"
        spec["services"]["glance"]["backends"] = {
            "old": {"hosts": ["here"], "weight": 100},
            "new": {"hosts": ["here"], "weight": 0, "port": 19392},
        }
    (cloud.root / "config/glance").mkdir(parents=True, exist_ok=True)
    fetches = f"[import_filtering_opts]\nallowed_hosts = [{cloud.host}]\nallowed_ports = [{ELSEWHERE}]\n"
    (cloud.root / "config/glance/glance-api.conf").write_text(fetches)
    cloud.up()
    cloud.wait_up()
    yield cloud


def health(cloud: Cloud) -> Load:
    """Glance is asked for its health, which Glance itself answers."""
    return Load(flows=(Flow(steps=(Step(name="health", url=cloud.url(9292, "/healthcheck")),), rate=RATE),))


def weights(cloud: Cloud) -> dict[str, int]:
    found = {server: row["weight"] for (name, server), row in cloud.statistics().items() if name == "glance"}
    return {name.removesuffix("-here"): int(w) for name, w in found.items() if name.endswith("-here")}


def share(cloud: Cloud) -> float:
    """How much of the traffic the edge sends to `new`, in percent."""
    found = weights(cloud)
    return 100 * found["new"] / sum(found.values())


def shift(cloud: Cloud, target: str, share: int = 100) -> Any:
    return cloud.run("shift", "glance", f"{target}={share}", "--yes")


def log(cloud: Cloud) -> list[dict[str, Any]]:
    """The events of the last shift."""
    newest = max((cloud.state / "shifts").iterdir(), key=lambda d: d.name)
    return [json.loads(line) for line in (newest / "events.jsonl").read_text().splitlines()]


def steps(cloud: Cloud) -> list[float]:
    return [e["shares"]["new"] for e in log(cloud) if e["event"] == "step"]


def at_step(cloud: Cloud, share: int) -> None:
    """Until so much of the traffic has moved to `new`, and some of it was watched."""
    until(lambda: share in steps(cloud), f"{share} % have moved")
    until(lambda: any(e["event"] == "sample" and e["shares"]["new"] == share for e in log(cloud)), "a sample")


@contextlib.contextmanager
def shifting(
    cloud: Cloud, target: str, *more: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`planeshift shift`, beside us; its log has begun."""
    before = set((cloud.state / "shifts").glob("*"))
    argv = [sys.executable, "-m", "planeshift", "shift", "glance", f"{target}=100", "--yes", *more]
    argv += ["-f", str(cloud.file)]
    env, pipe = {**os.environ, **(environment or {})}, subprocess.PIPE
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=pipe, text=True, env=env) as process:
        try:
            until(
                lambda: set((cloud.state / "shifts").glob("*/events.jsonl")) > {p / "events.jsonl" for p in before},
                "a shift",
            )
            yield process
        finally:
            process.kill()


def test_traffic_moves_and_moves_back_and_nothing_is_lost(two: Cloud) -> None:
    with load(health(two)) as found:
        assert shift(two, "new").code == 0
        assert weights(two) == {"old": 0, "new": 256}
        assert steps(two) == [10, 50, 100]
        assert two.run("shift", "glance", "--back", "--yes").code == 0
        assert weights(two) == {"old": 256, "new": 0}
    assert found.failures == [] and found.sent > RATE * 10
    assert two.kinds() == set()


@at_each(SHARES, usual=50)
def test_planeshift_is_killed_and_traffic_stays_and_the_next_run_goes_on(two: Cloud, step: int) -> None:
    with load(health(two)) as found:
        with shifting(two, "new") as process:
            at_step(two, step)
            process.kill()
            process.wait()
        assert share(two) == pytest.approx(step, abs=1)
        two.up()
        assert steps(two) == [s for s in SHARES if s > step] or step == 100
        assert weights(two) == {"old": 0, "new": 256}
        done = shift(two, "old")
        assert done.code == 0, done.text
    assert found.failures == []


@at_each(SHARES, usual=50)
def test_haproxy_is_killed_and_starts_again_with_the_weights_of_the_step(two: Cloud, step: int) -> None:
    with load(health(two)) as found, shifting(two, "new") as process:
        at_step(two, step)
        began = time.time()
        for pid in two.pids("edge/edge", "haproxy"):
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert weights(two) == {"old": 0, "new": 256}
        done = shift(two, "old")
        assert done.code == 0, done.text
    # Nobody listens until its supervisor has started it again: that is the gap, and it is told.
    assert all(f.why.startswith(("ConnectionRefused", "ConnectionReset", "EOFError")) for f in found.failures), (
        found.failures
    )
    gap = max((f.at for f in found.failures), default=began) - began
    assert found.failed <= RATE * (gap + 1), found.failures


@at_each(SHARES, usual=50)
def test_a_worker_of_the_side_that_gets_more_is_killed(two: Cloud, step: int) -> None:
    with load(health(two)) as found, shifting(two, "new") as process:
        at_step(two, step)
        master = min(two.pids("glance/new", "glance-api"))
        worker = next(p for p in two.pids("glance/new", "glance-api") if p != master)
        kill(worker)
        process.communicate(timeout=120)
        assert weights(two)["new"] in (0, 256)
        two.run("shift", "glance", "--resume", "--yes")
        shift(two, "old")
    assert held(found.failures), found.failures


@at_each(SHARES, usual=50)
def test_the_side_that_gets_more_stops_and_traffic_is_back(two: Cloud, step: int) -> None:
    with load(health(two)) as found, shifting(two, "new", "--time", "30s") as process:
        at_step(two, step)
        supervisor = two.supervisor("glance/new")
        for pid in [supervisor, *two.pids("glance/new", "glance-api")]:
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1 and "PS610" in err, err
        assert weights(two)["new"] == 0
    assert all("refused" not in f.why for f in found.failures), found.failures
    assert held(found.failures), found.failures
    with two.edited() as spec:
        backends = spec["services"]["glance"]["backends"]
        backends["old"]["weight"], backends["new"]["weight"] = 100, 0
    two.mends()


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

/* The time of day is two hours ahead while the file that AHEAD names is there. */
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  struct stat there;
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME && getenv("AHEAD") && stat(getenv("AHEAD"), &there) == 0) now->tv_sec += 7200;
  return result;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="a clock of its own takes a C compiler")
def test_the_clock_jumps_back_and_ahead_and_the_next_runs_know_what_was_last(two: Cloud, tmp_path: Path) -> None:
    ahead, library = tmp_path / "ahead", tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-"], input=CLOCK.encode(), check=True)
    ahead.touch()
    clock = {"LD_PRELOAD": str(library), "AHEAD": str(ahead)}
    with load(health(two)) as found:
        with shifting(two, "new", environment=clock) as process:
            at_step(two, 10)
            ahead.unlink()
            at_step(two, 50)
            ahead.touch()
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        told = [datetime.datetime.fromisoformat(event["at"]) for event in log(two)]
        jumps = [(after - before).total_seconds() for before, after in itertools.pairwise(told)]
        assert min(jumps) < -7000 and max(jumps) > 7000
        for shares in ({"old": 256, "new": 0}, {"old": 0, "new": 256}, {"old": 256, "new": 0}):
            assert two.run("shift", "glance", "--back", "--yes").code == 0  # two hours before the log of the first
            assert weights(two) == shares
    assert found.failures == []


def test_a_shift_that_is_paused_stays_until_somebody_agrees_that_it_goes_on(two: Cloud) -> None:
    with shifting(two, "new", "--time", "60s") as process:  # longer than any machine needs to say `--pause`
        at_step(two, 10)
        assert two.run("shift", "glance", "--pause").code == 0
        assert process.wait(120) == 0
    assert share(two) == pytest.approx(10, abs=1) and "paused" in two.run("plan").text
    two.run("shift", "glance", "--resume").refused("PS805", "needs a yes")  # there is no terminal
    assert share(two) == pytest.approx(10, abs=1) and "paused" in two.run("plan").text
    assert two.run("shift", "glance", "--resume", "--yes").code == 0
    assert weights(two) == {"old": 0, "new": 256}
    assert shift(two, "old").code == 0 and weights(two) == {"old": 256, "new": 0}


@at_each(SHARES, usual=10)
def test_two_shifts_at_once_the_second_is_refused(two: Cloud, step: int) -> None:
    before = two.file.read_text()
    with shifting(two, "new") as process:
        at_step(two, step)
        two.run("shift", "keystone", "vms=100", "--yes").refused("PS801", "is changing this cloud")
        process.communicate(timeout=120)
    two.file.write_text(before)
    two.mends()
    assert weights(two) == {"old": 256, "new": 0}


@at_each(SHARES, usual=10)
def test_the_runtime_socket_is_gone_and_the_shift_goes_on_by_the_master(two: Cloud, step: int) -> None:
    socket = two.runtime / "here/edge/edge/admin.sock"
    away = socket.with_suffix(".away")
    with load(health(two)) as found:
        with shifting(two, "new") as process:
            at_step(two, step)
            socket.rename(away)
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        assert weights(two) == {"old": 0, "new": 256}
        done = shift(two, "old")
        assert done.code == 0, done.text
        assert weights(two) == {"old": 256, "new": 0}
    away.rename(socket)
    assert found.failures == []
    two.settles()


# --- what takes longer than a shift

PIECE = bytes(range(256)) * 256


class Slow(BaseHTTPRequestHandler):
    """A file that comes by halves: the second when the event is set."""

    go = threading.Event()
    asked = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(2 * len(PIECE)))
        self.end_headers()
        self.wfile.write(PIECE)
        Slow.asked.set()
        Slow.go.wait(120)
        self.wfile.write(PIECE)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def status(cloud: Cloud, token: dict[str, str], image: str) -> str:
    return str(cloud.request("GET", 9292, f"/v2/images/{image}", headers=token).json["status"])


def test_transfers_and_an_import_end_where_they_began_though_that_side_is_retired(two: Cloud, tmp_path: Path) -> None:
    token, source = {"X-Auth-Token": two.token()}, random_file(tmp_path / "source", 50)
    octets = token | {"Content-Type": "application/octet-stream"}
    read, sent, there = threading.Event(), threading.Event(), two.image(token)
    assert two.request("PUT", 9292, f"/v2/images/{there}/file", source.read_bytes(), octets).status == 204
    uploaded, imported = two.image(token), two.image(token)

    def download() -> bool:
        return two.read_in_halves(f"/v2/images/{there}/file", token, read) == source.read_bytes()

    def halves() -> Iterator[bytes]:
        yield PIECE
        assert sent.wait(120)
        yield PIECE

    def upload() -> int:
        return two.request("PUT", 9292, f"/v2/images/{uploaded}/file", halves(), octets, chunked=True).status

    with ThreadingHTTPServer((two.host, ELSEWHERE), Slow) as server, ThreadPoolExecutor() as pool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        method = {"name": "web-download", "uri": f"http://{two.host}:{ELSEWHERE}/image"}
        asked = json.dumps({"method": method})
        headers = token | {"Content-Type": "application/json"}
        try:
            # One thing after the other where something is written, since SQLite has one writer.
            begun = [pool.submit(download), pool.submit(upload)]
            until(lambda: status(two, token, uploaded) == "saving", "the upload is under way")
            assert two.request("POST", 9292, f"/v2/images/{imported}/import", asked, headers).status == 202
            until(lambda: Slow.asked.is_set(), "Glance fetches the image")
            assert int(two.statistics()["glance", "old-here"]["scur"]) == 2
            assert shift(two, "new").code == 0
            retiring = pool.submit(two.run, "retire", "glance", "old", "--yes")
            until(lambda: ("glance", "old-here") not in two.statistics(), "the edge knows the old side no longer")
            assert not any(one.done() for one in (*begun, retiring))
            sent.set()
            assert begun[1].result() == 204
            read.set()
            assert begun[0].result()
            assert not retiring.done()
            Slow.go.set()
            assert retiring.result().code == 0
        finally:
            for event in (sent, read, Slow.go):
                event.set()
            server.shutdown()
    assert status(two, token, imported) == "active"
    assert two.request("GET", 9292, f"/v2/images/{imported}/file", headers=token).body == 2 * PIECE
    assert two.pids("glance/old", "glance-api") == []
    for one in (there, uploaded, imported):
        assert two.request("DELETE", 9292, f"/v2/images/{one}", headers=token).status == 204
    with two.edited() as spec:
        spec["services"]["glance"]["backends"]["old"] = {"hosts": ["here"], "weight": 0}
    two.up()
    two.wait_up()
    assert shift(two, "old").code == 0
