"""A full disk: the state directory on a small file system of memory, seen by our processes alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import Cloud, program, uv_cache

KEEP = 64 * 1024  # bytes left free: a journal fits, a database does not


class Disk:
    """A file system of a size of our choice on a cloud's state directory."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.state.mkdir(mode=0o700)
        script = f"mount -t tmpfs -o size=8m,mode=700 tmpfs {cloud.state} && echo mounted && exec cat"
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.holder.stdout and self.holder.stdout.readline() == b"mounted\n"
        cloud.wrap = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]
        self.state = Path(f"/proc/{self.holder.pid}/root{cloud.state}")  # as our processes see it

    def grow(self, size: str) -> None:
        command = [*self.cloud.wrap, "mount", "-o", f"remount,size={size}", str(self.cloud.state)]
        subprocess.run(command, check=True)

    def fill(self, keep: int) -> None:
        """Leave that many bytes."""
        about = os.statvfs(self.state)
        with (self.state / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            file.write(b"\0" * max(0, about.f_bavail * about.f_frsize - keep))
            while not keep:
                file.write(b"\0" * 512)

    def free(self) -> None:
        (self.state / "filler").unlink()

    def end(self) -> None:
        self.cloud.wrap = []
        self.holder.kill()
        self.holder.wait()


@pytest.fixture(scope="module")
def cloud(clouds: Callable[..., Cloud]) -> Cloud:
    return clouds("disk", "keystone")


@pytest.fixture(scope="module")
def disk(cloud: Cloud) -> Iterator[Disk]:
    command = ["unshare", "--mount", "true"]
    if program("nsenter") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace of its own: run as root, with util-linux")
    disk = Disk(cloud)
    yield disk
    cloud.does("down", "--yes")
    disk.end()


def test_a_disk_too_small_for_programs_is_named(cloud: Cloud, disk: Disk) -> None:
    cloud.run("up", "--yes").refused("PS404", "install:here/keystone", "the disk is full", "Free some space")
    assert not list((disk.state / "environments").glob("[!.]*"))
    assert not list((disk.state / "environments").glob(".*"))  # what was half there does not keep the disk full
    cache = {"XDG_CACHE_HOME": str(cloud.state / "cache"), "UV_CACHE_DIR": uv_cache()}  # so that uv meets it
    done = cloud.run("up", "--yes", environment=cache)
    done.refused("PS404", "install:here/keystone", "the disk is full", "Free some space")
    assert not list((disk.state / "cache/planeshift/environments").glob("*"))


def test_a_disk_too_small_for_a_database_is_named(cloud: Cloud, disk: Disk) -> None:
    disk.grow("1g")
    with cloud.events() as run:
        assert run.until_begin("prepare-database:")
        run.kill()
    disk.fill(KEEP)
    secrets = cloud.secret_digests()
    done = cloud.run("up", "--yes")
    assert done.code == 1 and set(done.problems) <= {"PS404", "PS501", "PS603"} and done.problems, done.text
    assert "full" in done.err, done.text
    disk.free()
    cloud.up()
    assert "Nothing to do" in cloud.up().out
    assert cloud.secret_digests() == secrets


def test_a_disk_that_fills_up_later_harms_nothing_that_runs(cloud: Cloud, disk: Disk) -> None:
    cloud.wait_up()
    processes = cloud.processes()
    path = cloud.root / "config/keystone/keystone.conf"
    path.write_text(path.read_text() + "[token]\nexpiration = 7200\n")
    disk.fill(0)
    done = cloud.run("up", "--yes")
    # SQLite, which cannot even read then, has but "disk I/O error" to say.
    done.refused("PS404", "the disk is full") if "PS404" in done.problems else done.refused("PS501", "disk I/O error")
    assert cloud.processes() == processes
    assert cloud.request("GET", 5000, "/v3").status == 200
    disk.free()
    done = cloud.up()
    assert "Nothing to do" not in done.out
    assert "Nothing to do" in cloud.up().out
