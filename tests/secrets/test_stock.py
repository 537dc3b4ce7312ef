"""Both directions with stock sops: what it seals we open, what we seal it opens, edits, and takes apart."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from secretrig import Done, Key, stock

from planeshift.secrets import work, yamltext

ODD = """\
# head
db:
    password: s3cret # inline
    # between
    port: 3306
    ratio: 1.50
    big: 1e30
    small: 1.5e-9
    on: true
    nothing: null
    empty: ""
    list:
        - a
        # in a list
        - b: 1
          c: x
        - [x, "y z", 3]
        - - deep
    pem: |
        -----BEGIN-----
        abc
        -----END-----
    folded: >-
        one
        two
    date: 2001-12-14
    stamp: 2001-12-14t21:59:43.10-05:00
    flow: {a: 1, b: "t", c: [d]}
    oct: 010
    hex: 0x1F
    us: 1_000
    quoted: "true"
    uni: "h\\u00e9\\u00e9 \\U0001F600"
    sp: " lead"
    multi: "a\\nb\\n\\n"
    tab: "a\\tb"
    "odd key: #": v
    # foot

name_unencrypted: 1.50
nested: # on a key
    a: b
base: &x {k: v}
again: *x
# tail
"""
TEXTS = {
    "yaml": [ODD, "a: b\n---\nc: d\n", "{a: b}\n", "a: ''\n"],
    "json": [
        '{"a": {"b": "c", "n": 3, "f": 1.5, "big": 12345678901234567, "t": true, "z": null}, "l": [1, "two", {"x": []}]}'
    ],
    "env": ["# c\nA=b\nB=two\\nlines\nC=\n# tail\nD=a=b\n"],
    "ini": ["[one]\n; comment\na = b\nc = d e\n\n[two]\nx = 1\ny = `a;b`\n"],
    "txt": ["hello\nworld \u00e9\n", '{"not": "json", "really": 1}\n'],
}
CASES = [(ending, text) for ending, texts in TEXTS.items() for text in texts]


def data(text: str) -> list[object]:
    return [d.data() for d in yamltext.parse(text, "f").documents]


@pytest.mark.parametrize(("ending", "text"), CASES)
def test_what_sops_sealed_we_open(place: Path, sops: Callable[..., str], ending: str, text: str) -> None:
    plain, file = place / f"plain.{ending}", place / f"s.{ending}"
    plain.write_text(text)
    file.write_text(sops("encrypt", str(plain)))
    opened = work.open_file(str(file))  # the MAC fits, so every value is what sops took it for
    assert not opened.doubts
    theirs = sops("decrypt", str(file))
    if ending == "yaml":
        assert data(opened.text) == data(theirs)
        assert opened.text.count("#") == theirs.count("#")
    else:
        assert opened.text == theirs


@pytest.mark.parametrize(("ending", "text"), CASES)
def test_what_we_seal_sops_opens_and_edits(place: Path, sops: Callable[..., str], ending: str, text: str) -> None:
    file = place / f"s.{ending}"
    file.write_bytes(work.encrypt(str(file), text.encode()))
    theirs = sops("decrypt", str(file))
    ours = work.view(str(file))
    if ending == "yaml":
        assert data(theirs) == data(ours)
        assert theirs.count("#") == text.count("#") and "ENC[" not in theirs
    elif ending == "json":
        assert json.loads(theirs) == json.loads(text)
    else:
        assert theirs == ours == text
    if ending in ("yaml", "json") and "---" not in text.splitlines():
        sops("set", str(file), '["added"]["by"]', '"sops"')
        assert work.open_file(str(file)).text.count("sops") >= 1
        sops("rotate", "-i", str(file))
        assert not work.open_file(str(file)).doubts


def test_sops_edits_our_file_and_we_edit_its(place: Path, secrets: Callable[..., Done]) -> None:
    program = stock("sops")
    file = place / "s.yaml"
    file.write_bytes(work.encrypt(str(file), b"# c\na: one\nb: two\n"))
    editor = place / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/one/three/ "$1"\n')
    editor.chmod(0o755)
    before = file.read_text().splitlines()
    subprocess.run([program, "edit", str(file)], check=True, env={**os.environ, "EDITOR": str(editor)})
    assert work.view(str(file)) == "# c\na: three\nb: two\n"
    editor.write_text('#!/bin/sh\nsed -i s/three/four/ "$1"\n')
    done = secrets("edit", "s.yaml", env={"EDITOR": str(editor)})
    assert done.code == 0, done.err
    assert work.view(str(file)) == "# c\na: four\nb: two\n"
    after = file.read_text().splitlines()
    assert [line for line in after if line.startswith(("b:", "#"))] == [
        line for line in before if line.startswith(("b:", "#"))
    ]


def test_stock_age_unwraps_the_key(place: Path, key: Key) -> None:
    program = stock("age")
    file = place / "s.yaml"
    file.write_bytes(work.encrypt(str(file), b"a: one\n"))
    enc = work.look(str(file))[2].meta.entries("age")[0]["enc"]
    done = subprocess.run([program, "-d", "-i", "keys.txt"], input=enc.encode(), capture_output=True, check=True)
    assert done.stdout == work.open_file(str(file)).key
