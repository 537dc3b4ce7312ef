"""What Keystone's content is by its port: in memory, and at a real Keystone where there is one to try on.

PLANESHIFT_TEST_KEYSTONE_URL (with /v3) and PLANESHIFT_TEST_KEYSTONE_PASSWORD name one. What is made there is named by
this run, and removed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from planeshift.drivers.keystone import KeystoneIdentity
from planeshift.drivers.memory import Memory
from planeshift.drivers.memory.data import KeystoneData
from planeshift.errors import PlaneshiftError
from planeshift.ports import Identity
from planeshift.render.desired import IdentityEntries

URL, PASSWORD = "PLANESHIFT_TEST_KEYSTONE_URL", "PLANESHIFT_TEST_KEYSTONE_PASSWORD"


@dataclass
class Rig:
    """A Keystone and what a service of a name of our own wants of it."""

    port: Identity
    url: str
    password: str
    entries: IdentityEntries

    def ensure(self, entries: IdentityEntries | None = None, password: str = "service's") -> list[str]:
        return self.port.ensure(self.url, self.password, "", entries or self.entries, password)


@pytest.fixture
def identity(kind: str) -> Iterator[Rig]:
    name = f"contract-{secrets.token_hex(4)}"
    endpoints = {"public": f"http://192.0.2.1/{name}", "internal": f"http://192.0.2.2/{name}"}
    entries = IdentityEntries(name, name, "RegionOne", endpoints, name, ("service",))
    if kind == "memory":
        memory = Memory()
        memory.data.elsewhere["192.0.2.9", 5000] = KeystoneData(passwords={"admin": "right"})
        yield Rig(memory.identity, "http://192.0.2.9:5000/v3", "right", entries)
        return
    url, password = os.environ.get(URL), os.environ.get(PASSWORD)
    if not url or not password:
        pytest.skip(f"no real Keystone to try on: {URL} and {PASSWORD} are not set")
    yield Rig(KeystoneIdentity(), url, password, entries)
    _remove(url, password, name)


def _remove(url: str, password: str, name: str) -> None:
    import openstack

    auth = {"auth_url": url, "username": "admin", "password": password, "project_name": "admin"}
    auth |= {"user_domain_name": "Default", "project_domain_name": "Default"}
    with openstack.connect(load_yaml_config=False, load_envvars=False, auth=auth) as connection:
        for service in connection.identity.services(type=name):
            connection.identity.delete_service(service)
        for user in connection.identity.users(name=name):
            connection.identity.delete_user(user)


def test_what_is_made_is_seen_and_made_once(identity: Rig) -> None:
    assert identity.ensure()
    state = identity.port.state(identity.url, identity.password, "", [identity.entries])
    assert state is not None
    name = identity.entries.type
    assert name in state.services
    assert {i: u for (t, i), u in state.endpoints.items() if t == name} == identity.entries.endpoints
    assert state.users[name] >= {"service"}
    assert identity.ensure() == []


def test_what_is_missing_alone_is_made_and_what_is_there_is_left(identity: Rig) -> None:
    only = replace(identity.entries, endpoints={"public": "http://192.0.2.7/older"}, user="", roles=())
    identity.ensure(only)
    identity.ensure()
    state = identity.port.state(identity.url, identity.password, "", [identity.entries])
    assert state is not None
    assert state.endpoints[identity.entries.type, "public"] == "http://192.0.2.7/older"
    assert state.endpoints[identity.entries.type, "internal"] == identity.entries.endpoints["internal"]


def test_a_user_that_is_not_there_is_not_in_the_state(identity: Rig) -> None:
    state = identity.port.state(identity.url, identity.password, "", [identity.entries])
    assert state is not None
    assert identity.entries.user not in state.users


def test_a_user_is_removed_and_one_that_is_not_there_is_no_error(identity: Rig) -> None:
    identity.ensure()
    for _ in range(2):
        identity.port.remove(identity.url, identity.password, "", identity.entries.user)
        state = identity.port.state(identity.url, identity.password, "", [identity.entries])
        assert state is not None and identity.entries.user not in state.users


def test_a_user_that_has_another_password_keeps_it(identity: Rig) -> None:
    identity.ensure()
    with pytest.raises(PlaneshiftError) as caught:
        identity.ensure(password="another")
    assert caught.value.problems[0].code == "PS703"
    assert identity.ensure() == []


def test_a_wrong_password_of_the_administrator_is_told(identity: Rig) -> None:
    for call in (
        lambda: identity.port.state(identity.url, "wrong", "", []),
        lambda: identity.port.ensure(identity.url, "wrong", "", identity.entries, "x"),
    ):
        with pytest.raises(PlaneshiftError) as caught:
            call()
        assert caught.value.problems[0].code == "PS701"


def test_where_no_keystone_answers_nothing_is_known_and_nothing_can_be_made(kind: str) -> None:
    port: Identity = Memory().identity if kind == "memory" else KeystoneIdentity()
    nowhere = "http://127.91.0.1:9/v3"
    assert port.state(nowhere, "x", "", []) is None
    assert port.state("", "x", "", []) is None
    assert port.state(nowhere, "", "", []) is None
    entries = IdentityEntries("image", "image", "RegionOne", {})
    with pytest.raises(PlaneshiftError) as caught:
        port.ensure(nowhere, "x", "", entries, "y")
    assert caught.value.problems[0].code == "PS702"
