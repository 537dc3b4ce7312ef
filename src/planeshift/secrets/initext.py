"""INI files as sops reads them: sections of `name = value`, comments above what they speak of."""

from __future__ import annotations

from planeshift.secrets.nodes import COMMENT, MAPPING, SCALAR, Node, Text
from planeshift.secrets.refusal import refuse


def parse(text: str, file: str) -> Text:
    """Read an INI text. Raises PlaneshiftError (PS1001), for what sops would read otherwise than it looks, too."""
    root = Node(MAPPING, 0, len(text), [])
    sections: list[object] = root.value  # type: ignore[assignment]
    section = Node(MAPPING, 0, 0, [])
    sections.append(("DEFAULT", section))
    seen, names, at = {"DEFAULT"}, set[str](), 0
    comments: list[Node] = []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        start = at + len(line) - len(line.lstrip())

        def fail(what: str, number: int = number) -> None:
            refuse("PS1001", f"{file} is no INI file", file=file, line=number, why=what)

        if bare[:1] in ("#", ";"):
            word = bare.lstrip(bare[0] + " ")
            comments.append(Node(COMMENT, start + len(bare) - len(word), start + len(bare), word))
        elif bare.startswith("["):
            name = bare[1:-1].strip()
            if not bare.endswith("]") or not name:
                fail("a section without its end")
            if name in seen and name != "DEFAULT":
                fail("a section stands twice")
            seen.add(name)
            names = set()
            if name != "DEFAULT":
                section = Node(MAPPING, start, start, [], 0)
                section.begins = start
                sections.append((name, section))
            _items(section).extend((None, c) for c in comments)
            comments = []
        elif bare:
            name, sign, _ = bare.partition("=")
            name = name.rstrip()
            if not sign or not name or name in names:
                fail("a name stands twice" if sign and name else "a line that is not name = value")
            names.add(name)
            where = line.index("=") + 1
            value = line[where:].strip()
            begin = at + where + len(line[where:]) - len(line[where:].lstrip())
            node = Node(SCALAR, begin, begin + len(value), _read(value, fail))
            node.begins = start
            _items(section).append((name, node))
            _items(section).extend((None, c) for c in comments)
            comments = []
        section.end = at + len(line)
        at += len(line) + 1
    if not _items(sections[0][1]):  # type: ignore[index]
        del sections[0]
    return Text(text, [root], write)


def _items(section: Node) -> list[object]:
    items: list[object] = section.value  # type: ignore[assignment]
    return items


def _read(value: str, fail: object) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
        return value[1:-1]
    if value.endswith("\\") or value[:1] in ("`", '"') or " #" in value or " ;" in value:
        fail("quotes, continued lines and comments behind values mean another thing to each reader of INI files")  # type: ignore[operator]
    return value


def write(node: Node, value: object, text: str) -> str:
    """The value as it stands after the equals sign; in backticks where it would be read as something else."""
    from planeshift.secrets.envtext import write as plain

    bare = plain(node, value, text) if not isinstance(value, str) else value
    if "`" in bare or "\n" in bare:
        if "\n" in bare and node.kind != COMMENT:
            refuse("PS1001", "a value of several lines cannot stand in an INI file")
        return bare
    odd = bare != bare.strip() or bare[:1] in ("`", '"', "'") or bare.endswith("\\") or "#" in bare or ";" in bare
    return f"`{bare}`" if odd else bare
