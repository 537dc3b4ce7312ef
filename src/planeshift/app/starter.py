"""The first cloud file: commented, small, and right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from planeshift import catalog
from planeshift.app.site import DEFAULT, STATE
from planeshift.drivers import files
from planeshift.errors import Exit, PlaneshiftError, Problem
from planeshift.model.load import load, nearest
from planeshift.render import rules

_CLOUD = """\
# A control plane. `planeshift check` finds every mistake, `planeshift render` shows all defaults,
# `planeshift plan` what would be done.
apiVersion: planeshift/v1
kind: Cloud
metadata: {{name: {name}}}
spec:
  release: "{release}"        # OpenStack series of every backend that names no other
  region: RegionOne
  zones: [A]

  # Machines that run services as processes. `via: external` ones are somebody else's: they get traffic only.
  hosts:
    - {{name: here, via: local, zone: A}}
  #  - {{name: "vm-{{1..3}}", via: ssh, address: "192.0.2.{{31..33}}"}}                   # docs/ssh.md
  #  - {{name: "glance-vm-{{1..3}}", via: external, zone: A, address: "192.0.2.{{21..23}}"}}

  # Kubernetes clusters that run services as pods: `backends: {{pods: {{cluster: k1, replicas: 2, weight: 10}}}}`.
  # clusters: [{{name: k1, context: k1, registry: registry.example.org/openstack}}]

  # HAProxy in front of everything. Clients and the service catalogue see only its addresses.
  edges:
    - {{name: edge, mode: managed, address: 127.0.0.1}}
  # endpoints: {{public: {{host: cloud.example.org, tls: {{trial: true}}}}}}

  # Without this, each service keeps a SQLite file on this machine.
  # databases:
  #   main: {{engine: mysql, host: db.example.org}}    # its password: `database_password` in the secret file

  # A service is moved by changing the weights of its backends.
  services:
{services}"""

_SERVICE = """\
    {name}:
      config: config/{name}            # oslo.config, policy and paste files: reach every backend unchanged
      secrets: secrets/{name}.yaml     # nothing but secrets; made at the first `up`, mode 0600, not for git
      backends:
        vms: {{hosts: [here], weight: 100}}
"""

_CONFIG = """\
# {title}'s own configuration, as the service documents it. Every backend gets this file, byte for byte.
# What stands here goes before the catalog's defaults; `planeshift check` knows every option of the release.
[DEFAULT]
# debug = true
"""

_IGNORE = f"{STATE}/\nsecrets/\n"


def write(directory: Path, name: str | None, services: Sequence[str]) -> list[str]:
    """Write cloud.yaml, the services' configuration files and a .gitignore below `directory`.

    Returns what was written. Raises PlaneshiftError (PS106, PS205) where a cloud file is there, or the names are wrong.
    """
    if (directory / DEFAULT).exists():
        hint = "Edit it, or choose another directory; nothing that exists is replaced."
        raise PlaneshiftError(Problem("PS401", f"{directory / DEFAULT} exists", hint=hint))
    known = list(catalog.names())
    for service in services:
        if service not in known:
            hint = nearest(service, known)
            raise PlaneshiftError(Problem("PS205", f"unknown service `{service}`", hint=hint), exit_code=Exit.USAGE)
    name = name or re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")[:63] or "cloud"
    release = catalog.releases(services[0])[-1] if services else "2026.2"
    text = _CLOUD.format(name=name, release=release, services="".join(_SERVICE.format(name=s) for s in services))
    problems = rules.check(load(text, DEFAULT))
    if problems:
        raise PlaneshiftError(problems)
    wanted = {DEFAULT: text, ".gitignore": _IGNORE}
    for service in services:
        spec = catalog.service(service)
        wanted[f"config/{service}/{spec.layout.main}"] = _CONFIG.format(title=spec.title)
    written = []
    for path, content in wanted.items():
        if not (directory / path).exists():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            files.write(directory / path, content.encode())
            written.append(str(directory / path))
    return written
