"""A real Nova with a cell, from 2026.1 to 2026.2 under a boot loop. Minutes: PLANESHIFT_SOAK=1."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from bootloop import Api, BootLoop
from rig import Cloud
from test_cells import RABBITMQ, spec

pytestmark = [
    pytest.mark.skipif(not os.environ.get("PLANESHIFT_SOAK"), reason="minutes: PLANESHIFT_SOAK=1"),
]
OLD, NEW = "2026.1", "2026.2"


@pytest.fixture(scope="module")
def nova(clouds: Callable[..., Cloud]) -> Iterator[Cloud]:
    """Nova of the older release among services of the newer one; two hosts have its API."""
    if shutil.which("mariadbd") is None or not RABBITMQ.exists():
        pytest.skip("MariaDB or RabbitMQ is not installed: apt-get install mariadb-server rabbitmq-server")
    made = clouds("upgraded", "keystone")
    with made.edited() as written:
        wanted = spec(made)
        wanted["services"]["nova"] = {
            "backends": {
                "vms": {"hosts": ["here", "top"], "release": OLD},
                "c1": {"hosts": ["c1"], "cell": "c1", "release": OLD},
                "nodes": {"hosts": ["n1"], "cell": "c1", "release": OLD, "components": {"nova-compute": {}}},
            }
        }
        written.clear()
        written.update(wanted)
    made.up()
    yield made
    made.remove()


def test_nova_takes_another_release_and_no_call_and_no_server_is_lost(nova: Cloud) -> None:
    nova.does("verify")
    api = Api(nova.edge, nova.secret("keystone", "admin_password"))
    api.log_in()
    before = api.nova("GET", "/os-services")[1]["services"]
    with BootLoop(api, ["n1"]) as loop:
        loop.flow()
        with nova.edited() as written:
            for backend in written["services"]["nova"]["backends"].values():
                backend["release"] = NEW
        said = nova.up().out
        loop.flow()
    assert "schema     cell0: upgrade to 2026.2" in said and "schema     c1: upgrade to 2026.2" in said
    print(f"{loop.booted} servers were booted and deleted by {loop.calls} calls")
    loop.assert_nothing_lost()
    assert "Nothing to do" in nova.up().out
    after = api.nova("GET", "/os-services")[1]["services"]
    assert {(s["binary"], s["host"]) for s in after} == {(s["binary"], s["host"]) for s in before}
    assert {s["state"] for s in after} == {"up"}
    nova.does("verify")
