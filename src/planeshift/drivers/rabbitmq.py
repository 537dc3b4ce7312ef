"""Users of a RabbitMQ, and vhosts of one of ours, by its management API; a login is tried by AMQP itself.

Implements `ports.CredentialUsers` and `ports.Buses`.

API: https://rawcdn.githack.com/rabbitmq/rabbitmq-server/main/deps/rabbitmq_management/priv/www/api/index.html; AMQP 0-9-1,
sections 2.3 and 4.2 (frames), connection.start-ok, connection.tune and queue.declare, which passively only looks.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import urllib3

from planeshift.errors import PlaneshiftError, Problem, control_free
from planeshift.plan.observed import BusState, QueueState
from planeshift.render.desired import DesiredBus
from planeshift.render.servers import ADMINISTRATOR

_TUNE, _OPENED = (10, 30), (10, 41)
_CHANNEL, _DECLARED, _CLOSED = (20, 11), (50, 11), (20, 40)


class RabbitUsers:
    """`host` and `port` are of AMQP; `admin` holds `management` (a URL), `user` and `password`, or is empty."""

    def __init__(self, host: str, port: int, admin: Mapping[str, str]) -> None:
        self.host, self.port, self.admin = host, port, admin

    def works(self, user: str, password: str) -> bool:
        """Whether the broker lets a user log in with this password."""
        try:
            with socket.create_connection((self.host, self.port), timeout=10) as broker:
                return _logs_in(broker, user, password)
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

    def prepare(self, vhost: str, user: str, password: str) -> None:
        """Let there be a vhost, and a user with this password and rights to that vhost alone."""
        place, name = quote(vhost, safe=""), quote(user, safe="")
        self._ask("PUT", f"vhosts/{place}", {})
        self._ask("PUT", f"users/{name}", {"password": password, "tags": ""})
        self._ask("PUT", f"permissions/{place}/{name}", dict.fromkeys(("configure", "write", "read"), ".*"))

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


class RabbitBuses:
    """Vhosts and their users. Implements `ports.Buses`."""

    def state(self, bus: DesiredBus, password: str) -> BusState:
        found = BusState()
        for host, port in bus.hosts:
            found = self._try(bus, password, host, port)
            if found.works:
                return found
        return found

    def _try(self, bus: DesiredBus, password: str, host: str, port: int) -> BusState:
        try:
            with socket.create_connection((host, port), timeout=5) as broker:
                if not _logs_in(broker, bus.user, password):
                    words = f"does not take the password of {bus.user} (`{bus.secret}` of the secret file)"
                    return BusState(problem=f"{host}:{port} {words}")
                if not _opens(broker, bus.vhost):
                    return BusState(problem=f"{host}:{port} has no vhost {bus.vhost}, or not for {bus.user}")
                _leave(broker)
                return BusState(works=True)
        except (OSError, EOFError, struct.error):
            return BusState(problem=f"{host}:{port} does not answer as a message bus")

    def queues(self, bus: DesiredBus, password: str, names: Iterable[str]) -> Mapping[str, QueueState]:
        wanted = list(names)
        for host, port in bus.hosts:
            try:
                with socket.create_connection((host, port), timeout=5) as broker:
                    if _logs_in(broker, bus.user, password) and _opens(broker, bus.vhost):
                        found = {name: _queue(broker, name) for name in wanted}
                        _leave(broker)
                        return {name: state for name, state in found.items() if state is not None}
            except (OSError, EOFError, struct.error):
                continue
        what = f"the queues of {bus.name} cannot be looked at"
        raise PlaneshiftError(Problem("PS508", what, why=self.state(bus, password).problem))

    def prepare(self, bus: DesiredBus, password: str, admin: str) -> None:
        host, port = bus.hosts[0]
        found = RabbitUsers(host, port, {"management": bus.management, "user": ADMINISTRATOR, "password": admin})
        found.prepare(bus.vhost, bus.user, password)


def _logs_in(broker: socket.socket, user: str, password: str) -> bool:
    broker.sendall(b"AMQP\x00\x00\x09\x01")
    _method(broker)
    response = b"\0" + user.encode() + b"\0" + password.encode()
    body = struct.pack(">HHI", 10, 11, 0) + b"\x05PLAIN" + struct.pack(">I", len(response)) + response
    _send(broker, body + b"\x05en_US")
    try:
        return _method(broker) == _TUNE
    except EOFError:
        return False  # a broker hangs up on a client that cannot be told of a refusal


def _opens(broker: socket.socket, vhost: str) -> bool:
    """Tune, and open a vhost."""
    _send(broker, struct.pack(">HHHIH", 10, 31, 1, 131_072, 0))
    name = vhost.encode()
    _send(broker, struct.pack(">HHB", 10, 40, len(name)) + name + b"\0\0")
    return _method(broker) == _OPENED


def _leave(broker: socket.socket) -> None:
    """Close, as is proper: else the broker warns of a client that went away."""
    _send(broker, struct.pack(">HHHBHH", 10, 50, 200, 0, 0, 0))
    _method(broker)


def _queue(broker: socket.socket, name: str) -> QueueState | None:
    """A queue, looked at on a channel of its own; None where there is none."""
    _send(broker, struct.pack(">HHB", 20, 10, 0), channel=1)
    if _method(broker) != _CHANNEL:
        raise EOFError
    named = name.encode()
    _send(broker, struct.pack(">HHHB", 50, 10, 0, len(named)) + named + struct.pack(">BI", 1, 0), channel=1)
    method, rest = _frame(broker)
    if method == _CLOSED:
        _send(broker, struct.pack(">HH", 20, 41), channel=1)
        return None
    if method != _DECLARED:
        raise EOFError
    messages, consumers = struct.unpack(">II", rest[1 + rest[0] :][:8])
    _send(broker, struct.pack(">HHHBHH", 20, 40, 200, 0, 0, 0), channel=1)
    _method(broker)
    return QueueState(messages, consumers)


def _send(broker: socket.socket, body: bytes, channel: int = 0) -> None:
    broker.sendall(struct.pack(">BHI", 1, channel, len(body)) + body + b"\xce")


def _method(broker: socket.socket) -> tuple[int, int]:
    """The class and method of the next frame, which must be one. Raises EOFError."""
    return _frame(broker)[0]


def _frame(broker: socket.socket) -> tuple[tuple[int, int], bytes]:
    """The next frame's class and method, and what follows them."""
    kind, _, size = struct.unpack(">BHI", _read(broker, 7))
    body = _read(broker, size + 1)
    if kind != 1 or size < 4 or size > 1 << 20:
        raise EOFError
    found: tuple[int, int] = struct.unpack(">HH", body[:4])
    return found, body[4:-1]


def _read(broker: socket.socket, size: int) -> bytes:
    held = b""
    while len(held) < size:
        part = broker.recv(size - len(held))
        if not part:
            raise EOFError
        held += part
    return held
