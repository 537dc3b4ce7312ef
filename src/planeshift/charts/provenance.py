"""Provenance files, as Helm makes and reads them: a chart's metadata and its archive's digest, signed with OpenPGP.

OpenPGP is Sequoia's business (pysequoia). Source of the format: helm.sh/docs/topics/provenance and Helm's provenance
package: YAML of the metadata, a line `...`, YAML of `files: {NAME-VERSION.tgz: "sha256:…"}`, clear-signed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from planeshift.charts import metadata
from planeshift.charts.metadata import Invalid

if TYPE_CHECKING:
    from pysequoia import Cert

MAX_BYTES = 1024 * 1024
_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = b"\n-----BEGIN PGP SIGNATURE-----"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Statement:
    """What a provenance file says, signed or not."""

    name: str
    version: str
    files: dict[str, str]  # file → "sha256:…"

    @property
    def file(self) -> str:
        """The archive's name."""
        return f"{self.name}-{self.version}.tgz"

    def fits(self, chart: bytes) -> bool:
        """Whether it speaks of this archive."""
        return self.files.get(self.file) == f"sha256:{hashlib.sha256(chart).hexdigest()}"


@dataclass(frozen=True)
class Signer:
    """Whose key made a good signature."""

    fingerprint: str
    user: str


def parse(text: bytes) -> Statement:
    """Read a provenance file; its signature is not looked at. Raises Invalid."""
    normal = text.replace(b"\r\n", b"\n")
    if not normal.startswith(_BEGIN + b"\n") or _SIGNATURE not in normal or len(text) > MAX_BYTES:
        raise Invalid("invalid provenance file")
    body = normal[: normal.index(_SIGNATURE)].split(b"\n\n", 1)[-1]
    return _statement(re.sub(rb"^- ", b"", body, flags=re.MULTILINE))


def _statement(body: bytes) -> Statement:
    described, separator, sums = body.partition(b"\n...\n")
    try:
        found = metadata.parse(described)
        files = yaml.load(sums, Loader=_LOADER) if separator else None  # noqa: S506 - a safe loader
        digests = files["files"] if isinstance(files, dict) else None
        if not isinstance(digests, dict) or not all(isinstance(x, str) for pair in digests.items() for x in pair):
            raise TypeError("files")
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError):
        raise Invalid("invalid provenance file") from None
    return Statement(found["name"], found["version"], digests)


def verify(text: bytes, chart: bytes | None, keyring: Sequence[Cert]) -> Signer:
    """Whose good signature a provenance file bears, of this chart (None: of any). Raises Invalid with the reason."""
    from pysequoia import verify as verify_signature

    parse(text)
    by_id: dict[str, Cert] = {str(c.fingerprint): c for c in keyring}
    try:
        outcome = verify_signature(bytes=text, store=lambda _: list(keyring))
    except Exception as error:  # pysequoia raises what Rust says
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Invalid(f"the signature is not good: {said[:200]}") from None
    good = [s for s in outcome.valid_sigs if str(s.certificate) in by_id]
    if not good or outcome.bytes is None:
        raise Invalid("the signature is not by a key of the keyring")
    statement = _statement(bytes(outcome.bytes).replace(b"\r\n", b"\n"))  # what was signed, and nothing around it
    if chart is not None and not statement.fits(chart):
        raise Invalid(f"the chart is not the one that was signed as {statement.file}")
    cert = by_id[str(good[0].certificate)]
    users = [str(u) for u in cert.user_ids]
    return Signer(str(cert.fingerprint).upper(), users[0] if users else "")


def read_keyring(path: Path) -> list[Cert]:
    """The certificates of a keyring: binary as gpg exports it and Helm uses it, or armoured. Raises Invalid."""
    from pysequoia import Cert

    try:
        return list(Cert.split_bytes(path.read_bytes()))
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:
        raise Invalid(f"{path} is not an OpenPGP keyring: {str(error).splitlines()[0][:200]}") from None


def statement(archive_name: str, chart: bytes, chart_yaml: bytes) -> bytes:
    """What is to be signed of a chart."""
    digest = hashlib.sha256(chart).hexdigest()
    return chart_yaml.rstrip(b"\n") + b"\n\n...\n" + f"files:\n  {archive_name}: sha256:{digest}\n".encode()


def sign(chart: bytes, chart_yaml: bytes, archive_name: str, secret_key: bytes, passphrase: str | None) -> bytes:
    """A provenance file of a chart, by an OpenPGP secret key (as `gpg --export-secret-keys` gives it). Raises Invalid."""
    from pysequoia import SignatureMode, Tsk
    from pysequoia import sign as make_signature

    try:
        key = Tsk.from_bytes(secret_key)
        signer = key.signer(passphrase) if passphrase else key.signer()
        return bytes(make_signature(signer, statement(archive_name, chart, chart_yaml), mode=SignatureMode.CLEAR))
    except Exception as error:
        raise Invalid(f"the key cannot sign: {(str(error).splitlines() or [''])[0][:200]}") from None
