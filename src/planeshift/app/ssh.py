"""The way to a host by ssh, as the cloud file describes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from planeshift.app.site import Site, runtime
from planeshift.model import cloud as model

if TYPE_CHECKING:
    from planeshift.drivers.ssh.client import Client


def ssh_client(site: Site, host: model.Host) -> Client:
    """The way to a host; nothing is asked of it yet."""
    from planeshift.drivers.ssh.client import Client

    ssh = host.ssh or model.Ssh()

    def path(named: str | None) -> str:
        return str(site.root / Path(named).expanduser()) if named else ""

    return Client(
        host.name,
        ssh.host or host.address,
        ssh.user,
        runtime(site.path).parent / "ssh",
        ssh.port,
        path(ssh.key),
        path(ssh.known_hosts),
        path(ssh.config),
        os.environ,
    )
