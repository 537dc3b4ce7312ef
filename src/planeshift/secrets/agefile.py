"""The age files that hold data keys, as far as it takes to open one without starting age-plugin-barbican.

A data key fits one chunk. Whatever else an age file may be is left to pyrage. Format: C2SP age.md.
"""

from __future__ import annotations

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    Stanza = tuple[str, list[str], bytes]

_BEGIN, _END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"


class NotAge(ValueError):
    """Not an age file of this kind, or one that was altered."""


def stanzas(armored: bytes) -> tuple[list[Stanza], bytes, bytes, bytes]:
    """The stanzas of an armored file, its header as it is authenticated, the header's MAC, and the payload."""
    from planeshift.secrets.barbican.key import decoded

    lines = armored.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise NotAge("armor")
    try:
        data = binascii.a2b_base64(b"".join(lines[1:-1]), strict_mode=True)
        end = data.index(b"\n--- ") + 4
        stop = data.index(b"\n", end)
        mac = decoded(data[end + 1 : stop].decode())
        head = data[: end - 4].decode("ascii").split("\n")
    except ValueError as error:
        raise NotAge("header") from error
    if head[0] != "age-encryption.org/v1":
        raise NotAge("version")
    found: list[Stanza] = []
    bodies: list[str] = []
    for line in head[1:]:
        if line.startswith("-> "):
            words = line.split(" ")
            found.append((words[1], words[2:], b""))
            bodies.append("")
        elif bodies:
            bodies[-1] += line
        else:
            raise NotAge("stanza")
    try:
        whole = [(name, arguments, decoded(b)) for (name, arguments, _), b in zip(found, bodies, strict=True)]
    except ValueError as error:
        raise NotAge("stanza") from error
    return whole, data[:end], mac, data[stop + 1 :]


def opened(file_key: bytes, header: bytes, mac: bytes, payload: bytes) -> bytes:
    """The content, of at most one chunk, with its file key. Raises NotAge where anything was altered."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    check = HMAC(HKDF(SHA256(), 32, salt=b"", info=b"header").derive(file_key), SHA256())
    check.update(header[:-1] if header.endswith(b" ") else header)
    if len(mac) != 32 or not _equal(check.finalize(), mac) or not 32 <= len(payload) <= 65536 + 32:
        raise NotAge("altered")
    key = HKDF(SHA256(), 32, salt=payload[:16], info=b"payload").derive(file_key)
    try:
        return ChaCha20Poly1305(key).decrypt(b"\0" * 11 + b"\1", payload[16:], None)
    except InvalidTag as error:
        raise NotAge("altered") from error


def _equal(one: bytes, other: bytes) -> bool:
    import hmac

    return hmac.compare_digest(one, other)
