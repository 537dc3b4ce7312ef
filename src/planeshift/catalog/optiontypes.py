"""Whether a value is one that oslo.config would take for an option of a given type. Pure.

A type is what `releases/SERIES/options.json` says of an option: a word (`"int"`) or a table
(`{"type": "int", "min": 1}`). `tests/local/test_registry_truth.py` compares this with the real oslo.config.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["fault"]

Spec = Mapping[str, Any]

_TRUE_OR_FALSE = {"true", "1", "on", "yes", "false", "0", "off", "no"}
_LABEL = re.compile(r"(?!-)[A-Z0-9-]{1,63}(?<!-)\Z", re.IGNORECASE)
_LABEL_WITH_UNDERSCORE = re.compile(r"(?!-)[A-Z0-9_-]{1,63}(?<!-)\Z", re.IGNORECASE)
_URI = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#@\s]*@)?(?:\[[0-9A-Fa-f:.%\w]+\]|[^/?#:@\s\[\]]+)(?::\d*)?(?:[/?#].*)?\Z"
)


def fault(spec: str | Spec, value: str) -> str | None:
    """What is wrong with `value`, as the end of a sentence that starts with the value, or None where it is right."""
    table: Spec = {"type": spec} if isinstance(spec, str) else spec
    check = _CHECKS.get(table["type"])
    return check(table, value) if check else None


def _bool(spec: Spec, value: str) -> str | None:
    return None if value.lower() in _TRUE_OR_FALSE else "is not true or false"


def _number(spec: Spec, value: str) -> str | None:
    if not value.strip():
        return None
    whole = spec["type"] != "float"
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        return "is not a whole number" if whole else "is not a number"
    choices, low, high = spec.get("choices"), spec.get("min"), spec.get("max")
    if choices:
        return None if number in choices else f"is not one of {_listed(choices)}"
    if low is not None and number < low:
        return f"is less than {low}"
    if high is not None and number > high:
        return f"is greater than {high}"
    return None


def _text(spec: Spec, value: str) -> str | None:
    if spec.get("quotes") and value[:1] in ("'", '"'):
        if len(value) == 1 or value[-1] != value[0]:
            return "has a quote that is not closed"
        value = value[1:-1]
    longest, pattern, choices = spec.get("max_length"), spec.get("regex"), spec.get("choices")
    if longest and len(value) > longest:
        return f"is longer than {longest} characters"
    if pattern and not re.search(pattern, value, re.IGNORECASE if spec.get("ignore_case") else 0):
        return f"does not match {pattern}"
    if choices and value not in choices and not (spec.get("ignore_case") and value.lower() in _lower(choices)):
        return f"is not one of {_listed(choices)}"
    return None


def _lower(choices: list[str]) -> set[str]:
    return {choice.lower() for choice in choices}


def _listed(choices: list[Any]) -> str:
    shown = ", ".join(str(choice) or "(nothing)" for choice in choices[:8])
    return shown if len(choices) <= 8 else f"{shown}, …"


def _list(spec: Spec, value: str) -> str | None:
    text = value.strip().rstrip(",")
    if spec.get("bounds"):
        if not (text.startswith("[") and text.endswith("]")):
            return "is not a list in [ and ]"
        text = text[1:-1]
    return _each(text, lambda item: fault(spec.get("item", "str"), item.strip())) if text else None


def _dict(spec: Spec, value: str) -> str | None:
    text = value.strip()
    separator = spec.get("separator", ":")
    if spec.get("bounds"):
        if not (text.startswith("{") and text.endswith("}")):
            return "is not a mapping in { and }"
        text = text[1:-1]
    seen: set[str] = set()

    def pair(item: str) -> str | None:
        key, found, rest = item.partition(separator)
        if not found:
            return f"is not a list of name{separator}value pairs"
        wrong = fault(spec.get("item", "str"), rest.strip())
        if wrong:
            return wrong
        if not key.strip() or key.strip() in seen:
            return "has a name that is empty or stands twice"
        seen.add(key.strip())
        return None

    return _each(text, pair) if text else None


def _each(text: str, check: Callable[[str], str | None]) -> str | None:
    """Checks items between commas. An item may itself hold commas: a wrong one is tried again with the next added."""
    parts = text.split(",")
    while parts:
        item = parts.pop(0)
        while wrong := check(item):
            if not parts:
                return wrong
            item += "," + parts.pop(0)
    return None


def _ip(spec: Spec, value: str) -> str | None:
    version = spec.get("version")
    try:
        address = ipaddress.ip_address(value)
        if "%" in value:
            return "has a zone, which oslo.config does not take"
    except ValueError:
        return f"is not an IPv{version} address" if version else "is not an IP address"
    return f"is not an IPv{version} address" if version and address.version != version else None


def _hostname(spec: Spec, value: str, label: re.Pattern[str] = _LABEL) -> str | None:
    name = value.removesuffix(".")
    labels = name.split(".")
    if not name or len(value) > 253 or not re.search("[a-zA-Z-]", labels[-1]):
        return "is not a host name"
    return None if all(label.match(part) for part in labels) else "is not a host name"


def _host(spec: Spec, value: str) -> str | None:
    good = _ip({}, value) is None or _hostname({}, value) is None
    return None if good else "is neither an IP address nor a host name"


def _hostdomain(spec: Spec, value: str) -> str | None:
    good = _ip({}, value) is None or _hostname({}, value, _LABEL_WITH_UNDERSCORE) is None
    return None if good else "is neither an IP address nor a host name"


def _uri(spec: Spec, value: str) -> str | None:
    match = _URI.match(value)
    if not match:
        return "is not a URL"
    schemes, longest = spec.get("schemes"), spec.get("max_length")
    if schemes and match[1].lower() not in _lower(schemes):
        return f"does not start with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    return f"is longer than {longest} characters" if longest and len(value) > longest else None


_CHECKS: dict[str, Callable[[Spec, str], str | None]] = {
    "bool": _bool, "int": _number, "port": _number, "float": _number, "str": _text, "list": _list, "dict": _dict,
    "ip": _ip, "hostname": _hostname, "host": _host, "hostdomain": _hostdomain, "uri": _uri,
}  # fmt: skip
