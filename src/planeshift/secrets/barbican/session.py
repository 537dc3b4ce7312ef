"""A session with an OpenStack cloud: one authentication a run, by what the operator has already.

From OS_* variables, or from clouds.yaml by OS_CLOUD: password, application credential, token. openstacksdk would do it in
a second and a half of imports. The token is kept in memory alone: in a file it would be one more secret at rest, and
would save one round trip. API: https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import http.client
    from collections.abc import Mapping
    from typing import Any

_PLACES = ("clouds.yaml", "~/.config/openstack/clouds.yaml", "/etc/openstack/clouds.yaml")
_NAMES = (
    "auth_url", "username", "user_id", "password", "project_name", "project_id", "user_domain_name", "user_domain_id",
    "project_domain_name", "project_domain_id", "domain_name", "domain_id", "system_scope", "token",
    "application_credential_id", "application_credential_name", "application_credential_secret",
)  # fmt: skip
TIMEOUT = 15


class Failed(Exception):
    """A request that came to nothing: what, in words that hold no secret. `status` is HTTP's, or 0."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


def settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """auth (as clouds.yaml has it), region_name, interface, cacert, verify. Raises Failed."""
    name = environment.get("OS_CLOUD")
    found: dict[str, Any] = _from_file(name, environment) if name else {"auth": {}}
    auth = dict(found.get("auth") or {})
    for key in _NAMES:
        value = environment.get(f"OS_{key.upper()}")
        if value and (not name or key not in auth):
            auth[key] = value
    if not auth.get("auth_url"):
        raise Failed(
            "it is not said which cloud: set OS_CLOUD, or OS_AUTH_URL and its kin (`planeshift env` prints them)"
        )
    found["auth"] = auth
    for key in ("region_name", "interface", "cacert"):
        found.setdefault(key, environment.get(f"OS_{key.upper()}"))
    return found


def _from_file(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    given = environment.get("OS_CLIENT_CONFIG_FILE")
    places = [given] if given else [p.replace("~", environment.get("HOME", "/root"), 1) for p in _PLACES]
    for place in places:
        try:
            with open(place, encoding="utf-8") as file:  # noqa: PTH123
                data = _loaded(file.read())
            clouds = (data or {}).get("clouds") or {}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError):
            raise Failed(f"{place} cannot be read as clouds.yaml") from None
        if isinstance(clouds.get(name), dict):
            secure = os.path.join(os.path.dirname(place), "secure.yaml")  # noqa: PTH118, PTH120
            return _with_secure(dict(clouds[name]), name, secure)
    raise Failed(f"no clouds.yaml names the cloud {name}; looked in {', '.join(places)}")


def _with_secure(cloud: dict[str, Any], name: str, secure: str) -> dict[str, Any]:
    if os.path.isfile(secure):  # noqa: PTH113
        with open(secure, encoding="utf-8") as file:  # noqa: PTH123
            data = _loaded(file.read()) or {}
        more = (data.get("clouds") or {}).get(name) or {}
        cloud["auth"] = {**(cloud.get("auth") or {}), **(more.get("auth") or {})}
    return cloud


def _loaded(text: str) -> Any:
    """A YAML text as data, without the library where the text is plain. Raises ValueError."""
    from planeshift.secrets import lightyaml

    light = lightyaml.parse(text)
    if light is not None:
        return light.documents[0].data()
    import yaml

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise ValueError("not YAML") from error


