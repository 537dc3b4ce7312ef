"""A reader of the plain part of YAML that sealed files are mostly written in; it knows when to give up.

Loading a whole YAML library takes longer than `view` may. What is read here: block mappings and sequences, one entry a
line, plain keys, values that are plain, in double quotes without escapes, or literal blocks, and comments on lines of their
own. Anything else returns None, and `yamltext` reads the file; a test holds the two to the same result.
"""

from __future__ import annotations

from planeshift.secrets.nodes import COMMENT, MAPPING, SCALAR, SEQUENCE, Node, Text
from planeshift.secrets.scalars import resolve, yaml_scalar

_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/")
_NUMBER = frozenset("+-.0123456789")


class _GiveUp(Exception):
    pass


def write(node: Node, value: object, text: str) -> str:
    """The YAML of a scalar that stands where `node` stands."""
    end = text.find("\n", node.end)
    rest = text[node.end : end if end >= 0 else len(text)]
    new = yaml_scalar(value, indent=node.column, flow=node.flow, last=not rest.strip() or text[node.end - 1] == "\n")
    # A literal block keeps the line's end that its span holds.
    return new + "\n" if node.end > node.start and text[node.end - 1] == "\n" else new


def parse(text: str) -> Text | None:
    """Read a YAML text, or return None where it holds more than the plain part."""
    if "\t" in text or "\r" in text or "\ufeff" in text or (not text.isprintable() and _odd(text)):
        return None
    reader = _Reader(text)
    try:
        reader.read()
    except (_GiveUp, ValueError):
        return None
    return Text(text, [reader.root], write) if reader.root.value else None


