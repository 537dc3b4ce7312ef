"""Versions and ranges as Helm reads them. Pure.

Helm uses Masterminds/semver: semantic versions 2.0 with two liberties, a leading `v` and missing minor and patch
numbers; ranges with `,`, `||`, `~`, `^`, wildcards and hyphens, which match a pre-release only if they name one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

MAX = 128  # longer ones are no versions that a person made
_NUMBER = r"(?:0|[1-9]\d{0,17})"
_TAIL = r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_VERSION = re.compile(rf"v?({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?{_TAIL}", re.ASCII)
_PART = r"(?:[xX*]|\d{1,18})"
_RANGE = rf"v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?{_TAIL}"
_CLAUSE = re.compile(rf"\s*(=>|=<|>=|<=|!=|~>|[=<>~^]?)\s*{_RANGE}\s*", re.ASCII)
_HYPHEN = re.compile(rf"\s*({_RANGE})\s+-\s+({_RANGE})\s*", re.ASCII)
_HIGHEST, _RELEASE = "\x7f", (0,)

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A version, comparable by precedence; build metadata does not count."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    def precedence(self) -> Key:
        """Sorts ascending, as semver.org's section 11 says."""
        if not self.pre:
            return (self.major, self.minor, self.patch, 1)
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return (self.major, self.minor, self.patch, 0, parts)


def parse(text: str) -> Version | None:
    """The version that a text is, or None. Numbers in pre-releases have no leading zeros."""
    found = _VERSION.fullmatch(text) if len(text) <= MAX else None
    if found is None:
        return None
    pre = tuple(found[4].split(".")) if found[4] else ()
    if any(p.isdigit() and len(p) > 1 and p[0] == "0" for p in pre):
        return None
    return Version(int(found[1]), int(found[2] or 0), int(found[3] or 0), pre)


@lru_cache(maxsize=65_536)  # many charts have the same versions
def newest_first(text: str) -> Key:
    """A key that sorts versions as Helm lists them, newest first; what is no version comes last. Plain tuples: quick."""
    version = parse(text)
    if version is None:
        return (1, text)
    numbers = (0, -version.major, -version.minor, -version.patch)
    if not version.pre:
        return (*numbers, _RELEASE, text)
    return (*numbers, (1, *(_descending(p) for p in version.pre), (2,)), text)


def _descending(part: str) -> Key:
    if part.isdigit():
        return (1, -int(part))
    return (0, "".join(chr(0x7E - ord(c)) for c in part) + _HIGHEST)


@dataclass(frozen=True)
class Range:
    """What `helm --version` takes: alternatives of clauses that must all hold."""

    alternatives: tuple[tuple[Callable[[Version], bool], ...], ...]

    def holds(self, version: Version) -> bool:
        """Whether a version is in the range."""
        return any(all(clause(version) for clause in clauses) for clauses in self.alternatives)


def parse_range(text: str) -> Range | None:
    """The range that a text is, or None. The empty text and `*` are every release."""
    if len(text) > 512:
        return None
    alternatives = []
    for part in (text or "*").split("||"):
        clauses = _clauses(part)
        if not clauses:
            return None
        alternatives.append(tuple(clauses))
    return Range(tuple(alternatives))


def _clauses(text: str) -> list[Callable[[Version], bool]]:
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen:
        low, high = hyphen[1], hyphen[7]
        return [*_clauses(f">={low}"), *_clauses(f"<={high}")]
    clauses: list[Callable[[Version], bool]] = []
    at = 0
    while at < len(text):
        found = _CLAUSE.match(text, at)
        if found is None or found.end() == at:
            return []
        clauses.append(_clause(found[1], found.groups()[1:]))
        at = found.end()
        if at < len(text) and text[at] == ",":
            at += 1
            if not text[at:].strip():
                return []
        elif at < len(text) and not text[at - 1].isspace():
            return []
    return clauses


def _clause(operator: str, parts: tuple[str | None, ...]) -> Callable[[Version], bool]:
    numbers = [int(p) for p in _until_wild(parts[:3])]
    given = len(numbers)
    pre = tuple(parts[3].split(".")) if parts[3] else ()
    low = _version(numbers, pre)
    least = low.precedence()

    def plain(version: Version) -> bool:
        return not version.pre or bool(pre)  # a pre-release is asked for by name only

    def below(count: int) -> Key:
        """The first version that differs in its first `count` numbers."""
        if count == 0:
            return (float("inf"),)
        bumped = numbers[:count]
        bumped[-1] += 1
        return _version(bumped, ("0",)).precedence()

    def between(first: Key, beyond: Key) -> Callable[[Version], bool]:
        return lambda v: plain(v) and first <= v.precedence() < beyond

    if operator in (">=", "=>"):
        return lambda v: plain(v) and v.precedence() >= least
    if operator in ("<=", "=<"):
        if given < 3:
            return between((-1,), below(given))
        return lambda v: plain(v) and v.precedence() <= least
    if operator == "<":
        return lambda v: plain(v) and v.precedence() < least
    if operator == ">":
        if given < 3:
            edge = below(given)
            return lambda v: plain(v) and v.precedence() >= edge
        return lambda v: plain(v) and v.precedence() > least
    if operator == "!=":
        if given < 3:
            inside = between(least, below(given))
            return lambda v: plain(v) and not inside(v)
        return lambda v: plain(v) and v.precedence() != least
    if operator in ("~", "~>"):
        return between(least, below(min(given, 2)))
    if operator == "^":
        significant = next((i + 1 for i, n in enumerate(numbers) if n), max(given, 1)) if given else 0
        return between(least, below(significant))
    if given < 3:  # `1.2`, `=1.x`: everything that begins so
        return between(least, below(given))
    return lambda v: v.precedence() == least


def _version(numbers: list[int], pre: tuple[str, ...]) -> Version:
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return Version(major, minor, patch, pre)


def _until_wild(parts: tuple[str | None, ...]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part is None or part in "xX*":
            break
        found.append(part)
    return found
