"""Cloud file text to a validated `Cloud`. Pure: every problem at once, each at its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from planeshift.errors import PlaneshiftError, Problem
from planeshift.model.cloud import EXACT, Cloud
from planeshift.model.expand import ANY, expand
from planeshift.model.source import Document, Path, parse

Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True)
class Loaded:
    """A valid cloud and the document it came from, for errors that later layers find."""

    cloud: Cloud
    document: Document


def load(text: str | bytes, file: str) -> Loaded:
    """Read and validate a cloud file.

    Raises PlaneshiftError with every problem of syntax, ranges, unknown keys and values (PS101–PS111).
    """
    cloud, document = read(text, file, Cloud, _RANGES, _REFINED)
    return Loaded(cloud, document)


def read(
    text: str | bytes,
    file: str,
    shape: type[Shape],
    entries: Sequence[Path],
    refined: Sequence[Path] = (),
    what: str = "a cloud file",
) -> tuple[Shape, Document]:
    """Read a file of this shape; `entries` and `refined` are where ranges may be, see `model.expand`.

    Raises PlaneshiftError with every problem of syntax, ranges, unknown keys and values (PS101–PS111).
    """
    document = parse(text, file)
    if not isinstance(document.data, dict):
        hint = "`planeshift init` writes one." if shape is Cloud else ""
        raise PlaneshiftError(Problem("PS107", f"{what} is a mapping", document.where(()), hint=hint))
    problems = expand(document, entries, refined)
    problems += _later(document, shape, document.data, ())
    try:
        found = shape.model_validate(document.data)
    except ValidationError as error:
        problems += list(_problems(error, document, shape))
    if problems:
        problems = list(dict.fromkeys(problems))  # what a range repeats is said once
        raise PlaneshiftError(sorted(problems, key=lambda p: (p.where.line, p.where.column) if p.where else (0, 0)))
    return found, document


def nearest(word: str, known: Iterator[str] | list[str]) -> str:
    """`Did you mean …?` for a misspelt `word`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean `{found[0]}`?" if found else ""


# --- ranges

# What takes ranges in a cloud file; what stands in an entry comes after the entry.
_RANGES: list[Path] = [
    ("spec", "hosts"),
    ("spec", "databases"),
    ("spec", "databases", ANY, "nodes"),
    ("spec", "messaging"),
    ("spec", "messaging", ANY, "hosts"),
    ("spec", "caches", ANY, "hosts"),
    ("spec", "clusters", ANY, "nodes"),
    ("spec", "cells"),
    ("spec", "cells", ANY, "computes", "hosts"),
    ("spec", "services", ANY, "shift", "waves", ANY),
    ("spec", "services", ANY, "backends"),
    ("spec", "services", ANY, "backends", ANY, "hosts"),
]
_REFINED: list[Path] = [("spec", "cells")]


# --- keys whose issue has not come


def _later(document: Document, model: type[BaseModel], data: Any, path: Path) -> list[Problem]:
    """Refuse, by name, keys and values of the shape that do not work yet; they are taken out of the data."""
    problems: list[Problem] = []
    if not isinstance(data, dict):
        return problems
    for name, field in model.model_fields.items():
        key = field.alias or name
        if key not in data:
            continue
        here = (*path, key)
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("later"):
            problems.append(_unsupported(document, f"`{key}`", here))
            del data[key]
            continue
        inner, container = _model_of(field.annotation)
        if inner is None:
            continue
        if container is list and isinstance(data[key], list):
            for index, item in enumerate(data[key]):
                problems += _later(document, inner, item, (*here, index))
        elif container is dict and isinstance(data[key], dict):
            for name_, item in data[key].items():
                problems += _later(document, inner, item, (*here, name_))
        elif container is None:
            problems += _later(document, inner, data[key], here)
    for key, values in _LATER_VALUES.get(model.__name__, {}).items():
        if data.get(key) in values and not isinstance(data.get(key), (dict, list)):
            word = {True: "true", False: "false"}.get(data[key], data[key])
            problems.append(_unsupported(document, f"`{key}: {word}`", (*path, key)))
            del data[key]
    return problems


_LATER_VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "Control": {"at": ("edge", "cluster")},
    "Cache": {"manage": (True,)},
    "ComponentSettings": {"move": ("consumers", "singleton")},
}


def _unsupported(document: Document, what: str, path: Path) -> Problem:
    return Problem(
        "PS110",
        f"{what} is not yet supported",
        document.where(path, key=True),
        why="It belongs to the cloud file's shape, but this version cannot carry it out.",
        hint="Leave it out for now.",
    )


def _model_of(annotation: Any) -> tuple[type[BaseModel] | None, type | None]:
    """The model that a field holds, and whether in a list, a mapping or alone."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    origin = getattr(annotation, "__origin__", None)
    for argument in get_args(annotation):
        inner, container = _model_of(argument)
        if inner is not None:
            return inner, origin if origin in (list, dict) else container
    return None, None


# --- what pydantic found


def _problems(error: ValidationError, document: Document, shape: type[BaseModel]) -> Iterator[Problem]:
    for item in error.errors(include_url=False):
        path = tuple(step for step in item["loc"] if step != "[key]")
        name = str(path[-1]) if path else "the file"
        kind = item["type"]
        if kind == "extra_forbidden":
            known = _known_keys(shape, path[:-1])
            yield Problem(
                "PS106",
                f"unknown key `{name}`",
                document.where(path, key=True),
                why=f"Known here: {', '.join(known)}." if known else "",
                hint=nearest(name, known),
            )
        elif kind == "missing":
            yield Problem("PS108", f"`{name}` is missing", document.where(path[:-1]))
        else:
            yield _wrong_value(item, path, name, document)


def _wrong_value(item: Any, path: Path, name: str, document: Document) -> Problem:
    is_key = "[key]" in item["loc"]
    value = item.get("input")
    shown = f" {value!r}"[:60] if isinstance(value, (str, int, float, bool)) else ""
    message = item["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    hint = ""
    if item["type"] == "literal_error" and isinstance(value, str):
        hint = nearest(value, [word.strip("' ") for word in item["ctx"]["expected"].replace(" or ", ",").split(",")])
    if item["type"] == "string_pattern_mismatch":
        message = _PATTERN_WORDS.get(item["ctx"]["pattern"], message)
    if item["type"] == "string_type" and isinstance(value, (int, float)):
        hint = f'Quote it: "{value}".'
    return Problem("PS107", f"`{name}`{shown}: {message}", document.where(path, key=is_key), hint=hint)


_PATTERN_WORDS = {
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "a name has lower-case letters, digits and inner dashes, 63 at most",
    r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$": "a host name has letters, digits, dots and inner dashes",
    r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$": "a zone's name has letters, digits and, inside, any of `-_.`",
    r"^20[0-9]{2}\.[12]$": 'a release is named like "2026.2"',
    r"^[0-9A-Za-z][0-9A-Za-z.:-]{0,252}$": "not a host name or address",
    EXACT: "one exact version, such as 1.2.3",
}


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the model at `path` knows."""
    inside_container = False
    current: type[BaseModel] | None = model
    for step in path:
        if inside_container:
            inside_container = False
            continue
        if current is None:
            return []
        field = next((f for n, f in current.model_fields.items() if (f.alias or n) == step), None)
        if field is None:
            return []
        current, container = _model_of(field.annotation)
        inside_container = container is not None
    return [f.alias or n for n, f in current.model_fields.items()] if current else []
