"""The shared cloud as a newcomer meets it: up, nothing to do, proved, used by stock clients; and no secret anywhere."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
from rig import Cloud, Watch, addresses, digest, listening, program, random_file, until, walk

pytestmark = pytest.mark.xdist_group("local")

OPENSTACK = Path(sys.executable).with_name("openstack")
EVIL = "evil.example.org"


# --- up, status, nothing to do


def test_a_fresh_up_brings_everything_up(cloud: Cloud) -> None:
    cloud.wait_up()
    everything = {"edge/edge", "keystone/vms", "glance/vms", "placement/vms", "barbican/vms"}
    assert set(cloud.health()) == everything


def test_a_second_up_finds_nothing_to_do_and_touches_nothing(cloud: Cloud) -> None:
    cloud.settles()
    assert cloud.plan()["operations"] == []
    assert cloud.run("plan", "--detailed-exitcode").code == 0


def test_verify_proves_four_services_and_leaves_nothing_behind(cloud: Cloud) -> None:
    before = content(cloud)
    done = cloud.does("verify", "-o", "json")
    proofs = {p["service"]: p for p in map(json.loads, done.out.splitlines())}
    assert set(proofs) == {"keystone", "glance", "placement", "barbican"}
    assert all(len(p["proved"]) > 2 and "problem" not in p for p in proofs.values()), done.text
    assert content(cloud) == before


def content(cloud: Cloud) -> dict[str, list[str]]:
    """What of the cloud a verification might leave behind."""
    token = {"X-Auth-Token": cloud.token(), "OpenStack-API-Version": "placement 1.39"}
    lists = {
        "images": (9292, "/v2/images?limit=1000"),
        "secrets": (9311, "/v1/secrets?limit=100"),
        "resource_providers": (8778, "/resource_providers"),
        "users": (5000, "/v3/users"),
        "projects": (5000, "/v3/projects"),
    }
    answers = {name: cloud.request("GET", port, path, headers=token) for name, (port, path) in lists.items()}
    assert {n: a.status for n, a in answers.items()} == dict.fromkeys(lists, 200)
    return {name: sorted(map(str, answer.json[name])) for name, answer in answers.items()}


def test_every_service_answers_under_the_edge_s_address_alone(cloud: Cloud) -> None:
    token = {"X-Auth-Token": cloud.token()}
    endpoints = cloud.request("GET", 5000, "/v3/endpoints", headers=token).json["endpoints"]
    assert {(e["interface"], e["url"]) for e in endpoints} == {
        (interface, cloud.url(port, path))
        for interface in ("public", "internal")
        for port, path in ((5000, "/v3"), (9292, ""), (8778, ""), (9311, ""))
    }


# --- stock clients


@pytest.fixture(scope="module")
def client(shared: Cloud) -> dict[str, str]:
    """The environment of a stock client: what `planeshift env` prints, and nothing else of OpenStack."""
    done = shared.does("env")
    lines = [shlex.split(line) for line in done.out.splitlines()]
    assert all(line[0] == "export" for line in lines), done.text
    return {k: v for k, v in os.environ.items() if not k.startswith("OS_")} | dict(
        line[1].split("=", 1) for line in lines
    )


def test_env_prints_no_password_and_the_file_it_names_is_private(cloud: Cloud, client: dict[str, str]) -> None:
    done = cloud.does("env")
    assert set(re.findall(r"OS_\w+", done.out)) == {"OS_CLOUD", "OS_CLIENT_CONFIG_FILE"}
    assert not [where for value, where in cloud.secret_values().items() if value in done.text]
    path = Path(client["OS_CLIENT_CONFIG_FILE"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cloud.secret("keystone", "admin_password") in path.read_text()
    before = path.stat().st_mtime_ns
    cloud.does("env")
    assert path.stat().st_mtime_ns == before


def test_a_stock_client_issues_a_token(client: dict[str, str]) -> None:
    assert len(openstack(client, "token", "issue", "-f", "value", "-c", "id")) > 50


def test_a_stock_client_stores_and_loads_an_image_bit_for_bit(
    cloud: Cloud, client: dict[str, str], tmp_path: Path
) -> None:
    source, back = random_file(tmp_path / "source", 200), tmp_path / "back"
    before = cloud.statistics()["glance", "FRONTEND"]
    made = ("--disk-format", "raw", "--container-format", "bare", "--file", str(source), "-f", "value", "-c", "id")
    image = openstack(client, "image", "create", *made, "big")
    try:
        openstack(client, "image", "save", "--file", str(back), image)
        assert back.stat().st_size == source.stat().st_size
        assert digest(back) == digest(source)
    finally:
        cloud.request("DELETE", 9292, f"/v2/images/{image}", headers={"X-Auth-Token": cloud.token()})
    after = cloud.statistics()["glance", "FRONTEND"]
    size = 200 * 1024 * 1024
    assert int(after["bin"]) - int(before["bin"]) > size
    assert int(after["bout"]) - int(before["bout"]) > size
    assert int(after["req_tot"]) - int(before["req_tot"]) >= 4


def test_a_stock_client_stores_and_reads_a_secret(cloud: Cloud, client: dict[str, str]) -> None:
    if importlib.util.find_spec("barbicanclient") is None:
        pytest.fail("python-barbicanclient is not installed: it brings `openstack secret`; `make setup` installs it")
    reference = openstack(client, "secret", "store", "-p", "a word", "-f", "value", "-c", "Secret href")
    try:
        assert openstack(client, "secret", "get", reference, "--payload", "-f", "value") == "a word"
    finally:
        path = reference.removeprefix(cloud.url(9311))
        assert cloud.request("DELETE", 9311, path, headers={"X-Auth-Token": cloud.token()}).status == 204


def openstack(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [OPENSTACK, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"openstack {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


# --- uploads as other clients make them


def test_an_upload_in_chunks_of_unknown_length(cloud: Cloud, tmp_path: Path) -> None:
    source, token = random_file(tmp_path / "source", 50), {"X-Auth-Token": cloud.token()}
    image = cloud.image(token)
    octets = token | {"Content-Type": "application/octet-stream"}
    try:
        answer = cloud.request("PUT", 9292, f"/v2/images/{image}/file", pieces(source), octets, chunked=True)
        assert answer.status == 204, answer
        back = cloud.request("GET", 9292, f"/v2/images/{image}/file", headers=token)
        assert back.body == source.read_bytes()
    finally:
        assert cloud.request("DELETE", 9292, f"/v2/images/{image}", headers=token).status == 204


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_without_a_token_is_answered_401_and_not_cut_off(cloud: Cloud, tmp_path: Path, chunked: bool) -> None:
    """By a client that reads the answer when it can no longer write, as urllib3 and what stands on it do."""
    source = random_file(tmp_path / "source", 50)
    headers = {} if chunked else {"Content-Length": str(source.stat().st_size)}
    url = cloud.url(9292, "/v2/images/00000000-0000-0000-0000-000000000000/file")
    answers = [urllib3.request("PUT", url, body=pieces(source), headers=headers, retries=False) for _ in range(8)]
    assert {a.status for a in answers} == {401}


def test_more_downloads_than_threads_wait_at_the_edge_which_still_finds_the_service_well(
    cloud: Cloud, tmp_path: Path
) -> None:
    """By clients that stop reading. A health check would wait behind them until the service were taken for dead."""
    source, token = random_file(tmp_path / "source", 50), {"X-Auth-Token": cloud.token()}
    image = cloud.image(token)
    octets, go = token | {"Content-Type": "application/octet-stream"}, threading.Event()
    assert cloud.request("PUT", 9292, f"/v2/images/{image}/file", pieces(source), octets, chunked=True).status == 204

    def download() -> bool:
        return cloud.read_in_halves(f"/v2/images/{image}/file", token, go) == source.read_bytes()

    def waiting() -> tuple[int, int]:
        rows = cloud.statistics()
        return int(rows["glance", "vms-here"]["scur"]), int(rows["glance", "BACKEND"]["qcur"])

    with ThreadPoolExecutor(13) as pool:
        try:
            downloads = [pool.submit(download) for _ in range(12)]
            until(lambda: waiting() == (7, 5), waiting)
            time.sleep(22)  # three checks of five seconds, and what is between them
            asked = pool.submit(cloud.request, "GET", 9292, "/v2/images", headers=token)
            until(lambda: waiting() == (7, 6), waiting)
            assert cloud.statistics()["glance", "vms-here"]["status"].startswith("UP")
        finally:
            go.set()
        assert all(one.result() for one in downloads)
        assert asked.result().status == 200
    assert cloud.request("DELETE", 9292, f"/v2/images/{image}", headers=token).status == 204


def pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(60_000):
            yield piece


# --- what proxies say


@pytest.fixture(scope="module")
def echo(shared: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[list[tuple[str, str]]]]]:
    """The edge's own configuration before a server that keeps what headers reached it: the edge's address, and those."""
    reached: list[list[tuple[str, str]]] = []

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(list(self.headers.items()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    edge, host = addresses()
    server = http.server.ThreadingHTTPServer((host, 15000), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = tmp_path_factory.mktemp("echo")
    text = (shared.runtime / "here/edge/edge/haproxy.cfg").read_text()
    text = text.replace(str(shared.runtime / "here/edge/edge"), str(place))
    text = text.replace(f"{shared.edge}:", f"{edge}:").replace(f"{shared.host}:", f"{host}:")
    (place / "haproxy.cfg").write_text(text)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([str(program("haproxy")), "-db", "-f", str(place / "haproxy.cfg")], stdout=log)
    try:
        until(lambda: len(listening([edge])) == 5, "HAProxy listens", 30)
        yield edge, reached
    finally:
        process.terminate()
        process.wait()
        server.shutdown()
        server.server_close()


FORGED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.7",
    "X_Forwarded_For": "203.0.113.7",
    "X_Forwarded-Host": EVIL,
    "x-forwarded-host": EVIL,
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": f"/{EVIL}",
    "X-Forwarded_Ssl": "on",
    "Forwarded": f"for=203.0.113.7;host={EVIL};proto=https",
    "X-Real-IP": "203.0.113.7",
}


def test_forged_headers_end_at_the_edge(
    cloud: Cloud, echo: tuple[str, list[list[tuple[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, reached = echo
    monkeypatch.setattr(cloud, "edge", edge)
    before = len(reached)
    assert cloud.request("GET", 5000, "/v3", headers=FORGED).status == 200
    [headers] = [h for h in reached[before:] if ("Host", "planeshift-check") not in h]
    proxied = {n.lower().replace("_", "-"): v for n, v in headers if re.match(r"(?i)x[-_]forw|forw|x[-_]real", n)}
    assert proxied == {
        "x-forwarded-proto": "http",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": f"{edge}:5000",
    }
    assert len([n for n, _ in headers if n.lower().startswith("x")]) == 4  # those and the request id: none twice


def test_links_of_version_documents_keep_the_edge_s_address(cloud: Cloud) -> None:
    for port, path in ((5000, "/v3"), (5000, "/"), (9292, "/"), (9311, "/"), (8778, "/")):
        answer = cloud.request("GET", port, path, headers=FORGED)
        text = answer.body.decode()
        assert answer.status in (200, 300), answer
        links = set(re.findall(r"https?://[^\"/]+", text)) - {"https://docs.openstack.org"}
        assert links <= {f"http://{cloud.edge}:{port}"} and EVIL not in text, text


def test_a_request_can_be_followed_from_the_edge_s_log_into_the_service_s(cloud: Cloud) -> None:
    user = {"name": "nobody", "domain": {"name": "Default"}, "password": "wrong"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    assert cloud.request("POST", 5000, "/v3/auth/tokens", json.dumps(body), FORGED).status == 401

    def line() -> re.Match[str] | None:
        pattern = r"127\.0\.0\.1:\d+ .* keystone/vms-here .* 401 .*POST /v3/auth/tokens.* (req-[0-9a-f-]{36}) "
        return ([*re.finditer(pattern, cloud.edge_log()[-20_000:])] or [None])[-1]

    found = until(line, "the edge's log has the request", 30)
    log = cloud.state / "logs/here/keystone/vms/keystone-api.log"
    until(lambda: found[1] in log.read_text("utf-8", "replace"), f"{found[1]} is in Keystone's log", 30)


# --- secrets


def test_no_process_shows_a_secret_while_everything_is_brought_up(cloud: Cloud, watch: Watch) -> None:
    watch.look()  # and now, when all runs
    shown = {where: watch.showing(value) for value, where in cloud.secret_values().items()}
    # keystone-manage takes the administrator's password from its own environment, and offers no other way but argv.
    # (`dirname` is of the few lines of shell with which a relocatable script finds its Python.)
    allowed = [
        (command, name)
        for command, name in shown["keystone.yaml admin_password"]
        if re.search(r"keystone-manage (bootstrap )?$", command) and name == "OS_BOOTSTRAP_PASSWORD"
    ]
    assert [s for found in shown.values() for s in found if s not in allowed] == []
    assert len(shown) >= 11 and watch.seen


def test_no_secret_is_in_what_is_kept_or_printed(cloud: Cloud) -> None:
    values = {value.encode(): where for value, where in cloud.secret_values().items()}
    cloud.does("env")
    cloud.does("plan", "--save", str(cloud.state / "saved"))
    printed = [cloud.does(*words.split()).text for words in ("plan -o json", "render files", "logs -n 10000")]
    leaks = [f"{where} printed" for value, where in values.items() if any(value.decode() in text for text in printed)]
    for path in walk(cloud.state, skip={"environments", "data"}):  # databases hold hashes, and what users store
        text = path.read_bytes() if path.is_file() else b""
        leaks += [f"{where} in {path}" for value, where in values.items() if value in text]
    (cloud.state / "saved").unlink()
    assert leaks == []


def test_files_that_hold_secrets_are_private(cloud: Cloud) -> None:
    values = [value.encode() for value in cloud.secret_values()]
    kept = [*walk(cloud.runtime), *walk(cloud.root / "secrets")]
    holding = [p for p in kept if p.is_file() and any(v in p.read_bytes() for v in values)]
    assert len(holding) > 4
    assert {oct(stat.S_IMODE(p.stat().st_mode)) for p in holding} == {"0o600"}
    assert {oct(stat.S_IMODE(p.stat().st_mode)) for p in (cloud.state, cloud.runtime, cloud.root / "secrets")} == {
        "0o700"
    }
