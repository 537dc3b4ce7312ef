"""One chart version as the JSON of ChartMuseum's API and as the YAML of an index. Pure, and quick: once an upload."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# Plain scalars that no YAML reader takes for anything but text: a letter first, and no word of YAML 1.1.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@(+-][A-Za-z0-9_./@+()-]*)*", re.ASCII)
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"))
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def as_json(value: Any) -> bytes:
    """Compact JSON with sorted keys."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "replace")


def as_yaml(entry: Mapping[str, Any]) -> bytes:
    """A list item of an index, indented below its chart's name; keys sorted, as ChartMuseum writes them."""
    lines: list[str] = []
    _mapping(entry, "    ", lines)
    lines[0] = "  - " + lines[0][4:]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def scalar(text: str) -> str:
    """A text as a YAML scalar, plain where that is safe, else in double quotes."""
    if len(text) < 200 and _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _UNSAFE.sub(lambda c: f"\\u{ord(c[0]):04x}", json.dumps(text, ensure_ascii=False))


def _mapping(value: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    for key in sorted(value):
        _item(f"{indent}{scalar(key)}:", value[key], indent, lines)


def _item(head: str, value: Any, indent: str, lines: list[str]) -> None:
    if isinstance(value, str):
        lines.append(f"{head} {scalar(value)}")
    elif isinstance(value, Mapping) and value:
        lines.append(head)
        _mapping(value, indent + "  ", lines)
    elif isinstance(value, list) and value:
        lines.append(head)
        for item in value:
            if isinstance(item, Mapping) and item:
                at = len(lines)
                _mapping(item, indent + "  ", lines)
                lines[at] = f"{indent}- {lines[at][len(indent) + 2 :]}"
            else:
                _item(f"{indent}-", item, indent + "  ", lines)
    else:
        lines.append(f"{head} {json.dumps(value)}")
