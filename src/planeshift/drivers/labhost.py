"""A host of a lab. Implements `ports.Host` by an agent in the host's own namespaces.

Programs are installed on this machine, which has a network and a cache, and shown to the host: read-only, at the same path.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from planeshift.drivers import files
from planeshift.drivers.local.host import LocalHost
from planeshift.drivers.remote import Command, RemoteHost
from planeshift.ports import Say
from planeshift.render.desired import Environment, HostPaths

# Shown by a mount of its own, since an overlay does not surely show what came after it.
_MOUNT = 'mount --bind "/run/machine$1" "$1" && mount -o remount,bind,ro "$1"'
_SHOW = f'mkdir -p "$1" && {{ mountpoint -q "$1" || {{ {_MOUNT}; }}; }}'


class LabHost(RemoteHost):
    """A `via: lab` host."""

    def __init__(self, name: str, paths: HostPaths, command: Command, environment: Mapping[str, str]) -> None:
        super().__init__(name, paths, command)
        self._here = LocalHost(name, paths, environment)

    def environments(self) -> frozenset[str]:
        return self._here.environments()

    def install(self, environment: Environment, say: Say) -> None:
        self._here.install(environment, say)

    def _agent(self, argv: list[str]) -> list[str]:
        shared = Path(self.paths.state) / "environments"
        files.private(Path(self.paths.state))
        files.private(shared)
        return ["/bin/sh", "-c", f'{_SHOW} && shift && exec "$@"', "sh", str(shared), *argv]
