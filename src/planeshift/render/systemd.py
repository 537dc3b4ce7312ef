"""systemd's units for the programs of one unit: a service each. Pure.

Formats: systemd.service(5), systemd.exec(5), systemd.kill(5), and systemd.syntax(7) for quoting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from planeshift.render.desired import Program

SUFFIX = ".service"

# What a service is denied. A user's own manager cannot set up file systems, so that it has the first alone.
_DENIED = """\
NoNewPrivileges=yes
"""
_DENIED_BY_ROOT = """\
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectControlGroups=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""


def prefix(directory: str) -> str:
    """What the names of a unit's services begin with: systemd knows one name on the whole host."""
    place = "-".join(directory.rsplit("/", 2)[1:])
    return f"planeshift-{hashlib.sha256(directory.encode()).hexdigest()[:10]}-{place}-"


def services(directory: str, state: str, programs: Sequence[Program], *, root: bool) -> dict[str, bytes]:
    """The services' files by name. `directory` is the unit's own, `state` what it may write to besides."""
    return {f"{prefix(directory)}{p.name}{SUFFIX}": _service(directory, state, p, root=root) for p in programs}


def _service(directory: str, state: str, program: Program, *, root: bool) -> bytes:
    environment = "".join(f"Environment={_quoted(f'{n}={v}')}\n" for n, v in sorted(program.environment.items()))
    # A database that is down for an hour must not leave a service stopped for good: no limit to starts.
    # The main process alone is told to stop, since it lets its workers finish; what is left after that is killed.
    reload = f"ExecReload=/bin/kill -s {program.reload_signal} $MAINPID\n" if program.reload_signal else ""
    denied = _DENIED + (f"{_DENIED_BY_ROOT}ReadWritePaths={_quoted(directory)} {_quoted(state)}\n" if root else "")
    return f"""\
# Written by planeshift. Changes made here are overwritten by the next `planeshift up`.
[Unit]
Description=planeshift: {_specified("/".join(directory.rsplit("/", 3)[1:]))} {program.name}
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
{environment}WorkingDirectory={_specified(directory)}
ExecStart={" ".join(_quoted(a).replace("$", "$$") for a in program.argv)}
{reload}Restart=always
RestartSec=1
KillMode=mixed
KillSignal=SIG{program.stop_signal}
TimeoutStopSec={program.stop_seconds}
UMask=0027
LimitNOFILE=65536
SyslogIdentifier={program.name}
{denied}""".encode()


def _quoted(text: str) -> str:
    return '"' + _specified(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _specified(text: str) -> str:
    """systemd expands %x; a line's end would begin another setting."""
    if any(c in text for c in "\n\r\0"):
        raise ValueError(f"cannot be said in a unit of systemd's: {text!r}")
    return text.replace("%", "%%")
