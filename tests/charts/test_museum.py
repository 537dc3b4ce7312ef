"""The same requests to a real ChartMuseum and to ours: statuses and bodies. Needs its program: CHARTMUSEUM=PATH."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chartrig import Answer, Server, form, make
from test_api import PROV, prov_of

PROGRAM = os.environ.get("CHARTMUSEUM", "")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="CHARTMUSEUM names no program of ChartMuseum's")
BOTH, KIND = form(chart=make("gamma"), prov=prov_of(make("gamma")).replace(b"alpha", b"gamma"))
OTHER_FIELD, OTHER_KIND = form(other=b"x")
BETA = [make("beta", v) for v in ("1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1")]
# (method, path below the repository's, body, content type); `T` is the tenant, with a slash before it
ASKED: list[tuple[str, str, bytes | None, str]] = [
    ("GET", "/health", None, ""),
    ("GET", "T/index.yaml", None, ""),
    ("GET", "/apiT/charts", None, ""),
    ("POST", "/apiT/charts", make("alpha"), ""),
    ("POST", "/apiT/charts", make("alpha"), ""),
    ("POST", "/apiT/charts?force", make("alpha"), ""),
    ("POST", "/apiT/charts", b"nonsense", ""),
    ("POST", "/apiT/charts", b"", ""),
    ("POST", "/apiT/prov", PROV, ""),
    ("POST", "/apiT/prov", PROV, ""),
    ("POST", "/apiT/charts", BOTH, KIND),
    ("POST", "/apiT/charts", BOTH, KIND),
    ("POST", "/apiT/charts", OTHER_FIELD, OTHER_KIND),
    *(("POST", "/apiT/charts", chart, "") for chart in BETA),
    ("GET", "T/index.yaml", None, ""),
    ("HEAD", "T/index.yaml", None, ""),
    ("GET", "/apiT/charts", None, ""),
    ("GET", "/apiT/charts?offset=1&limit=1", None, ""),
    ("GET", "/apiT/charts?offset=9", None, ""),
    ("GET", "/apiT/charts?offset=-1", None, ""),
    ("GET", "/apiT/charts?limit=0", None, ""),
    ("GET", "/apiT/charts?limit=x", None, ""),
    ("GET", "/apiT/charts/beta", None, ""),
    ("HEAD", "/apiT/charts/beta", None, ""),
    ("GET", "/apiT/charts/nothing", None, ""),
    ("HEAD", "/apiT/charts/nothing", None, ""),
    *(("GET", f"/apiT/charts/beta/{v}", None, "") for v in ("1.0.0", "latest", "9.9.9", "nonsense", "1.0.0/values")),
    ("HEAD", "/apiT/charts/beta/1.0.0", None, ""),
    ("HEAD", "/apiT/charts/beta/9.9.9", None, ""),
    ("GET", "/apiT/charts/nothing/1.0.0", None, ""),
    ("GET", "/apiT/charts/beta/1.0.0/templates", None, ""),
    ("GET", "/apiT/charts/beta/9.9.9/templates", None, ""),
    ("GET", "/apiT/charts/beta/9.9.9/values", None, ""),
    ("GET", "T/charts/alpha-1.0.0.tgz", None, ""),
    ("GET", "T/charts/alpha-1.0.0.tgz.prov", None, ""),
    ("GET", "T/charts/beta-1.0.0.tgz.prov", None, ""),
    ("GET", "T/charts/nothing-1.0.0.tgz", None, ""),
    ("DELETE", "/apiT/charts/alpha/1.0.0", None, ""),
    ("DELETE", "/apiT/charts/alpha/1.0.0", None, ""),
    ("GET", "T/charts/alpha-1.0.0.tgz", None, ""),
    ("GET", "T/charts/alpha-1.0.0.tgz.prov", None, ""),
    ("GET", "/nowhere/at/all/x", None, ""),
]
# Only the status is the same: ours says what is wrong with the archive, and nothing of the server's directories. (A HEAD has
# the headers of its GET here.)
WORDED = [("POST", b"nonsense"), ("POST", b""), ("DELETE", None)]


@pytest.fixture(params=[0, 1, None], ids=["no tenants", "depth 1", "any depth"])
def pair(
    request: pytest.FixtureRequest, serve: Callable[..., Server], tmp_path: Path
) -> Iterator[tuple[Any, Server, str]]:
    """Theirs, ours, and the path of the tenant that is asked about."""
    depth = {0: (), 1: ("--depth=1",), None: ("--depth-dynamic",)}[request.param]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [PROGRAM, "--storage=local", f"--storage-local-rootdir={tmp_path / 'theirs'}", f"--port={port}"]
    with (tmp_path / "theirs.log").open("wb") as log:
        process = subprocess.Popen([*argv, "--listen-host=127.0.0.1", *depth], stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)

    def theirs(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body=body, headers=headers)
        return Answer(connection.getresponse())

    yield theirs, serve(*depth), {0: "", 1: "/team", None: "/org/team"}[request.param]
    process.kill()
    process.wait()


def said(answer: Answer) -> tuple[Any, ...]:
    """What a client makes of an answer, without what differs from one moment to the next."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if "json" in kind or "yaml" in kind:
        body = json.dumps(yaml.load(answer.body, Loader=yaml.CSafeLoader), sort_keys=True, default=str)
        return answer.status, kind, re.sub(r'"(created|generated)": "[^"]*"', r'"\1": ""', body)
    return answer.status, kind, answer.body


def test_they_say_the_same(pair: tuple[Any, Server, str]) -> None:
    theirs, ours, tenant = pair
    different = []
    for method, path, body, kind in ASKED:
        headers = {"Content-Type": kind} if kind else {}
        where = path.replace("T", tenant, 1)
        a, b = said(theirs(method, where, body, headers)), said(ours.ask(method, where, body, headers))
        time.sleep(0.05)  # theirs makes its index after it has answered
        if method == "HEAD" or (a[0] >= 400 and (method, body) in WORDED):
            a, b = a[:1], b[:1]
        if a != b:
            different.append(f"{method} {where}\n  theirs {str(a)[:300]}\n  ours   {str(b)[:300]}")
    assert not different, "\n".join(different)
