"""What the gates of shifts stand on, and what watching costs: docs/gates.md.

    python benchmarks/gates.py record [SECONDS]    real waits of Keystone and Glance at the edge, for the tests' simulations
    python benchmarks/gates.py edge                requests a second through the edge, watched and not watched, in turn

Each makes a cloud of its own in a temporary directory, on addresses of its own, and removes it at the end. Everything stays
on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import run

from planeshift.app.site import runtime
from planeshift.drivers.traffic import RingTraffic
from planeshift.ports import Collector
from planeshift.traffic.lines import Request

WAITS = run.ROOT / "tests" / "unit" / "shifts" / "waits.json"
UNIT = "here/edge/edge"
SLOT = 0.5  # seconds
CLIENTS = 24
ROUNDS = 7
Share = tuple[int, str, str, bool]  # out of a hundred requests; method, path, whether it asks for a token
KEYSTONE = (
    (55, "GET", "/v3", False),
    (44, "GET", "/v3/auth/tokens", False),
    (1, "POST", "/v3/auth/tokens", True),
)
GLANCE = ((60, "GET", "/v2/images?limit=20", False), (40, "GET", "/v2/schemas/image", False))
LUA = """\
local requests = %(requests)s
function request()
  local left = math.random(100)
  for _, r in ipairs(requests) do
    left = left - r[1]
    if left <= 0 then return wrk.format(r[2], r[3], r[4], r[5]) end
  end
end
function delay() return -%(pause)d * math.log(1 - math.random()) end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["record", "edge"])
    parser.add_argument("seconds", nargs="?", type=int, default=120)
    arguments = parser.parse_args()
    with run.cloud() as directory:
        run.planeshift(directory, "up", "--yes")
        if arguments.part == "record":
            record(directory, arguments.seconds)
        else:
            print(edge(directory))


# --- what watching costs


def edge(directory: Path) -> str:
    """Requests a second through the edge, of clients that do nothing else, watched and not, in turn."""
    script, plain, watched = directory / "get.lua", list[float](), list[float]()
    script.write_text("wrk.method = 'GET'\n")
    for _ in range(ROUNDS):
        plain.append(run.wrk(script, f"http://{run.EDGE}:5000/v3")[0])
        with watching(directory) as collector, taking(collector) as taken:
            watched.append(run.wrk(script, f"http://{run.EDGE}:5000/v3")[0])
        assert taken[0] and not collector.lost()
    ratios = [w / p for w, p in zip(watched, plain, strict=True)]
    return (
        f"{run.machine('gates.py edge')}\n\n"
        f"Keystone GET /v3 through the edge, {ROUNDS} rounds of 8 s: {statistics.median(plain):.0f}/s, watched "
        f"{statistics.median(watched):.0f}/s; {statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
    )


@contextlib.contextmanager
def taking(collector: Collector) -> Iterator[list[int]]:
    """Take what was collected twice a second, as a shift does; how many requests that were."""
    taken, over = [0], threading.Event()

    def take() -> None:
        while not over.wait(SLOT):
            taken[0] += len(collector.take())

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


# --- recording


def record(directory: Path, seconds: int) -> None:
    """Write the waits of some minutes of mixed requests, in the order in which they ended."""
    with watching(directory) as collector, load(directory, seconds + 15):
        time.sleep(5)
        collector.take()
        slots, ends = list[list[Request]](), time.monotonic()
        for _ in range(int(seconds / SLOT)):
            ends += SLOT
            time.sleep(max(0.0, ends - time.monotonic()))
            slots.append(collector.take())
    assert not collector.lost()
    count = Counter(r.kind for slot in slots for r in slot)
    kinds = [kind for kind, n in count.most_common() if n >= 100]
    lines = [json.dumps([[int(r.wait_ms) for r in slot if r.kind == kind] for kind in kinds]) for slot in slots]
    head = {"made": run.machine("gates.py record"), "seconds": SLOT, "kinds": kinds}
    text = json.dumps(head)[:-1] + ', "slots": [\n' + ",\n".join(line.replace(" ", "") for line in lines) + "\n]}\n"
    WAITS.write_text(text)
    print(
        f"{sum(count.values()) / seconds:.0f} requests a second, {sum(r.failed for s in slots for r in s)} failed: {WAITS}"
    )


@contextlib.contextmanager
def watching(directory: Path) -> Iterator[Collector]:
    """A collector of the edge's lines."""
    with RingTraffic({"here": str(runtime(directory / "cloud.yaml"))}).collect(UNIT) as collector:
        yield collector


@contextlib.contextmanager
def load(directory: Path, seconds: int) -> Iterator[None]:
    """Clients that ask both services, each request some time after the last one's answer."""
    token = run.client(directory, "token", "issue", "-f", "value", "-c", "id").strip()
    issue = run.token_request(directory)
    clients = []
    for name, port, shares, pause in (("keystone", 5000, KEYSTONE, 1600), ("glance", 9292, GLANCE, 1200)):
        script = directory / f"{name}.lua"
        script.touch(0o600)
        script.write_text(LUA % {"requests": table(shares, token, issue), "pause": pause})
        argv = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script)]
        clients.append(subprocess.Popen([*argv, f"http://{run.EDGE}:{port}"], stdout=subprocess.DEVNULL))
    try:
        yield
    finally:
        for client in clients:
            client.terminate()
            client.wait()


def table(shares: Sequence[Share], token: str, issue: str) -> str:
    """Requests, as a table of Lua."""
    found = []
    for percent, method, path, body in shares:
        headers = "{['Content-Type'] = 'application/json'}"
        if not body:
            headers = f"{{['X-Auth-Token'] = '{token}', ['X-Subject-Token'] = '{token}'}}"
        found.append(f"{{{percent}, '{method}', '{path}', {headers}, {f'[[{issue}]]' if body else 'nil'}}}")
    return "{" + ", ".join(found) + "}"


if __name__ == "__main__":
    main()
