"""Names, versions, ranges: nothing collides, nothing leads anywhere, everything as Helm reads it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import SOAK

from planeshift.charts import names, versions
from planeshift.charts.server import routes

MANY = 100_000 if SOAK else 200
LETTERS = st.text("abz019.-_+@/\\%: \x00é", max_size=14)
NAMES = st.from_regex(r"[a-c0-1][a-c0-1.-]{0,6}[a-c0-1]?", fullmatch=True).filter(names.is_name)
VERSIONS = st.from_regex(r"v?[01]\.[01](\.[01])?(-[01a]+(-[01])?(\.[01])?)?(\+[01a-]{1,3})?", fullmatch=True).filter(
    names.is_version
)


@settings(max_examples=MANY, deadline=None)
@given(st.lists(st.tuples(NAMES, VERSIONS), min_size=2, max_size=8, unique=True))
def test_no_two_charts_share_a_file_or_a_url(charts: list[tuple[str, str]]) -> None:
    files = {names.filename(n, v) for n, v in charts}
    assert len(files) == len({names.download(n, v) for n, v in charts}) == len(charts)
    for name, version in charts:
        assert names.from_filename(names.filename(name, version)) == (name, version)
        # Helm looks a chart up in its provenance by the last part of its URL
        assert names.download(name, version).rpartition("/")[2] == f"{name}-{version}.tgz"


@settings(max_examples=MANY, deadline=None)
@given(LETTERS, LETTERS)
def test_what_is_accepted_stays_where_it_is_put(name: str, version: str) -> None:
    if names.is_name(name) and names.is_version(version):
        file = names.filename(name, version)
        assert not set(file) & set("/\\\x00 %") and not file.startswith(".") and ".." not in name
    if names.is_tenant(name):
        assert all(s not in ("", ".", "..", "-", names.RESERVED) for s in name.split("/")) or name == ""


@settings(max_examples=MANY, deadline=None)
@given(
    st.lists(
        st.sampled_from(["api", "charts", "prov", "a", "b", "..", ".", "", "-", "index.yaml", "x-1.tgz", "a@1", "%2e"]),
        max_size=7,
    ).map("/".join),
    st.sampled_from([None, 0, 1, 2]),
    st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
)
def test_no_path_leads_to_what_is_no_tenant(path: str, depth: int | None, method: str) -> None:
    found = routes.match(method, "/" + path, depth)
    if found is not None and found.action:
        assert names.is_tenant(found.tenant)
        assert (
            depth is None or found.what in ("page", "static") or found.tenant.count("/") + bool(found.tenant) == depth
        )


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


@settings(max_examples=MANY // 4, deadline=None)
@given(st.lists(VERSIONS, max_size=10))
def test_newest_first_is_the_order_of_precedence(found: list[str]) -> None:
    ordered = [versions.parse(v).precedence() for v in sorted(found, key=versions.newest_first)]
    assert ordered == sorted(ordered, reverse=True)
