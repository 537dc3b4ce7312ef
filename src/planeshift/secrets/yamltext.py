"""YAML by libyaml's events, with the place of every value and comment."""

from __future__ import annotations

from bisect import bisect_right

from planeshift.secrets import lightyaml
from planeshift.secrets.nodes import COMMENT, MAPPING, SCALAR, SEQUENCE, Node, Text
from planeshift.secrets.refusal import refuse
from planeshift.secrets.scalars import TooLarge, quoted, resolve, yaml_scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Event = Any  # marks are optional in its types, and never missing in a parser's

MAX_DEPTH, MAX_ALIASED = 64, 100_000
_TAGS = ("!", "tag:yaml.org,2002:str")


def parse(text: str, file: str) -> Text:
    """Read a YAML text whole. Raises PlaneshiftError (PS1001) where it is not one that SOPS can hold."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        reader = _Reader(text, file)
        reader.read(loader(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = str(getattr(error, "problem", "") or "a character that YAML does not allow")
        refuse("PS1001", f"{file} is not valid YAML", file=file, line=mark.line + 1 if mark else 0, why=why)
    except UnicodeEncodeError:
        refuse("PS1001", f"{file} is not UTF-8 text", file=file)
    _place_comments(text, reader)
    return Text(text, reader.documents, lightyaml.write)


class _Reader:
    """Builds nodes of events."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.documents: list[Node] = []
        self.anchors: dict[str, Node] = {}
        self.entries: list[tuple[int, int, Node, int]] = []  # begins, column, container, number of the item in it
        self.spans: list[tuple[int, int]] = []  # of scalars and aliases, keys too: no comment begins in these
        self.parents: dict[int, Node] = {}
        self.aliased = 0

    def read(self, source: Event) -> None:
        self.next = source.get_event
        self.next()
        while True:
            event = self.next()
            if type(event).__name__ == "StreamEndEvent":
                break
            self.anchors.clear()
            node = self.node(self.next(), 0, False, 0)
            self.next()
            if node.kind == SCALAR and node.value is None:
                node = Node(MAPPING, node.start, node.end, [])
            if node.kind != MAPPING:
                self.refuse(
                    node.start, "the top of the file is not a mapping", "SOPS seals mappings of names to values."
                )
            self.documents.append(node)
        self.documents = self.documents or [Node(MAPPING, 0, 0, [])]

    def refuse(self, at: int, what: str, hint: str = "") -> None:
        line = self.text.count("\n", 0, at) + 1
        refuse("PS1001", f"{self.file}: {what}", file=self.file, line=line, hint=hint)

    def node(self, event: Event, column: int, flow: bool, depth: int) -> Node:
        kind = type(event).__name__
        start, end = event.start_mark.index, event.end_mark.index
        if depth > MAX_DEPTH:
            self.refuse(start, f"more than {MAX_DEPTH} levels")
        if kind == "AliasEvent":
            return self.alias(event.anchor, start, end, column, flow)
        if kind == "ScalarEvent":
            node = Node(SCALAR, start, self.cut(start, end), self.value(event, start), column, flow)
            if node.end > node.start:
                self.spans.append((node.start, node.end))
        elif kind == "MappingStartEvent":
            node = self.mapping(event, start, flow, depth)
        else:
            node = self.sequence(event, start, flow, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def cut(self, start: int, end: int) -> int:
        """A block scalar ends with its last line, not with the blank ones below it."""
        if end > start and self.text[end - 1 : end] == "\n":
            return start + len(self.text[start:end].rstrip("\n ")) + 1
        return end

    def value(self, event: Event, start: int) -> object:
        tag, text = event.tag, event.value
        if tag in _TAGS or (tag is None and event.style):
            return text
        try:
            found = resolve(text)
        except TooLarge:
            self.refuse(start, "an integer that SOPS cannot hold", "Put it in quotes.")
        if tag is not None:
            kinds = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
            wanted = kinds.get(str(tag).removeprefix("tag:yaml.org,2002:"))
            if wanted is None or not isinstance(found, wanted):  # type: ignore[arg-type]
                self.refuse(start, f"the tag {tag}", "SOPS has no form for it: write the value as text.")
            return float(found) if str(tag).endswith("float") else found  # type: ignore[arg-type]
        return found

    def mapping(self, event: Event, start: int, flow: bool, depth: int) -> Node:
        flow = flow or bool(event.flow_style)
        node = Node(MAPPING, start, start, [], event.start_mark.column, flow)
        items: list[object] = node.value  # type: ignore[assignment]
        seen: set[str] = set()
        while True:
            event = self.next()
            if type(event).__name__ == "MappingEndEvent":
                break
            begins, column = event.start_mark.index, event.start_mark.column
            key = self.node(event, column, flow, depth + 1)
            if key.kind != SCALAR or not isinstance(key.value, str) or type(event).__name__ == "AliasEvent":
                self.refuse(begins, "a key that is not text", "Put it in quotes.")
            name = str(key.value)
            if name in seen:
                self.refuse(begins, f"the key {name!r} stands twice")
            seen.add(name)
            if not items and not flow:
                node.column = column
            value = self.node(self.next(), node.column, flow, depth + 1)
            self.entries.append((begins, column, node, len(items)))
            value.begins = begins
            if value.kind != SCALAR:
                self.parents[id(value)] = node
            items.append((name, value))
        node.end = event.end_mark.index
        return node

    def sequence(self, event: Event, start: int, flow: bool, depth: int) -> Node:
        flow = flow or bool(event.flow_style)
        node = Node(SEQUENCE, start, start, [], event.start_mark.column, flow)
        items: list[object] = node.value  # type: ignore[assignment]
        while True:
            event = self.next()
            if type(event).__name__ == "SequenceEndEvent":
                break
            begins, column = event.start_mark.index, event.start_mark.column
            if not flow:
                begins = self.text.rfind("-", 0, begins) if begins else 0
                column = begins - (self.text.rfind("\n", 0, begins) + 1)
                if not items:
                    node.column = column
            value = self.node(event, node.column, flow, depth + 1)
            self.entries.append((begins, column, node, len(items)))
            value.begins = begins
            if value.kind != SCALAR:
                self.parents[id(value)] = node
            items.append(value)
        node.end = event.end_mark.index
        return node

    def alias(self, name: str, start: int, end: int, column: int, flow: bool) -> Node:
        """An alias is its anchor's value written out, as sops has it; `Expanded` marks what must be spelled out."""
        target = self.anchors.get(name)
        self.spans.append((start, end))
        if target is None:
            self.refuse(start, f"there is no anchor {name} above")
            raise AssertionError
        self.aliased += _size(target)
        if self.aliased > MAX_ALIASED:
            self.refuse(start, f"its aliases expand to more than {MAX_ALIASED:,} values")
        if target.kind == SCALAR:
            return Node(SCALAR, start, end, target.value, column, flow)
        node = Node("alias", start, end, target, column, flow)
        return node


def _size(node: Node) -> int:
    if node.kind in (SCALAR, COMMENT):
        return 1
    if node.kind == "alias":
        return _size(node.value)  # type: ignore[arg-type]
    return 1 + sum(_size(n) for _, n in node.entries())


def expanded(text: str, file: str) -> Text:
    """Read a text, its aliases of mappings and lists written out."""
    parsed = parse(text, file)
    aliases = [n for d in parsed.documents for n in _aliases(d)]
    if not aliases:
        return parsed
    return parse(parsed.spliced((n.start, n.end, inline(n.value)) for n in aliases), file)  # type: ignore[arg-type]


def _aliases(node: Node) -> list[Node]:
    if node.kind == "alias":
        return [node]
    return [] if node.kind in (SCALAR, COMMENT) else [a for _, n in node.entries() for a in _aliases(n)]


def inline(node: Node) -> str:
    """A value on one line, in brackets."""
    if node.kind == "alias":
        return inline(node.value)  # type: ignore[arg-type]
    if node.kind == SCALAR:
        return yaml_scalar(node.value, indent=0, flow=True, last=False)
    if node.kind == MAPPING:
        return "{" + ", ".join(f"{quoted(k)}: {inline(n)}" for k, n in node.entries() if k is not None) + "}"
    return "[" + ", ".join(inline(n) for _, n in node.entries() if n.kind != COMMENT) + "]"


# --- comments


def _comments(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where comments stand: from their mark to the end of the line, outside of values."""
    found = []
    starts = sorted(spans)
    bounds = [s for s, _ in starts]
    at = text.find("#")
    while at >= 0:
        near = bisect_right(bounds, at) - 1
        if near >= 0 and starts[near][1] > at:
            at = text.find("#", starts[near][1])
            continue
        if at and text[at - 1] not in " \t\n":
            at = text.find("#", at + 1)
            continue
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        found.append((at, end))
        at = text.find("#", end)
    return found


def _place_comments(text: str, reader: _Reader) -> None:
    if "#" not in text or not reader.documents:
        return
    entries = sorted(reader.entries, key=lambda e: e[0])
    begins = [e[0] for e in entries]
    inserts: dict[int, list[tuple[int, Node]]] = {}
    homes: dict[int, Node] = {}
    for start, end in _comments(text, reader.spans):
        line = text.rfind("\n", 0, start) + 1
        own = not text[line:start].strip()
        column = start - line
        after = bisect_right(begins, start)
        home, index = _home(own, column, start, text, entries, after, reader)
        node = Node(COMMENT, start + 1, end, text[start + 1 : end].rstrip("\r"), column)
        node.end = node.start + len(str(node.value))
        homes[id(home)] = home
        inserts.setdefault(id(home), []).append((index, node))
    for key, new in inserts.items():
        items: list[object] = homes[key].value  # type: ignore[assignment]
        new.reverse()  # from the end, so that the numbers stay right
        for index, node in sorted(new, key=lambda p: -p[0]):
            items.insert(index, (None, node) if homes[key].kind == MAPPING else node)


def _home(
    own: bool,
    column: int,
    start: int,
    text: str,
    entries: list[tuple[int, int, Node, int]],
    after: int,
    reader: _Reader,
) -> tuple[Node, int]:
    """The container that a comment belongs to, and the item that it stands before there."""
    before = entries[after - 1] if after else None
    following = entries[after] if after < len(entries) else None
    if not own and before is not None:
        _, _, node, index = before
        return node, index
    if following is not None and (following[1] == column or before is None):
        return following[2], following[3]
    if before is None:
        return reader.documents[0], 0
    node, index = before[2], before[3]
    while node.column > column and id(node) in reader.parents:
        child, node = node, reader.parents[id(node)]
        items: list[object] = node.value  # type: ignore[assignment]
        index = next(i for i, item in enumerate(items) if (item[1] if isinstance(item, tuple) else item) is child)
    return node, index + 1
