"""Passwords, keys and trial certificates from the system's randomness. Implements `ports.Maker`."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Sequence

from planeshift.catalog.spec import Secret, SecretValue


class RandomMaker:
    """Makes secrets that nobody can guess."""

    def make(self, secret: Secret, names: Sequence[str]) -> SecretValue:
        if secret.kind == "password":
            return secrets.token_urlsafe(32)
        if secret.kind == "fernet-key":
            return _fernet_key()
        if secret.kind == "fernet-keys":
            # 0 is staged, the highest is primary: https://docs.openstack.org/keystone/latest/admin/fernet-token-faq.html
            return {"0": _fernet_key(), "1": _fernet_key()}
        if secret.kind == "trial-tls":
            return _trial(names)
        raise ValueError(f"{secret.name} comes from the operator")


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _trial(names: Sequence[str]) -> dict[str, str]:
    """A certificate authority and a certificate for `names`, a year long."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    def subject(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])

    def alternative(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    def pem(key: ec.EllipticCurvePrivateKey) -> str:
        form, fmt = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return key.private_bytes(form, fmt, serialization.NoEncryption()).decode()

    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = subject("Planeshift trial authority")

    def builder(who: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=365))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    usage = {"digital_signature": True, "content_commitment": False, "key_encipherment": False}
    usage |= {"data_encipherment": False, "key_agreement": False, "encipher_only": False, "decipher_only": False}
    authority_certificate = (
        builder(authority, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    certificate = (
        builder(subject(names[0]), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage, key_cert_sign=False, crl_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
        .add_extension(x509.SubjectAlternativeName([alternative(n) for n in names]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return {
        "ca_certificate": authority_certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "key": pem(key),
    }
