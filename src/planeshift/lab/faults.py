"""Faults to rehearse with, and their ends: a host dead, frozen, slow or with a full disk; a zone cut off."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.lab import cgroups, host, network, processes
from planeshift.lab.processes import Init
from planeshift.lab.site import Site
from planeshift.lab.topology import Host, Zone

_FILLER = "var/lib/planeshift-filler"
_CHUNK = 1 << 20


def running(site: Site, name: str = "") -> tuple[Init, Init]:
    """The first processes of the lab and of a host (of the lab again without a name). Raises PlaneshiftError (PS445)."""
    found = processes.inits(site.state)
    if "" not in found:
        raise PlaneshiftError(Problem("PS445", "the lab does not run", hint="planeshift lab up"))
    if name not in found:
        hint = "`planeshift lab up` boots it again."
        raise PlaneshiftError(Problem("PS445", f"{name} does not run", hint=hint))
    return found[""], found[name]


def kill(site: Site, machine: Host) -> None:
    """Let a host die at once, as by a power failure; its disk stays."""
    _, init = running(site, machine.name)
    cgroups.thaw(site.lab.id, machine.name)  # what is frozen does not die
    host.kill(site.state, site.lab, init)


def pause(site: Site, machine: Host) -> None:
    """Let nothing of a host run; its connections stay open."""
    running(site, machine.name)
    cgroups.freeze(site.lab.id, machine.name)


def resume(site: Site, machine: Host) -> None:
    """End a pause."""
    running(site, machine.name)
    cgroups.thaw(site.lab.id, machine.name)


def cut(site: Site, zone: str) -> None:
    """Cut a zone off from the others and from the machine."""
    first, _ = running(site)
    network.cut(_zone(site, zone), first.pid)


def mend(site: Site, zone: str) -> None:
    """Join a zone to the others again."""
    first, _ = running(site)
    network.mend(_zone(site, zone), first.pid)


def slow(site: Site, machine: Host, *, rate: str = "", delay: str = "", loss: str = "") -> None:
    """Make what a host is sent slow: by rate (`1mbit`), delay (`100ms`), loss (`2%`)."""
    first, _ = running(site, machine.name)
    network.slow(machine, first.pid, rate=rate, delay=delay, loss=loss)


def hasten(site: Site, machine: Host) -> None:
    """End a slow link."""
    first, _ = running(site, machine.name)
    network.fast(machine, first.pid)


def fill(site: Site, machine: Host) -> int:
    """Fill a host's disk to its last byte, and return how many bytes it took.

    Only a disk of a declared size, since another would be the machine's (PS444).
    """
    if not machine.disk:
        hint = f"Declare it: {{name: {machine.name}, disk: 2GiB}}, then `planeshift lab up` on a new host."
        message = f"the disk of {machine.name} has no size, so filling it would fill this machine's"
        raise PlaneshiftError(Problem("PS444", message, hint=hint))
    _, init = running(site, machine.name)
    path = _filler(init)
    path.parent.mkdir(parents=True, exist_ok=True)
    size = _CHUNK
    with path.open("ab", buffering=0) as file:
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
        with contextlib.suppress(OSError):
            os.fsync(file.fileno())
        return file.tell()


def empty(site: Site, machine: Host) -> None:
    """Remove what filled a host's disk."""
    _, init = running(site, machine.name)
    _filler(init).unlink(missing_ok=True)


def filled(init: Init) -> bool:
    """Whether a host's disk was filled."""
    return _filler(init).exists()


def _filler(init: Init) -> Path:
    return Path(f"/proc/{init.pid}/root") / _FILLER


def _zone(site: Site, name: str) -> Zone:
    found = site.lab.zone(name)
    if found is None:
        known = ", ".join(z.name for z in site.lab.zones)
        raise PlaneshiftError(Problem("PS445", f"the lab has no zone {name!r}", hint=f"There are {known}."))
    return found
