"""The helm program: releases made and removed, templates rendered. https://helm.sh/docs/helm/."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planeshift.errors import PlaneshiftError, Problem

HISTORY = 10  # revisions that are kept, and can be rolled back to
SECONDS = 300
# What client-go, and the API server, say where one does not reach the other, or not just now.
_AWAY = (
    "cluster unreachable",
    "connection refused",
    "connection reset",
    "client connection lost",
    "no route to host",
    "i/o timeout",
    "TLS handshake timeout",
    "Client.Timeout exceeded",
    "unexpected EOF",
    ": EOF",
    "currently unable to handle the request",
    "unable to return a response in the time allotted",
    "the server has received too many requests",
    "apiserver not ready",
    "failed to download openapi",  # of one that has just begun
    "RBAC: ",
    "etcdserver: ",
)


class Helm:
    """helm for one namespace of one cluster."""

    def __init__(self, program: str, kubeconfig: str, context: str, namespace: str) -> None:
        self._program, self._namespace = program, namespace
        self._where = ["--namespace", namespace]
        self._where += ["--kubeconfig", kubeconfig] if kubeconfig else []
        self._where += ["--kube-context", context] if context else []

    def upgrade(
        self, name: str, chart: Mapping[str, bytes] | bytes, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install a release, or upgrade it, from a chart's files or its archive. Waits for nothing.

        Raises PlaneshiftError with helm's own words: PS714, or PS711 where it did not reach the API.
        """
        marks = ",".join(f"{key}={value}" for key, value in labels.items())
        flags = ["--install", "--values", "-", "--history-max", str(HISTORY), "--labels", marks]
        with _laid(chart) as place:
            self._run(["upgrade", name, place, *flags, *self._where], values)

    def template(self, name: str, chart: Mapping[str, bytes], values: Mapping[str, Any], template: str) -> str:
        """The text of one template of a chart, filled in."""
        flags = ["--values", "-", "--show-only", f"templates/{template}", "--kube-version", "1.35.0"]
        with _laid(chart) as directory:
            return self._run(["template", name, directory, "--namespace", self._namespace, *flags], values)

    def uninstall(self, name: str) -> None:
        """Remove a release and its objects, waiting until they are gone."""
        self._run(["uninstall", name, "--ignore-not-found", "--wait", "--timeout", f"{SECONDS}s", *self._where], {})

    def _run(self, arguments: list[str], values: Mapping[str, Any]) -> str:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                input=json.dumps(values),  # by a pipe: nothing of it lies on a disk
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS + 60,
                env=_environment(),
                start_new_session=True,
            )
        except FileNotFoundError as error:
            hint = "planeshift tools build helm"
            raise PlaneshiftError(Problem("PS715", "there is no helm", hint=hint)) from error
        except subprocess.TimeoutExpired as error:
            raise PlaneshiftError(Problem("PS714", f"helm {arguments[0]} did not end in {SECONDS + 60} s")) from error
        if done.returncode:
            words = (done.stderr or done.stdout).strip()[-3000:]
            code = "PS711" if any(word in words for word in _AWAY) else "PS714"
            raise PlaneshiftError(Problem(code, f"helm {arguments[0]} {arguments[1]} failed", why=words))
        return done.stdout


def _environment() -> dict[str, str]:
    """What helm needs of ours, and its own directories apart from the user's: no plugin, no repository plays a part."""
    kept = ("PATH", "HOME", "KUBECONFIG", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "NO_PROXY")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return found | {"HELM_PLUGINS": "/nonexistent", "HELM_REPOSITORY_CONFIG": "/nonexistent/repositories.yaml"}


@contextmanager
def _laid(chart: Mapping[str, bytes] | bytes) -> Iterator[str]:
    """A chart's files as a directory, or its archive, for as long as helm reads it. It holds no secret."""
    with tempfile.TemporaryDirectory(prefix="planeshift-chart-") as root:
        if isinstance(chart, bytes):
            archive = Path(root, "chart.tgz")
            archive.write_bytes(chart)
            yield str(archive)
            return
        for path, content in chart.items():
            target = Path(root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        yield root
