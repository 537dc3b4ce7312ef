"""oslo.config's dialect of INI: text to entries that know their places, and back. Pure.

The rules are those of `oslo_config.iniparser`: a key ends at the first `=` or `:`, a line that starts with a blank goes
on with the value above, `#` and `;` start a comment only at the start of a line, and one pair of quotes around a whole
value is dropped. Unlike oslo.config, which stops at the first mistake, everything that is wrong is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from planeshift.errors import Problem, Where, control_free

__all__ = ["Entry", "File", "Header", "concealed", "parse", "render"]

_LINE_END = re.compile(r"\r\n|\r|\n")
_SECRET_LINE = re.compile(r"(?i)(password|passwd|secret|token|credential|kek|_key|://[^/\s]*:)")


@dataclass(frozen=True, slots=True)
class Header:
    """A `[section]` line; `line` and `column` (of the name) count from 1."""

    name: str
    file: str
    line: int
    column: int
    text: str

    def where(self) -> Where:
        """The place of the section's name."""
        return Where(self.file, self.line, self.column, control_free(self.text))


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value`. `value` is what oslo.config would read: quotes dropped, lines of a long value joined."""

    section: str
    key: str
    value: str
    file: str
    line: int
    column: int
    value_column: int
    text: str

    def where(self, *, at_value: bool = False, hidden: bool = False) -> Where:
        """The place of the key or of the value; `hidden` leaves the value out of the quoted line."""
        text = f"{self.text[: self.value_column - 1].rstrip()} ***" if hidden else self.text
        return Where(self.file, self.line, self.value_column if at_value else self.column, control_free(text))


@dataclass(frozen=True, slots=True)
class File:
    """What one file says: sections and entries in their order, and the problems (PS302) of what is neither."""

    name: str
    headers: tuple[Header, ...]
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


@dataclass
class _Reader:
    name: str
    section: str | None = None
    open: Entry | None = None
    headers: list[Header] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read(self, line: str, number: int) -> None:
        line = line.rstrip()
        if not line:
            self.close()
        elif line[0] in " \t":
            self.go_on(line, number)
        else:
            self.close()
            if line[0] == "[":
                self.start_section(line, number)
            elif line[0] not in "#;":
                self.assign(line, number)

    def close(self) -> None:
        if self.open:
            self.entries.append(self.open)
        self.open = None

    def go_on(self, line: str, number: int) -> None:
        if self.open:
            self.open = replace(self.open, value=f"{self.open.value}\n{line.lstrip()}")
        else:
            column = len(line) - len(line.lstrip()) + 1
            message = "a line that starts with a blank continues a value, but there is none"
            self.wrong(message, line, number, column, "Remove the blanks at the start of the line.")

    def start_section(self, line: str, number: int) -> None:
        if not line.endswith("]"):
            hint = "Write a comment on a line of its own." if "]" in line else ""
            self.wrong("the line of a section must end with ]", line, number, len(line), hint)
        elif len(line) <= 2:
            self.wrong("the section has no name", line, number, 1)
        else:
            self.section = line[1:-1]
            self.headers.append(Header(self.section, self.name, number, 2, line))

    def assign(self, line: str, number: int) -> None:
        ends = [place for place in (line.find("="), line.find(":")) if place >= 0]
        if not ends:
            hint = "Remove the byte order mark at the start of the file." if line[0] == "\ufeff" else ""
            self.wrong("neither a section, a comment nor `key = value`", line, number, 1, hint)
            return
        end = min(ends)
        key, rest = line[:end].strip(), line[end + 1 :]
        if not key:
            self.wrong("the key is missing", line, number, 1)
        elif self.section is None:
            self.wrong("an option before the first section", line, number, 1, "Put `[DEFAULT]` above it.")
        else:
            value_column = end + 2 + len(rest) - len(rest.lstrip())
            value = _unquoted(rest.strip())
            self.open = Entry(self.section, key, value, self.name, number, 1, value_column, line)

    def wrong(self, message: str, line: str, number: int, column: int, hint: str = "") -> None:
        where = Where(self.name, number, column, concealed(line))
        why = "The service would refuse to read the file."
        self.problems.append(Problem("PS302", message, where, why=why, hint=hint))


def _unquoted(value: str) -> str:
    return value[1:-1] if value and value[0] in "\"'" and value[0] == value[-1] else value


def concealed(line: str) -> str:
    """A line that could not be understood, for a message: only its first word where it may hold a secret."""
    shown = control_free(line)
    return f"{shown.split()[0][:20]} ***" if _SECRET_LINE.search(shown) and shown.split() else shown


def parse(text: str, name: str) -> File:
    """The sections, entries and syntax problems (PS302) of a file's `text`; `name` is what messages call it.

    Never raises, whatever the text is.
    """
    reader = _Reader(name)
    for number, line in enumerate(_LINE_END.split(text), start=1):
        reader.read(line, number)
    reader.close()
    return File(name, tuple(reader.headers), tuple(reader.entries), tuple(reader.problems))


def render(sections: Mapping[str, Iterable[tuple[str, str]]]) -> str:
    """The text of a file with these sections and (key, value) pairs; `parse` reads the same back.

    Raises ValueError for what the format cannot hold: a key with `=` or `:`, an empty line in a value, and the like.
    """
    lines: list[str] = []
    for section, pairs in sections.items():
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += [_rendered(key, value) for key, value in pairs]
    text = "\n".join(lines) + "\n" if lines else ""
    if [(e.section, e.key, e.value) for e in parse(text, "").entries] != [
        (section, key, value) for section, pairs in sections.items() for key, value in pairs
    ]:
        raise ValueError("a section, key or value that an INI file cannot hold")
    return text


def _rendered(key: str, value: str) -> str:
    first, *more = value.split("\n")
    if first != _unquoted(first.strip()):
        first = f"'{first}'" if first.startswith('"') else f'"{first}"'
    return "\n    ".join([f"{key} = {first}".rstrip(), *more])
