"""Dotenv files as sops reads them: `NAME=value` to the end of the line, `\\n` for a line's end, `#` lines as comments."""

from __future__ import annotations

from planeshift.secrets.nodes import COMMENT, MAPPING, SCALAR, Node, Text
from planeshift.secrets.refusal import refuse


def parse(text: str, file: str) -> Text:
    """Read a dotenv text. Raises PlaneshiftError (PS1001)."""
    root = Node(MAPPING, 0, len(text), [])
    items: list[object] = root.value  # type: ignore[assignment]
    at = 0
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        name, sign, value = line.partition("=")
        if line.startswith("#"):
            items.append((None, Node(COMMENT, at + 1, at + len(line), line[1:])))
        elif line:
            if not sign or name in seen:
                what = "a name stands twice" if sign else "a line that is not NAME=value"
                refuse("PS1001", f"{file} is no dotenv file", file=file, line=number, why=what)
            seen.add(name)
            node = Node(SCALAR, at + len(name) + 1, at + len(line), value.replace("\\n", "\n"))
            node.begins = at
            items.append((name, node))
        at += len(line) + 1
    return Text(text, [root], write)


def write(node: Node, value: object, text: str) -> str:
    """The value as it stands after the equals sign."""
    from planeshift.secrets.scalars import go_float

    if isinstance(value, bool):
        return "true" if value else "false"
    return go_float(value) if isinstance(value, float) else str(value).replace("\n", "\\n")
