"""systemd as a host's first process: the few units that it starts with, in the place of the distribution's.

What systemd does at a machine's start (devices, kernel parameters, file systems) is not a lab host's to do, so none of that
is there. Formats: systemd.unit(5), systemd.special(7).
"""

from __future__ import annotations

from planeshift.lab.topology import Host

PROGRAM = "/lib/systemd/systemd"
PLACE = "usr/local/lib/planeshift/systemd"  # first in SYSTEMD_UNIT_PATH, which boot.sh sets
TARGET = "lab.target"
_TARGETS = ("sysinit", "basic", "multi-user", "shutdown", "sockets", "timers", "paths", "slices", "umount", "final")
_OURS = "[Unit]\nDefaultDependencies=no\n"

_JOURNAL_SOCKET = f"""\
{_OURS}
[Socket]
ListenStream=/run/systemd/journal/stdout
ListenDatagram=/run/systemd/journal/socket
ListenDatagram=/run/systemd/journal/dev-log
Symlinks=/dev/log
PassCredentials=yes
Service=systemd-journald.service
"""
_JOURNAL = f"""\
{_OURS}Requires=systemd-journald.socket
After=systemd-journald.socket

[Service]
Type=notify
ExecStart=/lib/systemd/systemd-journald
Sockets=systemd-journald.socket
StandardOutput=null
Restart=always
"""
# A user's own manager; logind starts it elsewhere for those who linger.
_USER = """\
[Service]
Type=notify
User=%i
Environment=XDG_RUNTIME_DIR=/run/user/%i
ExecStartPre=+/bin/sh -c 'mkdir -p /run/user && install -d -m 0700 -o %i /run/user/%i'
ExecStart=/lib/systemd/systemd --user --unit=basic.target
UnsetEnvironment=SYSTEMD_UNIT_PATH
Delegate=yes
KillMode=mixed
"""


def units(host: Host) -> dict[str, str]:
    """The files below the host's root, by path."""
    found = {f"{name}.target": _OURS for name in _TARGETS}
    found[TARGET] = f"{_OURS}Requires=basic.target\nWants=systemd-journald.service\nAllowIsolate=yes\n"
    found["systemd-journald.socket"], found["systemd-journald.service"] = _JOURNAL_SOCKET, _JOURNAL
    found["user@.service"] = _USER
    if host.runs.names:
        found[TARGET] += "Wants=planeshift-servers.service\n"
        command = f"/bin/sh /usr/local/sbin/planeshift-servers {' '.join(host.runs.names)}"
        found["planeshift-servers.service"] = f"[Service]\nExecStart={command}\nRestart=always\n"
    return {f"{PLACE}/{name}": text for name, text in found.items()}
