"""Set and remove single values of a text in the clear, leaving the rest of it as it stands."""

from __future__ import annotations

import json
from typing import Any

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets import formats
from planeshift.secrets.nodes import COMMENT, MAPPING, SCALAR, SEQUENCE, Node, Text
from planeshift.secrets.paths import Step, shown
from planeshift.secrets.scalars import quoted, yaml_scalar


def get(parsed: Text, path: tuple[Step, ...]) -> Node:
    """The value at a path of the first document. Raises PlaneshiftError (PS1013)."""
    node = parsed.documents[0]
    for index, step in enumerate(path):
        found = _child(node, step)
        if found is None:
            raise PlaneshiftError(Problem("PS1013", f"there is no {shown(path[: index + 1])}"))
        node = found
    return node


def _child(node: Node, step: Step) -> Node | None:
    if node.kind == MAPPING and isinstance(step, str):
        return node.get(step)
    if node.kind == SEQUENCE and isinstance(step, int):
        items = [n for _, n in node.entries() if n.kind != COMMENT]
        return items[step] if step < len(items) else None
    return None


def set_(kind: str, parsed: Text, path: tuple[Step, ...], value: Any, file: str) -> str:
    """The text with a scalar at a path set; names that are missing are added. Raises PlaneshiftError (PS1013)."""
    node, depth = parsed.documents[0], 0
    while depth < len(path):
        child = _child(node, path[depth])
        if child is None:
            break
        node, depth = child, depth + 1
    if depth == len(path):
        if node.kind != SCALAR:
            hint = "Set a value below it, or `unset` it first."
            raise PlaneshiftError(Problem("PS1013", f"{shown(path)} is a {node.kind}, not a value", hint=hint))
        text = _space(parsed.text, node) + parsed.write(node, value, parsed.text)
        new = parsed.spliced([(node.start, node.end, text)])
    elif node.kind not in (MAPPING, SEQUENCE):
        raise PlaneshiftError(Problem("PS1013", f"{shown(path[:depth])} is a value: nothing can be below it"))
    else:
        new = _added(kind, parsed, node, path[depth:], value, path)
    after = formats.parse(kind, new, file)
    if get(after, path).value != value:
        raise PlaneshiftError(Problem("PS1013", f"{shown(path)} cannot be set in this file", hint="`edit` it."))
    return new


def _space(text: str, node: Node) -> str:
    return " " if node.start == node.end and text[node.start - 1 : node.start] == ":" else ""


def _added(kind: str, parsed: Text, node: Node, rest: tuple[Step, ...], value: Any, path: tuple[Step, ...]) -> str:
    items = [n for _, n in node.entries() if n.kind != COMMENT]
    first = rest[0]
    if node.kind == SEQUENCE and first != len(items):
        raise PlaneshiftError(Problem("PS1013", f"{shown(path)}: the list has {len(items)} items"))
    if (node.kind == SEQUENCE) != isinstance(first, int):
        raise PlaneshiftError(Problem("PS1013", f"{shown(path)}: the {node.kind} has no such place"))
    inner: Any = value
    for step in reversed(rest[1:]):
        inner = {step: inner} if isinstance(step, str) else [inner]
    if kind in ("dotenv", "ini"):
        return _added_flat(kind, parsed, node, rest, value, path)
    if node.flow or kind == "json":
        name = f"{quoted(str(first))}: " if node.kind == MAPPING else ""
        comma = ", " if items else ""
        at = items[-1].end if items else node.end - 1
        return parsed.spliced([(at, at, f"{comma}{name}{json.dumps(inner, ensure_ascii=False)}")])
    entry = f"{_key(str(first))}:" if node.kind == MAPPING else "-"
    line = f"{' ' * node.column}{entry}{_below(inner, node.column)}\n"
    at = _line_end(parsed.text, _last(node)) if items else len(parsed.text)
    return parsed.spliced([(at, at, ("" if parsed.text[at - 1 : at] in ("\n", "") else "\n") + line)])


