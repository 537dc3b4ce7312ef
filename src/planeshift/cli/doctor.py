"""doctor."""

from __future__ import annotations

import click

from planeshift.app import doctor as app
from planeshift.cli import view
from planeshift.cli.root import file_option
from planeshift.errors import Exit


@click.command(short_help="Look over this machine and cloud.")
@file_option
def doctor(file: str | None) -> int:
    """Look over this machine and cloud, and print a block that can be pasted into a bug report.

    No secret is in it. Exits 1 where something must be mended.
    """
    findings = app.examine(file)
    marks = {"ok": view.paint("ok  ", "green"), "look": view.paint("look", "yellow"), "bad": view.paint("BAD ", "red")}
    for finding in findings:
        print(f"{marks[finding.mark]} {finding.what}: {finding.says}")
        if finding.hint:
            print(f"       {finding.hint}")
    return Exit.FAILED if any(f.mark == "bad" for f in findings) else Exit.DONE
