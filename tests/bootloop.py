"""Clients that boot servers and delete them, without a pause, and notice all that goes wrong: in Nova, and in Placement."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import urllib3

ADMIN = {"name": "admin", "domain": {"name": "Default"}}
PATIENCE = 240  # seconds for one server
ENDURED = 45  # the same, of a loop that goes on: a message that was lost is waited for in vain
RELEASED = 30  # seconds for what Placement holds of a server that is gone


@dataclass
class Api:
    """A cloud's services at an edge, as its administrator."""

    edge: str
    password: str
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, timeout=120, maxsize=8)
    )
    token: str = ""

    def log_in(self) -> None:
        scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
        password = {"user": {**ADMIN, "password": self.password}}
        body = {"auth": {"identity": {"methods": ["password"], "password": password}, "scope": scope}}
        answer = self.http.request("POST", f"http://{self.edge}:5000/v3/auth/tokens", json=body)
        assert answer.status == 201, answer.data
        self.token = answer.headers["X-Subject-Token"]

    def ask(
        self, method: str, port: int, path: str, body: Any = None, version: str = "compute 2.74"
    ) -> tuple[int, Any]:
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": version}
        answer = self.http.request(method, f"http://{self.edge}:{port}{path}", json=body, headers=headers)
        try:
            return answer.status, answer.json() if answer.data else None
        except ValueError:
            return answer.status, answer.data

    def nova(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.ask(method, 8774, f"/v2.1{path}", body)

    def placement(self, path: str) -> Any:
        status, found = self.ask("GET", 8778, path, version="placement 1.28")
        assert status == 200, (path, status, found)
        return found


@dataclass(frozen=True)
class Failure:
    """A call that was not answered as it should be (0 where it was not answered), or what became of a server."""

    call: str
    status: int
    server: str
    why: str


class BootLoop:
    """Servers booted on each of `nodes` and deleted again, by as many clients, until the block ends, or one call fails.

    One that is `enduring` goes on whatever fails.
    """

    def __init__(self, api: Api, nodes: list[str], *, enduring: bool = False) -> None:
        self.api, self.nodes, self.enduring = api, nodes, enduring
        self.calls = self.asked = self.booted = 0
        self.stays = ""  # a server that was there before any fault
        self.failures: list[Failure] = []
        self.left: list[str] = []  # servers whose allocations are to be looked for
        self._lock, self._stop = threading.Lock(), threading.Event()
        flavor = {"name": "loop", "ram": 64, "vcpus": 1, "disk": 0}
        _, found = api.nova("GET", "/flavors")
        self.flavor = next((f["id"] for f in found["flavors"] if f["name"] == "loop"), "")
        if not self.flavor:
            self.flavor = api.nova("POST", "/flavors", {"flavor": flavor})[1]["flavor"]["id"]
        image = {"name": "loop", "disk_format": "raw", "container_format": "bare"}
        self.image = api.ask("POST", 9292, "/v2/images", image)[1]["id"]
        url = f"http://{api.edge}:9292/v2/images/{self.image}/file"
        headers = {"X-Auth-Token": api.token, "Content-Type": "application/octet-stream"}
        answer = api.http.request("PUT", url, body=b"\0" * 512, headers=headers)
        assert answer.status == 204, answer.data

    def __enter__(self) -> BootLoop:
        self.stays = self.boot(self.nodes[0]) if self.enduring else ""
        self._threads = [threading.Thread(target=self._run, args=(node,)) for node in self.nodes]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if error and self.failures:
            error.add_note(f"before that, of {self.booted} servers and {self.calls} calls: {self.failures[:5]}")

    def flow(self, more: int = 2) -> None:
        """Wait until that many more servers were booted and deleted."""
        wanted, deadline = self.booted + more, time.monotonic() + PATIENCE
        while self.booted < wanted and not self._over:
            assert time.monotonic() < deadline, f"{self.booted} servers, {wanted} were waited for; {self.failures}"
            time.sleep(0.1)

    def assert_nothing_lost(self) -> None:
        """No call failed, no server was in ERROR, and Placement holds nothing of any of them."""
        assert not self.failures, f"{self.booted} booted, {self.calls} calls; {self.failures[:5]}"
        assert self.booted and self.calls
        self._assert_placement()

    def assert_consistent(self, most: int) -> None:
        """After faults: of so many servers at the most something failed; none lost its allocation, or left one behind."""
        spoilt = {f.server or f"not made {n}" for n, f in enumerate(self.failures)}
        print(f"{len(spoilt)} of {self.asked} servers, {most} may: {self.failures}")
        assert len(spoilt) <= most, f"{len(spoilt)} of {self.asked} servers, {most} may: {self.failures}"
        assert self.stays not in spoilt, self.failures
        servers = {s["id"]: s["status"] for s in self._servers()}
        assert servers[self.stays] == "ACTIVE", servers
        for server in [s for s, status in servers.items() if status == "ACTIVE"]:
            assert self.api.placement(f"/allocations/{server}")["allocations"], server
        self.tidy()
        self._assert_placement()

    def tidy(self) -> None:
        """Delete what is there, as an operator would: again where that was not heard.

        Nova ignores a second call while a server is said to be deleted (nova/compute/api.py, `_delete`), although the
        compute node may have given that up, when its cell's database was away: then its state is reset first.
        """
        began = time.monotonic()
        while there := self._servers():
            waited = time.monotonic() - began
            assert waited < PATIENCE, there
            for server in there:
                if waited > ENDURED and server["OS-EXT-STS:task_state"] == "deleting":
                    self.api.nova("POST", f"/servers/{server['id']}/action", {"os-resetState": {"state": "error"}})
                self.api.nova("DELETE", f"/servers/{server['id']}")
            time.sleep(3)

    def _servers(self) -> list[dict[str, Any]]:
        status, found = self.api.nova("GET", "/servers/detail?all_tenants=1")
        assert status == 200, found
        there: list[dict[str, Any]] = found["servers"]
        return there

    def _assert_placement(self) -> None:
        """Nothing is held: a compute node tells Placement a moment after the server is gone from Nova's lists."""
        deadline = time.monotonic() + RELEASED
        while held := list(self._held()):
            assert time.monotonic() < deadline, held
            time.sleep(0.5)

    def _held(self) -> Iterator[tuple[str, Any]]:
        for server in self.left:
            if found := self.api.placement(f"/allocations/{server}")["allocations"]:
                yield server, found
        for provider in self.api.placement("/resource_providers")["resource_providers"]:
            used = self.api.placement(f"/resource_providers/{provider['uuid']}/usages")["usages"]
            if any(used.values()):
                yield provider["name"], used

    @property
    def _over(self) -> bool:
        return bool(self.failures) and not self.enduring

    def _run(self, node: str) -> None:
        while not self._stop.is_set() and not self._over:
            try:
                self._once(node)
            except Exception as error:
                self._fail(node, 0, "", f"{type(error).__name__} {error}")
                time.sleep(1)

    def _once(self, node: str) -> None:
        if server := self.boot(node):
            self.delete(server)
        elif self.enduring:
            time.sleep(1)

    def boot(self, node: str, name: str = "loop") -> str:
        """A server on a node, when it is there; empty where it could not be asked for."""
        with self._lock:
            self.asked += 1
        wanted = {"name": name, "flavorRef": self.flavor, "imageRef": self.image, "networks": "none"}
        found = self._call("POST", "", {"server": {**wanted, "hypervisor_hostname": node}})
        if found is None:
            return ""
        server = str(found["server"]["id"])
        self.left.append(server)
        state = self._wait(server, lambda s: s in ("ACTIVE", "ERROR"))
        if state != "ACTIVE":
            self._fail("boot", 0, server, f"is {state}")
        return server

    def delete(self, server: str) -> None:
        """Delete a server, and wait until it is gone."""
        self._call("DELETE", server, missing=self.enduring)
        if self._wait(server, lambda s: s == "gone") == "gone":
            with self._lock:
                self.booted += 1
        else:
            self._fail("delete", 0, server, "is not deleted")

    def _wait(self, server: str, done: Any) -> str:
        deadline, state = time.monotonic() + (ENDURED if self.enduring else PATIENCE), ""
        while time.monotonic() < deadline and not self._over:
            found = self._call("GET", server, missing=True)
            state = "gone" if found == "gone" else found["server"]["status"] if found else state
            if done(state):
                return state
            time.sleep(0.3)
        return state

    def _call(self, method: str, server: str, body: Any = None, *, missing: bool = False) -> Any:
        try:
            status, found = self.api.nova(method, f"/servers/{server}".removesuffix("/"), body)
        except urllib3.exceptions.HTTPError as error:
            status, found = 0, f"{type(error).__name__} {error}"
        with self._lock:
            self.calls += 1
        if status == 404 and missing:
            return "gone"
        if not 0 < status < 400:
            self._fail(method, status, server, str(found))
            return None
        return found

    def _fail(self, call: str, status: int, server: str, why: str) -> None:
        with self._lock:
            self.failures.append(Failure(call, status, server, why))
