"""The index: whatever is done to it, in whatever order, each of its forms says the same as the plain truth."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import yaml
import zstandard
from chartrig import SOAK
from hypothesis import given, settings
from hypothesis import strategies as st

from planeshift.charts import emit, segments
from planeshift.charts.index import Entry, Index, entry

ANY_TEXT = st.text(max_size=12)
VALUES = st.recursive(
    ANY_TEXT | st.booleans(), lambda v: st.lists(v, max_size=3) | st.dictionaries(ANY_TEXT, v, max_size=3), max_leaves=8
)
CHANGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["a", "b", "a-b", "c"]), st.integers(0, 4), st.integers(0, 9)), max_size=40
)


def made(name: str, patch: int, minute: int = 0) -> Entry:
    found = {"apiVersion": "v2", "name": name, "version": f"1.0.{patch}", "description": f"{name}: yes"}
    created = f"2026-11-23T00:{minute:02d}:00Z"
    return entry(found, f"{name}-1.0.{patch}.tgz", size=10, stamp=str(minute), created=created, digest="ab" * 32)


def plain(entries: dict[tuple[str, str], Entry]) -> dict[str, Any]:
    charts: dict[str, list[Any]] = {}
    for (name, _), e in sorted(entries.items(), key=lambda p: (p[0][0], p[1].key)):
        charts.setdefault(name, []).append(json.loads(e.json))
    generated = max((e.created for e in entries.values()), default="1970-01-01T00:00:00Z")
    return {"apiVersion": "v1", "entries": charts, "generated": generated, "serverInfo": {}}


@settings(max_examples=2_000 if SOAK else 60, deadline=None)
@given(CHANGES, st.booleans(), st.integers(2, 6))
def test_every_form_is_the_plain_truth(changes: list[tuple[bool, str, int, int]], as_json: bool, full: int) -> None:
    before, segments.FULL = segments.FULL, full
    try:
        index, truth = Index(as_json=as_json), {}
        for add, name, patch, minute in changes:
            if add:
                index.add(e := made(name, patch, minute))
                truth[name, e.version] = e
            else:
                index.remove(name, f"1.0.{patch}")
                truth.pop((name, f"1.0.{patch}"), None)
            identity = b"".join(index.form("identity").buffers)
        identity = b"".join(index.form("identity").buffers)
        read = json.loads(identity) if as_json else yaml.load(identity, Loader=yaml.CSafeLoader)
        assert read == plain(truth)
        assert gzip.decompress(b"".join(index.form("gzip").buffers)) == identity
        compress = zstandard.ZstdCompressor().compress
        frames = io.BytesIO(b"".join(index.form("zstd", compress).buffers))
        reader = zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True)
        assert reader.read() == identity
        assert Index(truth.values(), as_json=as_json).etag() == index.etag()
        assert index.versions == len(truth) and index.bytes == 10 * len(truth)
    finally:
        segments.FULL = before


@settings(max_examples=100_000 if SOAK else 500, deadline=None)
@given(st.dictionaries(ANY_TEXT, VALUES, min_size=1, max_size=4))
def test_yaml_says_what_was_meant(value: dict[str, Any]) -> None:
    clean = json.loads(json.dumps(value))
    if "\\ud" in json.dumps(clean):  # halves of surrogate pairs are no text
        return
    text = b"x:\n" + emit.as_yaml(clean)
    assert yaml.load(text, Loader=yaml.CSafeLoader) == {"x": [clean]}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=600), max_size=6))
def test_a_gzip_file_is_made_of_parts(texts: list[bytes]) -> None:
    whole = b"".join(segments.gzip_of([(*segments.deflate(t), len(t)) for t in texts]))
    assert gzip.decompress(whole) == b"".join(texts)
