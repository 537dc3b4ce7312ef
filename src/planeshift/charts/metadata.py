"""Chart.yaml, read and judged as Helm does (its chart.Metadata and the rules of Validate). Pure.

What is not a field of Helm's is left out, as Helm leaves it out. Numbers and booleans where text is meant become text
the way Go writes them: `appVersion: 1.10` is "1.1" for Helm, and so here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import yaml

from planeshift.charts import names

MAX_BYTES = 1024 * 1024
_MAX_NODES = 20_000
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALIAS = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_NULL = "tag:yaml.org,2002:null"
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)(e[-+]?[0-9]{1,3})?", re.ASCII)

Metadata = dict[str, Any]


class _Loader(_BASE):  # type: ignore[misc]
    """The library's, which asks for the type of every word anew: here it remembers the short ones."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        """The tag of a node."""
        if kind is yaml.ScalarNode and implicit[0] and len(value) < 40:
            return _plain_tag(value)
        return str(super().resolve(kind, value, implicit))


_RESOLVER: Any = yaml.resolver.Resolver()


@lru_cache(maxsize=8_192)
def _plain_tag(value: str) -> str:
    return str(_RESOLVER.resolve(yaml.ScalarNode, value, (True, False)))


# field → what it holds; a dict is a list of such things
_DEPENDENCY = {
    "name": str,
    "version": str,
    "repository": str,
    "condition": str,
    "tags": list,
    "enabled": bool,
    "import-values": object,
    "alias": str,
}
_FIELDS: Mapping[str, Any] = {
    "name": str,
    "home": str,
    "sources": list,
    "version": str,
    "description": str,
    "keywords": list,
    "maintainers": {"name": str, "email": str, "url": str},
    "icon": str,
    "apiVersion": str,
    "condition": str,
    "tags": str,
    "appVersion": str,
    "deprecated": bool,
    "annotations": Mapping,
    "kubeVersion": str,
    "dependencies": _DEPENDENCY,
    "type": str,
}


class Invalid(ValueError):
    """Why something is no chart; one sentence, for a person."""


def parse(text: bytes, requirements: bytes | None = None) -> Metadata:
    """Chart.yaml (and, of old charts, requirements.yaml) as the fields that Helm knows, empty ones left out.

    Raises Invalid.
    """
    fields = _fields(text, "Chart.yaml")
    if requirements is not None and fields.get("apiVersion") == "v1":
        fields.update({k: v for k, v in _fields(requirements, "requirements.yaml").items() if k == "dependencies"})
    _validate(fields)
    return fields


