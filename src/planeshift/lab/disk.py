"""A host's disk: the directory with its own writes above the machine's files, and what is written there before it boots.

seed/                    what boot.sh copies into the host's root: names, addresses, configuration
disk/                    upper, work, root: the overlay (the host's writes, the kernel's scratch, where it is mounted);
                         containerd, kubelet: what cannot be on an overlay; mounts: the machine's other file systems
disk.img                 holds disk/, where the disk has a size
mounts.txt binds.txt     what boot.sh reads
log/                     what its first process said
ready                    what the host has become (a node that has joined), once it has
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from planeshift.drivers import files
from planeshift.lab import kubernetes, systemd
from planeshift.lab.shell import run
from planeshift.lab.topology import REGISTRY_PORT, Host, Topology
from planeshift.tools.places import cache

TOOLS = "/usr/local/lib/planeshift/tools"  # where a host sees the machine's built tools
_REAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "bcachefs"}


def directory(state: Path, host: Host) -> Path:
    """Where a host's disk is kept."""
    return state / "hosts" / host.name


def prepare(state: Path, lab: Topology, host: Host, programs: Mapping[str, str]) -> Path:
    """Make a host's disk, or make it complete, and return its directory: what boot.sh works in.

    `programs` are the tools to be found on the host's PATH, by name, with their path below the tools' cache.
    """
    home = directory(state, host)
    with files.failing(f"{home} cannot be made"):
        for name in ("log", "disk", "seed"):
            (home / name).mkdir(parents=True, exist_ok=True)
        home.chmod(0o755)
        if host.disk:
            _sized(home / "disk.img", host.disk)
        binds = [f"{cache()}\t{TOOLS}\tro", *(f"{p}\t{p}\tro" for p in _hidden())]
        if host.cluster:
            binds += [f"disk/{name}\t/var/lib/{name}\trw" for name in ("containerd", "kubelet")]
        (home / "binds.txt").write_text("".join(f"{b}\n" for b in binds))
        points = [f"{i}\t{p}" for i, p in enumerate(_file_systems(home))]
        (home / "mounts.txt").write_text("".join(f"{p}\n" for p in points))
        for path, content in _contents(lab, host).items():
            _put(home / "seed" / path, content)
        for name, path in programs.items():
            link = home / "seed" / "usr/local/bin" / name
            _directories(link.parent, home / "seed")
            link.unlink(missing_ok=True)
            link.symlink_to(f"{TOOLS}/{path}")
    return home


def _hidden() -> list[str]:
    """Where this program lies, so far as a host would not see it: it has a /tmp and a /run of its own."""
    places = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])}
    return sorted(p for p in places if p.startswith(("/tmp/", "/run/")) and not ("\t" in p or "\n" in p))  # noqa: S108


def _contents(lab: Topology, host: Host) -> dict[str, str]:
    names = "".join(f"{h.address} {h.name}\n" for h in lab.hosts)
    found = {
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n{lab.gateway} machine\n{names}",
        "etc/resolv.conf": _resolvers(lab),
    }
    if host.runs.names:
        found["usr/local/sbin/planeshift-servers"] = (Path(__file__).parent / "servers.sh").read_text()
    if host.runs.systemd:
        found |= systemd.units(host)
    if host.cluster:
        found["etc/containerd/config.toml"] = kubernetes.containerd()
        found["etc/cni/net.d/10-lab.conflist"] = kubernetes.cni(host)
        found["usr/local/sbin/planeshift-node"] = (Path(__file__).parent / "node.sh").read_text()
        for registry in (f"{h.address}:{REGISTRY_PORT}" for h in lab.hosts if h.runs.registry):
            found[f"etc/containerd/certs.d/{registry}/hosts.toml"] = kubernetes.plain_registry(registry)
        found["etc/crictl.yaml"] = f"runtime-endpoint: unix://{kubernetes.SOCKET}\n"
    return found


def _resolvers(lab: Topology) -> str:
    """The machine's, but for those that only the machine itself can reach."""
    lines = []
    with contextlib.suppress(OSError):
        lines = [x for x in Path("/etc/resolv.conf").read_text().splitlines() if x.split() and not x.startswith("#")]
    kept = [x for x in lines if not x.split()[-1].startswith(("127.", "::1"))]
    if not any(x.startswith("nameserver") for x in kept):
        kept.append(f"nameserver {lab.gateway}")
    return "\n".join(kept) + "\n"


def _put(path: Path, content: str) -> None:
    _directories(path.parent, next(p for p in path.parents if p.name == "seed"))
    path.write_text(content)
    path.chmod(0o644)


def _directories(path: Path, top: Path) -> None:
    """Make directories in a seed with the modes that those below them have."""
    for part in [*reversed([p for p in path.parents if p.is_relative_to(top) and p != top]), path]:
        if not part.is_dir():
            part.mkdir()
            below = Path("/") / part.relative_to(top)
            part.chmod(below.stat().st_mode & 0o7777 if below.is_dir() else 0o755)


def _file_systems(home: Path) -> list[str]:
    """The machine's further file systems of a real kind, which an overlay of / does not show."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point, kind = before.split()[4], after.split()[0]
        hidden = point == "/" or "\\" in point or point.startswith(("/proc", "/sys", "/dev", "/run", "/tmp"))  # noqa: S108
        if kind in _REAL and not hidden and not home.resolve().is_relative_to(point) and Path(point).is_dir():
            points.append(point)
    return sorted(dict.fromkeys(points))


def _sized(image: Path, size: int) -> None:
    """A file system of a fixed size in a sparse file."""
    if image.exists():
        return
    partial = image.with_suffix(".new")
    partial.unlink(missing_ok=True)
    with partial.open("wb") as file:
        file.truncate(size)
    run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", str(partial)])
    partial.replace(image)


def remove(state: Path, host: Host) -> None:
    """Remove a host's disk."""
    _remove(directory(state, host))


def remove_state(state: Path) -> None:
    """Remove all that a lab has on the machine, and the directories that are empty without it."""
    _remove(state)
    parent = state.parent
    with contextlib.suppress(OSError):
        if {p.name for p in parent.iterdir()} <= {".gitignore"}:
            (parent / ".gitignore").unlink(missing_ok=True)
            parent.rmdir()


def _remove(path: Path) -> None:
    """Remove a tree, by the system's own program, which is faster and does not cross into what is mounted there."""
    if path.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=False, capture_output=True)
    if path.exists():
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        with files.failing(f"{path} cannot be removed"):
            os.rmdir(path)  # noqa: PTH106
