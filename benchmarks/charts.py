"""The chart server under load, beside ChartMuseum (a binary named by CHARTMUSEUM) where there is one.

    python benchmarks/charts.py                    5,000 and 100,000 charts of 20 KB: some minutes
    python benchmarks/charts.py --sizes 5000 --record

Clients run on the same machine. The store is a directory; each upload is durable before its 201 (ours).
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planeshift import tools
from planeshift.charts import segments
from planeshift.charts.store.s3 import S3Store

CLIENTS, UPLOADS = 8, 2400
README = Path(__file__).with_name("README.md")


# --- charts


def parts(size: int = 18_000) -> tuple[bytes, int, int]:
    """What all charts have in common, deflated: values, templates, and something that does not compress."""
    names = {
        f"chart/templates/t{n}.yaml": b"apiVersion: v1\nkind: Service\nmetadata: {name: x}\n" * 40 for n in range(10)
    }
    names["chart/values.yaml"] = b"image: {repository: nginx, tag: latest}\nreplicas: 3\n" * 30
    names["chart/blob"] = random.Random(1).randbytes(size)
    raw = b"".join(member(name, content) for name, content in names.items()) + bytes(1024)
    return (*segments.deflate(raw), len(raw))


def member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info.tobuf() + content + bytes(-len(content) % 512)


def chart(name: str, version: str, rest: tuple[bytes, int, int]) -> bytes:
    """A chart of about 20 KB, quickly: one gzip member of its Chart.yaml and the common rest."""
    text = (
        f'apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: "1.16.0"\ntype: application\n'
        "description: A chart for one of the services of a cloud\nkeywords: [cloud, openstack]\n"
        "home: https://docs.example.org\nsources: [https://git.example.org/cloud]\n"
        "maintainers: [{name: The cloud team, email: cloud@example.org}]\n"
    ).encode()
    head = member("chart/Chart.yaml", text)
    return b"".join(segments.gzip_of([(*segments.deflate(head), len(head)), rest]))


def fill(store: Path, count: int) -> None:
    """A store of `count` charts: ten versions of each."""
    store.mkdir(parents=True)
    rest = parts()
    for number in range(count):
        name, version = f"chart{number // 10:05d}", f"1.{number % 10}.0"
        (store / f"{name}-{version}.tgz").write_bytes(chart(name, version, rest))
    os.sync()


# --- servers


@contextmanager
def running(
    command: list[str], port: int, log: Path, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """A server, and how long it took until it gave its index."""
    began = time.monotonic()
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            connection.request("HEAD", "/index.yaml")
            connection.getresponse().read()
            connection.request("GET", "/api/charts/chart00000")
            if connection.getresponse().status == 200:
                break
        except OSError:
            time.sleep(0.01)
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
    try:
        yield process, time.monotonic() - began
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def resident(process: subprocess.Popen[bytes]) -> float:
    """The most that it had in memory, in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


# --- measuring


