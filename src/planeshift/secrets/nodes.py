"""A file as the tree of its values, each knowing where in the text it stands.

The paths are SOPS's: the keys from the top, list positions left out; they are what each value is sealed to.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Path = tuple[str, ...]

MAPPING, SEQUENCE, SCALAR, COMMENT = "mapping", "sequence", "scalar", "comment"


class Time(str):
    """A timestamp, in RFC 3339."""

    __slots__ = ()


class Node:
    """A value or comment. `start` and `end` are offsets into the text.

    value: of a scalar its value; of a comment its text without the mark; of a mapping a list of (key, node), of a
    sequence a list of nodes, comments among them (with the key None). `begins`: where the entry begins (its key, dash or
    mark). `column`: of the mapping's keys or the sequence's dashes. `flow`: inside brackets, where YAML must be quoted.
    """

    __slots__ = ("begins", "column", "end", "flow", "kind", "start", "value")

    def __init__(self, kind: str, start: int, end: int, value: object, column: int = 0, flow: bool = False) -> None:
        self.kind, self.start, self.end, self.value = kind, start, end, value
        self.column, self.flow, self.begins = column, flow, start

    def entries(self) -> Iterator[tuple[str | None, Node]]:
        """The children of a mapping or sequence; a sequence's have the key None."""
        items: list[object] = self.value  # type: ignore[assignment]
        for item in items:
            yield item if isinstance(item, tuple) else (None, item)

    def get(self, key: str) -> Node | None:
        """The value of a mapping's key."""
        for name, node in self.entries() if self.kind == MAPPING else ():
            if name == key and node.kind != COMMENT:
                return node
        return None

    def data(self) -> object:
        """The plain Python value, without comments."""
        if self.kind == MAPPING:
            return {k: n.data() for k, n in self.entries() if n.kind != COMMENT}
        if self.kind == SEQUENCE:
            return [n.data() for _, n in self.entries() if n.kind != COMMENT]
        return self.value


class Text:
    """A parsed file: its text, the top mapping of each document, and how the format writes a value.

    `write(node, value, text)` gives the text of a scalar that is to stand where `node` stands.
    """

    __slots__ = ("documents", "text", "write")

    def __init__(self, text: str, documents: list[Node], write: Callable[[Node, object, str], str]) -> None:
        self.text, self.documents, self.write = text, documents, write

    def leaves(self) -> Iterator[tuple[Path, Node, list[list[str]]]]:
        """Every scalar and comment in order, with its path and the comments that are in force at it."""
        for document in self.documents:
            yield from _walk(document, (), [])

    def spliced(self, changes: Iterable[tuple[int, int, str]]) -> str:
        """The text with pieces replaced; the changes do not overlap."""
        pieces, at = [], 0
        for start, end, new in sorted(changes):
            pieces += [self.text[at:start], new]
            at = end
        return "".join([*pieces, self.text[at:]])


def _walk(node: Node, path: Path, stack: list[list[str]]) -> Iterator[tuple[Path, Node, list[list[str]]]]:
    # Comments are in force for the next entry beside them, and for all within it.
    stack = [*stack, []]
    for key, child in node.entries():
        if child.kind == COMMENT:
            stack[-1] = [*stack[-1], str(child.value)]
            yield path, child, stack
            continue
        below = path if key is None else (*path, key)
        if child.kind == SCALAR:
            yield below, child, stack
        else:
            yield from _walk(child, below, stack)
        stack[-1] = []
