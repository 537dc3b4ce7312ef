"""A lab's first process, and its hosts: started, entered, ended. All end with the lab's first process, whatever happens."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.lab import cgroups, disk, processes, systemd
from planeshift.lab.topology import Host, Topology

HERE = Path(__file__).parent
# What a host's programs get: nothing of the machine's own environment.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
PATIENCE = 15.0


def start_lab(state: Path, lab: Topology) -> processes.Init:
    """Start the lab's first process: the namespaces that all of it lives in, and that it all ends with."""
    argv = ["unshare", "--net", "--pid", "--ipc", "--fork", "--kill-child=KILL", "catatonit", "-P"]
    log = state / "lab.log"
    with log.open("wb") as out:
        _start(argv, state, _marked(state, ""), out.fileno())
    return _appeared(state, "", log)


def boot(state: Path, lab: Topology, host: Host, first: processes.Init, programs: Mapping[str, str]) -> processes.Init:
    """Boot a host. Raises PlaneshiftError (PS442) with what it said, where it does not come up."""
    home = disk.prepare(state, lab, host, programs)
    cgroups.remove(lab.id, host.name)  # of a host that died
    cgroups.make(lab.id, host.name)
    command = ["catatonit", "-P"]
    if host.cluster:
        command = ["catatonit", "--", "/bin/sh", "/usr/local/sbin/planeshift-node"]
    elif host.runs.names:
        command = ["catatonit", "--", "/bin/sh", "/usr/local/sbin/planeshift-servers", *host.runs.names]
    own: list[str] = []
    if host.runs.systemd:
        own, command = ["--cgroup"], [systemd.PROGRAM, "--log-target=console", f"--unit={systemd.TARGET}"]
    boot = ["/bin/sh", f"{HERE}/boot.sh", host.name, *command]
    unshare = [
        "setsid",
        "unshare",
        *own,
        "--net",
        "--pid",
        "--mount",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child=KILL",
        *boot,
    ]
    # The shell in the middle ends at once, so that the host becomes a child of the lab's first process, which reaps it.
    inner = f"{shlex.join(unshare)} &"
    entering = "".join(f"echo 0 >{shlex.quote(f)}; " for f in cgroups.entering(lab.id, host.name))
    enter = shlex.join(["nsenter", f"--pid=/proc/{first.pid}/ns/pid", "--", "/bin/sh", "-c", inner])
    log = home / "log" / "boot.log"
    with log.open("wb") as out:
        process = _start(["/bin/sh", "-c", f"{entering}exec {enter}"], home, _marked(state, host.name), out.fileno())
        process.wait(PATIENCE)
    found = _appeared(state, host.name, log, pivoted=True)
    return found


def kill(state: Path, lab: Topology, init: processes.Init) -> None:
    """End a host, or the lab, at once, with everything in it."""
    processes.end(init.pid, init.started)


def entering(state: Path, lab: Topology, host: Host, init: processes.Init, argv: Sequence[str]) -> list[str]:
    """The command that runs a command in a host, as root, with the host's own environment."""
    moving = "".join(f"echo 0 >{shlex.quote(f)}; " for f in cgroups.entering(lab.id, host.name))
    variables = [f"{k}={v}" for k, v in {**ENVIRONMENT, processes.MARKER: f"{state}#{host.name}"}.items()]
    enter = ["nsenter", "-t", str(init.pid), "-n", "-m", "-p", "-u", "-i", "-r", "-w", "--", "env", "-i"]
    return ["/bin/sh", "-c", f'{moving}exec "$@"', "sh", *enter, *variables, *argv]


def _marked(state: Path, host: str) -> dict[str, str]:
    return {**ENVIRONMENT, processes.MARKER: f"{state}#{host}"}


def _start(argv: Sequence[str], directory: Path, environment: Mapping[str, str], out: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    except OSError as error:
        raise PlaneshiftError(Problem("PS442", f"{argv[0]} cannot be run: {error.strerror}")) from error


def _appeared(state: Path, name: str, log: Path, *, pivoted: bool = False) -> processes.Init:
    """Wait for a first process, and, for a host, until its root is its own."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = processes.inits(state).get(name)
        if found and (not pivoted or _program(found.pid) in ("catatonit", "systemd")):
            return found
        time.sleep(0.02)
    words = control_free(log.read_text(errors="replace")[-1000:]) if log.exists() else ""
    raise PlaneshiftError(Problem("PS442", f"{name or 'the lab'} does not start", why=words))


def _program(pid: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115, PTH119
    except OSError:
        return ""
