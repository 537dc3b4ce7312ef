"""Images into a real containerd, of the test's own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from planeshift.errors import PlaneshiftError
from planeshift.images import Config, Entry, Store, containerd

REASON = "containerd and ctr are not here, or this is not root"
_SETTINGS = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[plugins."io.containerd.internal.v1.opt"]
path = "{0}/opt"
[grpc]
address = "{0}/sock"
"""


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    if os.geteuid() or not (shutil.which("containerd") and shutil.which("ctr")):
        pytest.skip(REASON)
    (tmp_path / "config.toml").write_text(_SETTINGS.format(tmp_path))
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(["containerd", "--config", str(tmp_path / "config.toml")], stdout=log, stderr=log) as process,
    ):
        for _ in range(200):
            if (tmp_path / "sock").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        yield str(tmp_path / "sock")
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def test_containerd_unpacks_what_we_write(socket: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    long = "d/" * 60 + "file"
    layers = [store.add_layer([Entry("a", content=b"one"), Entry(long, content=b"two")]), store.add_layer([Entry("a")])]
    image = store.add_image(layers, Config(user="42424:42424"), name="localhost/sample:1")
    containerd.load(store, [image.name], namespace="test", address=socket)
    ctr = ["ctr", "--address", socket, "--namespace", "test"]
    listed = subprocess.run([*ctr, "images", "list"], capture_output=True, text=True, check=True).stdout
    assert "localhost/sample:1" in listed and image.digest in listed
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run([*ctr, "images", "mount", image.name, str(mount)], check=True, capture_output=True)
    try:
        assert (mount / long).read_bytes() == b"two" and (mount / "a").read_bytes() == b""
    finally:
        subprocess.run([*ctr, "images", "unmount", str(mount)], check=True, capture_output=True)


def test_a_containerd_that_is_not_there_is_named(tmp_path: Path) -> None:
    if not shutil.which("ctr"):
        pytest.skip(REASON)
    store = Store(tmp_path / "store")
    image = store.add_image([store.add_layer([Entry("a", content=os.urandom(3_000_000))])], name="localhost/sample:1")
    with pytest.raises(PlaneshiftError, match="PS446") as caught:
        containerd.load(store, [image.name], namespace="test", address=str(tmp_path / "nothing"))
    assert "nothing" in caught.value.problems[0].hint
