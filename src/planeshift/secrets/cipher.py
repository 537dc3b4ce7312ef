"""Values as SOPS seals them: AES-256-GCM, a random nonce of 32 bytes, the value's path as additional data.

Format: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, base64 with padding.
"""

from __future__ import annotations

import binascii
from os import urandom

from planeshift.secrets import scalars
from planeshift.secrets.nodes import Time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_PREFIX = "ENC[AES256_GCM,data:"


class Unopened(Exception):
    """A value that does not open: altered, moved, or of another key. Says what, never the value."""


def is_sealed(value: object) -> bool:
    """Whether a scalar looks like a sealed value."""
    return isinstance(value, str) and value.startswith(_PREFIX) and value.endswith("]")


def aead(key: bytes) -> AESGCM:
    """The cipher of a data key."""
    from cryptography.hazmat.bindings._rust import openssl  # what AESGCM is, at a third of the time to import

    cipher: AESGCM = openssl.aead.AESGCM(key)
    return cipher


def aad(path: tuple[str, ...]) -> bytes:
    """What a value is sealed to."""
    return (":".join(path) + ":").encode("utf-8", "surrogatepass")


def seal(cipher: AESGCM, value: object, associated: bytes, kind: str = "") -> str:
    """Seal a value with a fresh nonce. An empty text stays empty, as SOPS has it."""
    plain = scalars.plain_bytes(value)
    if not plain and isinstance(value, str):
        return ""
    nonce = urandom(32)
    out = cipher.encrypt(nonce, plain, associated)
    data, iv, tag = (binascii.b2a_base64(b, newline=False).decode() for b in (out[:-16], nonce, out[-16:]))
    return f"{_PREFIX}{data},iv:{iv},tag:{tag},type:{kind or scalars.kind(value)}]"


def unseal(cipher: AESGCM, token: str, associated: bytes) -> tuple[object, str]:
    """Open a sealed value: the value and its type. Raises Unopened."""
    if not is_sealed(token):
        raise Unopened("is not sealed")
    fields = token[len(_PREFIX) : -1].split(",")
    if len(fields) != 4 or [f[:n] for f, n in zip(fields[1:], (3, 4, 5), strict=True)] != ["iv:", "tag:", "type:"]:
        raise Unopened("is sealed in no known form")
    try:
        data, nonce, tag = (_base64(t) for t in (fields[0], fields[1][3:], fields[2][4:]))
        if len(tag) != 16 or not 8 <= len(nonce) <= 128:
            raise ValueError
        plain = cipher.decrypt(nonce, data + tag, associated)
    except ValueError:
        raise Unopened("is sealed in no known form") from None
    except Exception as error:  # InvalidTag, whose module is slow to import
        if type(error).__name__ != "InvalidTag":
            raise
        raise Unopened("does not open: it was altered, moved from another place, or sealed with another key") from None
    return _typed(plain, fields[3][5:]), fields[3][5:]


def _base64(text: str) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True) if text else b""


def _typed(plain: bytes, kind: str) -> object:
    try:
        if kind == "bytes":
            return plain.decode("utf-8", "surrogateescape")
        text = plain.decode("utf-8", "surrogateescape")
        if kind in ("str", "comment"):
            return text
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        if kind == "time":
            return Time(text)
    except (ValueError, KeyError):
        raise Unopened(f"is not of its type, {kind}") from None
    raise Unopened("is of an unknown type")
