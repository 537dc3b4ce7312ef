"""Each port twice: in memory, and the real one, on directories and loopback addresses of its own that end with it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs import AgentHostRig, EdgeRig, HostRig, MemoryEdgeRig, MemoryHostRig, RealEdgeRig, RealHostRig, SshHostRig
from sshrig import Sshd, reason

from planeshift.drivers.local import processes
from planeshift.drivers.memory import Memory

_numbers = itertools.count(1)
KINDS = ("memory", "real")


def address() -> str:
    """A loopback address that no other test, of this process or another, uses."""
    high, low = divmod(os.getpid(), 250)
    return f"127.{91 + high % 100}.{low + 1}.{next(_numbers) % 250 + 1}"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, since sockets lie in it. No process that was marked with it may be left."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="ps-", dir=base))
    yield path
    left = list(processes.marked(str(path)))
    for process in left:
        os.kill(process.pid, signal.SIGKILL)
    shutil.rmtree(path)
    assert not left, f"processes were left: {left}"


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    """A sshd for all tests of a worker, and the agent that is carried there once."""
    if reason():
        pytest.skip(reason())
    directory = Path(tempfile.mkdtemp(prefix="ps-sshd-"))
    made = Sshd(directory, address())
    made.start()
    yield made
    made.stop()
    shutil.rmtree(directory)


@pytest.fixture(params=(*KINDS, "agent", "ssh"))
def host(request: pytest.FixtureRequest, directory: Path) -> Iterator[HostRig]:
    """A host, with a small web server for a unit."""
    rig: HostRig
    if request.param == "memory":
        rig = MemoryHostRig(Memory(), address())
    elif request.param == "ssh":
        rig = SshHostRig(directory, address(), request.getfixturevalue("sshd"))
    else:
        rig = (AgentHostRig if request.param == "agent" else RealHostRig)(directory, address())
    yield rig
    rig.clean_up()


@pytest.fixture(params=KINDS)
def edge(request: pytest.FixtureRequest, directory: Path) -> Iterator[EdgeRig]:
    """An edge on a host, with servers behind it."""
    if request.param == "real" and not shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        pytest.skip("haproxy is not installed")
    rig: EdgeRig
    if request.param == "memory":
        rig = MemoryEdgeRig(MemoryHostRig(Memory(), address()), address)
    else:
        rig = RealEdgeRig(RealHostRig(directory, address()), address)
    yield rig
    rig.clean_up()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """For ports that need no rig."""
    return str(request.param)
