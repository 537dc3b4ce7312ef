"""The operator's secret files: YAML, nothing but secrets; sealed, or in the clear and 0600. Implements `ports.Secrets`.

Sealed files are SOPS's (`planeshift.secrets`), and are opened into memory alone. A new file is sealed where a creation rule
of `.sops.yaml` fits it.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planeshift.catalog.spec import SecretValue
from planeshift.drivers import files
from planeshift.errors import CODES, PlaneshiftError, Problem, Where
from planeshift.model.source import parse

if TYPE_CHECKING:
    from planeshift.secrets.work import Unsealed

_HEADER = "# Secrets of one service, nothing else. Made by planeshift; keep it out of git until it is sealed.\n"
_SEALED_HEADER = "# Secrets of one service, nothing else. Made by planeshift.\n"


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
        if sealed(text):
            return _parsed(_opened(target).text.encode(), path)
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
        entries = "".join(_entry(name, value) for name, value in new.items())
        content = target.read_bytes() if target.exists() else b""
        if sealed(content):
            _add_sealed(target, entries, {**there, **new}, path)
        elif not content and _rule(target):
            from planeshift.secrets import files as whole
            from planeshift.secrets import work

            files.private(target.parent)
            whole.replace(str(target), work.encrypt(str(target), (_SEALED_HEADER + entries).encode()), None, 0o600)
        else:
            self._add_plain(target, entries, {**there, **new}, path)

    def change(self, path: str, values: Mapping[str, SecretValue | None]) -> None:
        from planeshift.secrets import edits, formats

        target = self.root / path
        expected = {**self.read(path), **values}
        content = target.read_bytes() if target.exists() else _HEADER.encode()
        file = _opened(target) if sealed(content) else None
        text = file.text if file else content.decode()
        for name, value in values.items():
            parsed = formats.parse("yaml", text, path)
            if parsed.documents[0].get(name) is not None:
                text = edits.unset("yaml", parsed, (name,), path)
            if value is not None:
                text = text + ("" if text.endswith("\n") or not text else "\n") + _entry(name, value)
        _check(text, {k: v for k, v in expected.items() if v is not None}, path)
        if file:
            from planeshift.secrets import work

            work.change(file, text)
        else:
            files.private(target.parent)
            files.write(target, text.encode(), 0o600)

    def _add_plain(self, target: Path, entries: str, expected: Mapping[str, SecretValue], path: str) -> None:
        files.private(target.parent)
        ignore = target.parent / ".gitignore"
        if not ignore.exists():
            files.write(ignore, b"*\n")
        before = target.read_text("utf-8") if target.exists() else _HEADER
        text = before.rstrip("\n") + "\n" + entries
        _check(text, expected, path)
        files.write(target, text.encode(), 0o600)


def sealed(content: bytes) -> bool:
    """Whether a file's content has SOPS's part: a cheap look, that imports nothing."""
    return b"ENC[AES256_GCM," in content and b"sops" in content


def _opened(target: Path) -> Unsealed:
    from planeshift.secrets import work

    return work.open_file(str(target), "yaml", light=True)


def _add_sealed(target: Path, entries: str, expected: Mapping[str, SecretValue], path: str) -> None:
    from planeshift.secrets import work

    file = _opened(target)
    text = file.text + ("" if file.text.endswith("\n") or not file.text else "\n") + entries
    _check(text, expected, path)
    work.change(file, text)


def _rule(target: Path) -> bool:
    from planeshift.secrets import creation

    return creation.rule_for(target) is not None


def _check(text: str, expected: Mapping[str, SecretValue], path: str) -> None:
    if _parsed(text.encode(), path) != expected:
        raise PlaneshiftError(
            Problem("PS504", f"{path} cannot be added to", hint="Write it as plain `name: value` lines.")
        )


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
