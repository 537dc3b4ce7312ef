"""Who may do what: basic, bearer tokens as ChartMuseum has them, TLS with clients' certificates."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from chartrig import Server, make
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def certificate(
    key: Any, name: str, issuer: x509.Certificate | None = None, issuer_key: Any = None
) -> x509.Certificate:
    """A certificate of a key, self-signed or by an issuer."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(issuer_key or key, hashes.SHA256())
    )


def pem(key: Any) -> bytes:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, none))


def test_basic(serve: Callable[..., Server]) -> None:
    server = serve("--auth", "basic", "--basic-auth-user", "jo", env={"BASIC_AUTH_PASS": "pw"})
    refused = server.post("/api/charts", make())
    assert (refused.status, refused.json) == (401, {"error": "unauthorized"})
    assert refused.headers["www-authenticate"] == 'Basic realm="ChartMuseum"'
    for wrong in (basic("jo", "no"), basic("", ""), "Basic !!", "Basic", "Bearer pw", basic("jo", "pw")[:-4]):
        assert server.post("/api/charts", make(), authorization=wrong).status == 401
    assert server.post("/api/charts", make(), authorization=basic("jo", "pw")).status == 201
    for path in (
        "/",
        "/index.yaml",
        "/charts/alpha-1.0.0.tgz",
        "/api/charts",
        "/-/charts/alpha",
        "/v2/",
        "/v2/alpha/tags/list",
    ):
        assert server.get(path).status == 401, path
        assert server.get(path, authorization=basic("jo", "pw")).status == 200, path
    assert server.get("/health").status == server.get("/info").status == 200


def test_anonymous_reading(serve: Callable[..., Server]) -> None:
    options = ("--auth", "basic", "--basic-auth-user", "jo", "--auth-anonymous-get")
    server = serve(*options, env={"BASIC_AUTH_PASS": "pw"})
    assert server.get("/index.yaml").status == 200
    assert server.post("/api/charts", make()).status == 401
    assert server.ask("DELETE", "/api/charts/alpha/1.0.0").status == 401
    assert server.ask("POST", "/v2/alpha/blobs/uploads/").status == 401
    assert server.get("/v2/alpha/blobs/uploads/x").status == 401


@pytest.fixture(params=["rsa", "ec"])
def authority(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str, Path]:
    """An authorization server's key, its algorithm, and the file of its certificate."""
    key: Any = (
        rsa.generate_private_key(65537, 2048) if request.param == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    path = tmp_path / "authority.pem"
    path.write_bytes(certificate(key, "authority").public_bytes(serialization.Encoding.PEM))
    return key, "RS256" if request.param == "rsa" else "ES256", path


def test_bearer_tokens_allow_what_they_name(serve: Callable[..., Server], authority: tuple[Any, str, Path]) -> None:
    key, algorithm, path = authority
    server = serve(
        *("--depth", "2", "--auth", "bearer", "--auth-realm", "https://auth.example.org/token"),
        *("--auth-service", "charts.example.org", "--auth-cert-path", str(path)),
    )

    def token(name: str = "org/one", actions: tuple[str, ...] = ("pull", "push"), **more: Any) -> str:
        access = [{"type": more.pop("type", "artifact-repository"), "name": name, "actions": list(actions)}]
        claims = {"exp": int(time.time()) + 60, "access": access, **more}
        return "Bearer " + jwt.encode(claims, more.pop("key", None) or key, algorithm)

    refused = server.get("/org/one/index.yaml")
    assert refused.headers["www-authenticate"] == (
        'Bearer realm="https://auth.example.org/token",service="charts.example.org",scope="artifact-repository:org/one:pull"'
    )
    assert server.post("/api/org/one/charts", make(), authorization=token()).status == 201
    assert server.get("/org/one/index.yaml", authorization=token(actions=("pull",))).status == 200
    as_password = basic("token", token()[7:])
    assert server.get("/org/one/index.yaml", authorization=as_password).status == 200
    other = rsa.generate_private_key(65537, 2048)
    for wrong in (
        token("org/two"),
        token(actions=("pull",)),
        token(type="other"),
        token(exp=int(time.time()) - 60),
        "Bearer " + jwt.encode({"access": []}, other, "RS256"),
        "Bearer "
        + jwt.encode(
            {"access": [{"type": "artifact-repository", "name": "org/one", "actions": ["push"]}]}, None, "none"
        ),
        "Bearer x.y.z",
        "Bearer " + jwt.encode({"access": "push"}, key, algorithm),
        "Bearer " + jwt.encode({"access": [{"name": ["org/one"], "actions": "push"}, 7]}, key, algorithm),
    ):
        assert server.post("/api/org/one/charts", make("beta"), authorization=wrong).status == 401
    # the public key is no secret to sign with
    public = path.read_bytes()
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    body = token()[7:].split(".")[1].encode()
    import hmac

    mac = base64.urlsafe_b64encode(hmac.digest(public, head + b"." + body, "sha256")).rstrip(b"=")
    forged = b".".join((head, body, mac)).decode()
    assert server.post("/api/org/one/charts", make("beta"), authorization=f"Bearer {forged}").status == 401


def test_bearer_actions_may_be_elsewhere_in_a_token(
    serve: Callable[..., Server], authority: tuple[Any, str, Path]
) -> None:
    key, algorithm, path = authority
    server = serve(
        *("--auth", "bearer", "--auth-realm", "r", "--auth-service", "s", "--auth-cert-path", str(path)),
        *("--auth-actions-search-path", "rights[?where=='$NAMESPACE'].may[]"),
    )
    token = jwt.encode({"rights": [{"where": "repo", "may": ["pull"]}]}, key, algorithm)
    assert server.get("/index.yaml", authorization=f"Bearer {token}").status == 200
    assert server.post("/api/charts", make(), authorization=f"Bearer {token}").status == 401


def test_tls_and_certificates_of_clients(serve: Callable[..., Server], tmp_path: Path) -> None:
    keys = {n: ec.generate_private_key(ec.SECP256R1()) for n in ("ca", "server", "client")}
    made = {"ca": certificate(keys["ca"], "ca")}
    for name in ("server", "client"):
        made[name] = certificate(keys[name], name, made["ca"], keys["ca"])
    for name, found in made.items():
        (tmp_path / f"{name}.pem").write_bytes(found.public_bytes(serialization.Encoding.PEM))
        (tmp_path / f"{name}.key").write_bytes(pem(keys[name]))
    server = serve(
        *("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key")),
        *("--tls-ca-cert", str(tmp_path / "ca.pem")),
    )

    def ask(context: ssl.SSLContext) -> int:
        connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=20)
        connection.request("GET", "/index.yaml")
        return connection.getresponse().status

    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
        ask(context)
    context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
    assert ask(context) == 200


def test_a_project_of_the_same_name_in_another_domain_is_another_project() -> None:
    from planeshift.charts.server.keystone import projects_of

    ours = {"project": {"id": "1a", "name": "cern", "domain": {"id": "default", "name": "Default"}}}
    theirs = {"project": {"id": "2b", "name": "cern", "domain": {"id": "ff", "name": "Other"}}}
    assert projects_of(ours, "Default") == projects_of(ours, "default") == {"1a", "cern"}
    assert projects_of(theirs, "Default") == {"2b"} and projects_of(theirs, "Other") == {"2b", "cern"}
    assert projects_of({}, "Default") == projects_of({"project": {"name": "cern"}}, "Default") == frozenset()
