"""A chart's directory as the files that belong into its archive, by Helm's .helmignore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from planeshift.charts import archive
from planeshift.charts.metadata import Invalid


@dataclass(frozen=True)
class Rule:
    """A line of .helmignore. Source: helm.sh/docs/chart_template_guide/helm_ignore_file."""

    pattern: re.Pattern[str]
    negated: bool
    directory: bool
    anchored: bool  # compares the whole path, not its last part

    def matches(self, path: str, directory: bool) -> bool:
        """Whether the line speaks of this path."""
        if self.directory and not directory:
            return False
        return bool(self.pattern.fullmatch(path if self.anchored else path.rpartition("/")[2]))


def rules(text: str) -> list[Rule]:
    """The rules of a .helmignore, and Helm's own. Raises Invalid."""
    found = []
    for line in ["templates/.?*", *text.splitlines()]:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if "**" in line:
            raise Invalid(".helmignore: double-star (**) syntax is not supported")
        negated, line = line.startswith("!"), line.removeprefix("!")
        directory, line = line.endswith("/"), line.removesuffix("/")
        pattern = re.compile(_translate(line.removeprefix("/")), re.DOTALL)
        found.append(Rule(pattern, negated, directory, "/" in line))
    return found


def ignored(found: list[Rule], path: str, directory: bool) -> bool:
    """Whether a path is left out. As Helm: one line that matches is enough, and a negated one leaves out all others."""
    for rule in found:
        if rule.negated:
            if (not rule.directory or directory) and not rule.matches(path, directory):
                return True
        elif rule.matches(path, directory):
            return True
    return False


def read(root: Path) -> dict[str, bytes]:
    """The files of a chart's directory. Links are followed inside of it, and refused out of it. Raises Invalid."""
    if not (root / "Chart.yaml").is_file():
        raise Invalid(f"{root} has no Chart.yaml")
    try:
        ignore = root / ".helmignore"
        found = rules(ignore.read_text("utf-8")) if ignore.is_file() else rules("")
        files: dict[str, bytes] = {}
        _walk(root, root.resolve(), "", found, files, frozenset())
    except UnicodeDecodeError:
        raise Invalid(".helmignore is not text") from None
    except OSError as error:
        raise Invalid(f"{error.filename}: {error.strerror}") from None
    return files


def _walk(
    directory: Path, top: Path, prefix: str, found: list[Rule], files: dict[str, bytes], above: frozenset[Path]
) -> None:
    real = directory.resolve()
    if real in above:
        raise Invalid(f"{prefix or '.'} contains itself, by a link")
    for path in sorted(directory.iterdir()):
        name = f"{prefix}{path.name}"
        if ignored(found, name, path.is_dir()):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(top):
            raise Invalid(f"{name} is a link that leads out of the chart")
        if path.is_dir():
            _walk(path, top, f"{name}/", found, files, above | {real})
        elif path.is_file():
            if path.stat().st_size > archive.MAX_FILE:
                raise Invalid(f"{name} is larger than the maximum file size {archive.MAX_FILE}")
            files[name] = path.read_bytes()
        else:
            raise Invalid(f"{name} is neither a file nor a directory")


def package(files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A chart's files as (NAME-VERSION.tgz, archive), judged as any upload is. Raises Invalid."""
    from planeshift.charts import metadata

    found = metadata.parse(files["Chart.yaml"], files.get("requirements.yaml"))
    packed = archive.pack(found["name"], files)
    chart = archive.load(packed)
    missing = _missing(chart)
    if missing:
        raise Invalid(
            f"found in Chart.yaml, but missing in charts/ directory: {', '.join(missing)} (helm dependency update)"
        )
    return f"{chart.name}-{chart.version}.tgz", packed


def _missing(chart: archive.Chart) -> list[str]:
    """Dependencies that charts/ does not hold."""
    there = set()
    for path, content in chart.files.items():
        parts = path.split("/")
        if parts[0] == "charts" and len(parts) == 2 and path.endswith(".tgz"):
            there.add(archive.load(content).name)
        elif parts[0] == "charts" and len(parts) == 3 and parts[2] == "Chart.yaml":
            there.add(parts[1])
    return [d["name"] for d in chart.metadata.get("dependencies", []) if d.get("name") and d["name"] not in there]


def with_version(chart_yaml: bytes, version: str, app_version: str) -> bytes:
    """Chart.yaml with other versions, its other lines as they are."""
    for key, value in (("version", version), ("appVersion", app_version)):
        if not value:
            continue
        line = f'{key}: "{value}"'.encode()
        escaped = line.replace(b"\\", b"\\\\")
        chart_yaml, count = re.subn(rb"(?m)^" + key.encode() + rb":.*$", escaped, chart_yaml, count=1)
        if not count:
            chart_yaml = chart_yaml.rstrip(b"\n") + b"\n" + line + b"\n"
    return chart_yaml


def _translate(pattern: str) -> str:
    """Go's filepath.Match as a regular expression."""
    made, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            made += "[^/]*"
        elif char == "?":
            made += "[^/]"
        elif char == "\\" and at < len(pattern):
            made += re.escape(pattern[at])
            at += 1
        elif char == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise Invalid(f".helmignore: {pattern!r} is no pattern")
            inside = pattern[at:end]
            made += (
                "["
                + ("^" + re.escape(inside[1:]) if inside[:1] == "^" else re.escape(inside)).replace(r"\-", "-")
                + "]"
            )
            at = end + 1
        else:
            made += re.escape(char)
    return made