def _odd(text: str) -> bool:
    return not text.replace("\n", "").isprintable()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.root = Node(MAPPING, 0, len(text), [], 0)
        self.stack = [self.root]
        self.seen: dict[int, set[str]] = {}
        self.comments: list[Node] = []

    def read(self) -> None:
        text, at = self.text, 0
        while at < len(text):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            line = text[at:end]
            bare = line.lstrip(" ")
            column = len(line) - len(bare)
            if not bare:
                at = end + 1
            elif bare[0] == "#":
                self.comments.append(Node(COMMENT, at + column + 1, end, bare[1:], column))
                at = end + 1
            else:
                at = self.entry(column, at + column, bare.rstrip(" "), end)
        self.place(-1)

    def entry(self, column: int, at: int, rest: str, end: int) -> int:
        """Read one line's entry; returns where the next line begins."""
        self.place(column)
        begins = at
        while rest[0] == "-" and (rest == "-" or rest[1] == " "):
            items = self.container(SEQUENCE, column)
            slot = self.empty(items, at + 1, column)
            slot.begins = begins
            items.append(slot)
            bare = rest[1:].lstrip(" ")
            if not bare:
                return end + 1
            at, column = at + len(rest) - len(bare), column + len(rest) - len(bare)
            rest = begins_rest = bare
            if begins_rest[0] == "#":
                raise _GiveUp
        colon = rest.find(":")
        key = rest[:colon]
        if rest.startswith("ENC[") or colon < 1 or (colon + 1 < len(rest) and rest[colon + 1] != " "):
            if self.stack[-1].kind != SEQUENCE:
                raise _GiveUp
            slot = self.slot()
            column = self.stack[-1].column
            return self.scalar(slot, at, rest, end, column)
        if not _KEY.issuperset(key) or not isinstance(resolve(key), str) or key[0] == "-":
            raise _GiveUp
        items = self.container(MAPPING, column)
        names = self.seen.setdefault(id(self.stack[-1]), set())
        if key in names:
            raise _GiveUp
        names.add(key)
        slot = self.empty(items, at + colon + 1, column)
        slot.begins = at
        items.append((key, slot))
        value = rest[colon + 1 :].lstrip(" ")
        return self.scalar(slot, at + len(rest) - len(value), value, end, column) if value else end + 1

    def container(self, kind: str, column: int) -> list[object]:
        """The items of the container of entries at this column: an open one, or a new one in the empty slot."""
        stack = self.stack
        while len(stack) > 1 and stack[-1].column > column:
            stack.pop()
        top = stack[-1]
        if kind == MAPPING and top.kind == SEQUENCE and top.column == column:
            stack.pop()
            top = stack[-1]
        if top.kind != kind or top.column != column:
            slot = self.slot()
            if not (column > top.column or (kind == SEQUENCE and top.kind == MAPPING and column == top.column)):
                raise _GiveUp
            slot.kind, slot.value, slot.column = kind, [], column
            stack.append(slot)
            top = slot
        items: list[object] = top.value  # type: ignore[assignment]
        return items

    def slot(self) -> Node:
        """The entry that has no value yet."""
        items: list[object] = self.stack[-1].value  # type: ignore[assignment]
        last = items[-1] if items else None
        node = last[1] if isinstance(last, tuple) else last
        if not isinstance(node, Node) or node.kind != SCALAR or node.value is not None or node.end != node.start:
            raise _GiveUp
        return node

    def empty(self, items: list[object], at: int, column: int) -> Node:
        return Node(SCALAR, at, at, None, column)

    def scalar(self, node: Node, at: int, text: str, end: int, column: int) -> int:
        node.start, node.end, node.column = at, at + len(text), column
        if text.startswith("ENC[") and text.endswith("]"):
            if " #" in text or ": " in text:
                raise _GiveUp
            node.value = text
        elif text in ("|", "|-", "|+"):
            return self.literal(node, text, end, column)
        elif text[0] == '"' and len(text) > 1 and text[-1] == '"' and "\\" not in text and '"' not in text[1:-1]:
            node.value = text[1:-1]
        elif text in ("{}", "[]"):
            node.kind, node.value, node.flow = (MAPPING if text == "{}" else SEQUENCE), [], True
        elif text[0] in _FIRST or text[0] in _NUMBER:
            if " #" in text or ": " in text or text[-1] == ":" or text[:2] in ("-", "- "):
                raise _GiveUp
            node.value = resolve(text)
            if node.value is None:
                raise _GiveUp
            self.single(end, column)
        else:
            raise _GiveUp
        return end + 1

    def single(self, end: int, column: int) -> None:
        """Give up where the next line could continue this value."""
        text = self.text
        at = end + 1
        while at < len(text) and text[at] == "\n":
            at += 1
        indent = 0
        while at + indent < len(text) and text[at + indent] == " ":
            indent += 1
        if indent > column and at + indent < len(text) and text[at + indent] != "#":
            raise _GiveUp

    def literal(self, node: Node, mark: str, end: int, column: int) -> int:
        text, at, lines, indent = self.text, end + 1, [], 0
        while at < len(text):
            stop = text.find("\n", at)
            if stop < 0:
                raise _GiveUp
            line = text[at:stop]
            depth = len(line) - len(line.lstrip(" "))
            if depth == len(line):
                if depth > indent or not indent:
                    raise _GiveUp
                lines.append("")
            elif not indent:
                indent = depth
                if indent <= column:
                    raise _GiveUp
                lines.append(line[indent:])
            elif depth < indent:
                break
            else:
                lines.append(line[indent:])
            at = stop + 1
        if not lines or lines[-1] == "":
            raise _GiveUp  # what trailing blank lines mean is told by the whole reader
        node.end = at
        node.value = "\n".join(lines) + ("" if mark == "|-" else "\n")
        return at

    def place(self, column: int) -> None:
        """Put the comments that were read before an entry at `column` where they belong."""
        for comment in self.comments:
            # Before the entry that follows at its own column, else within what it is indented to.
            limit = comment.column if comment.column != column else column
            home = next((n for n in reversed(self.stack) if n.column <= limit), self.root)
            items: list[object] = home.value  # type: ignore[assignment]
            items.append((None, comment) if home.kind == MAPPING else comment)
        if self.comments and column > self.stack[-1].column:
            raise _GiveUp  # they stand between a key and what is below it
        self.comments.clear()
