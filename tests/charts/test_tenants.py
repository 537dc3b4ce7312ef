"""What one tenant may do reaches no other: any requests, by somebody who may do all to tenant `a` and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from chartrig import SOAK, form, make
from test_api import prov_of

from planeshift.charts.repository import Rules
from planeshift.charts.server.app import App
from planeshift.charts.server.auth import Authenticator, Nobody
from planeshift.charts.server.museum import Museum
from planeshift.charts.server.settings import Settings
from planeshift.charts.store.directory import DirectoryStore

REQUESTS = 100_000 if SOAK else 4_000
OTHERS = ("b", "a/b", "b/a", "")  # next to the own one, below it, beside it, above it
MARK = "belongs-to-another"


class OnlyA:
    """Everything is allowed to tenant `a`, nothing to any other."""

    def challenge(self, headers: Mapping[str, str], action: str, tenant: str) -> str | None:
        return None if tenant == "a" else "Basic"


@dataclass
class Answered:
    status: int = 0
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class Rig:
    """An application in this process over a store in which each tenant has a chart, a signed one and a half-pushed one."""

    def __init__(self, root: Path, depth: int | None, authenticator: Authenticator) -> None:
        self.root = root
        store = DirectoryStore(root)
        self.museum = Museum(store, Rules(), None)
        self.secrets: set[bytes] = set()
        self.own = {make("alpha"), prov_of(make("alpha"))}
        self.digests = [hashlib.sha256(b"").hexdigest()]
        for tenant in ("a", *OTHERS):
            if depth is not None and tenant.count("/") + bool(tenant) != depth:
                continue
            mark = "own" if tenant == "a" else f"{MARK}-{tenant.replace('/', '-')}"
            chart = make("alpha", files={"README.md": mark.encode()}, description=mark)
            prov = prov_of(chart) + mark.encode()
            self.museum.open(tenant, True).add(chart, prov)
            self.digests += [hashlib.sha256(d).hexdigest() for d in (chart, prov)]
            (self.own if tenant == "a" else self.secrets).update((chart, prov))
        self.app = App(self.museum, Settings(depth=depth), authenticator)

    async def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(plain),
            "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            "scheme": "http",
            "client": ("192.0.2.1", 1),
        }
        answered = Answered()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            answered.status = message.get("status", answered.status)
            answered.headers += message.get("headers", [])
            answered.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return answered

    def others(self) -> dict[str, bytes]:
        """All that lies in the store and is not tenant a's own."""
        found = (p for p in self.root.rglob("*") if p.is_file() and ".planeshift" not in p.parts)
        paths = {p.relative_to(self.root): p.read_bytes() for p in found}
        return {str(p): content for p, content in paths.items() if p.parent != Path("a")}

    def told(self, answered: Answered) -> bool:
        """Whether an answer has something of another tenant's in it."""
        body = answered.body
        cut = len(body) >= 24 and any(body in s for s in self.secrets) and not any(body in own for own in self.own)
        return cut or MARK.encode() in body or any(MARK.encode() in value for _, value in answered.headers)


def requests(dice: random.Random, digests: list[str]) -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """Requests without end: paths of pieces that mean something, whole or disguised, with bodies that mean something."""
    pieces = ["a", "b", "api", "charts", "prov", "v2", "blobs", "manifests", "tags", "uploads", "list", "-", "static"]
    pieces += [
        "alpha",
        "alpha-1.0.0.tgz",
        "alpha-1.0.0.tgz.prov",
        "1.0.0",
        "index.yaml",
        "values",
        "templates",
        "latest",
    ]
    pieces += ["", ".", "..", "%2e%2e", "..%2fb", "%2e%2e%2fb%2fcharts", "..\\b", "b%00", "a%2f..%2fb", ".planeshift"]
    pieces += ["alpha@1.0.0", "b%2falpha", "_catalog", "index", "oci", "artifacthub-repo.yml"]
    shapes = [
        shape.split()
        for shape in (
            "api T charts",
            "api T charts alpha 1.0.0",
            "api T charts alpha 1.0.0 values",
            "T index.yaml",
            "T charts alpha-1.0.0.tgz",
            "T charts alpha-1.0.0.tgz.prov",
            "T -",
            "T - charts alpha 1.0.0",
            "v2 T alpha manifests 1.0.0",
            "v2 T alpha manifests D",
            "v2 T alpha tags list",
            "v2 T alpha blobs D",
            "v2 T alpha blobs uploads -",
        )
    ]
    tenants = [
        "a",
        "b",
        "a/b",
        "b/a",
        "",
        ".",
        "..",
        "a/..",
        "a/../b",
        "a//b",
        "%2e%2e/b",
        "a%2fb",
        "a/.",
        "./b",
        "A",
        *["a"] * 10,
    ]
    bodies = [b"", b"nonsense", make("alpha"), make("alpha", "2.0.0"), make("../b", "1.0.0"), prov_of(make("alpha"))]
    while True:
        parts = list(dice.choice(shapes)) if dice.random() < 0.7 else dice.choices(pieces, k=dice.randint(1, 7))
        if parts[-1] == "-":
            parts[-1] = ""
        path = "/" + "/".join(
            dice.choice(tenants) if p == "T" else f"sha256:{dice.choice(digests)}" if p == "D" else p for p in parts
        )
        if dice.random() < 0.2:
            at = dice.randint(0, len(path))
            path = path[:at] + dice.choice(["/", "//", "/../", "%2f", "/b", "/./", "%2e"]) + path[at:]
        query = dice.choice(["", "", "", "?force", f"?mount=sha256:{dice.choice(digests)}&from=b/alpha", "?q=alpha"])
        if dice.random() < 0.1:
            query = f"?digest=sha256:{hashlib.sha256(bodies[2]).hexdigest()}"
        headers = {} if dice.random() < 0.9 else {"range": "bytes=0-99"}
        body = dice.choice(bodies)
        if dice.random() < 0.1:
            body, headers["content-type"] = form(chart=make("alpha"), prov=prov_of(make("alpha")))
        method = dice.choice(["GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        yield method, path + query, body, headers


def tried(rig: Rig, count: int, seed: int) -> tuple[int, list[str]]:
    """How many requests were answered with something, and those whose answer told of another tenant."""
    answered, told = 0, []

    async def all_of_them() -> None:
        nonlocal answered
        made = requests(random.Random(seed), rig.digests)
        for method, path, body, headers in (next(made) for _ in range(count)):
            found = await rig.ask(method, path, body, headers)
            answered += found.status in (200, 201, 202, 206)
            if rig.told(found):
                told.append(f"{method} {path}")

    asyncio.run(all_of_them())
    return answered, told


@pytest.mark.parametrize("depth", [1, None])
def test_no_request_reads_or_changes_what_is_another_tenants(tmp_path: Path, depth: int | None) -> None:
    rig = Rig(tmp_path / "store", depth, OnlyA())
    before = rig.others()
    answered, told = tried(rig, REQUESTS // 2, seed=5)
    assert told == [] and rig.others() == before
    assert {p.name for p in tmp_path.iterdir()} == {"store"}
    assert answered > REQUESTS / 50  # what is its own, it may


def test_the_same_requests_tell_of_all_where_all_is_allowed(tmp_path: Path) -> None:
    """So that the test above is known to see it."""
    rig = Rig(tmp_path / "store", None, Nobody())
    before = rig.others()
    _, told = tried(rig, 1_000, seed=5)
    assert len(told) > 10 and rig.others() != before
