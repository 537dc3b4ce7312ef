"""Whether this machine can have a lab, and if not, why."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import servers, systemd
from planeshift.lab.cgroups import ROOT, hierarchies
from planeshift.lab.topology import Topology

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# program or file → Debian package
_ALWAYS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "catatonit": "catatonit"}
_NODES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "conntrack": "conntrack",
    "iptables": "iptables",
}
_DISKS = {"mkfs.ext4": "e2fsprogs"}
_CONTROLLERS = ("cpu", "memory", "pids")


def refusals(lab: Topology, state: Path) -> list[Problem]:
    """Every reason why this machine cannot have this lab."""
    if sys.platform != "linux":
        return [Problem("PS440", "a lab needs Linux", why="It is made of Linux namespaces.")]
    found = []
    if os.geteuid() != 0:
        hint = "sudo, or a root shell; `planeshift up` on `via: local` hosts needs no root."
        found.append(
            Problem("PS440", "a lab needs root", why="Namespaces, mounts and bridges are made by root.", hint=hint)
        )
    found += _packages(lab)
    if not found:
        found += _namespaces(state)
    if any(h.cluster for h in lab.hosts):
        found += _control_groups()
    return found


def check(lab: Topology, state: Path) -> None:
    """Raise PlaneshiftError (PS440, PS441) with every reason why this machine cannot have this lab."""
    problems = refusals(lab, state)
    if problems:
        raise PlaneshiftError(problems)


def root() -> None:
    """Raise PlaneshiftError (PS440) for anybody but root."""
    if problems := _root():
        raise PlaneshiftError(problems)


def _root() -> list[Problem]:
    if os.geteuid() == 0:
        return []
    hint = "sudo, or a root shell; `planeshift up` on `via: local` hosts needs no root."
    return [Problem("PS440", "a lab needs root", why="Namespaces, mounts and bridges are made by root.", hint=hint)]


def _packages(lab: Topology) -> list[Problem]:
    wanted = dict(_ALWAYS)
    if any(h.cluster for h in lab.hosts):
        wanted |= _NODES
    if any(h.disk for h in lab.hosts):
        wanted |= _DISKS
    wanted |= dict(servers.PROGRAMS[n] for h in lab.hosts for n in h.runs.names if n in servers.PROGRAMS)
    if any(h.runs.systemd for h in lab.hosts):
        wanted[systemd.PROGRAM] = "systemd"
    missing = {package for program, package in wanted.items() if not _there(program)}
    if not missing:
        return []
    names = " ".join(sorted(missing))
    return [Problem("PS441", f"programs of the distribution are missing: {names}", hint=f"apt-get install {names}")]


def _there(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else bool(shutil.which(program, path=SYSTEM_PATH))


def _namespaces(state: Path) -> list[Problem]:
    """Try what a host needs, in namespaces that end at once."""
    place = next(p for p in (state, *state.parents) if p.is_dir())
    script = f"""set -e
mount --make-rprivate /
ip link add planeshift0 type bridge
t=$(mktemp -d -p {shlex.quote(str(place))} .planeshift-try.XXXXXX)
trap 'cd /; umount "$t/m" 2>/dev/null || :; rm -rf "$t"' EXIT
mkdir "$t/upper" "$t/work" "$t/m"
cd "$t"
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work m
"""
    argv = ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "/bin/sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return []
    why = done.stderr.strip()[-500:]
    hint = "In a container, it takes a privileged one, and a directory of state that is not on an overlay."
    return [Problem("PS440", "this machine lets nobody make the namespaces of a host", why=why, hint=hint)]


def _control_groups() -> list[Problem]:
    names: set[str] = set()
    if (ROOT / "cgroup.controllers").exists():
        names = set((ROOT / "cgroup.controllers").read_text().split())
    elif ROOT.is_dir():
        names = {p.name for p in hierarchies()} | {part for p in hierarchies() for part in p.name.split(",")}
    missing = [c for c in _CONTROLLERS if c not in names]
    if not missing and os.access(ROOT, os.W_OK):
        return []
    why = f"{ROOT} has no {', '.join(missing)}." if missing else f"{ROOT} is read-only."
    return [Problem("PS440", "Kubernetes nodes need control groups, which this machine has not to give", why=why)]
