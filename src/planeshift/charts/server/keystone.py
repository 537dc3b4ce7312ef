"""Keystone's tokens: who bears one with a fitting role in the project of a tenant's name may pull or push there."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from planeshift.charts.server.auth import basic, token_of
from planeshift.charts.server.routes import PUSH

_KEPT = 60.0  # seconds that Keystone's word is taken for the same token without asking again
_MANY = 10_000
_REALM = 'Basic realm="Keystone"'


@dataclass(frozen=True)
class _Word:
    roles: frozenset[str]
    projects: frozenset[str]  # the token's project, by name and by ID
    until: float


class Keystone:
    """Asks Keystone about tokens: in X-Auth-Token, as a bearer, as the password of the user `token`; application
    credentials as user (the ID) and password (the secret)."""

    def __init__(
        self,
        url: str,
        *,
        pull: frozenset[str],
        push: frozenset[str],
        project: str = "",
        domain: str = "Default",
        ca: str | None = None,
    ) -> None:
        """`url` ends in /v3. `project`: whose tokens count where there are no tenants, by name or ID; with tenants, it is
        the first part of the tenant's path. Names are those of `domain`: others may have a project of the same name."""
        self._url = url.rstrip("/")
        self._roles = {"pull": pull | push, PUSH: push}
        self._project = project
        self._domain = domain
        self._http = urllib3.PoolManager(ca_certs=ca, retries=urllib3.Retry(2, redirect=False), timeout=10)
        self._kept: dict[str, _Word] = {}
        self._lock = threading.Lock()

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        word = self._word(headers)
        if word is None:
            return _REALM
        wanted = self._project or tenant.partition("/")[0]
        return None if wanted in word.projects and word.roles & self._roles[action] else _REALM

    def _word(self, headers: Mapping[str, str]) -> _Word | None:
        token = headers.get("x-auth-token", "") or token_of(headers)
        given = basic(headers) if not token else None
        if not token and given is None:
            return None
        key = hashlib.sha256(repr((token, given)).encode()).hexdigest()
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.until > now:
                return kept
        said = self._validate(token) if token else self._log_in(*given) if given else None
        if said is None:
            return None
        found = _Word(roles_of(said), projects_of(said, self._domain), now + _KEPT)
        with self._lock:
            if len(self._kept) > _MANY:
                self._kept.clear()
            self._kept[key] = found
        return found

    def _validate(self, token: str) -> Any:
        """A token may ask about itself: no account of ours is needed."""
        if not token.isprintable():
            return None
        return self._ask("GET", headers={"X-Auth-Token": token, "X-Subject-Token": token})

    def _log_in(self, identifier: str, secret: str) -> Any:
        credential = {"id": identifier, "secret": secret}
        identity = {"methods": ["application_credential"], "application_credential": credential}
        body = json.dumps({"auth": {"identity": identity}}).encode()
        return self._ask("POST", headers={"Content-Type": "application/json"}, body=body)

    def _ask(self, method: str, headers: Mapping[str, str], body: bytes | None = None) -> Any:
        try:
            answer = self._http.request(method, f"{self._url}/auth/tokens", headers=dict(headers), body=body)
            return json.loads(answer.data)["token"] if answer.status in (200, 201) else None
        except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
            return None


def roles_of(token: Any) -> frozenset[str]:
    """The roles that a token gives."""
    return frozenset(r["name"] for r in token.get("roles", []))


def projects_of(token: Any, domain: str) -> frozenset[str]:
    """What a token's project may be called: its ID, and its name if it is one of this domain, by name or ID."""
    project = token.get("project") or {}
    of = project.get("domain") or {}
    named = project.get("name") if domain in (of.get("name"), of.get("id")) else None
    return frozenset(filter(None, (project.get("id"), named)))