def uploader(port: int, bodies: list[bytes], go: Any, results: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    go.wait()
    took = []
    for body in bodies:
        began = time.perf_counter()
        connection.request("POST", "/api/charts", body=body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 201:
            raise RuntimeError(f"status {answer.status}")
        took.append(time.perf_counter() - began)
    results.put((time.perf_counter(), took))


def uploads(port: int, tag: str, count: int) -> dict[str, float]:
    """Uploads by eight clients at once, each a process."""
    rest = parts()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    go = context.Event()
    clients = [
        context.Process(
            target=uploader,
            args=(
                port,
                [chart(f"{tag}{c}x{n // 10}", f"1.{n % 10}.0", rest) for n in range(count // CLIENTS)],
                go,
                results,
            ),
        )
        for c in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    time.sleep(1)
    began = time.perf_counter()
    go.set()
    ends, took = zip(*(results.get() for _ in clients), strict=True)
    for client in clients:
        client.join()
    flat = sorted(t for one in took for t in one)
    return {"uploads/s": len(flat) / (max(ends) - began), "upload p99 ms": flat[int(len(flat) * 0.99)] * 1000}


def visible(port: int, tag: str, count: int = 100) -> float:
    """How long after its 201 a chart is in the index that a reader is given: p99 of the first byte, in ms."""
    rest = parts()
    writer = http.client.HTTPConnection("127.0.0.1", port)
    waits = []
    for number in range(count):
        name = f"{tag}v{number}"
        writer.request("POST", "/api/charts", body=chart(name, "1.0.0", rest))
        writer.getresponse().read()
        began = time.perf_counter()
        while True:
            reader = http.client.HTTPConnection("127.0.0.1", port)
            reader.request("GET", "/index.yaml", headers={"Range": "bytes=0-0"} if number % 10 else {})
            answer = reader.getresponse()
            first = time.perf_counter()
            body = answer.read()
            reader.close()
            if number % 10 or f"name: {name}\n".encode() in body:
                break
        waits.append(first - began)
    return sorted(waits)[int(count * 0.99) - 1] * 1000


def index(port: int) -> dict[str, float]:
    """The index: not modified, and whole."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/index.yaml")
    answer = connection.getresponse()
    size = len(answer.read())
    tag = answer.getheader("ETag")
    found = {"index MB": size / 1e6}
    if tag:
        waits = []
        for _ in range(2000):
            began = time.perf_counter()
            connection.request("GET", "/index.yaml", headers={"If-None-Match": tag})
            connection.getresponse().read()
            waits.append(time.perf_counter() - began)
        found["not modified p99 ms"] = sorted(waits)[int(len(waits) * 0.99)] * 1000
    buffer = bytearray(1 << 20)
    rounds = max(3, int(200e6 / size))
    began = time.perf_counter()
    for _ in range(rounds):
        connection.request("GET", "/index.yaml")
        answer = connection.getresponse()
        while answer.readinto(buffer):
            pass
    found["whole index MB/s"] = rounds * size / (time.perf_counter() - began) / 1e6
    return found


def measure(command: list[str], port: int, log: Path, *, warm: bool, count: int) -> dict[str, float]:
    """One server over one store."""
    found: dict[str, float] = {}
    with running(command, port, log) as (process, seconds):
        found["cold start s"] = seconds
    with running(command, port, log) as (process, seconds):
        if warm:
            found["warm start s"] = seconds
        found |= index(port)
        found |= uploads(port, "up", count)
        found["visible p99 ms"] = visible(port, "see")
        found["resident MB"] = resident(process)
    return found


# --- over a bucket

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a-password-of-benchmarks"}


@contextmanager
def gateway(place: Path) -> Iterator[dict[str, str]]:
    """An S3 server over a directory; the environment by which it is reached."""
    (place / "buckets" / "charts").mkdir(parents=True)
    port = free_port()
    keys = {
        "ROOT_ACCESS_KEY": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "ROOT_SECRET_KEY": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }
    command = [str(tools.find("versitygw")), "--port", f"127.0.0.1:{port}", "posix", str(place / "buckets")]
    with (place / "gateway.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **keys})
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    try:
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
    finally:
        process.terminate()
        process.wait()


def over_a_bucket(place: Path, count: int) -> dict[str, float]:
    """A server in a fresh container: the first one, which reads all charts, and one after it."""
    fill(place / "charts", count)
    found = {}
    with gateway(place) as environment:
        os.environ.update(environment)
        store = S3Store.open("s3://charts", os.environ)
        with ThreadPoolExecutor(32) as pool:
            names = sorted(p.name for p in (place / "charts").iterdir())
            list(pool.map(lambda n: store.save("", [(n, (place / "charts" / n).read_bytes())], replace=True), names))
        for row in ("cold start s", "fresh container after it s"):
            port = free_port()
            serve = [
                sys.executable,
                "-m",
                "planeshift",
                "chart",
                "serve",
                "--storage",
                "s3://charts",
                "--port",
                str(port),
            ]
            cache = {"XDG_CACHE_HOME": str(place / f"cache-{len(found)}")}
            with running(serve, port, place / "log", **cache) as (_, found[row]):
                pass
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 100_000])
    parser.add_argument("--bucket", type=int, default=5_000, help="charts in a bucket; 0: none; needs versitygw")
    parser.add_argument("--uploads", type=int, default=UPLOADS)
    parser.add_argument("--record", action="store_true", help="write the figures into README.md")
    parser.add_argument("--directory", type=Path, help="where to make the stores; default: a temporary one")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed server is compiled
    columns: dict[str, dict[str, float]] = {}
    place = Path(tempfile.mkdtemp(prefix="planeshift-charts-", dir=given.directory))
    try:
        for size in given.sizes:
            store = place / f"ours-{size}"
            fill(store, size)
            port = free_port()
            serve = [sys.executable, "-m", "planeshift", "chart", "serve", "--storage", str(store), "--port", str(port)]
            columns[f"{size:,} charts"] = measure(serve, port, place / "log", warm=True, count=given.uploads)
            shutil.rmtree(store)
        if given.bucket:
            columns[f"{given.bucket:,} in a bucket"] = over_a_bucket(place / "bucket", given.bucket)
        peer = os.environ.get("CHARTMUSEUM")
        if peer:
            size = min(given.sizes)
            store = place / f"theirs-{size}"
            fill(store, size)
            port = free_port()
            serve = [
                peer,
                "--storage=local",
                f"--storage-local-rootdir={store}",
                f"--port={port}",
                "--listen-host=127.0.0.1",
            ]
            count = min(given.uploads, 80)
            columns[f"ChartMuseum, {size:,}"] = measure(serve, port, place / "log", warm=False, count=count)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    report(columns, record=given.record)


def report(columns: dict[str, dict[str, float]], *, record: bool) -> None:
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for row in rows:
        cells = [f"{c[row]:,.1f}" if row in c else "-" for c in columns.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    load = os.getloadavg()
    head = (
        f"`python benchmarks/charts.py`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load average at the end {load[0]:.1f}; {CLIENTS} clients on the same machine:"
    )
    text = head + "\n\n" + "\n".join(lines) + "\n"
    print(text)
    if record:
        page = README.read_text("utf-8")
        before, _, rest = page.partition("<!-- charts -->\n")
        after = rest.partition("<!-- end charts -->")[2]
        README.write_text(f"{before}<!-- charts -->\n{text}<!-- end charts -->{after}", "utf-8")


if __name__ == "__main__":
    main()