def _fields(text: bytes, file: str) -> Metadata:
    if len(text) > MAX_BYTES:
        raise Invalid(f"{file} has more than {MAX_BYTES:,} bytes")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise Invalid(f"{file} is not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(node, yaml.MappingNode):
        raise Invalid(f"{file} is not a mapping")
    return _Reader(file).record(node, _FIELDS, "")


class _Reader:
    """Turns nodes into values by the type that is wanted, as Go does with its structs."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.left = _MAX_NODES

    def record(self, node: yaml.Node, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(where, "a mapping")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            if key in fields:
                if value_node.tag != _NULL:
                    found[key] = self.value(value_node, fields[key], f"{where}{key}")
            elif any(key.lower() == known.lower() for known in fields):  # Go's JSON takes `Name` for `name`
                raise Invalid(f"{self.file}: `{key[:40]}` is a field in another letter case")
        return {k: v for k, v in found.items() if v not in ("", [], {}, False)}

    def value(self, node: yaml.Node, kind: Any, where: str, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0 or depth > 20:
            raise Invalid(f"{self.file} says too much at {where}")
        if kind is str:
            return self.text(node, where)
        if kind is bool:
            if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
                raise self._wrong(where, "true or false")
            return node.value.lower() in ("true", "yes", "on")
        if kind is Mapping:
            if not isinstance(node, yaml.MappingNode):
                raise self._wrong(where, "a mapping")
            return {
                self.text(k, where): self.value(v, str, where, depth + 1) if v.tag != _NULL else ""
                for k, v in node.value
            }
        if kind is object:
            return self.anything(node, where, depth)
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(where, "a list")
        if kind is list:
            return [self.value(item, str, where, depth + 1) for item in node.value]
        for item in node.value:
            self.left -= 1
            if item.tag == _NULL:
                raise Invalid(f"{self.file}: {where} must not contain empty or null nodes")
        if self.left < 0:
            raise Invalid(f"{self.file} says too much at {where}")
        return [self.record(item, kind, f"{where}.") for item in node.value]

    def anything(self, node: yaml.Node, where: str, depth: int) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, object, where, depth + 1) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return {self.text(k, where): self.value(v, object, where, depth + 1) for k, v in node.value}
        return None if node.tag == _NULL else self.text(node, where)

    def text(self, node: yaml.Node, where: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(where, "text")
        self.left -= 1
        return _sanitized(_as_go(node.tag, node.value, not node.style))

    def _wrong(self, where: str, wanted: str) -> Invalid:
        return Invalid(f"{self.file}: {where or 'it'} is not {wanted}")


def _as_go(tag: str, value: str, plain: bool) -> str:
    """A scalar as the text that Go makes of it. Source: sigs.k8s.io/yaml and the YAML library below it."""
    if not plain or tag.endswith((":timestamp", ":merge", ":value")):
        return value
    if tag == _NULL:
        return ""
    if tag.endswith(":bool"):
        return "true" if value.lower() in ("true", "yes", "on") else "false"
    digits = value.replace("_", "").lower()
    try:
        if tag.endswith(":int") and ":" not in digits and len(digits) < 30:
            base = 2 if "0b" in digits else 16 if "0x" in digits else 8 if re.match(r"[-+]?0\d", digits) else 10
            return str(int(digits, base))
        if _FLOAT.fullmatch(digits):
            return _shortest(float(digits))
    except (ValueError, OverflowError):
        pass
    return value


def _shortest(number: float) -> str:
    """Go's strconv.FormatFloat(number, 'g', -1, 64)."""
    negative, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    power = int(exponent) + len(digits) - 1
    if -4 <= power < 6:
        return f"{Decimal(repr(number)).normalize():f}"
    head, tail = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' if negative else ''}{head}{'.' + tail if tail else ''}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _sanitized(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(" " if c.isspace() else c if c.isprintable() else "" for c in text)


def _validate(fields: Metadata) -> None:
    for needed in ("apiVersion", "name", "version"):
        if not fields.get(needed):
            raise Invalid(f"validation: chart.metadata.{needed} is required")
    if fields["apiVersion"] not in ("v1", "v2"):
        raise Invalid(f"validation: chart.metadata.apiVersion {_quoted(fields['apiVersion'])} is not v1 or v2")
    if not names.is_name(fields["name"]):
        raise Invalid(f"validation: chart.metadata.name {_quoted(fields['name'])} is invalid")
    if not names.is_version(fields["version"]):
        raise Invalid(f"validation: chart.metadata.version {_quoted(fields['version'])} is invalid")
    if fields.get("type", "application") not in ("application", "library"):
        raise Invalid("validation: chart.metadata.type must be application or library")
    seen = set()
    for dependency in fields.get("dependencies", []):
        alias = dependency.get("alias", "")
        if alias and not _ALIAS.fullmatch(alias):
            raise Invalid(
                f"validation: dependency {_quoted(dependency.get('name', ''))} has disallowed characters in the alias"
            )
        key = alias or dependency.get("name", "")
        if key in seen:
            raise Invalid(f"validation: more than one dependency with name or alias {_quoted(key)}")
        seen.add(key)


def _quoted(text: str) -> str:
    return '"' + text[:60].replace('"', "'") + '"'
