"""Recipients, identities and stanzas of keys that Barbican keeps."""

from __future__ import annotations

import binascii

from planeshift.secrets.barbican import bech32

NAME = "barbican"
_VERSION = b"\x01"
_INFO = b"planeshift age-plugin-barbican v1\0"


class Refused(Exception):
    """What the plugin says when it does not wrap or unwrap; never holds a secret."""


class Recipient:
    """For whom a file key is sealed: the key's UUID in Barbican, its public half, what it is for."""

    __slots__ = ("public", "purpose", "uuid")

    def __init__(self, uuid_: str, public: bytes, purpose: str) -> None:
        self.uuid, self.public, self.purpose = uuid_, public, purpose

    @classmethod
    def parse(cls, text: str) -> Recipient:
        """Read `age1barbican1…`. Raises Refused."""
        prefix, data = _decoded(text)
        if prefix != f"age1{NAME}" or len(data) < 49 or data[:1] != _VERSION:
            raise Refused(f"{text[:30]}… is no recipient of age-plugin-barbican")
        return cls(_uuid(data[1:17]), data[17:49], _text(data[49:]))

    def __str__(self) -> str:
        data = _VERSION + _uuid_bytes(self.uuid) + self.public + self.purpose.encode()
        return bech32.encode(f"age1{NAME}", data)


def _decoded(text: str) -> tuple[str, bytes]:
    try:
        return bech32.decode(text)
    except ValueError:
        raise Refused(f"{text[:30]}… is not well-formed: it was cut off or mistyped") from None


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused("a purpose is not text") from None


def identity(purpose: str = "") -> str:
    """The identity that uses keys of this purpose alone; of any, where it is empty. Holds no secret."""
    return bech32.encode(f"age-plugin-{NAME}-", _VERSION + purpose.encode()).upper()


def purpose_of(text: str) -> str:
    """What an identity may be used for; empty for anything. Raises Refused."""
    prefix, data = _decoded(text)
    if prefix != f"age-plugin-{NAME}-" or data[:1] != _VERSION:
        raise Refused("an identity of another plugin, or of a newer version of this one")
    return _text(data[1:])


class Stanza:
    """What an age file holds for one of our recipients."""

    __slots__ = ("body", "ephemeral", "purpose", "uuid")

    def __init__(self, uuid_: str, purpose: str, ephemeral: bytes, body: bytes) -> None:
        self.uuid, self.purpose, self.ephemeral, self.body = uuid_, purpose, ephemeral, body

    def arguments(self) -> list[str]:
        """The words behind the stanza's name."""
        parts = (_uuid_bytes(self.uuid), self.purpose.encode() or b"\0", self.ephemeral)
        return [encoded(p) for p in parts]

    @classmethod
    def parse(cls, arguments: list[str], body: bytes) -> Stanza:
        """Raises Refused where a stanza of ours is not well-formed."""
        try:
            key, purpose, ephemeral = (decoded(a) for a in arguments)
            if len(ephemeral) != 32 or len(body) != 32:
                raise ValueError
            return cls(_uuid(key), _text(purpose).removeprefix("\0"), ephemeral, body)
        except ValueError:
            raise Refused("the file's key is not well-formed: it was altered") from None


def encoded(data: bytes) -> str:
    """Base64 without padding."""
    return binascii.b2a_base64(data, newline=False).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The reverse of `encoded`; canonical forms alone. Raises ValueError."""
    data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True) if text else b""
    if encoded(data) != text:
        raise ValueError("base64")
    return data


def _uuid(data: bytes) -> str:
    """A UUID's text; the module `uuid` would take longer to import than all that is done with it. Raises ValueError."""
    if len(data) != 16:
        raise ValueError("a UUID has 16 bytes")
    digits = data.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _uuid_bytes(text: str) -> bytes:
    data = bytes.fromhex(text.replace("-", ""))
    _uuid(data)
    return data


def _wrapping_key(shared: bytes, ephemeral: bytes, public: bytes, key: str, purpose: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = _INFO + _uuid_bytes(key) + purpose.encode()
    return HKDF(SHA256(), 32, salt=ephemeral + public, info=info).derive(shared)


def wrap(recipient: Recipient, file_key: bytes) -> Stanza:
    """Seal a file key. Needs no Barbican. Raises Refused for a public key that is none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    ours = X25519PrivateKey.generate()
    ephemeral = ours.public_key().public_bytes_raw()
    try:
        shared = ours.exchange(X25519PublicKey.from_public_bytes(recipient.public))
    except ValueError:
        raise Refused("a recipient's public key is none") from None
    key = _wrapping_key(shared, ephemeral, recipient.public, recipient.uuid, recipient.purpose)
    body = ChaCha20Poly1305(key).encrypt(b"\0" * 12, file_key, None)
    return Stanza(recipient.uuid, recipient.purpose, ephemeral, body)


def unwrap(stanza: Stanza, private: bytes) -> bytes:
    """Open a file key with the private half. Raises Refused where it does not open."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    ours = X25519PrivateKey.from_private_bytes(private)
    try:
        shared = ours.exchange(X25519PublicKey.from_public_bytes(stanza.ephemeral))
        public = ours.public_key().public_bytes_raw()
        key = _wrapping_key(shared, stanza.ephemeral, public, stanza.uuid, stanza.purpose)
        return ChaCha20Poly1305(key).decrypt(b"\0" * 12, stanza.body, None)
    except (InvalidTag, ValueError):
        raise Refused("the file's key does not open: it was altered, or Barbican answered with another's") from None


def new_private() -> bytes:
    """A new private half."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.generate().private_bytes_raw()


def public_of(private: bytes) -> bytes:
    """The public half."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
