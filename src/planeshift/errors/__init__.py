"""What can go wrong, said the same way everywhere: code, place, cause, next step.

No I/O here. Every layer raises `PlaneshiftError` with one or more `Problem`s; the command line prints them
(`planeshift.cli.view`). A code is stable for good and is explained by `planeshift explain CODE`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planeshift.errors.codes import CODES

__all__ = ["CODES", "Exit", "PlaneshiftError", "Problem", "Where", "away", "control_free", "few"]


_IN_FULL = 3


class Exit(enum.IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    FAILED = 1
    CHANGES_PENDING = 2
    USAGE = 64
    BUG = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a text file: `line` and `column` count from 1, `text` is the line itself."""

    file: str
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n)]
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `code` must be one of `CODES`; `why` and `hint` are whole sentences or empty."""

    code: str
    message: str
    where: Where | None = None
    why: str = ""
    hint: str = ""
    warning: bool = False

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown problem code {self.code}")

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.code}: {self.message}"


class PlaneshiftError(Exception):
    """Work that cannot be done or go on. `problems` holds every reason that is known, never none."""

    def __init__(self, problems: Problem | Iterable[Problem], *, exit_code: Exit = Exit.FAILED) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        if not self.problems:
            raise ValueError("an error needs at least one problem")
        self.exit_code = exit_code
        super().__init__("; ".join(str(p) for p in self.problems))


def away(places: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """What to say of hosts that do not answer: the first in full, of the others (there may be hundreds) the names."""
    said = [problem for name in list(places)[:_IN_FULL] for problem in places[name]]
    if others := list(places)[_IN_FULL:]:
        said.append(Problem(places[others[0]][0].code, f"{len(others)} more cannot be looked at: {few(others, 10)}"))
    hint = "\n".join(filter(None, [said[-1].hint, "What is gone for good is taken out of the cloud file."]))
    return [*said[:-1], replace(said[-1], hint=hint)]


def few(names: Sequence[str], most: int) -> str:
    """The first names of a list, for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def control_free(text: str) -> str:
    """`text` with control characters shown as escapes, so that foreign text cannot drive a terminal."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
