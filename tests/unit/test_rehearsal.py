"""A cloud made small for a lab, what is broken when, and whose fault a lost request is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from planeshift.app import earlier
from planeshift.cli import run
from planeshift.errors import PlaneshiftError
from planeshift.model.cloud import Cloud
from planeshift.model.load import load
from planeshift.rehearsal.account import Account, Broken, Lost, Served, attributed, seconds
from planeshift.rehearsal.faults import KINDS, Fault, faults, schedule, steps
from planeshift.rehearsal.report import report
from planeshift.rehearsal.scale import Networks, Rehearsal, rehearsal

HOSTS = """
  zones: [A, B]
  hosts:
    - {name: "vm-{1..9}", via: external, zone: A, address: "192.0.2.{11..19}"}
    - {name: "GPU.{1..2}", via: ssh, zone: B, address: "192.0.2.{21..22}"}
    - {name: here, via: local}
  clusters: [{name: k1, context: k1, registry: r.example.org/o, nodes: [{name: n1}, {name: n2}, {name: n3}]}]
"""


def cloud(services: str, rest: str = HOSTS) -> Cloud:
    head = "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: c}\nspec:"
    return load(f"{head}{rest}  services:\n{services}", "cloud.yaml").cloud


KEYSTONE = "    keystone: {backends: {vms: {hosts: [here]}}}\n"


def glance(vms: int, more: str = "", pods: str = "replicas: 9") -> str:
    backends = f'vms: {{hosts: ["vm-{{1..9}}"], weight: {vms}}}, pods: {{cluster: k1, weight: {100 - vms}, {pods}}}'
    return f"{KEYSTONE}    glance: {{{more} backends: {{{backends}}}}}\n"


def made(before: str, after: str, tree: dict[str, bytes] | None = None, rest: str = HOSTS) -> Rehearsal:
    return rehearsal(cloud(before, rest), cloud(after, rest), tree or {}, Networks(), 10)


def of(found: Rehearsal, service: str, backend: str) -> dict[str, Any]:
    return dict(found.after["spec"]["services"][service]["backends"][backend])


# --- scaled down


def test_a_large_backend_becomes_two_hosts_and_two_pods_and_the_weights_stay() -> None:
    found = made(glance(100), glance(25, "components: {glance-api: {workers: 32, threads: 8}},"))
    assert of(found, "glance", "vms") == {"weight": 25, "hosts": ["vm-1", "vm-2"]}
    assert of(found, "glance", "pods") == {"weight": 75, "cluster": "k1", "replicas": 2}
    service = found.after["spec"]["services"]["glance"]
    assert service["components"] == {"glance-api": {"workers": 2, "threads": 8}} and service["shift"] == {"time": 10}
    assert [h["name"] for h in found.lab["spec"]["hosts"]] == ["k1-node1", "k1-node2", "here", "vm-1", "vm-2", "stores"]
    assert {"glance vms: 2 of 9 hosts", "glance pods: 2 of 9 pods", "k1: 2 of 3 nodes"} <= set(found.notes)


def test_what_a_lab_cannot_have_has_a_stand_in_that_is_named() -> None:
    pods = "autoscale: {min: 4, max: 9}, image: r.example.org/glance:1, resources: {limits: {memory: 1Gi}}"
    found = made(glance(100, pods=pods), glance(0, pods=pods))
    assert of(found, "glance", "pods") == {"weight": 100, "cluster": "k1", "replicas": 2}
    for key in ("autoscale", "image", "resources"):
        assert any(note.startswith("glance pods: ") and note.endswith(f"`{key}`") for note in found.notes), key


def test_names_are_those_of_a_labs_hosts_and_each_stands_once() -> None:
    rest = HOSTS.replace("name: here", "name: stores")
    backends = '{backends: {a: {hosts: [GPU.1], weight: %d}, b: {hosts: ["vm-1", GPU.2], weight: %d}}}\n'
    keystone = "    keystone: {backends: {vms: {hosts: [stores]}}}\n"
    before, after = (keystone + f"    glance: {backends % (w, 100 - w)}" for w in (100, 0))
    found = made(before, after, rest=rest)
    names = [h["name"] for h in found.lab["spec"]["hosts"]]
    assert names == ["stores", "gpu-1", "vm-1", "gpu-2", "stores-2"]
    assert of(found, "glance", "b")["hosts"] == ["vm-1", "gpu-2"]
    assert [h["zone"] for h in found.lab["spec"]["hosts"]] == ["a", "b", "a", "b", "a"]


def test_a_keystone_of_somebody_elses_has_one_of_ours_for_it() -> None:
    keystone = "    keystone: {endpoint: https://keystone.example.org/v3}\n"
    found = made(glance(100).replace(KEYSTONE, keystone), glance(50).replace(KEYSTONE, keystone))
    for which in (found.before, found.after):
        stand_in = which["spec"]["services"]["keystone"]
        assert stand_in == {"backends": {"stand-in": {"hosts": ["keystone-host"], "weight": 100}}}
    assert "keystone: one of ours on keystone-host stands for somebody else's" in found.notes


def test_the_operators_files_stay_as_they_are_and_stand_ins_come_after_them() -> None:
    conf = b"[DEFAULT]\nenabled_backends = ceph:rbd\n[ceph]\nrbd_store_pool = images\n"
    conf += b"[oslo_messaging_notifications]\ndriver = messagingv2\n"
    tree = {"config/glance/glance-api.conf": conf, "config/nova/nova.conf": b"", "secrets/glance.yaml": b"secret"}
    found = made(glance(100), glance(0), tree)
    assert found.files["config/glance/glance-api.conf"] == conf
    [stand_in] = [text.decode() for path, text in found.files.items() if path.endswith("zz-rehearsal.conf")]
    assert "enabled_backends = rehearsal:s3" in stand_in and "driver = noop" in stand_in
    assert not any(path.startswith(("secrets", "config/nova")) for path in found.files)
    assert "ceph/*" in found.after["spec"]["services"]["glance"]["allow-options"]


def test_what_is_neither_moved_nor_needed_is_left_out() -> None:
    more = "    placement: {backends: {vms: {hosts: [here]}}}\n"
    found = made(glance(100) + more, glance(0) + more)
    assert found.services == ("keystone", "glance") and found.moved == ("glance",)
    assert "left out, since neither moved nor needed: placement" in found.notes


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (glance(50), glance(50), "PS820"),
        (glance(50), glance(50) + "    nova: {backends: {vms: {hosts: [here]}}}\n", "PS821"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused(before: str, after: str, code: str) -> None:
    with pytest.raises(PlaneshiftError) as raised:
        made(before, after)
    assert raised.value.problems[0].code == code and raised.value.problems[0].hint


# --- faults


def test_faults_are_spread_over_the_steps_in_their_order() -> None:
    found = faults(None, made(glance(100), glance(0)))
    assert [f.kind for f in found] == ["worker", "pod", "haproxy", "planeshift"]
    assert {s: [f.kind for f in b] for s, b in schedule(found, 8).items()} == {
        1: ["worker"],
        3: ["pod"],
        5: ["haproxy"],
        7: ["planeshift"],
    }
    assert {s: len(b) for s, b in schedule(found, 2).items()} == {1: 2, 2: 2}


def test_every_kind_has_a_target_or_says_why_not() -> None:
    rest = HOSTS.replace("name: here, via: local", "name: here, via: local, zone: B")
    whole = made(glance(100), glance(0), rest=rest)
    assert steps(whole) == 5
    targets = {kind: [f.target for f in faults([kind], whole)] for kind in KINDS if kind != "zone"}
    assert targets["node"] == ["k1-node2"] and targets["host"] == ["vm-2"] and targets["database"] == ["stores"]
    hosts = KEYSTONE + "    glance: {backends: {a: {hosts: [vm-1], weight: %d}, b: {hosts: [vm-2], weight: %d}}}\n"
    plain = made(hosts % (100, 0), hosts % (0, 100))
    with pytest.raises(PlaneshiftError) as raised:
        faults(["pod", "node", "zone", "pot"], plain)
    assert [p.code for p in raised.value.problems] == ["PS822"] * 4
    assert [p.why or p.hint for p in raised.value.problems][-1] == "Did you mean `pod`?"
    assert faults(["zone"], made(*(ZONED % (w, 100 - w) for w in (100, 0)))) == (Fault("zone", "b"),)


ZONED = KEYSTONE + "    glance: {backends: {a: {hosts: [vm-1], weight: %d}, b: {hosts: [GPU.1], weight: %d}}}\n"


# --- the account


def broken(at: float, back: float | None) -> Broken:
    return Broken("worker", "a worker", at, "glance, step 1 of 5", "", back)


def test_a_lost_request_is_put_down_to_what_was_broken_last_while_it_was_under_way() -> None:
    faults_ = [broken(100, 1.0), broken(102, 5.0), broken(200, None)]
    lost = [
        Lost(99, 101, "held", "closed"),
        Lost(103, 103, "b", ""),
        Lost(150, 151, "c", "status 500"),
        Lost(300, 301, "d", ""),
    ]
    found, rest = attributed(faults_, lost)
    assert [b.failed for b in found] == [1, 1, 1]
    assert rest == ("c: status 500",)


def test_the_waits_of_a_change_are_counted_apart_from_those_while_something_was_broken() -> None:
    assert seconds(100, 110, [broken(102.5, 1.2)]) == ([100, 101, 106, 107, 108, 109], [102, 103, 104, 105])
    assert seconds(100, 103, []) == ([100, 101, 102], [])
    assert seconds(100, 103, [broken(101, None)]) == ([100], [101, 102])


def account(**changes: Any) -> Account:
    whole: dict[str, Any] = {
        "cloud": "c",
        "change": ("glance: vms 100 % -> pods 100 %",),
        "result": "done",
        "reason": "",
        "spent": (("lab", 31.0),),
        "runs": 1,
        "served": (Served("before", 900, 0, 3.0, 12.0), Served("change", 3000, 2, 3.5, 15.5)),
        "steps": (),
        "broken": (broken(100, 1.0),),
        "untried": (),
        "unexplained": (),
        "notes": (),
    }
    return Account(**(whole | changes))


def test_the_account_says_what_was_lost_to_what() -> None:
    good = account()
    assert good.good and good.added == 3.5 and good.requests == 3900
    assert good.sentence == "The change came out; 2 of 3,900 requests failed, all of them lost to what was broken."
    assert account(served=()).sentence == "The change came out; no request was lost."
    assert not account(unexplained=("x: status 500",)).good
    assert not account(broken=(broken(1, None),)).good
    assert not account(result="returned", reason="errors: 3 of 20").good
    assert json.loads(json.dumps(good.plain()))["added_p99_ms"] == 3.5


def test_the_page_escapes_what_others_wrote() -> None:
    page = report(account(unexplained=("<script>alert(1)</script>",), notes=("a <b> note",)))
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &lt;b&gt; note" in page
    assert "before the change" in page and "15.5 ms" in page and "+3.5 ms" in page


# --- from where


def test_the_earlier_state_is_what_git_has(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    with pytest.raises(PlaneshiftError) as raised:
        earlier.committed(file)
    assert raised.value.problems[0].code == "PS823" and "--from" in raised.value.problems[0].hint
    file.write_text("apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: old}\nspec: {}\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    file.write_text("apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: new}\nspec: {}\n")
    assert earlier.committed(file).metadata.name == "old"
    assert earlier.read(file).metadata.name == "new"


def test_nothing_is_built_without_a_yes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    services = {"keystone": {"backends": {n: {"hosts": ["here"], "weight": w} for n, w in (("a", 100), ("b", 0))}}}
    services["keystone"]["backends"]["b"]["port"] = 15001
    spec = {"hosts": [{"name": "here", "via": "local"}], "services": services}
    whole = {"apiVersion": "planeshift/v1", "kind": "Cloud", "metadata": {"name": "c"}, "spec": spec}
    (tmp_path / "cloud.yaml").write_text(yaml.safe_dump(whole))
    assert run(["rehearse", "keystone", "b=100", "-f", str(tmp_path / "cloud.yaml")]) == 1
    told = capfd.readouterr().err
    assert "keystone: a 100 %, b 0 % -> a 0 %, b 100 %" in told and "a worker of keystone on here" in told
    assert "PS805" in told and not (tmp_path / ".planeshift").exists()