class Session:
    """Requests to one service of a cloud."""

    def __init__(self, environment: Mapping[str, str] | None = None, service: str = "key-manager") -> None:
        self.settings = settings(os.environ if environment is None else environment)
        self.service = service
        self.token = self.endpoint = ""

    def request(self, method: str, path: str, body: object = None, accept: str = "application/json") -> Any:
        """Ask the service; authenticates first where that has not been done. Raises Failed."""
        fresh = not self.token
        if fresh:
            self._authenticate()
        headers = {"X-Auth-Token": self.token, "Accept": accept}
        status, answer = self._send(method, self.endpoint + path, body, headers)
        if status == 401 and not fresh:  # it expired in the middle
            self._authenticate()
            headers["X-Auth-Token"] = self.token
            status, answer = self._send(method, self.endpoint + path, body, headers)
        if status >= 400:
            raise Failed(f"Barbican answers {status} {_said(answer)}".rstrip(), status)
        if not answer:
            return None
        return _parsed(answer) if accept == "application/json" else answer

    def _authenticate(self) -> None:
        auth = self.settings["auth"]
        url = auth["auth_url"].rstrip("/")
        url = url if url.endswith("/v3") else url + "/v3"
        status, answer = self._send("POST", f"{url}/auth/tokens", {"auth": _body(auth)}, {})
        if status != 201:
            hint = "the user, its password or its project is wrong" if status == 401 else _said(answer)
            raise Failed(f"Keystone at {url} answers {status}: {hint}", status)
        token, self.token = self.token, ""
        self.endpoint = self._endpoint(_parsed(answer)["token"].get("catalog") or [])
        self.token = token  # of use where there is somebody to show it to

    def _endpoint(self, catalog: list[dict[str, Any]]) -> str:
        wanted = str(self.settings.get("interface") or "public").removesuffix("URL")
        region = self.settings.get("region_name")
        for service in catalog:
            for endpoint in service.get("endpoints", []) if service.get("type") == self.service else ():
                if endpoint.get("interface") == wanted and region in (None, endpoint.get("region_id")):
                    return str(endpoint["url"]).rstrip("/").removesuffix("/v1")
        where = f" in {region}" if region else ""
        raise Failed(f"the cloud has no {wanted} {self.service} endpoint{where} for this project")

    def _send(self, method: str, url: str, body: object, headers: dict[str, str]) -> tuple[int, bytes]:
        import http.client
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        data = None if body is None else json.dumps(body).encode()
        headers = {**headers, **({"Content-Type": "application/json"} if data else {})}
        try:
            connection = self._connect(parts.scheme, parts.hostname or "", parts.port)
            connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), data, headers)
            answer = connection.getresponse()
            content = answer.read(1 << 20)
            token = answer.getheader("X-Subject-Token")
            connection.close()
        except TimeoutError:
            raise Failed(f"{parts.netloc} did not answer in {TIMEOUT} s") from None
        except (OSError, http.client.HTTPException) as error:
            words = str(error) or type(error).__name__
            raise Failed(f"{parts.netloc} cannot be reached: {words}") from None
        if token:
            self.token = token
        return answer.status, content

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        import http.client

        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        import ssl

        context = ssl.create_default_context(cafile=self.settings.get("cacert"))
        if self.settings.get("verify") is False:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        raise Failed("the cloud answers with something that is not JSON") from None


def _said(answer: bytes) -> str:
    """What an error answer says, cut short; it is shown to people."""
    try:
        data = json.loads(answer)
        inner = data.get("error", data)
        words = inner.get("description") or inner.get("message") or inner.get("title") or ""
    except (ValueError, AttributeError):
        words = ""
    return "".join(c if c.isprintable() else " " for c in str(words))[:200]


def _body(auth: dict[str, Any]) -> dict[str, Any]:
    """Keystone's authentication request."""
    domain = _of(auth, "user_domain_id", "user_domain_name") or {"name": "Default"}
    if auth.get("application_credential_secret"):
        body: dict[str, Any] = {"secret": auth["application_credential_secret"]}
        if auth.get("application_credential_id"):
            body["id"] = auth["application_credential_id"]
        else:
            body |= {
                "name": auth.get("application_credential_name"),
                "user": {"name": auth.get("username"), "domain": domain},
            }
        return {"identity": {"methods": ["application_credential"], "application_credential": body}}
    if auth.get("token") and not auth.get("password"):
        identity: dict[str, Any] = {"methods": ["token"], "token": {"id": auth["token"]}}
    else:
        if not auth.get("password"):
            raise Failed("neither password, application credential nor token is given for the cloud")
        who = {"id": auth["user_id"]} if auth.get("user_id") else {"name": auth.get("username"), "domain": domain}
        identity = {"methods": ["password"], "password": {"user": {**who, "password": auth["password"]}}}
    return {"identity": identity, **_scope(auth)}


def _scope(auth: dict[str, Any]) -> dict[str, Any]:
    if auth.get("project_id"):
        return {"scope": {"project": {"id": auth["project_id"]}}}
    if auth.get("project_name"):
        domain = _of(auth, "project_domain_id", "project_domain_name") or {"name": "Default"}
        return {"scope": {"project": {"name": auth["project_name"], "domain": domain}}}
    return {}


def _of(auth: dict[str, Any], by_id: str, by_name: str) -> dict[str, str]:
    return {"id": auth[by_id]} if auth.get(by_id) else {"name": auth[by_name]} if auth.get(by_name) else {}
