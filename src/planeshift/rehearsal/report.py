"""The account of a rehearsal as a page: one file, in the style of a shift's report."""

from __future__ import annotations

from pathlib import Path

from planeshift.rehearsal.account import Account
from planeshift.traffic.report import safe, style, style_hash, templates

PARTS = {
    "before": "before the change",
    "change": "during the change",
    "broken": "while something was broken",
    "after": "after it",
}
_HERE = Path(__file__).parent / "templates"


def report(account: Account) -> str:
    """The page, HTML. What others wrote is escaped."""
    return (
        templates(_HERE)
        .get_template("rehearsal.html")
        .render(
            a=account,
            look="done" if account.good else "returned",
            parts=PARTS,
            ms=milliseconds,
            seconds=seconds,
            style=safe(style()),
            style_hash=style_hash(),
        )
    )


def milliseconds(value: float | None) -> str:
    """For people."""
    return "-" if value is None else f"{value:.1f} ms"


def seconds(value: float | None) -> str:
    """For people; None is a time that never came."""
    return "never" if value is None else f"{value:.1f} s"
