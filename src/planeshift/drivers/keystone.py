"""Keystone's content by its v3 API. Implements `ports.Identity`. API: https://docs.openstack.org/api-ref/identity/v3/.

urllib3 and not openstacksdk: a look at what is there must not cost a second of imports on every `up`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from planeshift.catalog.common import DEFAULT_DOMAIN, SERVICE_PROJECT
from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.plan.observed import IdentityState
from planeshift.render.desired import IdentityEntries


class Unavailable(Exception):
    """Keystone does not answer, or answers that it cannot serve."""


class KeystoneIdentity:
    """Keystone, as its administrator."""

    def state(self, url: str, password: str, ca: str, entries: Iterable[IdentityEntries]) -> IdentityState | None:
        if not url or not password:
            return None
        try:
            client = _Client(url, ca)
            client.log_in(password)
            with ThreadPoolExecutor(max_workers=4) as pool:
                users = [e.user for e in entries if e.user]
                services = pool.submit(client.services)
                endpoints = pool.submit(client.endpoints)
                project = client.find("projects", SERVICE_PROJECT)
                roles = list(pool.map(lambda user: client.roles(user, project), users))
                types = services.result()
                return IdentityState(
                    services=frozenset(types.values()),
                    endpoints={
                        (types[e["service_id"]], e["interface"]): e["url"]
                        for e in endpoints.result()
                        if e["service_id"] in types
                    },
                    users={user: found for user, found in zip(users, roles, strict=True) if found is not None},
                )
        except Unavailable:
            return None

    def ensure(self, url: str, password: str, ca: str, entries: IdentityEntries, service_password: str) -> list[str]:
        try:
            client = _Client(url, ca)
            client.log_in(password)
            return list(_ensure(client, entries, service_password))
        except Unavailable as error:
            hint = "`planeshift status` says what of Keystone is down."
            raise PlaneshiftError(
                Problem("PS702", f"Keystone does not answer at {url}", why=str(error), hint=hint)
            ) from error

    def remove(self, url: str, password: str, ca: str, user: str) -> None:
        try:
            client = _Client(url, ca)
            client.log_in(password)
            found = client.find("users", user)
            if found is not None:
                client.request("DELETE", f"/users/{quote(found)}")
        except Unavailable as error:
            raise PlaneshiftError(Problem("PS702", f"Keystone does not answer at {url}", why=str(error))) from error


def _ensure(client: _Client, entries: IdentityEntries, password: str) -> Iterator[str]:
    if entries.user:
        yield from _ensure_user(client, entries, password)
    types = client.services()
    service = next((i for i, t in types.items() if t == entries.type), None)
    if service is None:
        body = {"service": {"type": entries.type, "name": entries.service, "enabled": True}}
        service = client.post("/services", body)["service"]["id"]
        yield f"service {entries.type} made"
    there = {e["interface"] for e in client.endpoints() if e["service_id"] == service}
    for interface, url in entries.endpoints.items():
        if interface not in there:
            endpoint = {"interface": interface, "service_id": service, "url": url, "region_id": entries.region}
            client.post("/endpoints", {"endpoint": endpoint})
            yield f"endpoint {interface} {url} made"


def _ensure_user(client: _Client, entries: IdentityEntries, password: str) -> Iterator[str]:
    domain = client.domain()
    project = client.find("projects", SERVICE_PROJECT)
    if project is None:
        body = {"project": {"name": SERVICE_PROJECT, "domain_id": domain}}
        project = client.post("/projects", body, exists=lambda: client.find("projects", SERVICE_PROJECT))["project"][
            "id"
        ]
        yield f"project {SERVICE_PROJECT} made"
    user = client.find("users", entries.user)
    if user is None:
        body = {
            "user": {"name": entries.user, "domain_id": domain, "password": password, "default_project_id": project}
        }
        user = client.post("/users", body)["user"]["id"]
        yield f"user {entries.user} made"
    else:
        client.check_password(entries.user, password)
    for name in entries.roles:
        role = client.find("roles", name)
        if role is None:
            role = client.post("/roles", {"role": {"name": name}}, exists=lambda n=name: client.find("roles", n))[
                "role"
            ]["id"]
            yield f"role {name} made"
        client.request("PUT", f"/projects/{project}/users/{user}/roles/{role}")


class _Client:
    def __init__(self, url: str, ca: str) -> None:
        self.url = url
        self.token = ""
        timeout = urllib3.Timeout(connect=3, read=60)
        self.pool = urllib3.PoolManager(timeout=timeout, retries=False, ca_cert_data=ca or None, maxsize=8)

    def log_in(self, password: str) -> None:
        status, headers, body = self.authenticate("admin", password, "admin")
        if status == 401:
            raise PlaneshiftError(
                Problem(
                    "PS701",
                    f"Keystone at {self.url} does not take the password of admin",
                    why="`admin_password` of Keystone's secret file is not what Keystone has.",
                    hint="Put the right one there; planeshift changes no password that exists.",
                )
            )
        if status != 201:
            raise Unavailable(f"authentication answered {status}: {_words(body)}")
        self.token = headers["x-subject-token"]

    def check_password(self, user: str, password: str) -> None:
        status, _, body = self.authenticate(user, password, "")
        if status == 401:
            raise PlaneshiftError(
                Problem(
                    "PS703",
                    f"the user {user} exists in Keystone with another password",
                    why=f"`service_password` of the secret file of {user} is not what Keystone has.",
                    hint="Put the existing password there; planeshift changes no password that exists.",
                )
            )
        if status >= 500:
            raise Unavailable(f"authentication answered {status}: {_words(body)}")

    def authenticate(self, user: str, password: str, project: str) -> tuple[int, Any, bytes]:
        domain = {"name": DEFAULT_DOMAIN}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": password}},
        }
        auth: dict[str, Any] = {"identity": identity}
        if project:
            auth["scope"] = {"project": {"name": project, "domain": domain}}
        return self._send("POST", "/auth/tokens?nocatalog", {"auth": auth})

    def services(self) -> dict[str, str]:
        return {s["id"]: s["type"] for s in self.request("GET", "/services")["services"]}

    def endpoints(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", "/endpoints")["endpoints"]
        return [e for e in found if e.get("enabled", True)]

    def domain(self) -> str:
        found = self.request("GET", f"/domains?{urlencode({'name': DEFAULT_DOMAIN})}")["domains"]
        return str(found[0]["id"])

    def find(self, kind: str, name: str) -> str | None:
        found = self.request("GET", f"/{kind}?{urlencode({'name': name})}")[kind]
        return str(found[0]["id"]) if found else None

    def roles(self, user: str, project: str | None) -> frozenset[str] | None:
        user_id = self.find("users", user)
        if user_id is None:
            return None
        if project is None:
            return frozenset()
        found = self.request("GET", f"/projects/{quote(project)}/users/{quote(user_id)}/roles")["roles"]
        return frozenset(r["name"] for r in found)

    def post(self, path: str, body: dict[str, Any], exists: Any = None) -> Any:
        """Create; where another operation was quicker (409), `exists` finds the id of what is there."""
        status, _, answer = self._send("POST", path, body)
        if status == 409 and exists is not None:
            return {next(iter(body)): {"id": exists()}}
        return self._answer("POST", path, status, answer)

    def request(self, method: str, path: str) -> Any:
        status, _, answer = self._send(method, path, None)
        return self._answer(method, path, status, answer)

    def _answer(self, method: str, path: str, status: int, answer: bytes) -> Any:
        if status >= 500:
            raise Unavailable(f"{method} {path} answered {status}: {_words(answer)}")
        if status >= 400:
            raise PlaneshiftError(Problem("PS704", f"Keystone refused {method} {path}: {status}", why=_words(answer)))
        return json.loads(answer) if answer else None

    def _send(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        try:
            answer = self.pool.request(
                method, self.url + path, body=json.dumps(body) if body is not None else None, headers=headers
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(type(error).__name__) from error
        return answer.status, answer.headers, answer.data


def _words(body: bytes) -> str:
    """What an error's body says; capped, so that nothing long or secret reaches a terminal."""
    try:
        return control_free(str(json.loads(body)["error"]["message"]))[:300]
    except (ValueError, KeyError, TypeError):
        return ""
