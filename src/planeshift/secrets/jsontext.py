"""JSON with the place of every value; and binary files, which SOPS keeps as one value of a JSON file."""

from __future__ import annotations

from planeshift.secrets.nodes import MAPPING, SCALAR, SEQUENCE, Node, Text
from planeshift.secrets.refusal import refuse

MAX_DEPTH = 64
_WORDS = {"true": True, "false": False, "null": None}


def parse(text: str, file: str) -> Text:
    """Read a JSON text whose top is an object. Raises PlaneshiftError (PS1001)."""
    reader = _Reader(text, file)
    at = reader.space(0)
    if text[at : at + 1] != "{":
        reader.fail(at, "the top of the file is not an object")
    node, end = reader.value(at, 0)
    if reader.space(end) != len(text):
        reader.fail(end, "something stands after the object")
    return Text(text, [node], write)


def write(node: Node, value: object, text: str) -> str:
    """The JSON of a scalar."""
    import json

    from planeshift.secrets.scalars import go_float

    if isinstance(value, float):
        return go_float(value)
    return json.dumps(str(value) if isinstance(value, str) else value, ensure_ascii=False)


def flatten(value: object) -> str:
    """What the `sops` object is written as: indented by tabs, one level down."""
    import json

    return json.dumps(value, indent="\t", ensure_ascii=False).replace("\n", "\n\t")


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        from json.decoder import scanstring  # type: ignore[attr-defined]

        self.text, self.file, self.string = text, file, scanstring

    def fail(self, at: int, what: str) -> None:
        refuse(
            "PS1001", f"{self.file} is not valid JSON", file=self.file, line=self.text.count("\n", 0, at) + 1, why=what
        )

    def space(self, at: int) -> int:
        text = self.text
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        return at

    def value(self, at: int, depth: int) -> tuple[Node, int]:
        first = self.text[at : at + 1]
        if depth > MAX_DEPTH:
            self.fail(at, f"more than {MAX_DEPTH} levels")
        if first == "{":
            return self.container(at, MAPPING, "}", depth)
        if first == "[":
            return self.container(at, SEQUENCE, "]", depth)
        if first == '"':
            found, end = self.text_at(at)
            return Node(SCALAR, at, end, found, flow=True), end
        end = at
        while end < len(self.text) and self.text[end] not in " \t\r\n,]}":
            end += 1
        return Node(SCALAR, at, end, self.word(at, self.text[at:end]), flow=True), end

    def text_at(self, at: int) -> tuple[str, int]:
        try:
            found: tuple[str, int] = self.string(self.text, at + 1, True)
        except ValueError as error:
            self.fail(at, str(error))
            raise
        return found

    def word(self, at: int, text: str) -> object:
        import re

        if text in _WORDS:
            return _WORDS[text]
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", text, re.ASCII):
            self.fail(at, "no value of JSON's" if text else "a value is missing")
        if len(text) < 21 and text.lstrip("-").isdigit() and -(2**63) <= int(text) < 2**63:
            return int(text)
        return float(text)

    def container(self, at: int, kind: str, close: str, depth: int) -> tuple[Node, int]:
        node = Node(kind, at, at, [], flow=True)
        items: list[object] = node.value  # type: ignore[assignment]
        seen: set[str] = set()
        at = self.space(at + 1)
        while self.text[at : at + 1] != close or items:
            begins, key = at, ""
            if kind == MAPPING:
                if self.text[at : at + 1] != '"':
                    self.fail(at, "a name in quotes is missing")
                key, at = self.text_at(at)
                if key in seen:
                    self.fail(begins, f"the name {key!r} stands twice")
                seen.add(key)
                at = self.space(at)
                if self.text[at : at + 1] != ":":
                    self.fail(at, "a colon is missing")
                at = self.space(at + 1)
            child, at = self.value(at, depth + 1)
            child.begins = begins
            items.append((key, child) if kind == MAPPING else child)
            at = self.space(at)
            if self.text[at : at + 1] == close:
                break
            if self.text[at : at + 1] != ",":
                self.fail(at, f"a comma or {close} is missing")
            at = self.space(at + 1)
        node.end = at + 1
        return node, at + 1
