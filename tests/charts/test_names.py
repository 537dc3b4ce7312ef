"""Names, versions, ranges: nothing collides, nothing leads anywhere, everything as Helm reads it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from chartrig import SOAK
from hypothesis import given, settings
from hypothesis import strategies as st

from planeshift.charts import names, versions
from planeshift.charts.server import routes

MANY = 100_000 if SOAK else 20_000
VERSIONS = st.from_regex(r"v?[01]\.[01](\.[01])?(-[01a]+(-[01])?(\.[01])?)?(\+[01a-]{1,3})?", fullmatch=True).filter(
    names.is_version
)


def texts(letters: list[str], most: int) -> Iterator[str]:
    """Random texts of some pieces, the same at each run."""
    dice = random.Random(letters[0] + str(most))
    while True:
        yield "".join(dice.choices(letters, k=dice.randint(1, most)))


def test_no_two_charts_share_a_file_or_a_url() -> None:
    """Over names and versions made of what can be confused: hyphens, digits, dots, version-like parts."""
    parts = texts(["foo", "-", "1.0.0", "1", "-1", "v1.0", ".", "+b", "-rc.1", "a", "0.1.0-1"], 5)
    files: dict[str, tuple[str, str]] = {}
    urls: dict[str, tuple[str, str]] = {}
    tried = accepted = 0
    while tried < MANY:
        tried += 1
        name, version = next(parts), next(parts).strip("-.")
        if not (names.is_name(name) and names.is_version(version)):
            continue
        accepted += 1
        assert files.setdefault(names.filename(name, version), (name, version)) == (name, version)
        assert urls.setdefault(names.download(name, version), (name, version)) == (name, version)
        assert names.from_filename(names.filename(name, version)) == (name, version)
        # Helm looks a chart up in its provenance by the last part of its URL
        assert names.download(name, version).rpartition("/")[2] == f"{name}-{version}.tgz"
        assert (name, version) in names.candidates(f"{name}-{version}.tgz")
    assert accepted > tried / 50 and len(files) > 200


def test_what_is_accepted_stays_where_it_is_put() -> None:
    hostile = [
        "a",
        "b",
        "0",
        "1.0.0",
        ".",
        "..",
        "/",
        "\\",
        "-",
        "_",
        "+",
        "@",
        "%2e",
        "%",
        ":",
        " ",
        "\x00",
        "\n",
        "é",
        "~",
        "*",
    ]
    made = texts(hostile, 6)
    for _ in range(MANY):
        name, version = next(made), next(made)
        if names.is_name(name) and names.is_version(version):
            file = names.filename(name, version)
            assert not set(file) & set("/\\\x00\n %:*") and not file.startswith(".") and ".." not in name
        if names.is_tenant(name):
            parts = name.split("/")
            assert all(
                p and p not in (".", "..", "-", names.RESERVED) and not set(p) & set("\\\x00\n %@:") for p in parts
            )


def test_no_path_leads_to_what_is_no_tenant() -> None:
    pieces = [
        "api",
        "charts",
        "prov",
        "a",
        "b",
        "..",
        ".",
        "",
        "-",
        "index.yaml",
        "x-1.tgz",
        "a@1",
        "%2e",
        ".planeshift",
        "\x00",
    ]
    dice = random.Random(3)
    for _ in range(100_000):
        path = "/" + "/".join(dice.choices(pieces, k=dice.randint(0, 7)))
        depth = dice.choice([None, 0, 1, 2])
        found = routes.match(dice.choice(["GET", "HEAD", "POST", "DELETE"]), path, depth)
        if found is not None and found.action:
            assert names.is_tenant(found.tenant)
            deep = found.tenant.count("/") + bool(found.tenant)
            assert depth is None or found.what in ("page", "static") or deep == depth


@pytest.mark.parametrize(
    "path", ["/api//charts", "/api//charts/a/1.0.0", "//index.yaml", "//charts/a-1.0.0.tgz", "/api/a//charts"]
)
@pytest.mark.parametrize("depth", [None, 0, 1, 2])
def test_a_tenant_without_a_name_is_none(path: str, depth: int | None) -> None:
    found = routes.match("GET", path, depth)
    assert found is None


def test_the_pair_that_chartmuseum_mixes_up() -> None:
    assert names.filename("foo", "1.0.0-1.0.0") == "foo@1.0.0-1.0.0.tgz"
    assert names.filename("foo-1.0.0", "1.0.0") == "foo-1.0.0@1.0.0.tgz"
    assert names.filename("cert-manager", "v1.14.0-beta.1") == "cert-manager-v1.14.0-beta.1.tgz"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a..b", "-a", ".a", "a.", "a\n", "é", "a" * 101, "a@b"])
def test_names_that_are_refused(name: str) -> None:
    assert not names.is_name(name)


@pytest.mark.parametrize(
    "version", ["", "x", "1.0.0/..", "1.0.0-01", "01.0.0", "1.0.0.0", "1.0.0-", "1.0.0\n", "1" * 200]
)
def test_versions_that_are_refused(version: str) -> None:
    assert not names.is_version(version)


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("^1.2", "1.9.0 1.2.0", "2.0.0 1.1.9 1.3.0-rc.1"),
        ("~1.2.3", "1.2.9", "1.3.0"),
        (">=1.0, <2", "1.5.0", "2.0.0 0.9"),
        (">= 1.0.0 < 1.5.0", "1.4.0", "1.5.0"),
        ("1.x", "1.0.0 1.9.9", "2.0.0"),
        ("*", "9.9.9", "1.0.0-a"),
        (">0-0", "1.0.0-a 1.0.0", "0.0.0-0"),
        (">=0-0", "0.0.1-a 1.0.0", ""),
        ("^0.2.3", "0.2.9", "0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("1.2 - 1.4.5", "1.2.0 1.4.5", "1.4.6"),
        ("1.2.3 || >=2", "1.2.3 2.1.0", "1.2.4"),
        ("!=1.2", "1.3.0", "1.2.5"),
        (">1.2", "1.3.0", "1.2.9"),
        ("<=1.2", "1.2.9", "1.3.0"),
        ("=1.2.3", "1.2.3 v1.2.3", "1.2.4"),
        ("^1.2.3-beta.1", "1.2.3-beta.2 1.3.0", "1.2.3-alpha 2.0.0"),
        ("~1", "1.9.9", "2.0.0"),
    ],
)
def test_ranges(span: str, inside: str, outside: str) -> None:
    found = versions.parse_range(span)
    assert found is not None
    for text in inside.split():
        assert found.holds(versions.parse(text)), text
    for text in outside.split():
        assert not found.holds(versions.parse(text)), text


@pytest.mark.parametrize("span", ["foo", "1.2.3,", "1||b", ">>1", "1.2.3 x.y", "1" * 600])
def test_what_is_no_range(span: str) -> None:
    assert versions.parse_range(span) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(VERSIONS, max_size=10))
def test_newest_first_is_the_order_of_precedence(found: list[str]) -> None:
    ordered = [versions.parse(v).precedence() for v in sorted(found, key=versions.newest_first)]
    assert ordered == sorted(ordered, reverse=True)
