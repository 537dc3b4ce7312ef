"""Edits of a cloud file's text that keep everything else to the letter: comments, order, layout. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from planeshift.errors import PlaneshiftError, Problem, Where
from planeshift.model import ranges

Keys = tuple[str, ...]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def set_number(text: str, path: Keys, value: int, file: str = "the file") -> str:
    """The text with the number at `path` set; the key is added to its mapping where it is not there.

    One of several entries that a range stands for gets an entry of its own, which refines it; once all of them have the same
    number, the range has it. `text` is a valid cloud file. Raises PlaneshiftError (PS809) where it cannot be edited by a
    program: the mapping that the key belongs to is not there, or stands elsewhere under an anchor.
    """
    entries = _mapping(text, path[:-2], file)
    if whole := _range_of(entries, path[-2]):
        if not any(key.value == path[-2] for key, _ in entries.value):
            text = _appended(text, entries, f"{_written(path[-2])}: {{{path[-1]}: {value}}}")
        else:
            text = _set(text, path, value, file)
        return _gathered(text, path, whole, file)
    return _set(text, path, value, file)


def _set(text: str, path: Keys, value: int, file: str) -> str:
    parent = _mapping(text, path[:-1], file)
    for key, node in parent.value:
        if key.value == path[-1]:
            return text[: node.start_mark.index] + str(value) + text[node.end_mark.index :]
    entry = f"{path[-1]}: {value}"
    if parent.flow_style:
        end = parent.end_mark.index - 1
        inside = text[parent.start_mark.index + 1 : end].rstrip()
        start = parent.start_mark.index + 1 + len(inside)
        return f"{text[:start]}{', ' if inside.strip() else ''}{entry}{text[start:]}"
    first_key, _ = parent.value[0]
    start = first_key.start_mark.index
    return f"{text[:start]}{entry}\n{' ' * first_key.start_mark.column}{text[start:]}"


def _range_of(entries: yaml.MappingNode, name: str) -> str:
    """The key with a range that stands for an entry of this name, among others; empty without one."""
    keys = [key.value for key, _ in entries.value if key.value != name and ranges.RANGE.search(key.value)]
    return next((key for key in keys if name in ranges.expand(key)), "")


def _written(name: str) -> str:
    """A name as a key of YAML: some words must be quoted."""
    return str(yaml.safe_dump(name, width=1000)).partition("\n")[0]


def _appended(text: str, entries: yaml.MappingNode, entry: str) -> str:
    """The text with one more entry behind the others of a mapping."""
    _, last = entries.value[-1]
    if entries.flow_style:
        return f"{text[: last.end_mark.index]}, {entry}{text[last.end_mark.index :]}"
    end, indent = _end_of(text, last), " " * entries.value[0][0].start_mark.column
    return f"{text[:end]}{'' if text[:end].endswith(chr(10)) else chr(10)}{indent}{entry}\n{text[end:]}"


def _gathered(text: str, path: Keys, whole: str, file: str) -> str:
    """The text in which a range has the number that all its members were given, if it is one and the same."""
    members = ranges.expand(whole)
    there = {key.value: node for key, node in _mapping(text, path[:-2], file).value}
    said = [_only(there[name], path[-1]) if name in there else None for name in members]
    if said[0] is None or len(set(said)) > 1:
        return text
    text = _set(text, (*path[:-2], whole, path[-1]), int(said[0]), file)
    for name in members:
        text = remove(text, (*path[:-2], name), file)
    return text


def _only(node: yaml.Node, name: str) -> str | None:
    """The text of a mapping's value, if it has this key and no other."""
    if isinstance(node, yaml.MappingNode) and [key.value for key, _ in node.value] == [name]:
        return str(node.value[0][1].value)
    return None


def remove(text: str, path: Keys, file: str = "the file") -> str:
    """The text without the key at `path` and what is below it; raises as `set_number`."""
    parent = _mapping(text, path[:-1], file)
    names = [key.value for key, _ in parent.value]
    if path[-1] not in names:
        raise _cannot(file, path)
    at = names.index(path[-1])
    key, node = parent.value[at]
    if parent.flow_style:
        if at + 1 < len(names):  # up to the next key
            return text[: key.start_mark.index] + text[parent.value[at + 1][0].start_mark.index :]
        start = parent.value[at - 1][1].end_mark.index if at else key.start_mark.index
        return text[:start] + text[node.end_mark.index :]
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    following = parent.value[at + 1][0].start_mark.index if at + 1 < len(names) else None
    end = text.rfind("\n", 0, following) + 1 if following is not None else _end_of(text, node)
    return text[:start] + text[end:]


def _end_of(text: str, node: yaml.Node) -> int:
    """Where the line ends on which a last value does; a block's own end mark lies behind the blank lines after it."""
    last = node
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        item = last.value[-1]
        last = item[1] if isinstance(item, tuple) else item
    end = text.find("\n", last.end_mark.index)
    return len(text) if end < 0 else end + 1


def _mapping(text: str, path: Keys, file: str) -> yaml.MappingNode:
    """The mapping at `path`. One that stands under an anchor is refused: an edit would change it elsewhere, too."""
    node: Any = yaml.compose(text, Loader=_Loader)
    shared = _shared(node)
    for name in path:
        found = [value for key, value in node.value if key.value == name] if isinstance(node, yaml.MappingNode) else []
        if not found or id(found[0]) in shared:
            raise _cannot(file, path)
        node = found[0]
    if not isinstance(node, yaml.MappingNode) or not (node.value or node.flow_style):
        raise _cannot(file, path)
    return node


def _shared(root: yaml.Node) -> set[int]:
    """The nodes that stand in more than one place, by an alias."""
    seen, shared, waiting = set[int](), set[int](), [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            shared.add(id(node))
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return shared


def _cannot(file: str, path: Keys) -> PlaneshiftError:
    return PlaneshiftError(
        Problem(
            "PS809",
            f"{'.'.join(path)} cannot be edited by a program",
            Where(file),
            hint="Edit the file by hand, then `planeshift up`.",
        )
    )
