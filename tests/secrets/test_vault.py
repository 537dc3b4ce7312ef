"""Keys in Vault's or OpenBao's transit engine, in SOPS's own entries: by us and by stock sops, at a server of that API."""

from __future__ import annotations

import base64
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from secretrig import Key, stock

from planeshift.errors import PlaneshiftError
from planeshift.secrets import vaultkeys, work

TOKEN = "hvs.canary-token"


class Transit:
    """The two requests of the transit engine, and what it may answer instead. It "encrypts" by a table of its own."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.status = 200
        transit = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = transit.answer(self.path, self.headers.get("X-Vault-Token", ""), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_PUT = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, token: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        if self.status != 200:
            return self.status, {"errors": ["\x1b[31mno"]}
        if path == "/v1/transit/encrypt/cloud":
            name = f"vault:v1:{base64.b64encode(os.urandom(24)).decode()}"
            self.held[name] = body["plaintext"]
            return 200, {"data": {"ciphertext": name}}
        if path == "/v1/transit/decrypt/cloud" and body.get("ciphertext") in self.held:
            return 200, {"data": {"plaintext": self.held[body["ciphertext"]]}}
        return 400, {"errors": ["invalid ciphertext"]}


@pytest.fixture
def transit(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transit]:
    server = Transit()
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("VAULT_ADDR", server.url)
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def file(place: Path, transit: Transit) -> str:
    (place / "s.yaml").write_bytes(work.encrypt("s.yaml", b"a: one\n", vault=(f"{transit.url}/v1/transit/keys/cloud",)))
    return "s.yaml"


def test_a_key_in_transit_opens_and_is_edited(file: str, transit: Transit) -> None:
    assert work.view(file) == "a: one\n"
    work.set_value(file, ("a",), "two")
    work.rotate_key(file)
    assert work.view(file) == "a: two\n"


def test_stock_sops_both_ways(file: str, transit: Transit, place: Path) -> None:
    sops = stock("sops")
    assert subprocess.run([sops, "decrypt", file], capture_output=True, check=True).stdout == b"a: one\n"
    (place / "p.yaml").write_text("b: two\n")
    uri = f"{transit.url}/v1/transit/keys/cloud"
    out = subprocess.run([sops, "encrypt", "--hc-vault-transit", uri, "p.yaml"], capture_output=True, check=True).stdout
    (place / "t.yaml").write_bytes(out)
    assert work.view("t.yaml") == "b: two\n"


def test_rules_name_it_and_rewrap_adds_it(file: str, transit: Transit, place: Path, key: Key) -> None:
    uri = f"{transit.url}/v1/transit/keys/cloud"
    (place / ".sops.yaml").write_text(f"creation_rules: [{{age: {key.public}, hc_vault_transit_uri: {uri}}}]\n")
    assert work.rewrap(file) == [f"+ {key.public}"]
    assert work.rewrap(file) == []
    assert work.view(file) == "a: one\n"


@pytest.mark.parametrize(("status", "words"), [(403, "refuses"), (503, "refuses")])
def test_what_it_says_is_told_without_the_token(file: str, transit: Transit, status: int, words: str) -> None:
    before = Path(file).read_bytes()
    transit.status = status
    for run in (lambda: work.view(file), lambda: work.set_value(file, ("a",), "b")):
        with pytest.raises(PlaneshiftError) as error:
            run()
        told = f"{error.value} {error.value.problems[0].why}"
        assert error.value.problems[0].code == "PS1009" and words in told
        assert TOKEN not in told and "\x1b" not in told
    assert Path(file).read_bytes() == before


def test_a_token_goes_by_https_alone() -> None:
    for uri in (
        "http://vault.example.org/v1/transit/keys/cloud",
        "vault.example.org/x",
        "https://vault.example.org/keys/x",
    ):
        with pytest.raises(PlaneshiftError):
            vaultkeys.wrap(b"k" * 32, uri, {"VAULT_TOKEN": TOKEN})


def test_without_a_token(file: str, transit: Transit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(PlaneshiftError) as error:
        work.view(file)
    assert "no token" in error.value.problems[0].why
