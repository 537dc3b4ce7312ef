"""The cloud file: what is read, what is refused and where, ranges, rules across it, weights and option files."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planeshift.catalog.inifile import parse as parse_ini
from planeshift.errors import PlaneshiftError, Problem
from planeshift.model import ranges
from planeshift.model.load import Loaded, load
from planeshift.model.source import MAX_BYTES, parse, scalar
from planeshift.render import rules
from planeshift.render.ini import ini
from planeshift.render.weights import MAX_WEIGHT, achieved, error, server_weights

HEAD = "apiVersion: planeshift/v1\nkind: Cloud\nmetadata: {name: test}\n"


def problems_of(text: str | bytes) -> list[Problem]:
    """What is wrong with a file's syntax, keys and values."""
    with pytest.raises(PlaneshiftError) as caught:
        load(text, "cloud.yaml")
    return list(caught.value.problems)


def problem_of(text: str | bytes) -> Problem:
    """The one thing that is wrong with it."""
    (problem,) = problems_of(text)
    return problem


def loaded(spec: str) -> Loaded:
    """A cloud file of this spec, written below `spec:` with two spaces."""
    return load(HEAD + "spec:\n" + "".join(f"  {line}\n" for line in spec.strip("\n").split("\n")), "cloud.yaml")


MARK = "▶"
KEYSTONE = "services: {keystone: {backends: {vms: {hosts: [here]}}}}"
HERE = "hosts: [{name: here}]\n"


def pointed_at(marked: str) -> tuple[int, int]:
    """Line and column of what stands behind the mark, as `place` counts them."""
    before = marked[: marked.index(MARK)]
    return before.count("\n") + 1, len(before.rsplit("\n", 1)[-1]) + 3


def place(problem: Problem) -> tuple[str, int, int]:
    """Code, line of the spec, column: line 1 is the first one below `spec:`."""
    assert problem.where is not None
    return problem.code, problem.where.line - HEAD.count("\n") - 1, problem.where.column


# --- YAML


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.process_time()
    assert problem_of("\n".join(lines)).code == "PS102"
    assert time.process_time() - began < 20


def test_an_alias_of_itself_is_refused() -> None:
    assert problem_of("a: &a [*a]").code == "PS102"


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 30_000, "[" * 40 + "]" * 40])
def test_depth_is_bounded(text: str) -> None:
    assert {p.code for p in problems_of(text)} <= {"PS101", "PS102"}


