"""The path of a value in a file, as typed: `db.password`, `users[0].name`, or sops's `["db"]["password"]`."""

from __future__ import annotations

import json
import re

from planeshift.errors import Exit, PlaneshiftError, Problem

Step = str | int
_PART = re.compile(r'\["(?:[^"\\]|\\.)*"\]|\[\d+\]|\.?[^.\[\]]+')


def parse(text: str) -> tuple[Step, ...]:
    """The steps of a path; numbers are positions in lists. Raises PlaneshiftError (PS1013)."""
    steps: list[Step] = []
    at = 0
    for found in _PART.finditer(text):
        part = found.group()
        if found.start() != at or (part.startswith(".") and not steps):
            break
        at = found.end()
        if part.startswith("["):
            steps.append(json.loads(part[1:-1]))
        else:
            steps.append(part.removeprefix("."))
    if at != len(text) or not steps:
        hint = 'Write db.password, users[0].name, or ["db"]["pass.word"].'
        raise PlaneshiftError(Problem("PS1013", f"{text!r} is no path of a value", hint=hint), exit_code=Exit.USAGE)
    return tuple(steps)


def shown(steps: tuple[Step, ...]) -> str:
    """A path as a person types it."""
    out = ""
    for step in steps:
        plain = isinstance(step, str) and step and not set(step) & set('.[]"')
        out += f".{step}" if plain and out else str(step) if plain else f"[{json.dumps(step)}]"
    return out
