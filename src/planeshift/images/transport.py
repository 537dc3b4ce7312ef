"""HTTP to a registry: who we are, again after a failure, and every refusal by name.

Authentication: https://distribution.github.io/distribution/spec/auth/token/ and RFC 7617.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3

from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.images import credentials
from planeshift.images.reference import Reference
from planeshift.ports import Say, quiet

ATTEMPTS = 5
_LATER = (408, 425, 429, 500, 502, 503, 504)
_LONGEST = 30.0
_CHALLENGE = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
Response = urllib3.response.BaseHTTPResponse


class Broken(Exception):
    """A connection or an answer that broke off: worth another attempt, after `wait` seconds if the registry said so.

    `done` counts bytes, so that progress earns new attempts.
    """

    def __init__(self, why: str, *, wait: float = 0.0, done: int = -1) -> None:
        super().__init__(why)
        self.wait, self.done = wait, done


@dataclass
class Transport:
    """Requests to one registry. `plain`: without TLS, which otherwise only this machine itself is spoken to.

    `ca` is a PEM file with the authority of its certificate; without one it is whatever this machine trusts.
    """

    host: str
    plain: bool = False
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    say: Say = quiet
    pause: float = 0.5
    attempts: int = ATTEMPTS  # without any progress in between
    ca: str = ""

    def __post_init__(self) -> None:
        timeout = urllib3.Timeout(connect=10, read=60)
        agent = {"User-Agent": "planeshift"}
        self._pool = urllib3.PoolManager(
            headers=agent, timeout=timeout, retries=False, maxsize=8, ca_certs=self.ca or None
        )
        self._authorization: dict[str, str] = {}

    @classmethod
    def of(cls, reference: Reference, *, plain: bool = False, ca: str = "", say: Say = quiet) -> Transport:
        """For the registry of a reference."""
        return cls(reference.host, plain or (reference.loopback and not ca), say=say, ca=ca)

    @property
    def base(self) -> str:
        """The registry's address."""
        return f"{'http' if self.plain else 'https'}://{self.host}"

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None, scope: str = ""
    ) -> Response:
        """One request, authenticated as the registry asks; its content is not read yet.

        Raises Broken where the connection fails, PlaneshiftError (PS462) where we are not let in. `body` must be bytes, or
        something with `seek`, since a request may have to be sent again.
        """
        url = urljoin(self.base, url)
        for again in (False, True):
            sent = dict(headers or {})
            if scope in self._authorization and urlsplit(url).netloc == self.host:
                sent["Authorization"] = self._authorization[scope]
            if again and hasattr(body, "seek"):
                body.seek(0)
            response = self._send(method, url, sent, body)
            if response.status not in (401, 403) or again:
                break
            challenge = response.headers.get("WWW-Authenticate", "")
            response.drain_conn()
            self._authorization.pop(scope, None)
            self._authorization[scope] = self._answer(challenge, scope)
        if response.status in (401, 403):
            raise self._refused(response)
        return response

    def patiently(self, what: str, once: Any) -> Any:
        """The result of `once()`, tried again while it breaks off or the registry asks for patience.

        `once` raises Broken to be called again. Raises PlaneshiftError (PS461) when that never helps.
        """
        left, seen = self.attempts, -1
        while True:
            try:
                return once()
            except Broken as error:
                left = self.attempts if error.done > seen else left - 1
                seen = max(seen, error.done)
                if left <= 0:
                    hint = "Run the same command again: what is there already is not moved twice."
                    problem = Problem("PS461", f"{self.host}: {what} failed", why=control_free(str(error)), hint=hint)
                    raise PlaneshiftError(problem) from error
                wait = error.wait or min(self.pause * 2 ** (self.attempts - left), _LONGEST)
                self.say(f"waiting for {self.host}: {control_free(str(error))[:200]}")
                time.sleep(wait)

    def checked(self, response: Response, *good: int) -> Response:
        """A response of one of these statuses. Raises Broken for a passing trouble, PlaneshiftError (PS461) for another."""
        if response.status in good:
            return response
        said = _said(response)
        if response.status in _LATER:
            raise Broken(f"HTTP {response.status} {said}", wait=_retry_after(response))
        raise PlaneshiftError(Problem("PS461", f"{self.host} refused: HTTP {response.status}", why=said))

    # --- who we are

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> Response:
        try:
            # Redirects (a blob may lie in an object store) take no Authorization to another host.
            retries = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5, raise_on_status=False)
            return self._pool.request(
                method,
                url,
                headers={**self._pool.headers, **headers},
                body=body,
                preload_content=False,
                retries=retries,
            )
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            if isinstance(cause, urllib3.exceptions.SSLError):
                hint = "Its authority is not one of this machine's: name it by SSL_CERT_FILE, or by `ca` of `registries` in"
                hint += " the cloud file. A registry without TLS needs --plain-http, or `plain-http: true` there."
                raise PlaneshiftError(
                    Problem("PS461", f"{self.host}: no TLS", why=str(cause)[:300], hint=hint)
                ) from error
            raise Broken(f"{type(cause).__name__}: {cause}"[:300]) from error

    def _answer(self, challenge: str, scope: str) -> str:
        """The Authorization that a challenge asks for."""
        known = credentials.find(self.host, self.variables)
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic" and known:
            return known.basic
        if kind.lower() != "bearer":
            raise self._unknown()
        asked = dict(_CHALLENGE.findall(rest))
        realm = asked.get("realm", "")
        if urlsplit(realm).scheme not in (("http", "https") if self.plain else ("https",)):
            why = f"It sends us to {realm[:200]!r} for a token."
            raise PlaneshiftError(
                Problem("PS462", f"{self.host} asks for credentials where they are not safe", why=why)
            )
        fields = {"service": asked.get("service", ""), "scope": scope or asked.get("scope", "")}
        return self._token(realm, {k: v for k, v in fields.items() if v}, known)

    def _token(self, realm: str, fields: dict[str, str], known: credentials.Credentials) -> str:
        if known.token:
            form = {**fields, "grant_type": "refresh_token", "refresh_token": known.token, "client_id": "planeshift"}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._send("POST", realm, kind, urlencode(form).encode())
        else:
            headers = {"Authorization": known.basic} if known else {}
            joined = f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}"
            response = self._send("GET", joined, headers, None)
        if response.status in (400, 401, 403):
            raise self._refused(response) if known else self._unknown()
        self.checked(response, 200)
        try:
            data = json.loads(response.read(1 << 20))
            return f"Bearer {data.get('token') or data['access_token']}"
        except (ValueError, KeyError, AttributeError, urllib3.exceptions.HTTPError) as error:
            raise Broken("the token server gave no token") from error

    def _unknown(self) -> PlaneshiftError:
        hint = f"`docker login {self.host}`, or podman's, keeps them where they are looked for; the file must be 0600."
        return PlaneshiftError(Problem("PS462", f"{self.host} asks for credentials, and there are none", hint=hint))

    def _refused(self, response: Response) -> PlaneshiftError:
        hint = "They may have expired, or may not reach this repository: log in anew."
        why = _said(response)
        return PlaneshiftError(Problem("PS462", f"{self.host} does not take our credentials", why=why, hint=hint))


def _said(response: Response) -> str:
    """A registry's own words. Format: https://github.com/opencontainers/distribution-spec (error codes)."""
    try:
        body = response.read(64 << 10) or b""
        rows = json.loads(body)["errors"]
        return control_free("; ".join(f"{r.get('code')}: {r.get('message')}" for r in rows))[:500]
    except (ValueError, KeyError, TypeError, AttributeError, urllib3.exceptions.HTTPError):
        return control_free(response.reason or "")[:200]


def _retry_after(response: Response) -> float:
    said = response.headers.get("Retry-After", "")
    return min(float(said), _LONGEST) if said.isdigit() else 0.0
