"""Users of a RabbitMQ, by its management API; a login is tried by AMQP itself. Implements `ports.CredentialUsers`.

API: https://rawcdn.githack.com/rabbitmq/rabbitmq-server/main/deps/rabbitmq_management/priv/www/api/index.html; AMQP 0-9-1,
sections 2.3 and 4.2 (frames), connection.start-ok and connection.tune.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import urllib3

from planeshift.errors import PlaneshiftError, Problem, control_free

_TUNE = (10, 30)


class RabbitUsers:
    """`host` and `port` are of AMQP; `admin` holds `management` (a URL), `user` and `password`, or is empty."""

    def __init__(self, host: str, port: int, admin: Mapping[str, str]) -> None:
        self.host, self.port, self.admin = host, port, admin

    def works(self, user: str, password: str) -> bool:
        """Whether the broker lets a user log in with this password."""
        try:
            with socket.create_connection((self.host, self.port), timeout=10) as broker:
                broker.sendall(b"AMQP\x00\x00\x09\x01")
                _method(broker)
                response = b"\0" + user.encode() + b"\0" + password.encode()
                body = struct.pack(">HHI", 10, 11, 0) + b"\x05PLAIN" + struct.pack(">I", len(response)) + response
                body += b"\x05en_US"
                broker.sendall(struct.pack(">BHI", 1, 0, len(body)) + body + b"\xce")
                return _method(broker) == _TUNE
        except (OSError, EOFError, struct.error):
            return False

    def copy(self, old: str, new: str, password: str) -> None:
        """Make `new` be a user with this password and the permissions and tags of `old`."""
        found = self._ask("GET", f"users/{quote(old, safe='')}")
        name = quote(new, safe="")
        tags = found.get("tags") or ""
        tags = ",".join(tags) if isinstance(tags, list) else tags
        self._ask("PUT", f"users/{name}", {"password": password, "tags": tags})
        for kind, keys in (
            ("permissions", ("configure", "write", "read")),
            ("topic-permissions", ("exchange", "write", "read")),
        ):
            for row in self._ask("GET", f"users/{quote(old, safe='')}/{kind}") or []:
                body = {key: row[key] for key in keys}
                self._ask("PUT", f"{kind}/{quote(row['vhost'], safe='')}/{name}", body)

    def connections(self, user: str) -> int:
        """How many connections a user has open."""
        return sum(row.get("user") == user for row in self._ask("GET", "connections") or [])

    def remove(self, user: str) -> None:
        """Remove a user."""
        self._ask("DELETE", f"users/{quote(user, safe='')}", missing=True)

    def _ask(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        headers = urllib3.make_headers(basic_auth=f"{self.admin['user']}:{self.admin['password']}")
        url = f"{self.admin['management'].rstrip('/')}/api/{path}"
        data = json.dumps(body) if body is not None else None
        hint = "secrets/messaging.yaml names who may make users: `HOST: {management: URL, user: …, password: …}`."
        try:
            answer = urllib3.request(
                method,
                url,
                body=data,
                headers={**headers, "Content-Type": "application/json"},
                timeout=15,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            what = f"RabbitMQ's management at {self.host} does not answer: {type(error).__name__}"
            raise PlaneshiftError(Problem("PS1022", what, hint=hint)) from None
        if answer.status >= 400 and not (missing and answer.status == 404):
            words = control_free(answer.data.decode("utf-8", "replace"))[:200]
            what = f"RabbitMQ's management at {self.host} answers {answer.status} to {method} {path.split('/')[0]}"
            raise PlaneshiftError(Problem("PS1022", what, why=words, hint=hint))
        return json.loads(answer.data) if answer.data else None


def _method(broker: socket.socket) -> tuple[int, int]:
    """The class and method of the next frame, which must be one. Raises EOFError."""
    kind, _, size = struct.unpack(">BHI", _read(broker, 7))
    body = _read(broker, size + 1)
    if kind != 1 or size < 4 or size > 1 << 20:
        raise EOFError
    found: tuple[int, int] = struct.unpack(">HH", body[:4])
    return found


def _read(broker: socket.socket, size: int) -> bytes:
    held = b""
    while len(held) < size:
        part = broker.recv(size - len(held))
        if not part:
            raise EOFError
        held += part
    return held