@pytest.mark.parametrize("text", ["x" * (50 * 1024 * 1024), "a: 1\n" * 10_000_000, "€" * (MAX_BYTES // 2)])
def test_a_file_too_large_is_refused_unread(text: str) -> None:
    assert problem_of(text.encode()).code == "PS102"


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x07", "\u202e", "\u200b"])
@pytest.mark.parametrize("form", ['a: "{}"', "a: x{}y", "{}: 1", '"{}": 1', "a: [b, '{}']"])
def test_control_characters_are_refused_and_never_shown(character: str, form: str) -> None:
    for problem in problems_of(form.replace("{}", character)):
        assert problem.code in ("PS101", "PS103")
        shown = f"{problem} {problem.why} {problem.hint} {problem.where and problem.where.text}"
        assert character not in shown


def test_escapes_in_quoted_text_count_as_what_they_stand_for() -> None:
    assert problem_of(r'a: "\x1b[31m"').code == "PS103"


def test_a_key_that_stands_twice_is_refused_at_its_second_place() -> None:
    problem = problem_of("a: 1\nb: 2\na: 3\n")
    assert (problem.code, str(problem.where)) == ("PS104", "cloud.yaml:3:1")
    assert "line 1" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [id]",
        "a: !!python/name:os.system x",
        "a: !mine x",
        "a: !mine [x]",
        "a: !mine {b: c}",
        "a: {<<: {b: 1}}",
        "? [a]\n: 1",
        "? {a: 1}\n: 1",
    ],
)
def test_tags_merge_keys_and_keys_that_are_no_text_are_refused(text: str) -> None:
    assert "PS104" in {p.code for p in problems_of(text)}


def test_bytes_that_are_not_utf8_are_refused_at_their_line() -> None:
    problem = problem_of(b"a: 1\nb: \xff\n")
    assert (problem.code, str(problem.where)) == ("PS101", "cloud.yaml:2")


def test_an_indent_by_tab_is_refused_with_a_hint() -> None:
    problem = problem_of("a:\n\tb: 1\n")
    assert (problem.code, problem.hint) == ("PS101", "Indent with spaces: YAML does not take tabs.")


def test_several_documents_are_refused() -> None:
    assert problem_of("a: 1\n---\nb: 2\n").code == "PS101"


@pytest.mark.parametrize("text", ["", "# nothing", "[]", "just text", "null", "1"])
def test_what_is_no_mapping_is_no_cloud(text: str) -> None:
    assert problem_of(text).code == "PS107"


@pytest.mark.parametrize(
    "text, value",
    [
        ("no", "no"),
        ("on", "on"),
        ("0644", 644),
        ("0o17", 15),
        ("0x1f", 31),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value


@given(st.recursive(st.text(string.printable.strip(), max_size=8), lambda x: st.lists(x, max_size=4), max_leaves=20))
def test_any_quoted_text_reads_back(value: object) -> None:
    import json

    assert parse(json.dumps({"a": value}), "f").data == {"a": value}


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_fail_otherwise_than_by_a_problem(text: str) -> None:
    try:
        load(text, "cloud.yaml")
    except PlaneshiftError as error:
        assert error.problems


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_a_problem(raw: bytes) -> None:
    try:
        load(raw, "cloud.yaml")
    except PlaneshiftError as error:
        assert error.problems


# --- ranges


@given(st.integers(0, 99_999), st.integers(0, 300), st.booleans())
def test_a_range_counts_up_and_keeps_its_zeros(first: int, more: int, padded: bool) -> None:
    start = str(first).zfill(6) if padded else str(first)
    found = ranges.expand(f"vm-{{{start}..{first + more}}}.x")
    assert len(found) == more + 1
    assert len(set(found)) == len(found)
    numbers = [name.removeprefix("vm-").removesuffix(".x") for name in found]
    assert [int(n) for n in numbers] == list(range(first, first + more + 1))
    assert {len(n) for n in numbers} == {6} if padded else numbers[0] == str(first)


@given(st.text(string.ascii_letters + string.digits + "-.{}", max_size=30))
def test_text_without_a_range_stands_for_itself(text: str) -> None:
    assume(not ranges.RANGE.search(text))
    assert ranges.expand(text) == [text]


def test_ranges_in_one_text_count_together() -> None:
    assert ranges.expand("a{1..2}-{08..09}") == ["a1-08", "a2-09"]


@pytest.mark.parametrize("text", ["{3..1}", "{0..10000}", "{1..999999999}", "{1..2}-{1..3}"])
def test_a_range_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ranges.RangeError):
        ranges.expand(text)


def test_a_range_that_cannot_be_is_refused_where_it_stands() -> None:
    with pytest.raises(PlaneshiftError) as caught:
        loaded('hosts:\n  - {name: here}\n  - {name: "x{3..1}"}\n')
    assert place(caught.value.problems[0])[:2] == ("PS109", 3)


@pytest.mark.parametrize(
    "code, marked",
    [
        ("PS207", f"- {{name: last, zone: {MARK}nowhere}}\n"),
        ("PS208", f'- {{name: {MARK}"x2"}}\n'),
    ],
)
def test_what_stands_behind_a_range_keeps_its_place(code: str, marked: str) -> None:
    before = f'hosts:\n- {{name: here}}\n- {{name: "x{{1..3}}", via: external, address: "192.0.2.{{1..3}}"}}\n{marked}'
    found = rules.check(loaded((before + KEYSTONE).replace(MARK, "")))
    assert [place(p) for p in found] == [(code, *pointed_at(before))]


def test_what_stands_behind_a_range_of_a_backends_hosts_keeps_its_place() -> None:
    marked = HERE + KEYSTONE.replace("[here]", f'["y{{1..3}}", {MARK}missing]')
    found = rules.check(loaded(marked.replace(MARK, "")))
    assert place(found[-1]) == ("PS201", *pointed_at(marked))
    assert len(found) == 4


def test_what_is_wrong_in_every_member_of_a_range_is_said_once() -> None:
    with pytest.raises(PlaneshiftError) as caught:
        loaded('hosts:\n  - {name: "x{1..3}", colour: red}\n  - {name: y, via: pigeon}\n')
    assert [place(p)[:2] for p in caught.value.problems] == [("PS106", 2), ("PS107", 3)]


# --- keys and values


@pytest.mark.parametrize(
    "spec, key, hint",
    [
        ("servces: {}", "servces", "services"),
        ("services: {keystone: {bakends: {}}}", "bakends", "backends"),
        ("services: {keystone: {backends: {vms: {wieght: 1}}}}", "wieght", "weight"),
        ("hosts: [{name: a, adress: b}]", "adress", "address"),
        ("endpoints: {public: {tls: {certificat: x}}}", "certificat", "certificate"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(spec: str, key: str, hint: str) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        loaded(spec)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == ("PS106", f"unknown key `{key}`")
    assert problem.hint == f"Did you mean `{hint}`?"
    assert place(problem) == ("PS106", 1, spec.index(key) + 3)


@pytest.mark.parametrize(
    "spec, what",
    [
        ("include: x", "`include`"),
        ("control: {at: cluster}", "`at: cluster`"),
        ("caches: {main: {hosts: ['a:1'], manage: true}}", "`manage: true`"),
        ("services: {glance: {components: {glance-api: {move: consumers}}}}", "`move: consumers`"),
    ],
)
def test_what_is_not_yet_supported_is_refused_by_name(spec: str, what: str) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        loaded(spec)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == ("PS110", f"{what} is not yet supported")
    assert place(problem)[1] == 1


def test_a_missing_key_is_named() -> None:
    with pytest.raises(PlaneshiftError) as caught:
        loaded("hosts: [{address: a}]\ndatabases: {main: {host: a}}")
    assert [(p.code, p.message) for p in caught.value.problems] == [
        ("PS108", "`name` is missing"),
        ("PS108", "`engine` is missing"),
    ]


@pytest.mark.parametrize(
    "spec",
    [
        "release: 2026.2",
        'release: "2026.3"',
        "services: {keystone: {port: '5000'}}",
        "services: {keystone: {port: 70000}}",
        "services: {keystone: {backends: {vms: {weight: 101}}}}",
        "services: {keystone: {backends: {vms: {weight: 0.5}}}}",
        "services: {keystone: {backends: {'../x': {}}}}",
        "services: {keystone: {backends: {'a/b': {}}}}",
        "services: {keystone: {endpoint: 'ftp://x'}}",
        "services: {keystone: {endpoint: 'https://user:pw@x'}}",
        "hosts: [{name: ../../etc}]",
        "hosts: [{name: a/b}]",
        "hosts: [{name: ..}]",
        "hosts: [{name: '-a'}]",
        "hosts: [{name: a, address: 'a b'}]",
        'hosts: [{name: a, address: "a\\nbind *:1"}]',
        "edges: [{name: ../a}]",
        "services: {keystone: {config: ../elsewhere}}",
        "services: {keystone: {config: /etc/keystone}}",
        "services: {keystone: {config: a/../../b}}",
        "services: {keystone: {secrets: ../../etc/shadow}}",
        "services: {keystone: {secrets: 'a\\b'}}",
        "endpoints: {public: {tls: {certificate: ../a.pem, key: b.pem}}}",
        "databases: {main: {engine: mysql, name: 'a; DROP TABLE x'}}",
        "databases: {main: {engine: mysql, user: 'a@b'}}",
        "services: {keystone: {extras: {pip: ['-r /etc/passwd']}}}",
        "services: {keystone: {extras: {dist: ['--allow']}}}",
        "caches: {main: {hosts: ['a']}}",
    ],
)
def test_a_value_that_cannot_be_or_leads_out_of_its_place_is_refused_where_it_stands(spec: str) -> None:
    with pytest.raises(PlaneshiftError) as caught:
        loaded(spec)
    assert [place(p)[:2] for p in caught.value.problems] == [("PS107", 1)]


@given(st.text(max_size=40))
def test_no_host_or_backend_name_leads_out_of_its_directory(name: str) -> None:
    import json

    try:
        cloud = loaded(
            f"hosts: [{{name: {json.dumps(name)}}}]\nservices: {{keystone: {{backends: {{{json.dumps(name)}: {{}}}}}}}}"
        ).cloud
    except PlaneshiftError:
        return
    for found in (cloud.spec.hosts[0].name, *cloud.spec.services["keystone"].backends):
        assert "/" not in found
        assert not found.startswith(".")
        assert found.isprintable()
        assert "\n" not in found


# --- rules across the file

TWO_HOSTS = "hosts: [{name: a, address: 127.0.0.2}, {name: b, address: 127.0.0.3}]\n"
OTHERS = "hosts: [{name: here}, {name: x, via: external, address: 127.0.0.2}]\n"
# Each with the mark before what the problem must point at.
CLUSTER = """hosts: [{name: here, via: local}]
edges: [{name: lb, address: 192.0.2.1}]
clusters: [{name: k1, registry: registry.example.org}]
databases: {main: {engine: mysql, host: 192.0.2.9}}
"""
PODS = "services: {keystone: {backends: {pods: {cluster: k1}}}}"
NOVA = """hosts: [{name: here, via: local}]
databases: {main: {engine: mysql, manage: true, host: here}}
messaging: {main: {manage: true, host: here}}
cells: [{name: c1, database: main, messaging: main}]
services:
  keystone: {backends: {vms: {hosts: [here]}}}
  glance: {backends: {vms: {hosts: [here]}}}
  placement: {backends: {vms: {hosts: [here]}}}
  neutron: {backends: {vms: {hosts: [here]}}}
  nova: {backends: {vms: {hosts: [here]}, c1: {hosts: [here], cell: c1, components: {nova-conductor: {}}}}}
"""
BROKEN = {
    "neutron without a message bus": (
        "PS230",
        HERE + "services:\n  keystone: {backends: {vms: {hosts: [here]}}}\n"
        f"  {MARK}neutron: {{backends: {{vms: {{hosts: [here]}}}}}}",
    ),
    "nova in a file": (
        "PS231",
        NOVA.replace("engine: mysql, manage: true, host: here", "engine: sqlite").replace("  nova:", f"  {MARK}nova:"),
    ),
    "an API in a cell": ("PS232", NOVA.replace("nova-conductor", f"{MARK}nova-api")),
    "weights of programs that cannot take each other's place": (
        "PS233",
        NOVA.replace(
            "nova: {backends: {vms: {hosts: [here]},",
            "nova: {backends: {s: {hosts: [here], weight: 50, components: {nova-scheduler: {}}}, "
            f"{MARK}c: {{hosts: [here], weight: 50, components: {{nova-conductor: {{}}}}}},",
        ),
    ),
    "a host that is not there": ("PS201", HERE + KEYSTONE.replace("here", MARK + "her")),
    "an edge on a host that is not there": ("PS201", HERE + f"edges: [{{name: e, host: {MARK}her}}]\n" + KEYSTONE),
    "no host of ours": ("PS201", f"hosts: {MARK}[{{name: x, via: external}}]\n" + KEYSTONE.replace("here", "x")),
    "weights that do not make 100": (
        "PS202",
        TWO_HOSTS + f"services: {{keystone: {{backends: {{one: {{hosts: [a], weight: {MARK}50}}, "
        "two: {hosts: [b], weight: 40}}}}",
    ),
    "a backend without weight": (
        "PS202",
        TWO_HOSTS
        + f"services: {{keystone: {{backends: {{one: {{hosts: [a], weight: 50}}, {MARK}two: {{hosts: [b]}}}}}}}}",
    ),
    "one port for two": (
        "PS203",
        HERE + "services:\n  keystone: {backends: {vms: {hosts: [here]}}}\n"
        f"  {MARK}glance: {{port: 5000, backends: {{vms: {{hosts: [here]}}}}}}",
    ),
    "a service without the one that it needs": ("PS204", HERE + KEYSTONE.replace("keystone", MARK + "glance")),
    "an unknown service": ("PS205", HERE + KEYSTONE.replace("keystone", MARK + "keystoen")),
    "an unknown component": (
        "PS206",
        HERE + KEYSTONE.replace("{backends", f"{{components: {{{MARK}keystone-apy: {{workers: 1}}}}, backends"),
    ),
    "an unknown zone": ("PS207", f"zones: [A]\nhosts: [{{name: here, zone: {MARK}B}}]\n" + KEYSTONE),
    "a host twice": ("PS208", f"hosts: [{{name: here}}, {{name: {MARK}here}}]\n" + KEYSTONE),
    "an edge twice": ("PS208", HERE + f"edges: [{{name: e}}, {{name: {MARK}e}}]\n" + KEYSTONE),
    "a host twice in a backend": ("PS208", HERE + KEYSTONE.replace("[here]", f"[here, {MARK}here]")),
    "no such database": ("PS209", HERE + KEYSTONE.replace("{backends", f"{{database: {{main: {MARK}x}}, backends")),
    "no such cache": ("PS209", HERE + KEYSTONE.replace("{backends", f"{{cache: {MARK}x, backends")),
    "an unknown release": ("PS210", HERE + KEYSTONE.replace("]}", f'], release: {MARK}"2001.1"}}')),
    "a database that not all can see": (
        "PS212",
        OTHERS + f"services: {{{MARK}keystone: {{backends: {{vms: {{hosts: [here], weight: 1}}, "
        "old: {hosts: [x], weight: 99}}}}",
    ),
    "a service that nobody runs": ("PS213", HERE + f"services: {{{MARK}keystone: {{}}}}"),
    "no services": ("PS213", MARK + HERE),
    "a service that two run": (
        "PS213",
        HERE + KEYSTONE.replace("{backends", f"{{{MARK}endpoint: 'http://x', backends"),
    ),
    "a backend without a place": ("PS218", HERE + KEYSTONE.replace("vms: {hosts: [here]}", MARK + "vms: {}")),
    "a backend with two places": (
        "PS218",
        CLUSTER + KEYSTONE.replace("vms: {hosts: [here]}", MARK + "vms: {hosts: [here], cluster: k1}"),
    ),
    "hosts with replicas": ("PS218", HERE + KEYSTONE.replace("[here]}", f"[here], {MARK}replicas: 2}}")),
    "pods with two ways to count": (
        "PS218",
        CLUSTER + PODS.replace("cluster: k1", f"cluster: k1, replicas: 2, {MARK}autoscale: {{}}"),
    ),
    "a name that is too long for Helm": ("PS218", CLUSTER + PODS.replace("pods:", f"{MARK}{'p' * 45}:")),
    "pods in no cluster": ("PS201", CLUSTER + PODS.replace("cluster: k1", f"cluster: {MARK}k2")),
    "a port that nodes do not have": ("PS203", CLUSTER + PODS.replace("k1", f"k1, port: {MARK}8080")),
    "two backends on one port of the nodes": (
        "PS203",
        CLUSTER + PODS.replace("k1}", f"k1, weight: 50}}, {MARK}more: {{cluster: k1, weight: 50}}"),
    ),
    "an image that nobody brings": (
        "PS716",
        CLUSTER.replace(", registry: registry.example.org", "") + PODS.replace("cluster: k1", f"cluster: {MARK}k1"),
    ),
    "pods on SQLite": (
        "PS212",
        CLUSTER.replace("databases: {main: {engine: mysql, host: 192.0.2.9}}\n", "")
        + PODS.replace("keystone", f"{MARK}keystone"),
    ),
    "pods whose database is at their own address": (
        "PS219",
        CLUSTER.replace("192.0.2.9", "127.0.0.1") + PODS.replace("keystone", f"{MARK}keystone"),
    ),
    "pods whose Keystone is at their own address": (
        "PS219",
        CLUSTER.replace("192.0.2.1}", "127.0.0.1}") + PODS.replace("keystone", f"{MARK}keystone"),
    ),
    "a host that is a cluster": (
        "PS208",
        CLUSTER.replace("[{name: here, via: local}", f"[{{name: here}}, {{name: {MARK}k1}}") + KEYSTONE,
    ),
    "TLS for one of two on one address": (
        "PS214",
        HERE + f"endpoints: {{public: {{tls: {{trial: true}}}}, internal: {MARK}{{}}}}\n" + KEYSTONE,
    ),
    "half a certificate": (
        "PS214",
        HERE + f"endpoints: {{public: {{tls: {MARK}{{certificate: a.pem}}}}}}\n" + KEYSTONE,
    ),
    "two certificates": (
        "PS214",
        HERE + f"endpoints: {{public: {{tls: {MARK}{{certificate: a, key: b, trial: true}}}}}}\n" + KEYSTONE,
    ),
    "a database by TLS that nobody vouches for": (
        "PS234",
        HERE + f"databases: {{main: {{engine: mysql, host: db, tls: {MARK}true}}}}\n" + KEYSTONE,
    ),
    "a file by TLS": (
        "PS234",
        HERE + f"trust: a\ndatabases: {{main: {{engine: sqlite, tls: {MARK}true}}}}\n" + KEYSTONE,
    ),
    "an extra that is not pinned": (
        "PS216",
        HERE + KEYSTONE.replace("{backends", f"{{extras: {{pip: [{MARK}x]}}, backends"),
    ),
    "hosts of two parties in one backend": ("PS217", OTHERS + KEYSTONE.replace("[here]", f"{MARK}[here, x]")),
}


@pytest.mark.parametrize("code, marked", BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_is_told_with_its_place(code: str, marked: str) -> None:
    found = rules.check(loaded(marked.replace(MARK, "")))
    assert [place(p) for p in found] == [(code, *pointed_at(marked))]


@pytest.mark.parametrize(
    ("registry", "code"),
    [("{host: 'r:5000', ca: a.pem, plain-http: true}", "PS107"), ("{host: 'r:5000', ca: a.pem}", "")],
)
def test_a_registry_has_an_authority_or_no_tls(registry: str, code: str) -> None:
    found = rules.check(loaded(f"registries: {{r: {registry}}}\n" + HERE + KEYSTONE))
    assert [p.code for p in found] == ([code] if code else [])


def test_every_rule_that_a_file_alone_can_break_is_tried() -> None:
    from planeshift.errors import CODES

    elsewhere = {"PS211", "PS215", "PS220"}  # needs schemas that differ; need a directory
    elsewhere |= {f"PS22{n}" for n in range(1, 8)}  # test_cells, test_topology
    elsewhere |= {"PS228", "PS229"}  # test_released
    assert {code for code, _ in BROKEN.values()} - {"PS716"} == {c for c in CODES if c.startswith("PS2")} - elsewhere


def test_releases_that_cannot_share_a_schema_are_refused_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from planeshift import catalog

    real = catalog.facts
    monkeypatch.setattr(catalog, "facts", lambda name, release: {**real(name, release), "heads": [release]})
    marked = (
        TWO_HOSTS + "services:\n  keystone: {backends: {vms: {hosts: [a]}}}\n  SERVICE:\n    backends:\n"
        f'      one: {{hosts: [a], weight: 50, release: {MARK}"2026.1"}}\n      two: {{hosts: [b], weight: 50}}\n'
    )
    spec = marked.replace(MARK, "")
    found = rules.check(loaded(spec.replace("SERVICE", "placement")))
    assert [(p.code, place(p)[1]) for p in found] == [("PS211", pointed_at(marked)[0])]
    assert rules.check(loaded(spec.replace("SERVICE", "glance"))) == [], "Glance expands and contracts"


def test_every_problem_is_told_at_once() -> None:
    found = rules.check(loaded("hosts: [{name: a, zone: x}, {name: a}]\nservices: {glance: {}, novae: {}}"))
    assert {p.code for p in found} >= {"PS204", "PS205", "PS207", "PS208", "PS213"}


# --- weights

shares = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 100), min_size=1)
counts = st.fixed_dictionaries({name: st.integers(0, 50) for name in "abcde"})


@given(st.integers(10, 90), st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
def test_nodes_carry_as_many_requests_as_they_have_ready_pods(share: int, ready: list[int]) -> None:
    parts = {"vms": {"a": 1}, "pods": {f"n{i}": count for i, count in enumerate(ready)}}
    found = server_weights({"vms": 100 - share, "pods": share}, parts)
    assert all(bool(found["pods"][f"n{i}"]) == bool(count) for i, count in enumerate(ready))
    if max(ready) == min(ready):
        assert achieved(found)["pods"] == pytest.approx(share, abs=2)


@given(shares, counts)
def test_weights_are_haproxys_and_no_share_is_lost(share: dict[str, int], servers: dict[str, int]) -> None:
    parts = {name: {str(n): 1 for n in range(servers[name])} for name in share}
    found = server_weights(share, parts)
    assert {name: each.keys() for name, each in found.items()} == {name: each.keys() for name, each in parts.items()}
    for name, each in found.items():
        assert all(0 <= weight <= MAX_WEIGHT for weight in each.values())
        assert any(each.values()) == (share[name] > 0 and servers[name] > 0)
    few = {name: count for name, count in servers.items() if share.get(name, 0)}
    if max(few.values(), default=0) <= 3 and min((share[n] for n in few), default=50) >= 5:
        assert all(all(found[name].values()) for name in few)


@given(st.lists(st.integers(1, 99), min_size=1, max_size=1), st.integers(1, 3), st.integers(1, 3))
def test_the_traffic_is_what_was_asked_for_within_a_percent(first: list[int], one: int, two: int) -> None:
    share, servers = {"a": first[0], "b": 100 - first[0]}, {"a": one, "b": two}
    parts = {name: {str(n): 1 for n in range(count)} for name, count in servers.items()}
    real = achieved(server_weights(share, parts))
    assert sum(real.values()) == pytest.approx(100)
    assert real["a"] == pytest.approx(share["a"], abs=1)


@given(st.integers(1, 99), st.integers(1, 4), st.integers(1, 4))
def test_a_share_of_one_percent_is_one_percent(share: int, one: int, two: int) -> None:
    wanted, servers = {"a": share, "b": 100 - share}, {"a": one, "b": two}
    parts = {name: {str(n): 1 for n in range(count)} for name, count in servers.items()}
    assert error(wanted, server_weights(wanted, parts)) <= 0.1


def test_a_share_too_small_for_all_servers_goes_to_some_and_one_that_cannot_be_is_found_out() -> None:
    wanted = {"vms": 99, "pods": 1}
    found = server_weights(wanted, {"vms": {"a": 1}, "pods": {str(n): 1 for n in range(50)}})
    assert error(wanted, found) <= 0.1 and sum(map(bool, found["pods"].values())) == 2
    assert (
        error(wanted | {"more": 0.2}, server_weights(wanted | {"more": 0.2}, {n: {n: 1} for n in (*wanted, "more")}))
        > 0.1
    )


@given(shares, counts, st.integers(2, 9))
def test_weights_follow_from_the_proportions_alone(share: dict[str, int], servers: dict[str, int], by: int) -> None:
    parts = {name: {str(n): 1 for n in range(servers[name])} for name in share}
    assert server_weights({n: s * by for n, s in share.items()}, parts) == server_weights(share, parts)


# --- option files

names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
values = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)


@given(st.dictionaries(names, st.dictionaries(names, values, max_size=3), max_size=3))
def test_what_is_written_is_what_oslo_config_reads(options: dict[str, dict[str, str]]) -> None:
    plain = {s: {o: v.strip().strip("\"'\\") for o, v in found.items()} for s, found in options.items()}
    text = ini({s: dict(found) for s, found in plain.items()}, "comment").decode()
    read = parse_ini(text, "file")
    assert not read.problems
    assert {(e.section, e.key): e.value.replace("$$", "$") for e in read.entries} == {
        (s, o): v for s, found in plain.items() for o, v in found.items()
    }


def test_sections_and_options_are_sorted_with_default_first_and_lists_are_repeated() -> None:
    text = ini({"b": {"y": True, "x": ["1", "2"]}, "DEFAULT": {"n": 3}, "a": {}}, "c")
    assert text == b"# c\n\n[DEFAULT]\nn = 3\n\n[b]\nx = 1\nx = 2\ny = true\n"


@pytest.mark.parametrize("value", ["a\nb", "a\r[evil]", "\n"])
def test_a_value_cannot_begin_another_option(value: str) -> None:
    with pytest.raises(ValueError):
        ini({"a": {"b": value}}, "c")
