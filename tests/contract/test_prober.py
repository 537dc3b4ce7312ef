"""Round trips beside a shift, by a process of their own: against a Keystone that answers nothing but 503."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rigs import until

from planeshift.drivers.prober import Access, RoundTrips
from planeshift.drivers.probing import NICE
from planeshift.ports import Probe

PASSWORD = "pw-4711-of-admin"  # looked for where it must not be


class Closed(BaseHTTPRequestHandler):
    """Out of service; some wait before they are told."""

    wait = threading.Event()

    def do_GET(self) -> None:
        if "slow" in self.path:
            Closed.wait.wait(30)
        self.send_error(503)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Closed.wait.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Closed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        Closed.wait.set()
        server.shutdown()


@pytest.fixture
def trips(url: str) -> RoundTrips:
    return RoundTrips(Access(f"{url}/v3", "RegionOne"))


def came(probe: Probe) -> dict[str, str]:
    """What a process told that loads the client's library first."""
    deadline = time.monotonic() + 120
    while probe.result() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return dict(probe.result() or {})


def child(trips: RoundTrips) -> subprocess.Popen[str]:
    assert trips._process
    return trips._process


def test_each_round_trip_is_told_by_its_name_and_one_process_makes_them_all(trips: RoundTrips, url: str) -> None:
    one = trips.start("keystone", {"a": url, "b": url}, PASSWORD)
    process = child(trips)
    other = trips.start("glance", {"c": url}, PASSWORD)
    assert child(trips) is process
    assert {name: "503" in why for name, why in {**came(one), **came(other)}.items()} == dict.fromkeys("abc", True)


def test_the_process_gives_way_to_others_and_shows_no_password(trips: RoundTrips, url: str) -> None:
    probe = trips.start("keystone", {"a": f"{url}/slow"}, PASSWORD)
    pid = child(trips).pid
    until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE))
    for name in ("cmdline", "environ"):
        assert PASSWORD.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    Closed.wait.set()
    came(probe)


def test_what_a_process_that_is_killed_had_under_way_is_begun_again_by_another(trips: RoundTrips, url: str) -> None:
    probe, process = trips.start("keystone", {"a": f"{url}/slow"}, PASSWORD), child(trips)
    process.kill()
    Closed.wait.set()
    assert "503" in came(probe)["a"]
    assert child(trips) is not process


def test_where_no_process_lives_round_trips_have_failed(
    trips: RoundTrips, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    why = "no process could make round trips; the last one ended with status 1"
    assert came(trips.start("keystone", {"a": url}, PASSWORD)) == {"a": why}
    monkeypatch.setattr("sys.executable", "/nowhere")
    why = "no process could make round trips: No such file or directory"
    assert came(trips.start("keystone", {"a": url}, PASSWORD)) == {"a": why}


def test_many_are_asked_for_at_once(trips: RoundTrips, url: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        probes = list(pool.map(lambda n: trips.start("glance", {str(n): url}, PASSWORD), range(48)))
    assert sorted(name for probe in probes for name in came(probe)) == sorted(map(str, range(48)))


def test_it_ends_with_whoever_asked(url: str) -> None:
    trips = RoundTrips(Access(f"{url}/v3", "RegionOne"))
    trips.start("keystone", {"a": f"{url}/slow"}, PASSWORD)
    process = child(trips)
    del trips
    until(lambda: process.poll() is not None)
