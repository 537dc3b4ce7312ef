"""Files of cernops/helm-barbican (2019): read, turned into SOPS's format, and written once at most.

A file is the base64 of one AES-256-GCM ciphertext with its tag. Key and nonce are both fixed, kept as the text `key\\nnonce`
(each base64) in an opaque secret of Barbican's that is named after the release. So a second version under one secret gives
away the XOR of the two texts: such a file is not encrypted any more.
"""

from __future__ import annotations

import binascii
import os
from pathlib import Path

from planeshift.errors import PlaneshiftError, Problem
from planeshift.secrets.barbican.session import Failed, Session

_SHORTEST = 16  # a tag, and nothing in it


def ciphertext(content: bytes) -> bytes | None:
    """The ciphertext of what may be such a file: one word of base64, of a tag's length at least. No proof of it."""
    text = content.strip()
    if len(text) % 4 or not text or b"\n" in text:
        return None
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return found if len(found) > _SHORTEST else None


class Key:
    """Key and nonce of a release."""

    def __init__(self, payload: bytes, release: str) -> None:
        self.release = release
        try:
            key, nonce = (binascii.a2b_base64(p, strict_mode=True) for p in payload.strip().split(b"\n"))
            if len(key) != 32 or len(nonce) != 12:
                raise ValueError
        except ValueError:
            hint = "helm-barbican keeps `key\\nnonce` in a secret named after the release."
            raise PlaneshiftError(
                Problem("PS1020", f"the secret of {release} is not helm-barbican's", hint=hint)
            ) from None
        self._key, self._nonce = key, nonce

    def open(self, content: bytes, path: str) -> bytes:
        """The text of a file. That it opens is the proof that it is one. Raises PlaneshiftError (PS1020)."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        sealed = ciphertext(content)
        try:
            if sealed is not None:
                return AESGCM(self._key).decrypt(self._nonce, sealed, None)
        except InvalidTag:
            pass
        hint = "`--release NAME` names the secret; it was the directory's name where none was given."
        what = f"{path} is no file of helm-barbican's under the key of {self.release}, or was altered"
        raise PlaneshiftError(Problem("PS1020", what, hint=hint))

    def seal(self, content: bytes) -> bytes:
        """A file. To be called once in the life of a key: see `write_once`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return binascii.b2a_base64(AESGCM(self._key).encrypt(self._nonce, content, None), newline=False)


def release_of(path: str) -> str:
    """The release that helm-barbican took a file for: the name of its directory."""
    return Path(path).resolve().parent.name


def _named(session: Session, release: str) -> list[str]:
    from urllib.parse import quote

    answer = session.request("GET", f"/v1/secrets?limit=10&name={quote(release, safe='')}")
    return [str(s["secret_ref"]).rpartition("/")[2] for s in answer.get("secrets", []) if s.get("name") == release]


def fetch(release: str) -> Key:
    """A release's key, of Barbican. Raises PlaneshiftError (PS1017, PS1020)."""
    try:
        session = Session()
        found = _named(session, release)
        if not found:
            hint = "Keys are seen by their own project alone."
            raise PlaneshiftError(Problem("PS1020", f"Barbican has no secret named {release}", hint=hint))
        return Key(session.request("GET", f"/v1/secrets/{found[0]}/payload", accept="text/plain") or b"", release)
    except Failed as error:
        raise PlaneshiftError(Problem("PS1017", str(error))) from error


def write_once(content: bytes, release: str) -> bytes:
    """A file in the old format, under a key that is made for it and was never used: for a tool that reads nothing else.

    Raises PlaneshiftError (PS1021) where the release has a key already, since a second file under it gives both away.
    """
    try:
        session = Session()
        if _named(session, release):
            hint = "Choose a new release name, or, better, seal in SOPS's format: `planeshift secrets enc`."
            raise PlaneshiftError(
                Problem("PS1021", f"the key of {release} was used before, with its only nonce", hint=hint)
            )
        payload = b"\n".join(binascii.b2a_base64(os.urandom(n), newline=False) for n in (32, 12))
        body = {
            "name": release,
            "secret_type": "opaque",
            "algorithm": "aes",
            "bit_length": 256,
            "mode": "gcm",
            "payload": payload.decode(),
            "payload_content_type": "text/plain",
        }
        session.request("POST", "/v1/secrets", body)
        if len(_named(session, release)) != 1:  # somebody else did the same at the same time
            raise PlaneshiftError(Problem("PS1021", f"another key of {release} was made meanwhile", hint="Try again."))
    except Failed as error:
        raise PlaneshiftError(Problem("PS1017", str(error))) from error
    return Key(payload, release).seal(content)


def xor(one: bytes, other: bytes) -> bytes:
    """The XOR of two ciphertexts, tags left out: that of their texts, if key and nonce were the same."""
    length = min(len(one), len(other)) - _SHORTEST
    return bytes(a ^ b for a, b in zip(one[:length], other[:length], strict=True))


def same_nonce(one: bytes, other: bytes) -> bool:
    """Whether two different ciphertexts are surely of one key and nonce.

    The XOR of two texts in ASCII has no high bit, and texts that begin alike give zeros: so many bits that are as expected.
    Two unrelated ciphertexts would look so once in 2^40 times.
    """
    mixed = xor(one, other)
    if one == other:
        return False
    alike = next((at for at, byte in enumerate(mixed) if byte), len(mixed))
    ascii_ = not any(byte & 0x80 for byte in mixed)
    return (len(mixed) + 7 * alike if ascii_ else 8 * alike) >= 40
