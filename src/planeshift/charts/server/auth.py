"""Who may pull from and push to which tenant: nobody asked, basic, bearer (JWT, as ChartMuseum has it), Keystone."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any, Protocol

from planeshift.charts.server.routes import PULL

DEFAULT_TENANT = "repo"  # what tokens call the one tenant of a server without tenants
TOKEN_USER = "token"  # noqa: S105 - of basic authentication whose password is a token: what Helm can send
_TYPE = "artifact-repository"


class Authenticator(Protocol):
    """Answers whether a request may do something. May block."""

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        """None where it may; else the WWW-Authenticate header of the refusal."""


class Nobody:
    """Everything is allowed to everybody."""

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        return None


class Anonymous:
    """Pulling is allowed to everybody, the rest to whom another authenticator allows it."""

    def __init__(self, inner: Authenticator) -> None:
        self._inner = inner

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        return None if action == PULL else self._inner.challenge(headers, action, tenant)


class Basic:
    """One user with a password, who may do everything."""

    def __init__(self, user: str, password: str) -> None:
        self._expected = f"{user}:{password}".encode()

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        given = basic(headers)
        if given is not None and hmac.compare_digest(f"{given[0]}:{given[1]}".encode(), self._expected):
            return None
        return 'Basic realm="ChartMuseum"'


class Bearer:
    """JSON web tokens that name what they allow: `access: [{type: artifact-repository, name: TENANT, actions: [pull]}]`."""

    def __init__(self, realm: str, service: str, certificate: bytes, search: str = "") -> None:
        """`certificate`: PEM of the authorization server's certificate or public key; `search`: JMESPath to the actions.

        Raises ValueError where the PEM or the path is none.
        """
        import jmespath

        self._realm, self._service = realm, service
        self._key, self._algorithms = public_key(certificate)
        self._search = search
        try:
            jmespath.compile(search.replace("$NAMESPACE", "x").replace("$ACCESS_ENTRY_TYPE", _TYPE) or "@")
        except jmespath.exceptions.JMESPathError as error:
            raise ValueError(f"no JMESPath: {error}") from None

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        tenant = tenant or DEFAULT_TENANT
        if action in self._allowed(token_of(headers), tenant):
            return None
        scope = f"{_TYPE}:{tenant}:{action}"
        return f'Bearer realm="{self._realm}",service="{self._service}",scope="{scope}"'

    def _allowed(self, token: str, tenant: str) -> frozenset[str]:
        import jwt

        try:
            claims = jwt.decode(token, self._key, algorithms=self._algorithms, options={"verify_aud": False})
        except (jwt.PyJWTError, ValueError):
            return frozenset()
        return frozenset(self._searched(claims, tenant) if self._search else _access(claims, tenant))

    def _searched(self, claims: Any, tenant: str) -> list[str]:
        import jmespath

        # Tenants are letters, digits and `._-/` only, so none can leave the literal that it is put into.
        path = self._search.replace("$NAMESPACE", tenant).replace("$ACCESS_ENTRY_TYPE", _TYPE)
        try:
            found = jmespath.search(path, claims)
        except jmespath.exceptions.JMESPathError:
            return []
        return [a for a in found if isinstance(a, str)] if isinstance(found, list) else []


def _access(claims: Any, tenant: str) -> list[str]:
    allowed: list[str] = []
    for entry in _list(claims.get("access")):
        if isinstance(entry, dict) and entry.get("type") == _TYPE and entry.get("name") == tenant:
            allowed += [a for a in _list(entry.get("actions")) if isinstance(a, str)]
    return allowed


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def public_key(pem: bytes) -> tuple[Any, list[str]]:
    """The public key of a PEM certificate or key, and the algorithms that go with it. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    key: Any = load_pem_x509_certificate(pem).public_key() if b"CERTIFICATE" in pem else load_pem_public_key(pem)
    if isinstance(key, rsa.RSAPublicKey):
        return key, ["RS256", "RS384", "RS512"]
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key, ["ES256", "ES384", "ES512"]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key, ["EdDSA"]
    raise ValueError("neither an RSA, an EC nor an Ed25519 key")


def basic(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """User and password of basic authentication."""
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, separator, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return (user, password) if separator else None


def token_of(headers: Mapping[str, str]) -> str:
    """The token that a request bears: as a bearer, or as the password of the user `token`, which is what Helm can send."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    given = basic(headers)
    return given[1] if given is not None and given[0] == TOKEN_USER else ""
