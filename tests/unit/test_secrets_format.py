"""SOPS's format, without any key or file: reading, sealing, opening, and what must be refused."""

from __future__ import annotations

import functools
import os
import string
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from planeshift.errors import PlaneshiftError
from planeshift.secrets import cipher, edits, formats, lightyaml, paths, sealed, yamltext
from planeshift.secrets.nodes import COMMENT, Node
from planeshift.secrets.scalars import go_float, resolve

KEY = b"k" * 32
DATA = {"age": [{"recipient": "age1x", "enc": "-"}], "unencrypted_suffix": "_unencrypted"}
NOW = "2026-11-23T19:00:00Z"

DOCUMENT = """\
# what this is
db:
    user: glance
    password: s3cret # changed in May
    port: 3306
    hosts:
        - one
        # the slow one
        - {name: two, weight: 1.5}
    pem: |
        -----BEGIN-----
        abc
        -----END-----
empty: ""
nothing: null
note_unencrypted: in the clear
# the end
"""


def seal(text: str, kind: str = "yaml", memo: Any = None, **data: Any) -> str:
    given = {**DATA, **data}
    if any(r.startswith(("encrypted", "unencrypted")) for r in data):
        given.pop("unencrypted_suffix") if "unencrypted_suffix" not in data else None
    return sealed.seal(kind, sealed.plain_text(kind, text.encode(), "f"), given, KEY, NOW, "f", memo)


def open_(text: str, kind: str = "yaml", key: bytes = KEY) -> sealed.Opened:
    return sealed.open_(sealed.Sealed(kind, text, "f"), key)


def refused(text: str, kind: str = "yaml", key: bytes = KEY) -> str:
    with pytest.raises(PlaneshiftError) as error:
        open_(text, kind, key)
    return error.value.problems[0].code


def tree(node: Node) -> Any:
    """A node as plain data, comments included."""
    if node.kind in ("mapping", "sequence"):
        return [(k, tree(n)) for k, n in node.entries()]
    return (node.kind, node.value)


def test_a_file_comes_back_with_its_comments_and_order() -> None:
    text = seal(DOCUMENT)
    for word in ("glance", "s3cret", "3306", "one", "slow", "BEGIN", "what this is"):
        assert word not in text
    assert "in the clear" in text and "    password: ENC[" in text
    assert open_(text).text == DOCUMENT


def test_an_unchanged_value_keeps_its_sealed_form() -> None:
    text = seal(DOCUMENT)
    opened = open_(text)
    again = seal(opened.text.replace("s3cret", "other"), memo=opened.memo)
    old, new = text.splitlines(), again.splitlines()
    changed = [b.split(":")[0].strip() for a, b in zip(old, new, strict=True) if a != b]
    assert changed == ["password", "mac"]


def test_every_nonce_is_new() -> None:
    text = seal("a: x\nb: x\nl: [x, x]\n") + seal("a: x\nb: x\nl: [x, x]\n")
    nonces = [part.split(",")[0] for part in text.split("iv:")[1:]]
    assert len(nonces) == len(set(nonces)) == 10


def test_a_value_that_stands_twice_after_an_edit_gets_two_sealed_forms() -> None:
    opened = open_(seal("l: [a, b]\n"))
    again = seal("l: [a, a]\n", memo=opened.memo)
    items = formats.parse("yaml", again, "f").documents[0].get("l")
    assert items is not None and items.value[0].value != items.value[1].value  # type: ignore[index]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("    user: ", "    usre: ", "PS1005"),
        ("db:", "dbs:", "PS1005"),
        ("empty: ''", "empty: x", ""),
        ("note_unencrypted: in the clear", "note_unencrypted: changed", "PS1006"),
        (f'lastmodified: "{NOW}"', 'lastmodified: "2027-01-01T00:00:00Z"', "PS1006"),
        ("nothing: null\n", "nothing: x\n", "PS1005"),
        ("    user: ", "    added: ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]\n    user: ", "PS1005"),
        ("version:", "verzion:", "PS1002"),
        ("lastmodified:", "x:", "PS1002"),
        ("    mac:", "    x:", "PS1002"),
        ("sops:", "spos:", "PS1004"),
        ("type:int]", "type:str]", ""),
    ],
)
def test_what_was_altered_is_refused(old: str, new: str, code: str) -> None:
    text = seal(DOCUMENT)
    if old in text and code:
        assert refused(text.replace(old, new, 1)) == code


