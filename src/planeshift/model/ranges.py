"""Ranges in names: `vm-{1..3}` is vm-1, vm-2, vm-3, and `{01..10}` keeps its zeros. Pure.

One entry with a range stands for several; several ranges in one text count together (`a{1..2}-{1..2}` is a1-1, a2-2),
as do ranges in sibling values (`name: vm-{1..3}`, `address: 192.0.2.{21..23}`). `{}` is the member that the entry's name
has: of `name: cell{01..80}`, `database: cell{}` is the entry's own. A range in an inner list is that list's.
"""

from __future__ import annotations

import re
from typing import Any

RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
MEMBER = "{}"
MAX_RANGE = 10_000


class RangeError(ValueError):
    """A range that counts down, is too long, or does not go with its neighbours."""


def length(value: Any) -> int | None:
    """How many values `value` stands for: None where it holds no range.

    Looks into mappings, not into lists. Raises RangeError where two ranges differ in length.
    """
    lengths = set(_lengths(value))
    if len(lengths) > 1:
        raise RangeError(f"ranges of different lengths stand together: {', '.join(map(str, sorted(lengths)))}")
    return lengths.pop() if lengths else None


def expand(value: str) -> list[str]:
    """The texts that `value` stands for, itself alone where it holds no range."""
    count = length(value)
    return [value] if count is None else [pick(value, i) for i in range(count)]


def pick(value: Any, index: int) -> Any:
    """`value` with each range replaced by its member number `index` (from 0), in nested mappings too."""
    if isinstance(value, str):
        return RANGE.sub(lambda m: _member(m, index), value)
    if isinstance(value, dict):
        return {key: pick(item, index) for key, item in value.items()}
    return value


def member(name: str, index: int) -> str:
    """What `{}` is in the entry number `index` (from 0) of a name: the member of its first range, empty without one."""
    found = RANGE.search(name)
    return _member(found, index) if found else ""


def fill(value: Any, text: str) -> Any:
    """`value` with `{}` replaced by `text`, in nested mappings and lists too."""
    if isinstance(value, str):
        return value.replace(MEMBER, text)
    if isinstance(value, dict):
        return {key: fill(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, text) for item in value]
    return value


def _member(found: re.Match[str], index: int) -> str:
    first = found[1]
    return str(int(first) + index).zfill(len(first) if first.startswith("0") else 0)


def _lengths(value: Any) -> list[int]:
    if isinstance(value, str):
        return [_count(int(m[1]), int(m[2])) for m in RANGE.finditer(value)]
    if isinstance(value, dict):
        return [n for item in value.values() for n in _lengths(item)]
    return []


def _count(first: int, last: int) -> int:
    if last < first:
        raise RangeError(f"the range {{{first}..{last}}} counts down")
    if last - first >= MAX_RANGE:
        raise RangeError(f"the range {{{first}..{last}}} has more than {MAX_RANGE:,} members")
    return last - first + 1
