"""The lab's control groups: one for each host, below `planeshift/<lab>` of every hierarchy, v1 or v2.

Formats: cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from planeshift.drivers import files
from planeshift.errors import PlaneshiftError, Problem

ROOT = Path("/sys/fs/cgroup")
PARENT = "planeshift"


def hierarchies() -> list[Path]:
    """The roots of all hierarchies of the machine."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return sorted(p for p in ROOT.iterdir() if (p / "cgroup.procs").exists() and not p.is_symlink())


def make(lab: str, host: str) -> None:
    """Make a host's groups; its own programs have `init`, its pods `kubepods` beside it."""
    with files.failing("control groups cannot be made"):
        for root in hierarchies():
            group = root
            for part in (PARENT, lab, host, "init"):
                group = group / part
                group.mkdir(exist_ok=True)
                for name in ("cpuset.cpus", "cpuset.mems"):  # which a v1 group has none of by itself
                    own, above = group / name, group.parent / name
                    if own.exists() and above.exists() and not own.read_text().strip():
                        own.write_text(above.read_text())


def entering(lab: str, host: str) -> list[str]:
    """The files that a process writes 0 to in order to enter a host's groups."""
    return [str(root / PARENT / lab / host / "init" / "cgroup.procs") for root in hierarchies()]


def there(lab: str) -> bool:
    """Whether any group of the lab is left."""
    return any((root / PARENT / lab).exists() for root in hierarchies())


def path(lab: str, host: str) -> str:
    """A host's group as kubelet names it."""
    return f"/{PARENT}/{lab}/{host}"


def remove(lab: str, host: str = "", patience: float = 10) -> None:
    """Kill what is left in the groups of a host, or of the whole lab, and remove them."""
    deadline = time.monotonic() + patience
    tops = [root / PARENT / lab / host if host else root / PARENT / lab for root in hierarchies()]
    thaw(lab, host)
    while True:
        left = [top for top in tops if top.exists() and not _removed(top)]
        if not left:
            break
        if time.monotonic() > deadline:
            raise PlaneshiftError(Problem("PS442", f"the control group {left[0]} cannot be removed"))
        time.sleep(0.05)
    with contextlib.suppress(OSError):  # another lab has its own there
        for root in hierarchies():
            (root / PARENT).rmdir()


def freeze(lab: str, host: str) -> None:
    """Let nothing of a host run."""
    _freezer(lab, host, "FROZEN", "1")


def thaw(lab: str, host: str) -> None:
    """Let it run again."""
    _freezer(lab, host, "THAWED", "0")


def frozen(lab: str, host: str) -> bool:
    """Whether a host is frozen."""
    for root in hierarchies():
        group = root / PARENT / lab / host
        with contextlib.suppress(OSError):
            if (group / "freezer.state").exists():
                return (group / "freezer.state").read_text().strip() != "THAWED"
            if (group / "cgroup.freeze").exists() and root == ROOT:
                return (group / "cgroup.freeze").read_text().strip() == "1"
    return False


def _freezer(lab: str, host: str, v1: str, v2: str) -> None:
    hosts = [host] if host else [p.name for root in hierarchies()[:1] for p in _groups(root / PARENT / lab)]
    for name in hosts:
        for root in hierarchies():
            group = root / PARENT / lab / name
            if (group / "freezer.state").exists():
                (group / "freezer.state").write_text(v1)
            elif (group / "cgroup.freeze").exists() and root == ROOT:
                (group / "cgroup.freeze").write_text(v2)


def _removed(top: Path) -> bool:
    for group in sorted(_below(top), key=lambda g: len(g.parts), reverse=True):
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            group.rmdir()
    return not top.exists()


def _below(top: Path) -> Iterator[Path]:
    yield top
    for group in _groups(top):
        yield from _below(group)


def _groups(top: Path) -> list[Path]:
    try:
        return [p for p in top.iterdir() if p.is_dir()]
    except OSError:
        return []
