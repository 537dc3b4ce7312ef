"""YAML text to plain data that remembers where each value stood. Pure: text in, `Document` out.

Scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), so that `no`, `on` and
`0644` are what an operator sees. Anything a configuration file has no need of is refused: tags, merge keys, several
documents, a size or nesting or alias expansion beyond what a person writes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from planeshift.errors import PlaneshiftError, Problem, Where, control_free

Path = tuple[str | int, ...]

MAX_BYTES = 2 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 32
MAX_NESTING = 1000

_INT = re.compile(r"[-+]?[0-9]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_OCT = re.compile(r"0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_LITERALS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    form: value for word, value in (("true", True), ("false", False)) for form in (word, word.title(), word.upper())
}
# What the parser itself makes of values without a tag, by the rules of YAML 1.1.
_KINDS = ("map", "seq", "str", "null", "bool", "int", "float", "timestamp", "value", "merge")
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in _KINDS}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Document:
    """Plain data read from `file`; `keys` and `values` say where each path's key and value stood."""

    file: str
    text: str
    data: Any = None
    keys: dict[Path, Where] = field(default_factory=dict)
    values: dict[Path, Where] = field(default_factory=dict)
    origins: dict[Path, Path] = field(default_factory=dict)  # what a range made → what was written, `model.expand`

    def where(self, path: Path, *, key: bool = False) -> Where:
        """The place of `path`, or of the nearest thing around it that is there."""
        path = self.written(path)
        if key and path in self.keys:
            return self.keys[path]
        for end in range(len(path), -1, -1):
            found = self.values.get(path[:end]) or self.keys.get(path[:end])
            if found:
                return found
        return Where(self.file)

    def written(self, path: Path) -> Path:
        """Where `path` of the data stands in the text: elsewhere, where a range made it."""
        for end in range(len(path), 0, -1) if self.origins else ():
            found = self.origins.get(path[:end])
            if found is not None:
                return found + path[end:]
        return path


def parse(text: str | bytes, file: str) -> Document:
    """Read one YAML document.

    `text` may be bytes of UTF-8. Raises PlaneshiftError (PS101–PS104) with every problem found.
    """
    if len(text) > MAX_BYTES:
        raise PlaneshiftError(
            Problem("PS102", f"{file} has {len(text):,} bytes; a cloud file may have {MAX_BYTES:,}", Where(file))
        )
    if isinstance(text, bytes):
        text = _decode(text, file)
    lines = text.splitlines()
    try:
        root = _compose(text, file, lines)
    except yaml.YAMLError as error:
        raise PlaneshiftError(_syntax(error, file, lines)) from error
    except RecursionError as error:
        raise PlaneshiftError(Problem("PS102", "the file is nested too deeply", Where(file))) from error
    document = Document(file, text)
    builder = _Builder(document, lines)
    document.data = builder.build(root, (), 0) if root is not None else None
    if builder.problems:
        raise PlaneshiftError(builder.problems)
    return document


def _decode(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PlaneshiftError(Problem("PS101", "the file is not UTF-8 text", Where(file, line))) from error


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar by the core schema."""
    if text in _LITERALS:
        return _LITERALS[text]
    if _INT.match(text):
        return int(text) if len(text) < 20 else text
    if _HEX.match(text):
        return int(text, 16)
    if _OCT.match(text):
        return int(text, 8)
    return float(text) if _FLOAT.match(text) else text


def _compose(text: str, file: str, lines: list[str]) -> yaml.Node | None:
    _bound_depth(text, file, lines)
    loader = _Loader(text)
    try:
        root: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return root


def _bound_depth(text: str, file: str, lines: list[str]) -> None:
    """Refuse a nesting that the C parser, which calls itself for each level, would end the process at."""
    if text.count("[") + text.count("{") + max(map(len, lines), default=0) < MAX_NESTING:
        return  # each level has a bracket or a column
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_NESTING:
            raise PlaneshiftError(Problem("PS102", "the file is nested too deeply", Where(file)))


def _syntax(error: yaml.YAMLError, file: str, lines: list[str]) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    context = getattr(error, "context", None) or ""
    line = mark.line if mark else 0
    # The C parser marks the end of the input one line past the last.
    where = Where(file, line + 1, mark.column + 1 if mark else 0, _line(lines, line))
    hint = ""
    if "\t" in where.text[: len(where.text) - len(where.text.lstrip())]:
        hint = "Indent with spaces: YAML does not take tabs."
    return Problem("PS101", f"not valid YAML: {control_free(what)}", where, why=control_free(context), hint=hint)


def _line(lines: list[str], number: int) -> str:
    return control_free(lines[number])[:200] if number < len(lines) else ""


class _Builder:
    """Turns nodes into data, noting places, and refusing what a cloud file has no need of."""

    def __init__(self, document: Document, lines: list[str]) -> None:
        self.document, self.lines = document, lines
        self.problems: list[Problem] = []
        self.nodes = 0

    def where(self, node: yaml.Node) -> Where:
        line = node.start_mark.line
        return Where(self.document.file, line + 1, node.start_mark.column + 1, _line(self.lines, line))

    def refuse(self, code: str, message: str, node: yaml.Node, hint: str = "") -> None:
        self.problems.append(Problem(code, message, self.where(node), hint=hint))

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            self.refuse("PS102", "the file says too much: it expands beyond what a cloud file may hold", node)
            raise PlaneshiftError(self.problems)
        self.document.values[path] = self.where(node)
        if node.tag not in _TAGS:
            self.refuse("PS104", f"the tag {control_free(node.tag)} is not allowed", node)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        return self.mapping(node, path, depth)

    def scalar(self, node: yaml.ScalarNode) -> Any:
        value = node.value
        if any(not c.isprintable() and c not in "\n\t" for c in value):
            self.refuse("PS103", "a value holds control characters", node, "Remove them; names are plain text.")
            return ""
        return scalar(value) if _plain(node) else value

    def mapping(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse("PS104", "a key must be plain text", key_node)
                continue
            key = str(key_node.value)
            self.scalar(key_node)
            if key == "<<" and _plain(key_node):
                self.refuse("PS104", "merge keys (<<) are not read", key_node, "Write the values out.")
                continue
            if key in result:
                first = self.document.keys[(*path, key)]
                self.refuse("PS104", f"the key {key!r} stands here twice (first in line {first.line})", key_node)
                continue
            self.document.keys[(*path, key)] = self.where(key_node)
            result[key] = self.build(value_node, (*path, key), depth + 1)
        return result


def _plain(node: yaml.ScalarNode) -> bool:
    return node.style not in ("'", '"', "|", ">")
