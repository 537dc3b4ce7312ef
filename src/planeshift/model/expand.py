"""Entries with ranges become the entries that they stand for, each remembering where it was written. Pure.

An entry is an item of a list, or a key of a mapping. Where entries may be refined, one that comes later than a range
and has the name of one of its members gives that member's keys anew, and leaves it the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from planeshift.errors import Problem
from planeshift.model import ranges
from planeshift.model.source import Document, Path

ANY = "*"  # in a path: each entry of what stands there


def expand(document: Document, paths: Sequence[Path], refined: Sequence[Path] = ()) -> list[Problem]:
    """Expand what stands at each of these paths, in their order; return what cannot be (PS109, PS208).

    The keys of mappings can be refined always, the items of lists at the paths in `refined`.
    """
    problems: list[Problem] = []
    for pattern in paths:
        for path in _matching(document.data, pattern, ()):
            problems += _Expansion(document, path, pattern in refined).problems
    return problems


def _matching(data: Any, pattern: Path, path: Path) -> Iterator[Path]:
    """The paths of the lists and mappings that a pattern means."""
    if not pattern:
        if isinstance(data, (list, dict)):
            yield path
        return
    step, rest = pattern[0], pattern[1:]
    if step != ANY:
        if isinstance(data, dict) and step in data:
            yield from _matching(data[step], rest, (*path, step))
        return
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in entries:
        yield from _matching(item, rest, (*path, key))


class _Expansion:
    """Of one list or mapping, in place."""

    def __init__(self, document: Document, path: Path, refined: bool) -> None:
        self.document, self.path, self.written = document, path, document.written(path)
        self.problems: list[Problem] = []
        self.result: dict[str | int, Any] = {}  # of a list by index
        self.origins: dict[Path, Path] = {}
        self.made: dict[str, str | int] = {}  # name that a range made → its key in the result
        parent = document.data
        for step in path[:-1]:
            parent = parent[step]
        found = parent[path[-1]]
        self.mapping = isinstance(found, dict)
        self.refined = refined or self.mapping
        for key, item in found.items() if isinstance(found, dict) else enumerate(found):
            self.entry(key, item)
        if self.made:
            parent[path[-1]] = self.result if self.mapping else list(self.result.values())
            document.origins |= self.origins

    def entry(self, key: str | int, item: Any) -> None:
        """Add the entries that one entry stands for."""
        name = str(key) if self.mapping else _name(item)
        whole = {"name": name, "item": item}
        try:
            count = ranges.length(whole)
        except ranges.RangeError as error:
            where = self.document.where((*self.path, key), key=True)
            self.problems.append(Problem("PS109", str(error), where))
            count = None
        if count is None:
            self.add(name, item, key, None)
            return
        for i in range(count):
            value = ranges.pick(item, i)
            member = ranges.member(name, i)
            self.add(ranges.pick(name, i), ranges.fill(value, member) if member else value, key, i)

    def add(self, name: str, item: Any, key: str | int, member: int | None) -> None:
        if self.refined and name in self.made and isinstance(item, dict):
            self.refine(self.made[name], item, key)
            return
        new = name if self.mapping else len(self.result)
        if new in self.result:
            where = self.document.where((*self.path, key), key=True)
            hint = "An entry that refines one of a range stands after the range."
            self.problems.append(Problem("PS208", f"`{name}` stands twice in `{self.path[-1]}`", where, hint=hint))
            return
        self.result[new] = item
        self.origins[*self.path, new] = (*self.written, key)
        if member is not None:
            self.made[name] = new

    def refine(self, new: str | int, item: dict[str, Any], key: str | int) -> None:
        """Give an entry's keys anew, and let each point to where it was written."""
        here, old = (*self.path, new), self.result[new]
        before = self.origins[here]
        for name in old:
            self.origins.setdefault((*here, name), (*before, name))
        self.origins |= {(*here, name): (*self.written, key, name) for name in item}
        self.origins[here] = (*self.written, key)
        self.result[new] = old | item


def _name(item: Any) -> str:
    """The name of an item of a list: its `name`, or the text that it is."""
    name = item.get("name") if isinstance(item, dict) else item
    return name if isinstance(name, str) else ""
