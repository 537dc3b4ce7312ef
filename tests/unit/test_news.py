"""Watches of a cluster, read by threads, while it has much to tell: whoever ends one must not bring the process down."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from apiserver import Answer, Handler, api, status
from lightkube import Client
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod

from planeshift.drivers.kubernetes import watching
from planeshift.drivers.kubernetes.talk import Talk

WATCH = """
import sys, time
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.core_v1 import Pod
from planeshift.drivers.kubernetes.talk import Talk
from planeshift.drivers.kubernetes.watching import news
talk = Talk("k1", sys.argv[1], "", "openstack")
for turn in range(40):
    with news(talk, {kind: {"labels": {"a": "b"}} for kind in (Deployment, StatefulSet, Pod)}) as wait:
        wait(30)
        time.sleep(0.001 * (turn % 7))
print("ended well")
"""


def tells(kind: str, times: int, end: threading.Event) -> Answer:
    """A watch that tells so many events at once, and then nothing, until the end."""

    def answer(handler: Handler) -> None:
        body = {"kind": kind, "apiVersion": "v1", "metadata": {"name": "one", "resourceVersion": "1"}}
        line = json.dumps({"type": "MODIFIED", "object": body}).encode() + b"\n"
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        chunk = b"%x\r\n%s\r\n" % (len(line), line)
        told = 0
        while told < times and not end.is_set():
            handler.wfile.write(chunk)
            told += 1
        end.wait()
        handler.close_connection = True

    return answer


def test_watches_that_end_while_they_are_read_do_not_bring_the_process_down(tmp_path: Path) -> None:
    """What another thread closed was read on: a segmentation fault of `up`, now and then."""
    end = threading.Event()
    with api(tmp_path, tells("Pod", 5_000, end)) as server:
        argv = [sys.executable, "-c", WATCH, server.kubeconfig]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        end.set()
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr[-2000:]


def test_whoever_reads_a_watch_closes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, set[int]] = {"read": set(), "closed": set()}
    watch, close = Client.watch, Client.close

    def noted(self: Client, *args: Any, **kwargs: Any) -> Any:
        used["read"].add(threading.get_ident())
        return watch(self, *args, **kwargs)

    def closed(self: Client) -> None:
        used["closed"].add(threading.get_ident())
        close(self)

    monkeypatch.setattr(watching, "QUIET", 0.2)
    monkeypatch.setattr(Client, "watch", noted)
    monkeypatch.setattr(Client, "close", closed)
    end = threading.Event()
    with api(tmp_path, tells("Pod", 1, end)) as server:
        before = set(threading.enumerate())
        with watching.news(Talk("k1", server.kubeconfig, "", "openstack"), {Pod: {}}) as wait:
            wait(60)
            threads = [t for t in threading.enumerate() if t.name.startswith("watch ") and t not in before]
        for thread in threads:
            thread.join(60)
        end.set()
    assert len(used["read"]) == 1 and used["closed"] == used["read"]


def test_a_watch_that_broke_off_is_begun_again_and_its_threads_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "QUIET", 0.2)
    end = threading.Event()
    with api(tmp_path, tells("Pod", 1, end)) as server:
        server.answers = [status(503), status(403), tells("Pod", 0, end)]  # refused, and then silent
        before = set(threading.enumerate())
        with watching.news(Talk("k1", server.kubeconfig, "", "openstack"), {Pod: {}, Deployment: {}}) as wait:
            wait(60)
            threads = [t for t in threading.enumerate() if t.name.startswith("watch ") and t not in before]
            assert len(server.asked) > 3
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        end.set()
