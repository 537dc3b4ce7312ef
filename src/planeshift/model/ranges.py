"""Ranges in names: `vm-{1..3}` is vm-1, vm-2, vm-3, and `{01..10}` keeps its zeros. Pure.

One value with a range stands for several; several ranges in one text count together (`a{1..2}-{1..2}` is a1-1, a2-2),
as do ranges in sibling values (`name: vm-{1..3}`, `address: 192.0.2.{21..23}`).
"""

from __future__ import annotations

import re
from typing import Any

RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
MAX_RANGE = 10_000


class RangeError(ValueError):
    """A range that counts down, is too long, or does not go with its neighbours."""


def length(value: Any) -> int | None:
    """How many values `value` stands for: None where it holds no range.

    Looks into mappings and lists. Raises RangeError where two ranges differ in length.
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
    """`value` with each range replaced by its member number `index` (from 0), in nested values too."""
    if isinstance(value, str):
        return RANGE.sub(lambda m: str(int(m[1]) + index).zfill(len(m[1]) if m[1].startswith("0") else 0), value)
    if isinstance(value, dict):
        return {key: pick(item, index) for key, item in value.items()}
    if isinstance(value, list):
        return [pick(item, index) for item in value]
    return value


def _lengths(value: Any) -> list[int]:
    if isinstance(value, str):
        return [_count(int(m[1]), int(m[2])) for m in RANGE.finditer(value)]
    if isinstance(value, dict):
        return [n for item in value.values() for n in _lengths(item)]
    if isinstance(value, list):
        return [n for item in value for n in _lengths(item)]
    return []


def _count(first: int, last: int) -> int:
    if last < first:
        raise RangeError(f"the range {{{first}..{last}}} counts down")
    if last - first >= MAX_RANGE:
        raise RangeError(f"the range {{{first}..{last}}} has more than {MAX_RANGE:,} members")
    return last - first + 1