def _added_flat(kind: str, parsed: Text, node: Node, rest: tuple[Step, ...], value: Any, path: tuple[Step, ...]) -> str:
    top = node is parsed.documents[0]
    if len(rest) != (2 if kind == "ini" and top else 1) or (kind == "dotenv" and not top):
        form = "SECTION.NAME" if kind == "ini" else "NAME"
        raise PlaneshiftError(Problem("PS1013", f"{shown(path)}: a path here is {form}"))
    text = str(value)
    equals = "=" if kind == "dotenv" else " = "
    line = f"{rest[-1]}{equals}{parsed.write(node, text, '')}\n"
    if kind == "ini" and top:
        line = f"\n[{rest[0]}]\n{line}"
    at = len(parsed.text) if top else _line_end(parsed.text, _last(node))
    return parsed.spliced([(at, at, ("" if parsed.text[at - 1 : at] in ("\n", "") else "\n") + line)])


def _key(name: str) -> str:
    return yaml_scalar(name, indent=0, flow=True, last=False)


def _below(value: Any, indent: int) -> str:
    if not isinstance(value, (dict, list)):
        return " " + yaml_scalar(value, indent=indent, flow=False, last=True)
    pad = "\n" + " " * (indent + 4)
    if isinstance(value, dict):
        return "".join(f"{pad}{_key(k)}:{_below(v, indent + 4)}" for k, v in value.items())
    return "".join(f"{pad}-{_below(v, indent + 4)}" for v in value)


def _last(node: Node) -> int:
    """Where the last value within a node ends."""
    if node.kind in (SCALAR, COMMENT) or node.flow:
        return node.end
    return max((_last(n) for _, n in node.entries()), default=node.start)


def _line_end(text: str, at: int) -> int:
    if text[at - 1 : at] == "\n":
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def unset(kind: str, parsed: Text, path: tuple[Step, ...], file: str) -> str:
    """The text without what stands at a path. Raises PlaneshiftError (PS1013)."""
    node, parent = get(parsed, path), get(parsed, path[:-1])
    children = [n for _, n in parent.entries() if n.kind != COMMENT]
    index = next(i for i, n in enumerate(children) if n is node)
    text = parsed.text
    if parent.flow or kind == "json":
        if index:
            start, end = children[index - 1].end, node.end
        else:
            start, end = node.begins, children[1].begins if len(children) > 1 else node.end
        new = parsed.spliced([(start, end, "")])
    elif len(children) == 1 and len(path) > 1 and kind == "yaml":
        new = parsed.spliced([(*_whole(text, parent), " {}" if parent.kind == MAPPING else " []")])
    else:
        start = text.rfind("\n", 0, node.begins) + 1
        begins = start if not text[start : node.begins].strip() else node.begins
        end = _line_end(text, _last(node)) if kind != "ini" or node.kind == SCALAR else node.end + 1
        if begins != start and index + 1 < len(children):
            end = children[index + 1].begins
        new = parsed.spliced([(begins, end, "")])
    expected = _without(parsed.documents[0].data(), path)
    if formats.parse(kind, new, file).documents[0].data() != expected:
        raise PlaneshiftError(Problem("PS1013", f"{shown(path)} cannot be removed in this file", hint="`edit` it."))
    return new


def _whole(text: str, node: Node) -> tuple[int, int]:
    """The span of a block's content, from behind its key to its last value."""
    start = len(text[: node.start].rstrip(" \n"))
    end = _last(node)
    return start, end - 1 if text[end - 1 : end] == "\n" else end


def _without(data: Any, path: tuple[Step, ...]) -> Any:
    if len(path) == 1:
        if isinstance(data, dict):
            return {k: v for k, v in data.items() if k != path[0]}
        return [v for i, v in enumerate(data) if i != path[0]]
    if isinstance(data, dict):
        return {k: _without(v, path[1:]) if k == path[0] else v for k, v in data.items()}
    return [_without(v, path[1:]) if i == path[0] else v for i, v in enumerate(data)]
