"""The Kubernetes objects of two versions of a chart, object by object. Rendering is Helm's business."""

from __future__ import annotations

import difflib
import hashlib
import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from planeshift.charts.metadata import Invalid

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_SALT = secrets.token_bytes(16)  # so that a short secret cannot be guessed from what is shown of it
Objects = Mapping[str, str]  # kind/namespace/name → YAML


def render(helm: Path, chart: bytes, values: Sequence[Path], release: str, namespace: str) -> Objects:
    """A chart's objects with the values of these files. Raises Invalid with Helm's words."""
    with tempfile.TemporaryDirectory(prefix="planeshift-chart-") as place:
        archive = Path(place) / "chart.tgz"
        archive.write_bytes(chart)
        options = [f"--values={v}" for v in values]
        done = subprocess.run(
            [str(helm), "template", release, str(archive), "--namespace", namespace, "--include-crds", *options],
            capture_output=True,
            timeout=120,
            check=False,
        )
    if done.returncode:
        raise Invalid(f"helm cannot render it: {done.stderr.decode('utf-8', 'replace').strip()[-1000:]}")
    return objects(done.stdout.decode("utf-8", "replace"))


def objects(text: str) -> Objects:
    """The objects of a stream of YAML documents; the values of Secrets are hidden. Raises Invalid."""
    found: dict[str, str] = {}
    try:
        for document in yaml.load_all(text, Loader=_LOADER):
            if isinstance(document, dict):
                about = document.get("metadata")
                about = about if isinstance(about, dict) else {}
                parts = (document.get("kind"), about.get("namespace"), about.get("name"))
                name = "/".join(str(p) for p in parts if p)
                found[name] = yaml.dump(_hidden(document), Dumper=_DUMPER, sort_keys=True, width=100)
    except yaml.YAMLError as error:
        raise Invalid(f"what helm renders is no YAML: {' '.join(str(error).split())[:300]}") from None
    return found


def _hidden(document: dict[str, Any]) -> dict[str, Any]:
    """A Secret whose values can be told apart, but not read."""
    if document.get("kind") != "Secret":
        return document

    def veil(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {k: f"*** ({hashlib.sha256(_SALT + repr(v).encode()).hexdigest()[:8]})" for k, v in values.items()}

    return {k: veil(v) if k in ("data", "stringData") else v for k, v in document.items()}


def difference(old: Objects, new: Objects) -> list[str]:
    """Unified differences of what changed, object by object, with `+` and `-` for what came and went."""
    lines: list[str] = []
    for name in sorted(set(old) | set(new)):
        before, after = old.get(name, ""), new.get(name, "")
        if before == after:
            continue
        mark = "+" if not before else "-" if not after else "~"
        lines.append(f"{mark} {name}")
        hunks = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3)
        lines += [f"    {line}" for line in hunks if not line.startswith(("---", "+++"))]
    return lines
