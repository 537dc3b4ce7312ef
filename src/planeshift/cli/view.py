"""How things look on a terminal: problems, plans, progress, tables."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from planeshift.errors import Problem

if TYPE_CHECKING:
    from planeshift.engine.run import Event
    from planeshift.plan.operations import Operation, Plan

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1}
_MARKS = {"+": ("green", "to add"), "~": ("yellow", "to change"), "-": ("red", "to remove")}


def paint(text: str, colour: str, stream: object = None) -> str:
    """`text` in a colour, where the stream is a terminal that wants it."""
    stream = stream or sys.stdout
    terminal = getattr(stream, "isatty", lambda: False)()
    if not terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


class Live:
    """The last lines of a terminal, replaced in place; what is told goes above them. Elsewhere nothing is shown."""

    def __init__(self) -> None:
        self._blocks: dict[str, Sequence[str]] = {}
        self._shown = 0
        self._lock = threading.Lock()

    @property
    def is_on(self) -> bool:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines that can be had."""
        found = os.get_terminal_size(sys.stderr.fileno())
        return found.columns - 1, found.lines - 1

    def show(self, name: str, lines: Sequence[str]) -> None:
        """Replace the block of that name by these lines, each no longer than a line has room; none: it goes."""
        if self.is_on:
            with self._lock:
                self._blocks.pop(name, None) if not lines else self._blocks.update({name: lines})
                self._draw("")

    def tell(self, line: str) -> None:
        """A line above all blocks."""
        with self._lock:
            if self._shown:
                self._draw(line + "\n")
            else:
                print(line, file=sys.stderr, flush=True)

    def _draw(self, above: str) -> None:
        lines = [line for block in self._blocks.values() for line in block][: self.size[1]]
        up = f"\x1b[{self._shown - 1}A" if self._shown > 1 else ""
        sys.stderr.write(f"\r{up}\x1b[J{above}" + "\n".join(lines))
        sys.stderr.flush()
        self._shown = len(lines)


LIVE = Live()


def tell(line: str) -> None:
    """A line for the person at the terminal, not for a pipe."""
    LIVE.tell(line)


def problems(found: Iterable[Problem]) -> None:
    """Every problem: what, where, the line itself, why, and what to do."""
    counted = {True: 0, False: 0}
    for problem in found:
        counted[problem.warning] += 1
        word, colour = ("warning", "yellow") if problem.warning else ("error", "red")
        tell(f"{paint(f'{word}[{problem.code}]', colour, sys.stderr)}: {problem.message}")
        where = problem.where
        if where:
            tell(f"  --> {where}")
            if where.line and where.text:
                number = str(where.line)
                tell(f"{number:>5} | {where.text}")
                if where.column:
                    tell(f"{'':>5} | {' ' * (where.column - 1)}^")
        for line in problem.why.splitlines():
            tell(f"      {line}")
        if problem.hint:
            tell(f"  {paint('hint', 'cyan', sys.stderr)}: {problem.hint}")
        tell("")
    errors, warnings = counted[False], counted[True]
    words = [f"{n} {word}{'s' * (n > 1)}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    if words:
        tell(f"{', '.join(words)}; `planeshift explain CODE` says more")


def plan(shown: Plan, *, command: str = "planeshift up") -> None:
    """A plan as a person reads it before saying yes."""
    out = sys.stdout
    if not shown.operations:
        print(f"{shown.cloud} ({shown.region}) is as declared. Nothing to do.", file=out)
        _asides(shown)
        return
    print(paint(f"Plan for {shown.cloud} ({shown.region})", "bold"), file=out)
    changes = [o for o in shown.operations if not o.drift]
    drift = [o for o in shown.operations if o.drift]
    _section(changes)
    if drift:
        print("\nDrift: the cloud file has not changed here since it was last carried out; the world has.", file=out)
        _section(drift)
    _asides(shown)
    counted = [sum(o.mark == mark for o in shown.operations) for mark in _MARKS]
    words = [f"{n} {word}" for n, (_, word) in zip(counted, _MARKS.values(), strict=True)]
    print(f"\nPlan: {', '.join(words)}.", file=out)
    if command:
        print(f"Next: {command}", file=out)


def _section(operations: Sequence[Operation]) -> None:
    for service in dict.fromkeys(o.service for o in operations):
        print(f"\n  {paint(service, 'bold')}")
        for operation in operations:
            if operation.service == service:
                print(f"    {paint(operation.mark, _MARKS[operation.mark][0])} {operation.summary}")
                for line in operation.detail:
                    print(f"        {line}")


def _asides(shown: Plan) -> None:
    for title, lines in (("Note", shown.notes), ("Later", shown.later)):
        for line in lines:
            print(f"\n  {paint(title, 'cyan')}: {line}" if line == lines[0] else f"  {paint(title, 'cyan')}: {line}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns, left-aligned, as kubectl prints them."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Progress:
    """Live progress of a plan: a bar on a terminal, otherwise one line for each change."""

    def __init__(self) -> None:
        self.running: dict[str, tuple[str, str]] = {}  # operation → its summary, its last line

    def __call__(self, event: Event) -> None:
        name = event.operation.summary
        if event.what == "begin":
            self.running[event.operation.id] = name, ""
        elif event.what == "line":
            self.running[event.operation.id] = name, event.text
            if not LIVE.is_on and event.text.startswith("waiting"):
                tell(f"       … {event.text}")
        else:
            self.running.pop(event.operation.id, None)
            mark = paint("done", "green", sys.stderr) if event.what == "end" else paint("FAILED", "red", sys.stderr)
            tell(f"{event.done:>3}/{event.total} {mark} {name} ({event.seconds:.1f} s)")
        LIVE.show("operations", self._bar(event) if LIVE.is_on else ())

    def _bar(self, event: Event) -> list[str]:
        if not self.running:
            return []
        name, last = next(iter(self.running.values()))
        lines = [f"{bar(event.done / max(event.total, 1), 20)} {event.done}/{event.total} {name}"]
        return [line[: LIVE.size[0]] for line in (lines if not last else [*lines, f"  … {last}"])]


def bar(part: float, width: int) -> str:
    """How much of a whole: `[####......]`."""
    filled = round(width * min(max(part, 0), 1))
    return f"[{'#' * filled}{'.' * (width - filled)}]"
