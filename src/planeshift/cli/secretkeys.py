"""Who can open a sealed file, and changes to that."""

from __future__ import annotations

import json

import click

from planeshift.cli import view
from planeshift.cli.secrets import age_option, file_argument, format_option, guard, vault_option
from planeshift.errors import Exit


@click.command("keys")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@format_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def keys_(files: tuple[str, ...], kind: str, output: str) -> None:
    """Show who can open files: each recipient, where its key is, and whether it is at hand."""
    from planeshift.secrets import holders

    rows = [row for file in files for row in holders.of(file, kind)]
    if output == "json":
        click.echo(json.dumps([row.__dict__ for row in rows], indent=2))
        return
    table = [("FILE", "KIND", "KEY", "HERE"), *((r.file, r.kind, r.key, r.here) for r in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for row in table:
        click.echo("  ".join([*(c.ljust(w) for c, w in zip(row[:3], widths, strict=True)), row[3]]).rstrip())


@click.command("rewrap")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@age_option
@vault_option
@format_option
def rewrap_(files: tuple[str, ...], age: tuple[str, ...], vault: tuple[str, ...], kind: str) -> None:
    """Seal the key of files for those whom .sops.yaml names now. Values stay as they are.

    Whoever could open a file before may have kept its key: after taking somebody out, `rotate-key`, and change the
    secrets themselves.
    """
    from planeshift.secrets import work

    guard()
    for file in files:
        words = work.rewrap(file, age=age, vault=vault, kind=kind)
        for word in words:
            view.tell(f"{file}: {word}")
        if not words:
            view.tell(f"{file}: as declared")
        if any(w.startswith("-") for w in words):
            view.tell(f"{file}: whoever was taken out may know its key still: `planeshift secrets rotate-key {file}`")


@click.command("rotate-key")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@format_option
def rotate_key_(files: tuple[str, ...], kind: str) -> None:
    """Give files a new data key: every value is sealed anew."""
    from planeshift.secrets import work

    guard()
    for file in files:
        work.rotate_key(file, kind=kind)
        view.tell(f"{file} has a new key")


@click.command("doctor")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@format_option
def doctor_(files: tuple[str, ...], kind: str) -> int:
    """Look whether files can be opened when it matters, and whether anything stands in the clear.

    Without files: every sealed file that git knows here.
    """
    from planeshift.secrets import holders

    problems = holders.doctor(files, kind)
    view.problems(problems)
    if not problems:
        view.tell("every file opens, and can be opened without Barbican")
    return Exit.FAILED if any(not p.warning for p in problems) else Exit.DONE


__all__ = ["doctor_", "file_argument", "keys_", "rewrap_", "rotate_key_"]