def test_each_altered_character_of_sealed_values_is_found() -> None:
    text = seal("a: one\nb: {c: two}\n")
    for at in range(len(text)):
        if text[at] in string.ascii_letters + string.digits and "ENC[" in text[text.rfind("\n", 0, at) + 1 : at]:
            changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            try:
                opened = open_(changed)
            except PlaneshiftError:
                continue
            # Base64 has spare bits at its end, and `type` of an equal text is no other value.
            assert opened.text == "a: one\nb: {c: two}\n", (at, changed[at - 20 : at + 5])


def test_values_cannot_be_swapped() -> None:
    lines = seal("a: one\nb: two\n").splitlines()
    lines[0], lines[1] = "a" + lines[1][1:], "b" + lines[0][1:]
    assert refused("\n".join(lines)) == "PS1005"


def test_items_of_a_list_cannot_be_reordered_or_dropped() -> None:
    text = seal("l:\n- one\n- two\n")
    lines = text.splitlines(keepends=True)
    assert refused("".join([lines[0], lines[2], lines[1], *lines[3:]])) == "PS1006"
    assert refused("".join([lines[0], *lines[2:]])) == "PS1006"


def test_a_truncated_file_is_refused_at_every_length() -> None:
    text = seal("a: one\nb: two\n")
    for length in range(len(text) - 2):
        with pytest.raises(PlaneshiftError):
            open_(text[:length])


def test_a_wrong_key_is_refused() -> None:
    assert refused(seal("a: one\n"), key=b"x" * 32) == "PS1005"


def test_conflict_markers_are_named() -> None:
    text = seal("a: one\n")
    with pytest.raises(PlaneshiftError) as error:
        formats.decoded(f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n".encode(), "f")
    assert error.value.problems[0].code == "PS1003"


def test_what_is_sealed_is_not_sealed_twice() -> None:
    for text in (seal("a: one\n"), "a: ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]\n"):
        with pytest.raises(PlaneshiftError) as error:
            seal(text)
        assert error.value.problems[0].code == "PS1007"


@pytest.mark.parametrize(
    ("rule", "hidden"),
    [
        ({"unencrypted_suffix": "_clear"}, {"password", "user", "token"}),
        ({"encrypted_suffix": "word"}, {"password"}),
        ({"encrypted_regex": "^(password|token)$"}, {"password", "token"}),
        ({"unencrypted_regex": "^us"}, {"password", "token", "db_clear"}),
        ({"encrypted_comment_regex": "^ secret"}, {"token"}),
        ({"unencrypted_comment_regex": "^ secret"}, {"password", "user", "db_clear"}),
    ],
)
@pytest.mark.parametrize("only", [False, True])
def test_the_rules_decide_what_is_sealed(rule: dict[str, str], hidden: set[str], only: bool) -> None:
    text = "password: a\nuser: b\ndb_clear: {x: d}\n# secret below\ntoken: c\n"
    out = seal(text, **rule, **({"mac_only_encrypted": True} if only else {}))
    root = formats.parse("yaml", out, "f").documents[0]
    found = set()
    for name in ("password", "user", "db_clear", "token"):
        node = root.get(name)
        assert node is not None
        value = node.get("x").value if name == "db_clear" else node.value  # type: ignore[union-attr]
        if cipher.is_sealed(value):
            found.add(name)
    assert found == hidden
    assert yaml.safe_load(open_(out).text) == yaml.safe_load(text)
    if only and "user" not in hidden:
        open_(out.replace("user: b", "user: changed"))  # the MAC does not cover it: that is what the operator chose


@pytest.mark.parametrize(
    "text", ["- a\n", "a\n", "1: x\n", "a: !x y\n", "a: b\na: c\n", "a: 18446744073709551615\n", "a: &x {b: *x}\n", "{"]
)
def test_what_sops_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(PlaneshiftError) as error:
        seal(text)
    assert error.value.problems[0].code == "PS1001"


def test_a_bomb_of_aliases_is_refused() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join(f'*a{level - 1}' for _ in range(10))}]\n"
    with pytest.raises(PlaneshiftError):
        seal(text)


def test_aliases_are_written_out() -> None:
    text = seal("base: &b {user: x, list: [1]}\nother: *b\nname: &n joe\nagain: *n\n")
    assert yaml.safe_load(open_(text).text) == {
        "base": {"user": "x", "list": [1]},
        "other": {"user": "x", "list": [1]},
        "name": "joe",
        "again": "joe",
    }


