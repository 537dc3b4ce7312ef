"""chart package, sign, verify, push, pull."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from planeshift.app import charts as app
from planeshift.cli import view
from planeshift.cli.chart import connected, repository_options
from planeshift.errors import Exit, PlaneshiftError, Problem

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_HERE = click.Path(file_okay=False, path_type=Path)
_OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["text", "json", "name"]), default="text", help="How to print it."
)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PlaneshiftError(Problem("PS105", f"{path}: {error.strerror}")) from error


@click.command(short_help="Pack a chart's directory; the same tree gives the same bytes.")
@click.argument("directory", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-d", "--destination", type=_HERE, default=Path(), help="Where to write the archive.")
@click.option("--version", "version_", default="", help="Instead of Chart.yaml's version.")
@click.option("--app-version", default="", help="Instead of Chart.yaml's appVersion.")
@_OUTPUT
def package(directory: tuple[Path, ...], destination: Path, version_: str, app_version: str, output: str) -> int:
    """Pack charts' directories into archives, as `helm package` does, and judge them as the server would.

    No times, owners or modes of this machine are in an archive: packing the same tree twice, on whatever machine,
    gives the same digest. .helmignore is heeded; dependencies must be in charts/.
    """
    import hashlib

    from planeshift.charts import tree

    for place in directory:
        with app.telling():
            files = tree.read(place)
            if version_ or app_version:
                files["Chart.yaml"] = tree.with_version(files["Chart.yaml"], version_, app_version)
            name, packed = tree.package(files)
        app.save(destination / name, packed)
        digest = f"sha256:{hashlib.sha256(packed).hexdigest()}"
        if output == "json":
            print(json.dumps({"file": str(destination / name), "digest": digest}))
        else:
            print(str(destination / name) if output == "name" else f"{destination / name}  {digest}")
    return Exit.DONE


@click.command(short_help="Write the provenance of an archive, signed.")
@click.argument("archive", nargs=-1, required=True, type=_FILE)
@click.option("--key-file", required=True, type=_FILE, help="OpenPGP secret key, as gpg --export-secret-keys gives it.")
@click.option("--passphrase-file", type=_FILE, help="Holds the key's passphrase; a terminal is asked otherwise.")
def sign(archive: tuple[Path, ...], key_file: Path, passphrase_file: Path | None) -> int:
    """Write ARCHIVE.prov beside each archive: its metadata and digest, signed, as `helm package --sign` does.

    Helm 3 verifies RSA keys only.
    """
    from planeshift.charts import archive as archives
    from planeshift.charts import provenance

    passphrase = _read(passphrase_file).decode().strip("\n") if passphrase_file else None
    for path in archive:
        data = _read(path)
        with app.telling():
            chart = archives.load(data)
        if path.name != f"{chart.name}-{chart.version}.tgz":
            raise PlaneshiftError(Problem("PS430", f"{path.name} must be called {chart.name}-{chart.version}.tgz"))
        with app.telling("PS432"):
            try:
                signed = provenance.sign(data, chart.files["Chart.yaml"], path.name, _read(key_file), passphrase)
            except ValueError:
                if passphrase is not None or not sys.stdin.isatty():
                    raise
                passphrase = click.prompt("Passphrase", hide_input=True, err=True)
                signed = provenance.sign(data, chart.files["Chart.yaml"], path.name, _read(key_file), passphrase)
        app.save(path.with_name(path.name + ".prov"), signed)
        print(f"{path}.prov")
    return Exit.DONE


@click.command(short_help="Check an archive and its provenance.")
@click.argument("archive", nargs=-1, required=True, type=_FILE)
@click.option("--keyring", type=_FILE, help="OpenPGP keys that are trusted; default: ~/.gnupg/pubring.gpg.")
def verify(archive: tuple[Path, ...], keyring: Path | None) -> int:
    """Check that archives are charts, and that ARCHIVE.prov beside each is of it and signed by a trusted key."""
    from planeshift.charts import archive as archives
    from planeshift.charts import provenance

    keys = app.keyring(keyring)
    for path in archive:
        data = _read(path)
        prov = path.with_name(path.name + ".prov")
        if not prov.is_file():
            raise PlaneshiftError(Problem("PS432", f"there is no {prov}"))
        with app.telling():
            archives.load(data)
        with app.telling("PS432"):
            signer = provenance.verify(_read(prov), data, keys)
        print(f"{path}: signed by {signer.user or 'an unnamed key'} ({signer.fingerprint})")
    return Exit.DONE


@click.command(short_help="Upload archives, with their provenance.")
@click.argument("archive", nargs=-1, required=True, type=_FILE)
@repository_options
def push(archive: tuple[Path, ...], **options: Any) -> int:
    """Upload archives to a repository, and ARCHIVE.prov where it lies beside one.

    A version that is there already is not written over. Over HTTP, ChartMuseum's API is spoken; oci:// is a registry.
    """
    from planeshift.charts import archive as archives

    remote = connected(options)
    for path in archive:
        data = _read(path)
        prov = path.with_name(path.name + ".prov")
        with app.telling():
            chart = archives.load(data)
            remote.push(chart.name, chart.version, data, _read(prov) if prov.is_file() else None)
        view.tell(f"pushed {chart.name} {chart.version} to {remote.url}")
    return Exit.DONE


@click.command(short_help="Download a chart.")
@click.argument("name")
@click.option("--version", "version_", default="", metavar="RANGE", help="A version or a range; default: the newest.")
@click.option("-d", "--destination", type=_HERE, default=Path(), help="Where to write it.")
@click.option("--prov", is_flag=True, help="Its provenance, too.")
@click.option("--verify", "verified", is_flag=True, help="Check its provenance before it is written.")
@click.option("--keyring", type=_FILE, help="OpenPGP keys that are trusted; default: ~/.gnupg/pubring.gpg.")
@repository_options
def pull(
    name: str, version_: str, destination: Path, prov: bool, verified: bool, keyring: Path | None, **options: Any
) -> int:
    """Download a chart from a repository, checked against the digest that its index states."""
    import hashlib

    from planeshift.charts import archive as archives
    from planeshift.charts import provenance

    remote = connected(options)
    offer = app.pick(remote, name, version_)
    with app.telling():
        data = remote.fetch(offer)
        signature = remote.fetch_provenance(offer) if prov or verified else None
        if offer.digest and hashlib.sha256(data).hexdigest() != offer.digest:
            raise PlaneshiftError(
                Problem("PS437", f"{name} {offer.version} is not what the index of {remote.url} states")
            )
        chart = archives.load(data)
    if (chart.name, chart.version) != (offer.name, offer.version):
        raise PlaneshiftError(Problem("PS430", f"{remote.url} gives {chart.name} {chart.version} for it"))
    if verified:
        if signature is None:
            raise PlaneshiftError(Problem("PS432", f"{remote.url} has no provenance of {name} {offer.version}"))
        with app.telling("PS432"):
            signer = provenance.verify(signature, data, app.keyring(keyring))
        view.tell(f"signed by {signer.user or 'an unnamed key'} ({signer.fingerprint})")
    file = destination / f"{offer.name}-{offer.version}.tgz"
    app.save(file, data)
    if signature is not None:
        app.save(file.with_name(file.name + ".prov"), signature)
    print(file)
    return Exit.DONE
