"""The file formats: how each is parsed, and where SOPS's own part stands in it."""

from __future__ import annotations

from planeshift.secrets.metadata import flat, nested
from planeshift.secrets.nodes import COMMENT, Node, Text
from planeshift.secrets.refusal import refuse

NAMES = ("yaml", "json", "dotenv", "ini", "binary")
_ENDINGS = {"yaml": "yaml", "yml": "yaml", "json": "json", "env": "dotenv", "ini": "ini"}
MAX_BYTES = 32 * 1024 * 1024


def of(path: str) -> str:
    """The format that sops, too, takes a file for: by its ending."""
    base = path.rpartition("/")[2]
    return _ENDINGS.get(base.rpartition(".")[2], "binary") if "." in base else "binary"


def decoded(content: bytes, file: str) -> str:
    """The text of a file. Raises PlaneshiftError (PS1001)."""
    if len(content) > MAX_BYTES:
        refuse("PS1001", f"{file} is larger than {MAX_BYTES // 2**20} MiB")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        refuse("PS1001", f"{file} is not UTF-8 text", file=file, line=content.count(b"\n", 0, error.start) + 1)
    for mark in ("<<<<<<< ", ">>>>>>> "):
        at = 0 if text.startswith(mark) else text.find("\n" + mark) + 1
        if at or text.startswith(mark):
            hint = "Settle the conflict first: take one side, then `set` or `edit` what the other one changed."
            line = text.count("\n", 0, at) + 1
            refuse("PS1003", f"{file} holds git's conflict markers", file=file, line=line, hint=hint)
    return text


def parse(kind: str, text: str, file: str, light: bool = False) -> Text:
    """Read a text; `light` tries the quick reader first. Raises PlaneshiftError (PS1001)."""
    if kind == "yaml":
        if light:
            from planeshift.secrets import lightyaml

            found = lightyaml.parse(text)
            if found is not None:
                return found
        from planeshift.secrets import yamltext

        return yamltext.expanded(text, file)
    if kind in ("json", "binary"):
        from planeshift.secrets import jsontext

        return jsontext.parse(text, file)
    if kind == "dotenv":
        from planeshift.secrets import envtext

        return envtext.parse(text, file)
    from planeshift.secrets import initext

    return initext.parse(text, file)


def detach(kind: str, parsed: Text, file: str) -> tuple[object, list[tuple[int, int, str]]]:
    """Take SOPS's part out of the tree: its data (None where there is none), and what to cut out of the text."""
    root = parsed.documents[0]
    if kind == "dotenv":
        return _detach_flat(root, parsed.text, file)
    found: object = None
    cuts: list[tuple[int, int, str]] = []
    for document in parsed.documents:
        items: list[tuple[str | None, Node]] = document.value  # type: ignore[assignment]
        index = next((i for i, (k, n) in enumerate(items) if k == "sops" and n.kind != COMMENT), None)
        if index is None:
            continue
        node = items.pop(index)[1]
        if document is root:
            found = node.data()
            if kind == "ini":
                data = node.data()
                found = nested({k: str(v).replace("\\n", "\n") for k, v in data.items()}, file)  # type: ignore[attr-defined]
        cuts.append((*_span(kind, parsed.text, document, items, index, node), ""))
    return found, cuts


def _span(
    kind: str, text: str, document: Node, items: list[tuple[str | None, Node]], index: int, node: Node
) -> tuple[int, int]:
    following = next((n for _, n in items[index:] if n.kind != COMMENT), None)
    if kind in ("json", "binary") or document.flow:
        if index:
            return items[index - 1][1].end, node.end
        return node.begins, following.begins if following else node.end
    start = text.rfind("\n", 0, node.begins) + 1
    if kind == "ini":
        start = len(text[:start].rstrip("\n")) + (1 if text[:start].strip() else 0)
        return start, text.rfind("\n", 0, following.begins) + 1 if following else len(text)
    after = [n for _, n in items[index:]]
    comment = next((text.rfind("\n", 0, n.start) + 1 for n in after if n.kind == COMMENT), None)
    if comment is not None and following is None:
        return start, comment
    return start, text.rfind("\n", 0, following.begins) + 1 if following else document.end


def _detach_flat(root: Node, text: str, file: str) -> tuple[object, list[tuple[int, int, str]]]:
    items: list[tuple[str | None, Node]] = root.value  # type: ignore[assignment]
    own = [(k, n) for k, n in items if k is not None and k.startswith("sops_")]
    items[:] = [(k, n) for k, n in items if k is None or not k.startswith("sops_")]
    cuts = [(n.begins, min(n.end + 1, len(text)), "") for _, n in own]
    return (nested({k[5:]: n.value for k, n in own}, file) if own else None), cuts


def attach(kind: str, text: str, data: dict[str, object], flow: bool = False) -> str:
    """Add SOPS's part to a text that has none. `flow`: it is YAML whose top stands in braces."""
    if kind == "yaml" and flow:
        import json

        from planeshift.secrets import yamltext

        root = yamltext.parse(text, "").documents[0]
        comma = ", " if any(n.kind != COMMENT for _, n in root.entries()) else ""
        return f'{text[: root.end - 1]}{comma}"sops": {json.dumps(data)}{text[root.end - 1 :]}'
    if kind == "yaml":
        head, tail = _first_document(text)
        if head and not head.endswith("\n"):
            head += "\n"
        return head + "sops:\n" + _block(data, 4) + tail
    if kind in ("json", "binary"):
        from planeshift.secrets.jsontext import flatten

        close = text.rstrip().rfind("}")
        before = text[:close].rstrip()
        comma = "" if before.endswith("{") else ","
        return f'{before}{comma}\n\t"sops": {flatten(data)}\n}}\n'
    text += "" if text.endswith("\n") or not text else "\n"
    if kind == "dotenv":
        return text + "".join(f"sops_{k}={v.replace(chr(10), chr(92) + 'n')}\n" for k, v in flat(data).items())
    lines = "".join(f"{k} = {_ini(v)}\n" for k, v in flat(data).items())
    return text + ("\n" if text else "") + "[sops]\n" + lines


def _ini(value: str) -> str:
    bare = value.replace("\n", "\\n")
    return bare


def _first_document(text: str) -> tuple[str, str]:
    """Split after the first document of a YAML text."""
    at, begun = 0, False
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end]
        if line[:3] in ("---", "...") and line[3:4] in ("", " "):
            if begun:
                return text[:at], text[at:]
            begun = True
        elif line.strip() and not line.startswith("#") and not line.startswith("%"):
            begun = True
        at = end + 1
    return text, ""


def _block(data: object, indent: int) -> str:
    from planeshift.secrets.scalars import yaml_scalar

    pad, out = " " * indent, []
    for name, value in sorted(data.items()):  # type: ignore[attr-defined]
        if isinstance(value, dict):
            out.append(f"{pad}{name}:\n{_block(value, indent + 4)}")
        elif isinstance(value, list):
            out.append(f"{pad}{name}:\n")
            for item in value:
                if isinstance(item, dict):
                    inner = _block(item, indent + 6)
                    out.append(pad + "    - " + inner[indent + 6 :])
                else:
                    out.append(f"{pad}    - {yaml_scalar(item, indent=indent + 4, flow=False, last=True)}\n")
        else:
            quoted = yaml_scalar(value, indent=indent, flow=False, last=True)
            out.append(f"{pad}{name}: {quoted}\n")
    return "".join(out)
