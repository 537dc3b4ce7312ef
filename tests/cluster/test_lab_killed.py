"""Killed with -9 at every kind of step, the next `up` goes on, and `down` leaves nothing of the lab on the machine."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from labrig import PLAIN, Rig, machine

from planeshift.lab import processes

pytestmark = pytest.mark.xdist_group("lab-killed")

KILLED_DOWN = """
import os, sys
from planeshift.lab import cgroups, open_lab, run
cgroups.remove = lambda *a: os.kill(os.getpid(), 9)
run.down(open_lab(sys.argv[1]))
"""
MAKE_IMAGES = """
import os, pathlib, sys, threading, time
from planeshift.lab import images
after, found = float(sys.argv[1]), images.Archives(pathlib.Path("{node}"), pathlib.Path("{other}"))
images.archives = lambda: found
if after:
    threading.Thread(target=lambda: (time.sleep(after), os.kill(os.getpid(), 9))).start()
images.make()
"""
SMALL = """
  hosts: [{name: node1, cluster: k1}]
"""


def test_every_step_of_a_cluster_can_be_killed_and_down_leaves_nothing(rig: Callable[..., Rig]) -> None:
    """One `up` after the other dies, each at a later step; the last one ends as if nothing had been."""
    lab = rig(SMALL)
    lab.build_tools()
    before = machine()
    for step, what, after in [
        ("lab", "begin", 0.01),
        ("lab", "end", 0),
        ("network", "begin", 0.01),
        ("network", "end", 0),
        ("boot node1", "begin", 0.02),
        ("boot node1", "end", 0),
        ("connect node1", "begin", 0.005),
        ("import node1", "begin", 1.0),
        ("import node1", "end", 0),
        ("init k1", "begin", 3.0),
        ("init k1", "end", 0),
        ("storage k1", "begin", 0.1),
        ("wait k1", "begin", 0.5),
    ]:
        lab.up_killed(step, what, after)
    lab.up()
    assert lab.status()["well"] is True
    assert "Nothing to do" in lab.up()
    assert lab.traces()
    lab.down()
    assert lab.traces() == []
    assert machine() == before


@pytest.mark.parametrize("step", ["lab", "network", "boot vm1", "connect vm2"])
def test_down_after_a_kill_leaves_nothing(rig: Callable[..., Rig], step: str) -> None:
    lab = rig(PLAIN)
    lab.up_killed(step, "begin", 0.02)
    assert lab.traces()
    lab.down()
    assert lab.traces() == []


def test_down_while_kubeadm_runs_leaves_nothing(rig: Callable[..., Rig]) -> None:
    lab = rig(SMALL)
    lab.build_tools()
    lab.up_killed("init k1", "begin", 4.0)  # etcd and the API have begun to run as pods
    assert any("group" in t for t in lab.traces())
    lab.down()
    assert lab.traces() == []


def test_when_the_labs_first_process_dies_all_ends_and_up_makes_it_again(rig: Callable[..., Rig]) -> None:
    lab = rig(PLAIN)
    lab.up()
    lab.inside("vm1", "sh", "-c", "echo kept >/etc/kept; sleep 1000 >/dev/null 2>&1 &")
    first = processes.inits(lab.site.state)[""]
    os.kill(first.pid, 9)
    gone(first.pid)
    assert set(lab.states().values()) == {"down"}
    lab.up()
    assert set(lab.states().values()) == {"running"}
    assert lab.inside("vm1", "cat", "/etc/kept") == "kept\n"
    lab.down()
    assert lab.traces() == []


def gone(pid: int) -> None:
    """Wait until a process is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([handle], [], [], 10)
    os.close(handle)


def test_down_can_be_killed_too(rig: Callable[..., Rig]) -> None:
    lab = rig(PLAIN)
    lab.up()
    done = subprocess.run([sys.executable, "-c", KILLED_DOWN, str(lab.file)], check=False)
    assert done.returncode == -9
    assert lab.traces()
    lab.down()
    assert lab.traces() == []
    assert "not there" in lab.run("down", "--yes").stderr


def test_keep_keeps_the_disks(rig: Callable[..., Rig]) -> None:
    lab = rig(PLAIN)
    lab.up()
    lab.inside("vm1", "sh", "-c", "echo kept >/etc/kept")
    lab.run("down", "--yes", "--keep")
    assert all(t.startswith("file") for t in lab.traces())
    lab.up()
    assert lab.inside("vm1", "cat", "/etc/kept") == "kept\n"
    lab.down()
    assert lab.traces() == []


def test_hosts_come_and_go_with_the_file(rig: Callable[..., Rig]) -> None:
    lab = rig(PLAIN, "a lab, with: an \\odd 'name'")
    lab.up()
    text = lab.file.read_text()
    lab.file.write_text(text.replace("{name: vm2, zone: b}", "{name: vm3, zone: a}"))
    assert "no longer declared" in lab.up()
    assert lab.states() == {"vm1": "running", "vm3": "running"}
    assert not Path(lab.site.state / "hosts" / "vm2").exists()
    lab.down()
    assert lab.traces() == []


def test_images_that_were_half_made_are_made_again(tmp_path: Path, rig: Callable[..., Rig]) -> None:
    rig(SMALL).build_tools()
    script = MAKE_IMAGES.format(node=tmp_path / "made" / "node.tar", other=tmp_path / "made" / "control-plane.tar")
    killed = subprocess.run([sys.executable, "-c", script, "0.4"], capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    subprocess.run([sys.executable, "-c", script, "0"], check=True)
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["control-plane.tar", "node.tar"]
    with tarfile.open(tmp_path / "made" / "control-plane.tar") as archive:
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        names = archive.getnames()
    assert len(index["manifests"]) == 4
    assert all(f"blobs/sha256/{m['digest'][7:]}" in names for m in index["manifests"])
