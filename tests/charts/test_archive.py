"""Archives: what Helm takes is taken, what could do harm is refused, and what is packed twice is the same."""

from __future__ import annotations

import gzip
import io
import random
import resource
import tarfile
import zlib

import pytest
from chartrig import SOAK, chart_yaml, make, tgz
from hypothesis import given, settings
from hypothesis import strategies as st

from planeshift.charts import archive, metadata
from planeshift.charts.metadata import Invalid

GOOD = chart_yaml("alpha", "1.0.0")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def device(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return info


@pytest.mark.parametrize(
    ("member", "content", "why"),
    [
        ("../evil", b"", "outside"),
        ("alpha/../../evil", b"", "outside"),
        ("alpha/./x", b"", "outside"),
        ("/etc/passwd", b"", "absolute"),
        ("c:/x", b"", "absolute"),
        ("alpha/c:/x", b"", "absolute"),
        ("alpha\\x", b"", "absolute"),
        (link("alpha/l", "/etc/passwd"), b"", "links"),
        (link("alpha/l", "alpha/Chart.yaml", tarfile.LNKTYPE), b"", "links"),
        (device("alpha/d"), b"", "devices"),
        ("beta/x", b"", "more than one base"),
        ("x", b"", "base directory"),
        ("alpha/Chart.yaml", GOOD, "twice"),
        ("alpha/a\nb", b"", "no name"),
        ("alpha/charts/sub/Chart.yaml", b"name: x", "subchart sub"),
        ("alpha/charts/sub-1.tgz", b"not", "subchart sub-1.tgz"),
        ("alpha/values.yaml", b"a: [", "values.yaml"),
        ("alpha/big", b"0" * (5 * 1024 * 1024 + 1), "larger"),
    ],
    ids=lambda v: getattr(v, "name", None) or (v[:20] if isinstance(v, str) else "content"),
)
def test_what_is_refused(member: tarfile.TarInfo | str, content: bytes, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        archive.load(tgz(("alpha/Chart.yaml", GOOD), (member, content)))


def test_ten_gigabytes_of_zeros_are_noticed_early() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = packer.compress(bytes(16 * 1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + zeros * 640
    assert len(bomb) < 11 * 1024 * 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Invalid, match="maximum size"):
        archive.load(bomb)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_bombs_in_subcharts_are_noticed() -> None:
    inner = make("inner", files={"x": bytes(4 * 1024 * 1024)})
    for _ in range(8):
        inner = make("inner", files={"charts/inner-1.0.0.tgz": inner})
    with pytest.raises(Invalid, match="nested"):
        archive.load(inner)


@pytest.mark.parametrize("cut", [1, 10, 100, 200, -1, -8, -20])
def test_half_an_archive_is_none(cut: int) -> None:
    with pytest.raises(Invalid):
        archive.load(make()[:cut])


def test_a_damaged_header_is_not_taken_for_the_end() -> None:
    raw = bytearray(gzip.decompress(tgz(("alpha/Chart.yaml", GOOD), ("alpha/x", b"1"), ("alpha/y", b"2"))))
    raw[1024 + 148] ^= 1  # the second member's checksum
    with pytest.raises(Invalid, match="damaged"):
        archive.load(gzip.compress(bytes(raw)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not a mapping"),
        (b"[]", "not a mapping"),
        (b"a: b: c", "not valid YAML"),
        (b"name: a\nversion: 1.0.0", "apiVersion is required"),
        (b"apiVersion: v2\nversion: 1.0.0", "name is required"),
        (b"apiVersion: v2\nname: a", "version is required"),
        (b"apiVersion: v2\nname: ../a\nversion: 1.0.0", "name .* is invalid"),
        (b"apiVersion: v2\nname: a\nversion: 1.0.0/x", "version .* is invalid"),
        (b"apiVersion: v2\nname: a\nName: b\nversion: 1.0.0", "letter case"),
        (b"apiVersion: v2\nname: [a]\nversion: 1.0.0", "not text"),
        (b"apiVersion: v2\nname: a\nversion: 1.0.0\ntype: x", "type"),
        (b"apiVersion: v2\nname: a\nversion: 1.0.0\nmaintainers: [null]", "null"),
        (b"apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{name: a}, {name: a}]", "more than one"),
        pytest.param(b"apiVersion: v2\nkeywords: [" + b"x," * 30_000 + b"]", "too much", id="too much"),
    ],
)
def test_chart_yaml_that_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        metadata.parse(text)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.10", "1.1"),
        ('"1.10"', "1.10"),
        ("1e6", "1e+06"),
        ("1234567.5", "1.2345675e+06"),
        ("0x10", "16"),
        ("010", "8"),
        ("yes", "true"),
        ("2024-01-01", "2024-01-01"),
        ("0.00001", "1e-05"),
    ],
)
def test_numbers_become_text_as_go_writes_them(written: str, read: str) -> None:
    found = metadata.parse(f"apiVersion: v2\nname: a\nversion: 1.0.0\nappVersion: {written}".encode())
    assert found["appVersion"] == read


def test_old_charts_have_their_dependencies_elsewhere() -> None:
    files = {
        "Chart.yaml": b"apiVersion: v1\nname: a\nversion: 1.0.0",
        "requirements.yaml": b"dependencies: [{name: b, version: 1.x}]",
    }
    packed = archive.pack("a", files)
    assert archive.load(packed).metadata["dependencies"] == [{"name": "b", "version": "1.x"}]
    assert archive.peek(packed) == archive.load(packed).metadata


def test_the_same_files_give_the_same_bytes() -> None:
    files = {"Chart.yaml": GOOD, "b": b"2", "a": b"1"}
    assert archive.pack("alpha", files) == archive.pack("alpha", dict(reversed(files.items())))
    with tarfile.open(fileobj=io.BytesIO(archive.pack("alpha", files))) as tar:
        assert tar.getnames()[0] == "alpha/Chart.yaml"


@settings(max_examples=100_000 if SOAK else 500, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_damaged_archives_are_refused_or_read_never_more(seed: int, changes: int) -> None:
    """Bytes flipped inside the tar and outside of it: an Invalid, or a chart whose files stay in place."""
    dice = random.Random(seed)
    raw = bytearray(gzip.decompress(make(files={"templates/a.yaml": b"x: 1\n" * 40})))
    for _ in range(changes):
        raw[dice.randrange(len(raw) if dice.random() < 0.2 else 2048)] = dice.choice(
            b"\x00./\\ 0123456789LxgKS\xff..//"
        )
    packed = bytearray(gzip.compress(bytes(raw), 1))
    if dice.random() < 0.2:
        packed[dice.randrange(len(packed))] ^= 1 << dice.randrange(8)
    try:
        found = archive.load(bytes(packed))
    except Invalid:
        return
    for path in found.files:
        assert not path.startswith("/") and ".." not in path.split("/") and "\\" not in path