def test_several_documents() -> None:
    text = seal("---\na: one\n---\nb: two\n")
    assert open_(text).text == "---\na: one\n---\nb: two\n"


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda n: n != "sops" and isinstance(n, str)
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30),
        st.sampled_from(
            ["true", "1", "01", "1e3", "null", "~", "- a", "a: b", "# x", "a #b", "|", " a", "a\nb\n", "2001-01-01"]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
DATA_TREES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)


def _shown(data: Any, style: bool) -> str:
    return yaml.dump(data, allow_unicode=True, sort_keys=False, default_flow_style=style)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DATA_TREES, st.sampled_from([None, True, False]))
def test_any_yaml_comes_back(data: dict[str, Any], style: bool | None) -> None:
    text = yaml.dump(data, allow_unicode=True, sort_keys=False, default_flow_style=style)
    try:
        parsed = yamltext.parse(text, "f")
    except PlaneshiftError:
        return  # keys that YAML 1.2 takes for numbers, and the like
    before = [d.data() for d in parsed.documents]
    opened = open_(seal(text))
    assert [d.data() for d in yamltext.parse(opened.text, "f").documents] == before
    again = seal(opened.text, memo=opened.memo)
    assert open_(again).text == opened.text


@settings(max_examples=150, deadline=None)
@given(DATA_TREES)
@example({"a": {"b": ["x", {"c": "d"}]}, "e": ""})
def test_the_quick_reader_reads_what_the_whole_one_reads(data: dict[str, Any]) -> None:
    for text in (yaml.dump(data, allow_unicode=True, sort_keys=False), ""):
        light = lightyaml.parse(text)
        if light is not None:
            whole = yamltext.parse(text, "f")
            assert [tree(d) for d in light.documents] == [tree(d) for d in whole.documents]


@pytest.mark.parametrize("text", [DOCUMENT, "a:\n- x\n- y\nb:\n  - c: 1\n    d: 2\n  -\n    e: 3\nf:\n# c\ng: {}\n"])
def test_the_quick_reader_reads_sealed_files(text: str) -> None:
    out = seal(text)
    light, whole = lightyaml.parse(out), yamltext.parse(out, "f")
    if light is not None:
        assert [tree(d) for d in light.documents] == [tree(d) for d in whole.documents]
    simple = seal("a: b\nc:\n    d: [x]\n    e: f\nlist:\n    - g\n    - h\n".replace("[x]", "x"))
    assert lightyaml.parse(simple) is not None


LINES = st.lists(
    st.sampled_from(
        ["a: b", "  a: b", "- a", "  - b", "a:", "  c:", "# x", "  # y", "a: |", "    text", "", "b: 'x'", 'c: "y"',
         "- a: b",
         "-", "c: [1]", "d: {}", "e: - x", "? f", "g: &h i", "a: b # c", "  - - z", "k: 1", "1: k",
         "\ta: b", "---", "l: x: y"]
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(LINES)
def test_the_quick_reader_never_reads_otherwise(lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    light = lightyaml.parse(text)
    if light is None:
        return
    whole = yamltext.parse(text, "f")  # what the quick one reads, the whole one reads
    assert [d.data() for d in light.documents] == [d.data() for d in whole.documents]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.sampled_from(formats.NAMES))
def test_any_text_is_sealed_or_refused(text: str, kind: str) -> None:
    try:
        out = seal(text, kind)
    except PlaneshiftError:
        return
    sealed_ = sealed.Sealed(kind, out, "f")
    opened = sealed.open_(sealed_, KEY)
    if kind == "binary":
        assert opened.text == text


WHOLE = {  # a text of each format
    "yaml": "a: one\nb: [2, x]\n",
    "json": '{"a": "one", "b": [2, "x"]}',
    "dotenv": "A=one\nB=two\n",
    "ini": "[a]\nb = one\nc = two\n",
    "binary": "one\n",
}


@functools.cache
def sealed_once(kind: str) -> str:
    """A whole text, sealed: each sealing has other bytes, and so another length, of which places are drawn."""
    return seal(WHOLE[kind], kind)


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mangled_metadata_is_refused_or_right(kind: str, data: st.DataObject) -> None:
    text = sealed_once(kind)
    right = open_(text, kind).text
    at = data.draw(st.integers(text.index("sops"), len(text) - 1))
    length = data.draw(st.integers(0, 12))
    new = text[:at] + data.draw(st.text(max_size=6)) + text[at + length :]
    try:
        opened = open_(formats.decoded(new.encode("utf-8", "replace"), "f"), kind)
    except PlaneshiftError:
        return
    assert opened.text == right or yaml.safe_load(opened.text) == yaml.safe_load(right)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (1.5, "1.5"),
        (1e30, "1" + "0" * 30),
        (1e-7, "0.0000001"),
        (-2.5e-3, "-0.0025"),
        (123456.75, "123456.75"),
    ],
)
def test_floats_as_go_writes_them(value: float, text: str) -> None:
    assert go_float(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 8), ("0o10", 8), ("08", 8.0), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("+1", 1), ("-0x10", -16),
        ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("1.2.3", "1.2.3"), ("yes", "yes"), ("on", "on"), ("True", True),
        ("~", None), ("2001-12-14", "2001-12-14T00:00:00Z"), ("12:30:45", "12:30:45"), ("2001-13-14", "2001-13-14"),
        ("-", "-"), ("1-2", "1-2"), ("e3", "e3"), ("0x", "0x"),
    ],
)  # fmt: skip
def test_plain_scalars_as_sops_reads_them(text: str, value: Any) -> None:
    assert resolve(text) == value and type(resolve(text)) in (type(value), type(resolve("2001-12-14")))


