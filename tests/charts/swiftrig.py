"""OpenStack Swift with its S3 interface: the real programs, from PyPI, one of each, on a directory."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store as Bucket

USER, PASSWORD = "test:tester", "a-password-of-tests"
_STORAGE = ("account", "container", "object")
_PIPELINE = ("catch_errors", "gatekeeper", "cache", "listing_formats", "s3api", "tempauth", "copy", "dlo", "slo")
_RING = """
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(sys.argv[2::2], sys.argv[3::2]):
    ring = RingBuilder(4, 1, 0)
    device = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1, "meta": ""}
    ring.add_dev(device | {"replication_ip": "127.0.0.1", "replication_port": int(port)})
    ring.rebalance()
    ring.get_ring().save(f"{sys.argv[1]}/{kind}.ring.gz")
"""


def environment(port: int) -> dict[str, str]:
    """What reaches it."""
    keys = {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "us-east-1"}
    return {**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


@contextlib.contextmanager
def running(place: Path) -> Iterator[int]:
    """Swift below a directory, with a bucket `charts`; its port. Skips the test where it cannot be had."""
    programs = _installed(place / "venv")
    (place / "dev" / "d1").mkdir(parents=True)
    try:
        os.setxattr(place / "dev", "user.test", b"1")
    except OSError:
        pytest.skip(f"{place} is on a file system that keeps no attributes, as Swift needs them")
    ports = dict(zip((*_STORAGE, "proxy"), _free_ports(4), strict=True))
    (place / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    rings = [word for kind in _STORAGE for word in (kind, str(ports[kind]))]
    subprocess.run([programs / "python", "-c", _RING, place, *rings], check=True)
    processes = []
    try:
        for kind, port in ports.items():
            (place / f"{kind}.conf").write_text(_configuration(kind, port, place))
            with (place / f"{kind}.log").open("wb") as log:
                argv = [programs / f"swift-{kind}-server", place / f"{kind}.conf"]
                processes.append(subprocess.Popen(argv, stdout=log, stderr=log))
        _make_bucket(ports["proxy"], processes)
        yield ports["proxy"]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _installed(place: Path) -> Path:
    """Swift's programs, in an environment of their own."""
    lock = Path(__file__).with_name("swift.txt")
    uv = [Path(sys.executable).with_name("uv")]
    for argv in (["venv", "--python", sys.executable, place], ["pip", "install", "--python", place, "-r", lock]):
        done = subprocess.run([*uv, "-q", *argv], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"Swift cannot be had: {done.stderr[-300:]}")
    return place / "bin"


def _configuration(kind: str, port: int, place: Path) -> str:
    head = f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nswift_dir = {place}\nworkers = 0\nuser = {_user()}\n"
    if kind != "proxy":
        app = f"[pipeline:main]\npipeline = {kind}-server\n[app:{kind}-server]\nuse = egg:swift#{kind}\n"
        return f"{head}devices = {place / 'dev'}\nmount_check = false\n{app}"
    extra = {
        "cache": "use = egg:swift#memcache\nmemcache_servers = 127.0.0.1:1\n",  # there is none
        "s3api": "use = egg:swift#s3api\nlocation = us-east-1\n",
        "tempauth": f"use = egg:swift#tempauth\nuser_test_tester = {PASSWORD} .admin\n",
    }
    filters = "".join(f"[filter:{name}]\n{extra.get(name, f'use = egg:swift#{name}')}\n" for name in _PIPELINE)
    app = "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
    return f"{head}[pipeline:main]\npipeline = {' '.join(_PIPELINE)} proxy-server\n{app}{filters}"


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as taken:
        return [taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def _make_bucket(port: int, processes: list[subprocess.Popen[bytes]]) -> None:
    """A signed PUT of the bucket itself, as soon as it is answered."""
    found = environment(port)
    bucket = Bucket(
        "charts",
        endpoint=found["AWS_ENDPOINT_URL"],
        access_key_id=USER,
        secret_access_key=PASSWORD,
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    url = obstore.sign(bucket, "PUT", "", timedelta(minutes=5))
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10).close()
            return
        except OSError:
            assert time.monotonic() < deadline and not any(p.poll() for p in processes)
            time.sleep(0.1)
