"""The Helm plugin `secrets`: a directory with a description that Helm 3 and Helm 4 both read, and a line of shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem

_DESCRIPTION = """\
name: {name}
version: {version}
usage: "use sealed files as values (planeshift secrets)"
description: "Seal, edit and use values in SOPS's format; keys by age, OpenStack Barbican, Vault or OpenBao."
ignoreFlags: false
command: "$HELM_PLUGIN_DIR/run"
"""


def program() -> list[str]:
    """How this very planeshift is started."""
    beside = Path(sys.executable).with_name("planeshift")
    return [str(beside)] if beside.is_file() else [sys.executable, "-P", "-m", "planeshift"]


def directory() -> Path:
    """Where Helm keeps its plugins. Raises PlaneshiftError (PS1018) where there is no Helm to ask."""
    given = os.environ.get("HELM_PLUGINS")
    helm = os.environ.get("HELM_BIN") or shutil.which("helm")
    if not given and helm:
        done = subprocess.run([helm, "env", "HELM_PLUGINS"], capture_output=True, text=True, check=False)
        given = done.stdout.strip()
    if not given:
        raise PlaneshiftError(Problem("PS1018", "helm is not on PATH", hint="`planeshift tools build helm` makes one."))
    return Path(given.split(os.pathsep)[0])


def install(name: str, version: str) -> Path:
    """Write the plugin, of this version; an older one of ours is replaced.

    Raises PlaneshiftError (PS1019) where another plugin has the name.
    """
    top = directory()
    taken = _named(top, name)
    if taken is not None and not _ours(taken):
        beside = "planeshift secrets helm-plugin --name planeshift, then `helm planeshift view …`"
        hint = f"Both can live side by side: {beside}. Or: helm plugin uninstall {name}"
        raise PlaneshiftError(Problem("PS1019", f"another plugin is named {name}: {taken}", hint=hint))
    target = taken or top / f"planeshift-{name}"
    target.mkdir(parents=True, exist_ok=True)
    run = target / "run"
    run.write_text(f'#!/bin/sh\n# Of planeshift {version}.\nexec {shlex.join(program())} secrets "$@"\n')
    run.chmod(0o755)
    (target / "plugin.yaml").write_text(_DESCRIPTION.format(name=name, version=version))
    return target


def _named(top: Path, name: str) -> Path | None:
    for description in sorted(top.glob("*/plugin.yaml")):
        for line in description.read_text("utf-8", "replace").splitlines():
            if line.startswith("name:") and line[5:].strip().strip("\"'") == name:
                return description.parent
    return None


def _ours(place: Path) -> bool:
    run = place / "run"
    return run.is_file() and "# Of planeshift" in run.read_text("utf-8", "replace")