@pytest.mark.parametrize(
    ("text", "steps"), [("a.b", ("a", "b")), ("a[0].b", ("a", 0, "b")), ('["a.b"][1]', ("a.b", 1))]
)
def test_paths(text: str, steps: tuple[Any, ...]) -> None:
    assert paths.parse(text) == steps and paths.parse(paths.shown(steps)) == steps


@pytest.mark.parametrize("text", ["", ".", "a..b", "a[x]", "a[", ".a", "[-1]"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(PlaneshiftError):
        paths.parse(text)


@pytest.mark.parametrize("kind", ["yaml", "json"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=DATA_TREES, name=NAMES, below=NAMES, value=st.one_of(st.text(max_size=12), st.integers(0, 99), st.booleans())
)
def test_set_and_unset_any(kind: str, data: dict[str, Any], name: str, below: str, value: Any) -> None:
    import json

    text = json.dumps(data) if kind == "json" else _shown(data, False)
    try:
        parsed = formats.parse(kind, text, "f")
    except PlaneshiftError:
        return
    path = (name, below) if isinstance(data.get(name, {}), dict) else (name,)
    if isinstance(data.get(name), list) or isinstance(
        (data.get(name) or {}).get(below) if len(path) > 1 else 0, (dict, list)
    ):
        return
    new = edits.set_(kind, parsed, path, value, "f")
    after = formats.parse(kind, new, "f")
    assert edits.get(after, path).value == value
    gone = formats.parse(kind, edits.unset(kind, after, path, "f"), "f").documents[0].data()
    expected = edits._without(after.documents[0].data(), path)
    assert gone == expected


def test_set_keeps_what_stands_around_it() -> None:
    parsed = formats.parse("yaml", DOCUMENT, "f")
    new = edits.set_("yaml", parsed, ("db", "password"), "x y", "f")
    assert new == DOCUMENT.replace("s3cret", "x y")
    new = edits.set_("yaml", parsed, ("db", "new"), "z", "f")
    assert new == DOCUMENT.replace("empty:", "    new: z\nempty:")
    assert edits.unset("yaml", parsed, ("db", "pem"), "f") == DOCUMENT.replace(
        "    pem: |\n        -----BEGIN-----\n        abc\n        -----END-----\n", ""
    )


def test_comments_of_yaml_are_found_where_they_are() -> None:
    parsed = yamltext.parse("a: '# no' # yes\nb: |\n  # no\nc: x#no\n# yes\n", "f")
    assert [n.value for _, n, _ in parsed.leaves() if n.kind == COMMENT] == [" yes", " yes"]


def test_ten_thousand_values() -> None:
    text = "".join(f"section{i}:\n    password: p{i}\n    user: u{i}\n" for i in range(5000))
    assert open_(seal(text)).text == text


def test_urandom_is_what_nonces_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cipher, "urandom", lambda n: b"\1" * n)
    assert seal("a: x\n").count("iv:AQEBAQ") == 2
    assert len(os.urandom(32)) == 32
