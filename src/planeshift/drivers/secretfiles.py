"""The operator's secret files: YAML, nothing but secrets, 0600. Implements `ports.Secrets`."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from planeshift.catalog.spec import SecretValue
from planeshift.drivers import files
from planeshift.errors import CODES, PlaneshiftError, Problem, Where
from planeshift.model.source import parse

_HEADER = "# Secrets of one service, nothing else. Made by planeshift; keep it out of git until it is sealed.\n"


class SecretFiles:
    """Secret files below the cloud file's directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> Mapping[str, SecretValue]:
        target = self.root / path
        if not target.exists():
            return {}
        with files.failing(f"{path} cannot be read"):
            mode, text = stat.S_IMODE(target.stat().st_mode), target.read_bytes()
        if mode & 0o077:
            raise PlaneshiftError(
                Problem("PS503", f"{path} can be read by others (mode {mode:04o})", hint=f"chmod 600 {target}")
            )
        return _parsed(text, path)

    def add(self, path: str, values: Mapping[str, SecretValue]) -> None:
        target = self.root / path
        there = self.read(path)
        new = {name: value for name, value in values.items() if name not in there}
        if not new:
            return
        files.private(target.parent)
        ignore = target.parent / ".gitignore"
        if not ignore.exists():
            files.write(ignore, b"*\n")
        before = target.read_text("utf-8") if target.exists() else _HEADER
        text = before.rstrip("\n") + "\n" + "".join(_entry(name, value) for name, value in new.items())
        if _parsed(text.encode(), path) != {**there, **new}:
            raise PlaneshiftError(
                Problem("PS504", f"{path} cannot be added to", hint="Write it as plain `name: value` lines.")
            )
        files.write(target, text.encode(), 0o600)


def _parsed(text: bytes, path: str) -> dict[str, Any]:
    try:
        data = parse(text, path).data
    except PlaneshiftError as error:
        # The line itself is a secret: where, but not what.
        bare = [Problem(p.code, CODES[p.code][0], p.where and Where(path, p.where.line)) for p in error.problems]
        raise PlaneshiftError(bare) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise PlaneshiftError(Problem("PS504", f"{path} is not a mapping of names to secrets", Where(path)))
    empty = [name for name, value in data.items() if value in (None, "")]
    if empty:
        what, hint = f"{path} names `{empty[0]}` without a value", "Give it one, or remove the line."
        raise PlaneshiftError(Problem("PS504", what, hint=hint))
    return {name: _text(value) for name, value in data.items()}


def _text(value: Any) -> Any:
    """Numbers of a secret file are text: a password may well be 123456."""
    if isinstance(value, dict):
        return {name: _text(inner) for name, inner in value.items()}
    return value if isinstance(value, str) else str(value)


def _entry(name: str, value: SecretValue) -> str:
    if isinstance(value, str):
        return f"{name}: {json.dumps(value)}\n"
    return f"{name}:\n" + "".join(f"  {json.dumps(k)}: {json.dumps(v)}\n" for k, v in value.items())
