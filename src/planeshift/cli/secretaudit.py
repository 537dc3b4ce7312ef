"""What history says of secrets; files of an older tool."""

from __future__ import annotations

import json

import click

from planeshift.cli import view
from planeshift.cli.secrets import age_option, format_option, guard, out, vault_option
from planeshift.errors import Exit

_release = click.option(
    "--release",
    default="",
    metavar="NAME",
    help="The release, as helm-barbican named it (default: the file's directory).",
)


@click.command("audit")
@click.argument("directory", default=".")
@click.option("--older-than", type=click.IntRange(1), metavar="DAYS", help="Report values unchanged for longer, too.")
@click.option("--proof", is_flag=True, help="Print, for a nonce used twice, the XOR of the two texts.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def audit_(directory: str, older_than: int | None, proof: bool, output: str) -> int:
    """Walk a repository's whole history, and report what it gives away.

    \b
      nonce        two ciphertexts under one nonce: their secrets are to be taken for known
      plaintext    a file that is sealed, or shall be, was committed in the clear
      put-back     an older version was committed over a newer one
      unopenable   no key at hand opens the file
      old          values that have not changed for longer than --older-than

    Exit code 1 where anything is found.
    """
    import time

    from planeshift.secrets import audit

    guard()
    found = audit.audit(directory, older_than=older_than or 0, now=int(time.time()))
    if output == "json":
        rows = [{**f.__dict__, "proof": f.proof.hex() if proof else None} for f in found]
        click.echo(json.dumps(rows, indent=2))
    for f in found if output == "table" else ():
        where = " ".join(c[:12] for c in f.commits)
        click.echo(f"{view.paint(f.kind, 'red'):10}  {f.path}  {where}".rstrip())
        click.echo(f"            {f.words}")
        click.echo(f"            hint: {f.hint}")
        if proof and f.proof:
            for at in range(0, len(f.proof), 16):
                row = f.proof[at : at + 16]
                shown = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
                click.echo(f"            {at:06x}  {row.hex(' '):47}  {shown}")
    words = ", ".join(f"{n} {kind}" for kind, n in audit.total(found).items())
    view.tell(words or "nothing is found")
    return Exit.FAILED if found else Exit.DONE


@click.command("migrate")
@click.argument("file")
@_release
@age_option
@vault_option
@format_option
@click.option("--stdout", is_flag=True, help="Print the old file in the clear; change nothing.")
def migrate_(file: str, release: str, age: tuple[str, ...], vault: tuple[str, ...], kind: str, stdout: bool) -> None:
    """Turn a file of helm-barbican (CERN's plugin of 2019) into a sealed one, in place.

    Its key is looked up in Barbican, by the release's name. Its secrets stay what they are: where `audit` finds two
    versions under one nonce, change them.
    """
    from planeshift.secrets import cern, files, work

    guard()
    before = files.read(file)
    text = cern.fetch(release or cern.release_of(file)).open(before, file)
    if stdout:
        out(text.decode("utf-8", "surrogateescape"))
        return
    files.replace(file, work.encrypt(file, text, kind=kind, age=age, vault=vault), before)
    view.tell(f"{file} is sealed in SOPS's format. `planeshift secrets audit` tells whether its old form gave it away.")
