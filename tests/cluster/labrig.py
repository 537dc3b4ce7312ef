"""A lab as the tests use it: by the command line, as a person does, and looked at from outside."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planeshift.errors import PlaneshiftError
from planeshift.lab import open_lab, processes
from planeshift.lab.model import load
from planeshift.lab.network import refuse_overlap
from planeshift.lab.site import Site
from planeshift.lab.topology import topology
from planeshift.tools import find

ONE_NODE = """
  zones: [a, b]
  hosts:
    - {name: node1, zone: a, cluster: k1}
    - {name: vm1, zone: b, disk: 64MiB}
"""
PLAIN = """
  zones: [a, b]
  hosts:
    - {name: vm1, zone: a}
    - {name: vm2, zone: b}
"""

# `lab up`, killed with -9 a while after a step begins or ends; at once where an earlier run has done that step.
KILLED = """
import os, sys, time, threading
from planeshift.lab import open_lab, run
site, wanted, what, after = open_lab(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
def die():
    time.sleep(after)
    os.kill(os.getpid(), 9)
def tell(event):
    if not there or event.step.id == wanted and event.what == what:
        threading.Thread(target=die).start() if after else die()
with run.lease(site):
    steps = run.look(site)
    there = wanted in [s.id for s in steps]
    run.up(site, steps, tell)
"""


def lab_file(spec: str, number: int) -> str:
    """A lab file with networks that no other test's lab has."""
    networks = f"  network: 172.28.{number}.0/24\n  pods: 10.{100 + number}.0.0/16\n"
    head = "apiVersion: planeshift/v1\nkind: Lab\nmetadata: {name: test}\nspec:\n"
    return head + networks + spec.lstrip("\n")


def free(spec: str, number: int) -> bool:
    """Whether the networks of this number are nobody's; another lab may be at work on this machine."""
    try:
        refuse_overlap(topology(load(lab_file(spec, number), "lab.yaml"), "/tmp"))
    except PlaneshiftError:
        return False
    return True


@dataclass
class Rig:
    """A lab in a directory."""

    directory: Path
    namespaces: set[str] = field(default_factory=set)
    ended: float = math.inf  # when it was last taken down, in seconds since the machine booted

    @property
    def file(self) -> Path:
        return self.directory / "lab.yaml"

    @property
    def site(self) -> Site:
        return open_lab(str(self.file))

    def planeshift(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "planeshift", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, (
            f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def run(self, verb: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.planeshift("lab", verb, "-f", str(self.file), *arguments, check=check)

    def fault(self, kind: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.planeshift("lab", "fault", kind, "-f", str(self.file), *arguments, check=check)

    def build_tools(self) -> None:
        self.planeshift("tools", "build", "kubectl", "helm")

    def up(self) -> str:
        """Make or mend it; what was printed."""
        done = self.run("up", "--yes")
        self.remember()
        return done.stdout + done.stderr

    def up_killed(self, step: str, what: str = "begin", after: float = 0.0) -> None:
        """`lab up`, killed with -9 at a step."""
        argv = [sys.executable, "-c", KILLED, str(self.file), step, what, str(after)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == -9, f"not killed at {step}: {done.returncode}\n{done.stderr}"
        self.remember()

    def down(self) -> None:
        self.ended = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.run("down", "--yes")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "-o", "json", check=False).stdout)
        return found

    def states(self) -> dict[str, str]:
        """Each host's state."""
        return {h["name"]: h["state"] for h in self.status()["hosts"]}

    def inside(self, host: str, *command: str, check: bool = True) -> str:
        return self.run("exec", host, "--", *command, check=check).stdout

    def kubectl(self, *arguments: str, text: str = "") -> str:
        argv = [str(find("kubectl")), "--kubeconfig", str(self.site.kubeconfig), *arguments]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}\n{done.stderr}"
        return done.stdout

    def remember(self) -> None:
        """Note the namespaces of what runs, to know later whether anything still is in them."""
        self.namespaces.clear()
        for init in processes.inits(self.site.state).values():
            for kind in ("net", "mnt", "pid"):
                try:
                    found = str(Path(f"/proc/{init.pid}/ns/{kind}").readlink())
                except OSError:
                    continue
                if found != str(Path(f"/proc/self/ns/{kind}").readlink()):
                    self.namespaces.add(found)

    def traces(self) -> list[str]:
        """Everything on this machine that is the lab's; nothing after `lab down`."""
        site = self.site
        return [
            *_processes(site, self.namespaces, self.ended),
            *(f"mount {x}" for x in _lines("/proc/self/mountinfo") if str(site.state) in x),
            *(f"interface {p.name}" for p in Path("/sys/class/net").iterdir() if p.name == site.lab.interface),
            *(f"group {p}" for p in Path("/sys/fs/cgroup").rglob(site.lab.id)),
            *(f"loop {x}" for x in _output("losetup", "-l", "-n", "-O", "BACK-FILE") if str(site.state) in x),
            *(f"file {p}" for p in self.directory.iterdir() if p != self.file),
        ]


def _processes(site: Site, namespaces: set[str], ended: float) -> list[str]:
    """Processes with the lab's marker, and those in its namespaces.

    The kernel gives a namespace's number to the next one at once: who began after the lab's end is another lab's.
    """
    found = [f"process {pid} of {site.lab.name}" for pid in processes.stray(site.state)]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            begun = int((entry / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
            held = {str((entry / "ns" / kind).readlink()) for kind in ("net", "mnt", "pid")}
        except OSError:
            continue
        if held & namespaces and begun < ended:
            found.append(f"process {entry.name} in a namespace of the lab")
    return found


def machine() -> dict[str, list[str]]:
    """What this machine has of its own, which a lab must leave as it was; what other labs come and go with is not in it."""
    return {
        "tables": _output("nft", "list", "tables"),
        "sysctls": [Path("/proc/sys/net/ipv4/ip_forward").read_text()],
        "named namespaces": sorted(p.name for p in Path("/run/netns").glob("*")),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _output(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
