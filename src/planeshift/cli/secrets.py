"""`planeshift secrets`: files whose values are sealed, so that they live in git."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from planeshift.cli import view
from planeshift.cli.lazy import LazyGroup
from planeshift.errors import Exit, PlaneshiftError, Problem

_COMMANDS = {  # name → module of planeshift.cli, in the order in which they are met
    "enc": "secrets",
    "view": "secrets",
    "edit": "secrets",
    "dec": "secrets",
    "set": "secrets",
    "unset": "secrets",
    "diff": "secrets",
    "install": "secretwrap",
    "upgrade": "secretwrap",
    "lint": "secretwrap",
    "template": "secretwrap",
    "kubectl": "secretwrap",
    "helm-plugin": "secretwrap",
    "keys": "secretkeys",
    "rewrap": "secretkeys",
    "rotate-key": "secretkeys",
    "key": "secretstore",
    "rotate": "secretrotate",
    "audit": "secretaudit",
    "migrate": "secretaudit",
    "doctor": "secretkeys",
}


class _Lazy(LazyGroup):
    modules = _COMMANDS


@click.group(cls=_Lazy)
def secrets() -> None:
    """Seal values of files, so that they can live in git; open, edit and use them.

    \b
    The files are SOPS's: names stay readable, values are sealed, and stock sops opens them too.
    Who can open a new file is said by .sops.yaml beside it or above, or by --age:

    \b
      creation_rules:
        - path_regex: secrets/.*\\.yaml$
          age: age1…, age1barbican1…      # a break-glass key, and one that Barbican keeps

    \b
    First steps:
      age-keygen -o ~/.config/sops/age/keys.txt     a key of your own
      planeshift secrets enc secrets/glance.yaml    seal a file, in place
      planeshift secrets edit secrets/glance.yaml   change it; it is never on a disk in the clear
      planeshift secrets keys secrets/glance.yaml   who can open it
    """


_format = click.option(
    "--type",
    "kind",
    type=click.Choice(["yaml", "json", "dotenv", "ini", "binary"]),
    callback=lambda _context, _option, value: value or "",
    help="The file's format (default: by its ending, as sops has it).",
)
_age = click.option("--age", multiple=True, metavar="RECIPIENT", help="Seal for this recipient; may be repeated.")
_vault = click.option(
    "--hc-vault-transit", "vault", multiple=True, metavar="URI", help="Seal for a transit key of Vault or OpenBao."
)
file_argument = click.argument("file")
format_option, age_option, vault_option = _format, _age, _vault


def guard() -> None:
    """Keep what is in the clear out of core dumps and swap."""
    from planeshift.secrets.private import guard as keep

    keep()


def out(text: str) -> None:
    """Data, byte for byte."""
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


def doubt(words: list[str]) -> None:
    """Tell what is odd about a file that opens nevertheless."""
    for word in words:
        view.tell(f"note: {word}")


@click.command("enc")
@file_argument
@_age
@_vault
@_format
@click.option("--stdout", is_flag=True, help="Print the sealed file; leave the one in the clear as it is.")
@click.option(
    "--helm-barbican", "release", default="", metavar="RELEASE", help="Print CERN's old format, once a release."
)
def enc_(file: str, age: tuple[str, ...], vault: tuple[str, ...], kind: str, stdout: bool, release: str) -> None:
    """Seal a file, in place. `-` seals standard input, and prints it."""
    from planeshift.secrets import files, work

    guard()
    if release:
        from planeshift.secrets import cern

        out(cern.write_once(files.read(file), release).decode())
        return
    if file == "-":
        out(work.encrypt("-", sys.stdin.buffer.read(), kind=kind or "yaml", age=age, vault=vault).decode())
        return
    before = files.read(file)
    sealed = work.encrypt(file, before, kind=kind, age=age, vault=vault)
    if stdout:
        out(sealed.decode("utf-8", "surrogateescape"))
        return
    files.replace(file, sealed, before)
    view.tell(
        f"{file} is sealed. What was there in the clear may be left in backups, and in git where it was committed."
    )


@click.command("view")
@file_argument
@_format
@click.option("--path", "path", default="", metavar="PATH", help="Print one value alone: db.password, users[0].name.")
def view_(file: str, kind: str, path: str) -> None:
    """Print a file in the clear."""
    from planeshift.secrets import edits, formats, paths, work

    guard()
    steps = paths.parse(path) if path else ()
    opened = work.open_file(file, kind)
    doubt(opened.doubts)
    if not steps:
        out(opened.text)
        return
    node = edits.get(formats.parse(opened.kind, opened.text, file), steps)
    data = node.data()
    if isinstance(data, (dict, list)):
        import json

        out(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    else:
        from planeshift.secrets.scalars import plain_bytes

        out(("" if data is None else plain_bytes(data).decode("utf-8", "surrogateescape")) + "\n")


@click.command("edit")
@file_argument
@_age
@_format
def edit_(file: str, age: tuple[str, ...], kind: str) -> None:
    """Edit a file, or begin one. SOPS_EDITOR, VISUAL or EDITOR names the editor.

    The text is in a memory file system that only the editor sees, and that ends with it. An editor that fails, or
    changes nothing, leaves the file untouched; what did not change keeps its sealed form, so `git diff` shows what did.
    """
    from planeshift.secrets import private, work

    guard()
    program = private.editor()

    def ask(text: str, name: str) -> str:
        while True:
            text = private.edited(text, name, program)
            try:
                _valid(text, file, kind)
                return text
            except PlaneshiftError as error:
                if not sys.stdin.isatty():
                    raise
                view.problems(error.problems)
                click.confirm("Edit it again?", default=True, abort=True, err=True)

    view.tell(
        {"made": f"{file} is made", "changed": f"{file} is changed", "unchanged": "nothing changed"}[
            work.edit(file, ask, age=age, kind=kind)
        ]
    )


def _valid(text: str, file: str, kind: str) -> None:
    from planeshift.secrets import formats, sealed

    if text.strip():
        sealed.plain_text(kind or formats.of(file), text.encode("utf-8", "surrogateescape"), file)


@click.command("dec")
@file_argument
@_format
@click.option("--in-place", is_flag=True, help="Leave the file in the clear on disk. Seal it again with `enc`.")
def dec_(file: str, kind: str, in_place: bool) -> None:
    """Open a file: print it in the clear, or, with --in-place, leave it so."""
    from planeshift.secrets import files, work

    guard()
    opened = work.open_file(file, kind)
    doubt(opened.doubts)
    if not in_place:
        out(opened.text)
        return
    Path(file).chmod(0o600)
    files.replace(file, opened.text.encode("utf-8", "surrogateescape"), opened.before)
    view.tell(f"{file} is in the clear (0600). `planeshift secrets enc {file}` seals it again, with a new key.")


@click.command("set")
@file_argument
@click.argument("path")
@_format
@click.option("--json", "as_json", is_flag=True, help="The value is JSON: a number, true, false, null or a text.")
def set_(file: str, path: str, kind: str, as_json: bool) -> None:
    """Set one value, read from standard input (without its last line's end), or typed without echo.

    \b
      pwgen -s 32 1 | planeshift secrets set secrets/glance.yaml db.password

    A value is never an argument: arguments can be read by every user of the machine.
    """
    from planeshift.secrets import paths, work

    guard()
    steps = paths.parse(path)
    if sys.stdin.isatty():
        import getpass

        text = getpass.getpass(f"{path}: ")
    else:
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        text = text.removesuffix("\n")
    value: Any = text
    if as_json:
        value = _json(text)
    changed = work.set_value(file, steps, value, kind)
    view.tell(f"{path} is set" if changed else f"{path} is so already; nothing changed")


def _json(text: str) -> Any:
    import json

    try:
        value = json.loads(text)
    except ValueError:
        value = {}
    if isinstance(value, (dict, list)):
        raise PlaneshiftError(Problem("PS1013", "the value is not a JSON number, word or text"), exit_code=Exit.USAGE)
    return value


@click.command("unset")
@file_argument
@click.argument("path")
@_format
def unset_(file: str, path: str, kind: str) -> None:
    """Remove a value, or a whole mapping."""
    from planeshift.secrets import paths, work

    guard()
    work.unset_value(file, paths.parse(path), kind)
    view.tell(f"{path} is removed")


@click.command("diff")
@file_argument
@click.argument("revision", default="HEAD")
@click.option("--with", "other", default="", metavar="OTHER", help="Compare with this file, instead of with git's.")
@click.option("--show", is_flag=True, help="Show the values, too.")
@_format
def diff_(file: str, revision: str, other: str, show: bool, kind: str) -> None:
    """Show which values differ from those in git: + added, ~ changed, - removed."""
    from planeshift.secrets import history, work

    guard()
    now = work.open_file(file, kind)
    kind = now.kind
    if other:
        name, then = other, work.open_file(other, kind).text
    else:
        name = f"{file}@{revision}"
        then = history.opened(file, revision, kind)
    new, old = work.flat(now.text, kind, file), work.flat(then, kind, name)
    for mark, path in work.compare(old, new):
        colour = {"+": "green", "~": "yellow", "-": "red"}[mark]
        values = ""
        if show:
            values = ": " + " → ".join(repr(d[path]) for d in (old, new) if path in d)
        out(f"{view.paint(mark, colour)} {path}{values}\n")
