"""Raise a PlaneshiftError without having imported what an error needs, since most runs raise none."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def refuse(code: str, message: str, *, file: str = "", line: int = 0, why: str = "", hint: str = "") -> NoReturn:
    """Raise `planeshift.errors.PlaneshiftError` with one problem."""
    from planeshift.errors import PlaneshiftError, Problem, Where, control_free

    where = Where(file, line) if file else None
    lines = "\n".join(control_free(part) for part in why.splitlines())
    raise PlaneshiftError(Problem(code, control_free(message), where, lines, hint))
