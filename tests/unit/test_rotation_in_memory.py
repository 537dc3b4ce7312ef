"""Rotations in memory: killed anywhere they go on, and at no moment does anything that runs hold what is refused."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from worlds import PASSWORD, Operator, assert_serves, ids

from planeshift.app import change
from planeshift.drivers.memory import Call, Data, Memory, processes
from planeshift.drivers.memory.faults import Moment
from planeshift.drivers.memory.users import credentials, may_use
from planeshift.engine.world import World
from planeshift.errors import PlaneshiftError, Problem
from planeshift.render.desired import File

BUS = "192.0.2.8"
CLOUD = """
hosts: [{name: a, via: local, address: 127.0.0.2}]
edges: [{name: lb, address: 192.0.2.1}]
clusters: [{name: k1, registry: registry.example.org/site}]
databases: {main: {engine: mysql, host: 192.0.2.9}}
services:
  keystone: {backends: {vms: {hosts: [a], weight: 50}, pods: {cluster: k1, replicas: 3, weight: 50}}}
  placement: {backends: {vms: {hosts: [a], weight: 50}, pods: {cluster: k1, replicas: 2, weight: 50}}}
"""
KEYS = ("fernet_keys", "receipt_keys", "credential_keys")
TURNS = ("database_password", "service_password", "transport_url")
KEYSTONE, PLACEMENT = "secrets/keystone.yaml", "secrets/placement.yaml"
Snapshot = tuple[Call, Moment, Data]


@pytest.fixture(scope="module")
def whole() -> Operator:
    """A cloud that is up, with Keystone and Placement on hosts and as pods; credentials are stored, a bus is used."""
    operator = Operator(CLOUD)
    url = f"rabbit://placement:{PASSWORD.replace(' ', '%20')}@{BUS}:5672//"
    operator.data.secrets[PLACEMENT]["options"] = {"oslo_messaging_notifications": {"transport_url": url}}  # type: ignore[dict-item]
    operator.data.users[f"//{BUS}:5672"] = {"placement": PASSWORD}
    operator.up()
    keys = operator.data.secrets[KEYSTONE]["credential_keys"]
    assert isinstance(keys, dict)
    [keystone] = [d for d in operator.data.databases.values() if d.keystone.passwords]
    keystone.keystone.sealed = keys["1"]
    return operator


@pytest.fixture
def operator(whole: Operator) -> Operator:
    return Operator(whole.cloud, copy.deepcopy(whole.data))


def service_of(name: str) -> str:
    return "keystone" if name in KEYS else "placement"


def keys(data: Data, name: str = "fernet_keys") -> dict[int, str]:
    found = data.secrets[KEYSTONE][name]
    assert isinstance(found, dict)
    return {int(number): key for number, key in found.items()}


def held(data: Data, service: str) -> Iterator[tuple[str, dict[str, File]]]:
    """What each running backend of a service goes by: settings as its process has read them, keys as they lie there."""
    for process in data.processes.values():
        if process.unit.split("/")[1] == service:
            there = data.units[process.unit].files if process.unit in data.units else process.read
            now = {p: f for p, f in there.items() if "-keys/" in p}
            yield process.unit, {p: f for p, f in process.read.items() if "-keys/" not in p} | now


def assert_nothing_is_refused(data: Data, what: str) -> None:
    """Whatever runs is let in by what it talks to, and takes what the others sign."""
    for name in KEYS:
        known = {unit: processes.keys(files, "keystone", name) for unit, files in held(data, "keystone")}
        for (one, mine), (other, theirs) in itertools.permutations(known.items(), 2):
            assert mine[max(mine)] in theirs.values(), f"{what}: {other} does not take what {one} makes with {name}"
        sealed = {d.keystone.sealed for d in data.databases.values() if d.keystone.sealed}
        for unit, mine in known.items() if name == "credential_keys" else ():
            assert sealed <= set(mine.values()), f"{what}: {unit} cannot read what is stored"
    for service, section in (("keystone", "database"), ("placement", "placement_database")):
        for unit, files in held(data, service):
            url = processes.option(files, service, section, "connection")
            place = processes.without_credentials(url)
            assert may_use(data, place, *credentials(url)), f"{what}: the database refuses {unit}"
    [accounts] = [d.keystone.passwords for d in data.databases.values() if d.keystone.passwords]
    for unit, files in held(data, "placement"):
        user, password = (
            processes.option(files, "placement", "keystone_authtoken", o) for o in ("username", "password")
        )
        assert accounts.get(user) == password, f"{what}: Keystone refuses {unit}"
        url = processes.option(files, "placement", "oslo_messaging_notifications", "transport_url")
        assert may_use(data, f"//{BUS}:5672", *credentials(url)), f"{what}: the bus refuses {unit}"


def snapshots(operator: Operator, name: str) -> list[Snapshot]:
    """The world as a kill at each port call that changes something would leave it; nothing is refused in any of them."""
    found: list[Snapshot] = []

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if call.changes:
                assert_nothing_is_refused(memory.data, f"{moment} {call.name} {call.subject}")
            journal = call.name.startswith("control.")  # tests/unit/test_engine.py has kills at these
            if not found or (call.changes and moment != "before" and not journal):
                found.append((call, moment, memory.copy()))

        memory.faults.watch = watch

    operator.rotate(service_of(name), name, prepare=prepare)
    return found


def notes(data: Data) -> set[str]:
    ends = ("_next", "_previous", "_promoting")
    return {name for values in data.secrets.values() for name in values if name.endswith(ends)}


def assert_rotated(before: Data, after: Data, name: str) -> None:
    """Once, and nothing of it is left."""
    assert notes(after) == set()
    if name in KEYS:
        was, now = keys(before, name), keys(after, name)
        assert max(now) == max(was) + 1 and now[max(now)] not in was.values() and now[0] == now[max(now)]
        assert {n: k for n, k in was.items() if n}.items() <= now.items()
        sealed = {d.keystone.sealed for d in after.databases.values() if d.keystone.sealed}
        assert name != "credential_keys" or sealed == {now[max(now)]}
        return
    secrets = after.secrets[PLACEMENT]
    if name == "database_password":
        assert after.users["mysql+pymysql://192.0.2.9:3306/placement"] == {"placement_b": secrets["database_password"]}
    if name == "service_password":
        assert secrets["service_user"] == "placement_b"
        [accounts] = [d.keystone.passwords for d in after.databases.values() if d.keystone.passwords]
        assert accounts["placement_b"] == secrets["service_password"] and "placement" not in accounts
    if name == "transport_url":
        assert set(after.users[f"//{BUS}:5672"]) == {"placement_b"}


@pytest.mark.parametrize("name", [*KEYS, *TURNS])
def test_a_rotation_changes_everything_once_and_nothing_is_refused_meanwhile(operator: Operator, name: str) -> None:
    before = operator.memory.copy()
    snapshots(operator, name)
    assert_rotated(before, operator.data, name)
    assert_serves(operator)
    assert ids(operator.plan()) == []
    for value in before.secrets[PLACEMENT].values():
        assert not isinstance(value, str) or not any(value in line for line in operator.said)


@pytest.mark.parametrize("name", ["fernet_keys", "credential_keys", *TURNS])
def test_killed_at_any_port_call_the_same_command_goes_on_and_rotates_once(operator: Operator, name: str) -> None:
    before = operator.memory.copy()
    for call, moment, data in snapshots(operator, name):
        what = f"killed {moment} call {call.index}, {call.name} {call.subject}"
        plain = Operator(operator.cloud, copy.deepcopy(data))
        plain.up()
        assert_serves(plain)
        assert ids(plain.plan()) == [], what
        assert_nothing_is_refused(plain.data, what)
        if call.name == "secrets.change" and not notes(data):
            continue  # it was the last: what comes after it is another rotation
        again = Operator(operator.cloud, data)
        again.rotate(service_of(name), name)
        try:
            assert_rotated(before, again.data, name)
            assert_serves(again)
            assert ids(again.plan()) == []
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error


def test_keys_that_are_staged_are_promoted_only_where_every_backend_has_them(operator: Operator) -> None:
    operator.data.clusters["k1"].problem = "it is off"
    with pytest.raises(PlaneshiftError) as caught:
        operator.rotate("keystone", "fernet_keys")
    assert {p.code for p in caught.value.problems} == {"PS711"}
    assert notes(operator.data) == set()
    operator.data.clusters["k1"].problem = ""
    before = keys(operator.data)

    def prepare(memory: Memory, world: World) -> None:
        memory.faults.fail("cluster.release", PlaneshiftError(Problem("PS718", "the pods are not ready")))

    with pytest.raises(PlaneshiftError):
        operator.rotate("keystone", "fernet_keys", prepare=prepare)
    assert notes(operator.data) == {"fernet_keys_promoting"} and max(keys(operator.data)) == max(before)
    operator.rotate("keystone", "fernet_keys")
    assert max(keys(operator.data)) == max(before) + 1


def test_hosts_of_somebody_else_are_to_have_a_staged_key_first(operator: Operator) -> None:
    before = keys(operator.data)
    for _ in range(2):
        with pytest.raises(PlaneshiftError) as caught:
            operator.rotate("keystone", "fernet_keys", others=True)
        [problem] = caught.value.problems
        assert problem.code == "PS1022" and "--followed" in problem.hint and KEYSTONE in problem.hint
        staged = keys(operator.data)
        assert max(staged) == max(before) and staged[0] != before[0]
    operator.rotate("keystone", "fernet_keys", others=True, followed=True)
    assert keys(operator.data)[max(before) + 1] == staged[0]


def test_keys_that_sign_are_kept_for_some_generations_and_those_of_what_is_stored_for_good(operator: Operator) -> None:
    for name, kept in (("fernet_keys", {0, 3, 4, 5, 6, 7}), ("credential_keys", set(range(8)))):
        for _ in range(6):
            operator.rotate("keystone", name)
        assert set(keys(operator.data, name)) == kept


@pytest.mark.parametrize("given", [{"0": PASSWORD}, {"3": PASSWORD}], ids=["only-0", "no-0"])
def test_keys_of_an_operator_may_lack_a_staged_one(operator: Operator, given: dict[str, str]) -> None:
    operator.data.secrets[KEYSTONE]["fernet_keys"] = given
    operator.up()
    snapshots(operator, "fernet_keys")
    found = keys(operator.data)
    assert list(found) == sorted(
        found, reverse=True
    )  # so files are replaced: a key has a new number before it loses one
    assert PASSWORD in found.values() and found[max(found)] != PASSWORD and len(found) == 3


def test_a_rotation_begins_only_where_nothing_else_is_due(operator: Operator) -> None:
    operator.data.secrets[KEYSTONE]["options"] = {"DEFAULT": {"debug": "true"}}  # type: ignore[dict-item]
    for name in (*KEYS, *TURNS):
        with pytest.raises(PlaneshiftError) as caught:
            operator.rotate(service_of(name), name)
        [problem] = caught.value.problems
        assert problem.code == "PS1022" and "due" in problem.message and "planeshift up" in problem.hint
    assert notes(operator.data) == set()


def test_two_at_once_are_refused_by_the_holders_name_whatever_the_first_is_at(operator: Operator) -> None:
    met: list[str] = []

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if call.changes and moment == "before" and call.name.startswith("secrets."):
                met.append(memory.data.holder)

        memory.faults.watch = watch

    operator.rotate("keystone", "credential_keys", prepare=prepare)
    assert set(met) == {"somebody@memory (pid 1)"} and len(met) == 3

    def hold(memory: Memory, world: World) -> None:
        memory.data.holder = "another (pid 7)"

    with pytest.raises(PlaneshiftError) as caught:
        operator.rotate("keystone", "fernet_keys", prepare=hold)
    [problem] = caught.value.problems
    assert problem.code == "PS801" and "another (pid 7)" in problem.message


def test_nobody_may_make_users_but_the_operator_has_made_one(operator: Operator) -> None:
    for name, of in (("database_password", "database"), ("transport_url", "transport")):
        with pytest.raises(PlaneshiftError) as caught:
            operator.rotate("placement", name, may=False)
        assert f"{of}_next" in caught.value.problems[0].hint
    place = "mysql+pymysql://192.0.2.9:3306/placement"
    operator.data.secrets[PLACEMENT]["database_next"] = {"user": "mine", "password": "wrong"}
    operator.data.users[place]["mine"] = "right"
    with pytest.raises(PlaneshiftError, match="does not take the next user mine"):
        operator.rotate("placement", "database_password", may=False)
    assert operator.data.secrets[PLACEMENT]["database_password"] == PASSWORD
    operator.data.secrets[PLACEMENT]["database_next"] = {"user": "mine"}
    with pytest.raises(PlaneshiftError, match="is not"):
        operator.rotate("placement", "database_password", may=False)
    operator.data.secrets[PLACEMENT]["database_next"] = {"user": "mine", "password": "right"}
    operator.rotate("placement", "database_password", may=False)
    assert operator.data.secrets[PLACEMENT]["database_user"] == "mine"
    assert set(operator.data.users[place]) == {"placement", "mine"}  # who made it removes it
    assert notes(operator.data) == set()
    assert change.plan(operator.next()).operations == ()


def test_an_old_user_that_somebody_is_still_connected_as_stays(operator: Operator) -> None:
    before = copy.deepcopy(operator.data.processes)

    def prepare(memory: Memory, world: World) -> None:
        def watch(call: Call, moment: Moment) -> None:
            if call.name == "users.connections":  # somebody's own, with the same user
                [process] = [p for p in before.values() if p.unit == "a/placement/vms" and p.listens][:1]
                memory.data.processes[9999] = replace(process, pid=9999, unit="x/other/x", listens=())

        memory.faults.watch = watch

    with pytest.raises(PlaneshiftError, match="still connected as placement"):
        operator.rotate("placement", "database_password", prepare=prepare)
    assert "placement" in operator.data.users["mysql+pymysql://192.0.2.9:3306/placement"]
    del operator.data.processes[9999]
    operator.rotate("placement", "database_password")
    assert notes(operator.data) == set()


@pytest.mark.parametrize(
    "service, name", [("keystone", "service_password"), ("placement", "fernet_keys"), ("placement", "nonsense")]
)
def test_what_a_service_has_not_is_not_rotated(operator: Operator, service: str, name: str) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        operator.rotate(service, name)
    [problem] = caught.value.problems
    assert problem.code == "PS1022" and "database_password" in problem.hint
