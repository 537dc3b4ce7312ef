"""ChartMuseum's API, route by route: statuses and bodies as its clients know them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chartrig import Server, form, make

from planeshift.charts import names


def prov_of(chart: bytes) -> bytes:
    """A provenance file with a signature that is none."""
    digest = hashlib.sha256(chart).hexdigest()
    return (
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\napiVersion: v2\nname: alpha\nversion: 1.0.0\n\n...\nfiles:\n"
        f"  alpha-1.0.0.tgz: sha256:{digest}\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
    ).encode()


PROV = prov_of(make())


def test_a_chart_from_upload_to_deletion(server: Server) -> None:
    data = make("alpha", "1.0.0", appVersion='"7"')
    answer = server.post("/api/charts", data)
    assert (answer.status, answer.json) == (201, {"saved": True})
    answer = server.post("/api/charts", data)
    assert (answer.status, answer.json) == (409, {"error": "file already exists"})
    index = server.index()
    assert index["apiVersion"] == "v1" and list(index["entries"]) == ["alpha"]
    (entry,) = index["entries"]["alpha"]
    assert entry["urls"] == ["charts/alpha-1.0.0.tgz"] and entry["digest"] == hashlib.sha256(data).hexdigest()
    assert entry["appVersion"] == "7"
    got = server.get("/charts/alpha-1.0.0.tgz")
    assert (got.body, got.headers["content-type"]) == (data, "application/x-tar")
    assert server.get("/api/charts").json == {"alpha": [entry]}
    assert server.get("/api/charts/alpha").json == [entry]
    assert server.get("/api/charts/alpha/1.0.0").json == entry == server.get("/api/charts/alpha/latest").json
    assert server.get("/api/charts/alpha/1.0.0/values").body == b"colour: blue\n"
    templates = server.get("/api/charts/alpha/1.0.0/templates").json
    assert templates["values"] == {"colour": "blue"} and templates["templates"][0]["name"] == "templates/map.yaml"
    assert server.ask("HEAD", "/api/charts/alpha").status == 200
    assert server.ask("HEAD", "/api/charts/alpha/1.0.0").status == 200
    assert server.ask("HEAD", "/api/charts/beta").status == 404
    answer = server.ask("DELETE", "/api/charts/alpha/1.0.0")
    assert (answer.status, answer.json) == (200, {"deleted": True})
    assert server.ask("DELETE", "/api/charts/alpha/1.0.0").status == 404
    assert server.get("/charts/alpha-1.0.0.tgz").status == 404
    assert server.index()["entries"] == {}


def test_versions_by_name_by_range_and_the_latest(server: Server) -> None:
    for version in ("1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "v0.5"):
        assert server.post("/api/charts", make("alpha", version)).status == 201
    listed = [e["version"] for e in server.get("/api/charts/alpha").json]
    assert listed == ["2.0.0-rc.1", "1.10.0", "1.9.0", "1.0.0", "v0.5"]
    for asked, found in (("latest", "1.10.0"), ("~1.9", "1.9.0"), ("%3E2.0.0-0", "2.0.0-rc.1"), ("v0.5", "v0.5")):
        assert server.get(f"/api/charts/alpha/{asked}").json["version"] == found
    assert server.get("/api/charts/alpha/3.0.0").json == {"error": "no chart version found for alpha-3.0.0"}
    assert server.get("/api/charts/beta/latest").json == {"error": "no chart name found"}
    assert server.get("/api/charts/alpha/nonsense").status == 404
    assert server.get("/api/charts/beta").json == {"error": "chart not found"}


def test_pages_of_the_list(server: Server) -> None:
    for name in ("a", "b", "c"):
        server.post("/api/charts", make(name))
    assert list(server.get("/api/charts?offset=1&limit=1").json) == ["b"]
    assert list(server.get("/api/charts?limit=2").json) == ["a", "b"]
    assert list(server.get("/api/charts?offset=2").json) == ["c"]
    assert server.get("/api/charts?offset=9&limit=9").json == {}
    for query in ("offset=-1", "offset=x", "limit=0", "limit=x"):
        assert server.get(f"/api/charts?{query}").status == 400


def test_forms_carry_both_files_or_either(server: Server) -> None:
    body, kind = form(chart=make(), prov=PROV)
    assert server.post("/api/charts", body, content_type=kind).status == 201
    assert server.get("/charts/alpha-1.0.0.tgz.prov").body == PROV
    again = server.post("/api/charts", body, content_type=kind)
    assert (again.status, again.json) == (409, {"error": "chart already exists"})
    body, kind = form(chart=make("beta"))
    assert server.post("/api/charts", body, content_type=kind).status == 201
    assert server.get("/charts/beta-1.0.0.tgz.prov").status == 404
    body, kind = form(other=b"x")
    assert server.post("/api/charts", body, content_type=kind).status == 400
    for broken in (b"", b"--x", body[:-20]):
        assert server.post("/api/charts", broken, content_type=kind).status == 400
    assert server.post("/api/charts", body, content_type="multipart/form-data").status == 400
    body, kind = form(chart=make("gamma"), prov=PROV)
    assert "another chart" in server.post("/api/charts", body, content_type=kind).json["error"]
    assert server.get("/api/charts/gamma").status == 404


def test_provenance_alone(server: Server) -> None:
    assert server.post("/api/prov", b"nonsense").json == {"error": "invalid provenance file"}
    assert server.post("/api/prov", PROV).status == 201
    assert server.get("/charts/alpha-1.0.0.tgz.prov").status == 404  # its chart is not there yet
    assert server.post("/api/charts", make()).status == 201
    assert server.post("/api/prov", PROV).json == {"error": "file already exists"}
    assert server.get("/charts/alpha-1.0.0.tgz.prov").body == PROV
    assert server.get("/charts/alpha-1.0.0.tgz.prov").headers["content-type"] == "application/pgp-signature"
    assert server.ask("DELETE", "/api/charts/alpha/1.0.0").status == 200
    assert server.get("/charts/alpha-1.0.0.tgz.prov").status == 404


def test_what_a_killed_upload_left_is_not_taken_for_the_next_ones(server: Server) -> None:
    """Its provenance file, without its chart: the chart that comes now is another one."""
    assert server.post("/api/prov", prov_of(b"other")).status == 201
    assert server.post("/api/charts", make()).status == 201
    assert server.get("/charts/alpha-1.0.0.tgz.prov").status == 404
    assert server.post("/api/prov", PROV).status == 201


def test_force(server: Server, serve: Callable[..., Server], tmp_path: Path) -> None:
    old, new = make(), make(files={"values.yaml": b"colour: red\n"})
    server.post("/api/charts", old)
    assert server.post("/api/charts?force", new).status == 201
    assert server.get("/charts/alpha-1.0.0.tgz").body == new
    assert server.index()["entries"]["alpha"][0]["digest"] == hashlib.sha256(new).hexdigest()
    strict = serve("--disable-force-overwrite", storage=tmp_path / "strict")
    strict.post("/api/charts", old)
    assert strict.post("/api/charts?force", new).status == 409
    loose = serve("--allow-overwrite", storage=tmp_path / "loose")
    loose.post("/api/charts", old)
    assert loose.post("/api/charts", new).status == 201


def test_a_replaced_chart_loses_its_provenance(server: Server) -> None:
    body, kind = form(chart=make(), prov=PROV)
    server.post("/api/charts", body, content_type=kind)
    server.post("/api/charts?force", make(files={"x": b"y"}))
    assert server.get("/charts/alpha-1.0.0.tgz.prov").status == 404


def test_what_is_no_chart_is_refused(server: Server) -> None:
    for body in (b"", b"nonsense", make()[:100]):
        answer = server.post("/api/charts", body)
        assert answer.status == 400 and answer.json["error"]
    assert server.index()["entries"] == {}


def test_the_index_is_conditional_compressed_and_can_be_had_in_parts(server: Server) -> None:
    for number in range(5):
        server.post("/api/charts", make(f"chart{number}", description="'much of the same'"))
    whole = server.get("/index.yaml")
    assert whole.headers["content-type"] == "application/x-yaml" and whole.headers["vary"] == "Accept-Encoding"
    tag = whole.headers["etag"]
    for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = server.get("/index.yaml", if_none_match=condition)
        assert (answer.status, answer.body) == (304, b"")
    assert server.get("/index.yaml", if_none_match='"x"').status == 200
    packed = server.get("/index.yaml", accept_encoding="gzip, deflate")
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == whole.body
    assert packed.headers["etag"] != tag
    assert server.get("/index.yaml", accept_encoding="gzip;q=0").headers.get("content-encoding") is None
    part = server.get("/index.yaml", range="bytes=10-19")
    assert (part.status, part.body) == (206, whole.body[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.body)}"
    assert server.get("/index.yaml", range="bytes=-7").body == whole.body[-7:]
    assert server.get("/index.yaml", range="bytes=999999-").status == 416
    assert server.get("/index.yaml", range="bytes=0-3", if_range='"x"').status == 200
    head = server.ask("HEAD", "/index.yaml")
    assert head.headers["etag"] == tag and int(head.headers["content-length"]) == len(whole.body)
    server.post("/api/charts", make("new"))
    assert server.get("/index.yaml", if_none_match=tag).status == 200


def test_tenants_of_fixed_depth_do_not_see_each_other(serve: Callable[..., Server]) -> None:
    server = serve("--depth", "2")
    assert server.post("/api/org/one/charts", make("alpha")).status == 201
    assert list(server.index("/org/one/index.yaml")["entries"]) == ["alpha"]
    assert server.index("/org/two/index.yaml")["entries"] == {}
    assert server.get("/org/one/charts/alpha-1.0.0.tgz").status == 200
    for path in (
        "/org/two/charts/alpha-1.0.0.tgz",
        "/org/two/charts/..%2fone%2falpha-1.0.0.tgz",
        "/org/two/charts/../one/alpha-1.0.0.tgz",
        "/org/two/../one/charts/alpha-1.0.0.tgz",
        "/org/one/../one/index.yaml",
        "/org/.planeshift/index.yaml",
        "/.planeshift/new/index.yaml",
        "/org/index.yaml",
        "/index.yaml",
        "/api/charts",
    ):
        assert server.get(path).status == 404, path
    assert not (Path(server.storage) / "org" / "two").exists()


def test_tenants_of_any_depth(serve: Callable[..., Server]) -> None:
    server = serve("--depth-dynamic")
    for tenant in ("", "/a", "/a/b", "/a/b/c"):
        assert server.post(f"/api{tenant}/charts", make("alpha")).status == 201
        assert list(server.index(f"{tenant}/index.yaml")["entries"]) == ["alpha"]
        assert server.get(f"{tenant}/charts/alpha-1.0.0.tgz").status == 200
        assert server.get(f"/api{tenant}/charts/alpha/1.0.0").status == 200


def test_context_path_chart_url_and_json(serve: Callable[..., Server]) -> None:
    server = serve("--context-path", "/cm", "--chart-url", "https://charts.example.org", "--json-index")
    assert server.post("/cm/api/charts", make()).status == 201
    assert server.post("/api/charts", make("beta")).status == 404
    found = json.loads(server.get("/cm/index.yaml").body)
    assert found["entries"]["alpha"][0]["urls"] == ["https://charts.example.org/cm/charts/alpha-1.0.0.tgz"]


def test_options_come_from_the_environment_and_from_a_file(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(env={"PLANESHIFT_CHART_DEPTH": "1"})
    assert server.get("/team/index.yaml").status == 200 and server.get("/index.yaml").status == 404
    (tmp_path / "config.yaml").write_text("depth: 2\ndisable-delete: true\n")
    server = serve("--config", str(tmp_path / "config.yaml"), storage=tmp_path / "other")
    assert server.get("/org/team/index.yaml").status == 200 and server.get("/team/index.yaml").status == 404
    assert server.ask("DELETE", "/api/org/team/charts/a/1.0.0").status == 404


def test_what_can_be_turned_off(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--disable-delete", "--disable-metrics")
    server.post("/api/charts", make())
    assert server.ask("DELETE", "/api/charts/alpha/1.0.0").status == 404
    assert server.get("/metrics").status == 404
    closed = serve("--disable-api", storage=tmp_path / "store")
    assert closed.get("/api/charts").status == 404 and closed.get("/v2/").status == 404
    assert closed.get("/charts/alpha-1.0.0.tgz").status == 200


def test_information(server: Server) -> None:
    assert server.get("/health").json == {"healthy": True}
    assert server.get("/info").json["version"].startswith("v")
    assert server.get("/nowhere").json == {"error": "not found"}
    server.post("/api/charts", make())
    metrics = server.get("/metrics").body.decode()
    assert 'chartmuseum_charts_served_total{repo=""} 1.0' in metrics
    assert 'chartmuseum_requests_total{code="201",method="POST",url="upload"} 1.0' in metrics
    assert server.get("/health", x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    assert server.get("/health", x_request_id="a b").headers["x-request-id"] != "a b"


def test_limits(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--max-storage-objects", "1", "--max-upload-size", "5000")
    assert server.post("/api/charts", make("alpha")).status == 201
    refused = server.post("/api/charts", make("beta"))
    assert (refused.status, refused.json) == (507, {"error": "repo has reached storage limit"})
    assert server.post("/api/charts?force", make("alpha")).status == 201
    assert server.post("/api/charts", b"x" * 6000).status == 413
    small = serve("--max-storage-bytes", "1200", storage=tmp_path / "small")
    statuses = [small.post("/api/charts", make(f"chart{n}")).status for n in range(5)]
    assert statuses[0] == 201 and statuses[-1] == 507
    few = serve("--per-chart-limit", "2", storage=tmp_path / "few")
    for patch in range(4):
        assert few.post("/api/charts", make("alpha", f"1.0.{patch}")).status == 201
    assert [e["version"] for e in few.get("/api/charts/alpha").json] == ["1.0.3", "1.0.2"]


def test_artifact_hub(serve: Callable[..., Server]) -> None:
    server = serve("--depth", "1", "--artifact-hub-repo-id", "org=123")
    assert yaml.safe_load(server.get("/org/artifacthub-repo.yml").body) == {"repositoryID": 123}
    assert server.get("/other/artifacthub-repo.yml").status == 404


def test_a_store_of_chartmuseum_is_taken_over(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Flat files by ChartMuseum's names, among them one that can be read in two ways, and things that are no charts."""
    store = tmp_path / "old"
    store.mkdir()
    (store / "alpha-1.0.0.tgz").write_bytes(make("alpha"))
    (store / "alpha-1.0.0.tgz.prov").write_bytes(PROV)
    (store / "foo-1.0.0-1.tgz").write_bytes(make("foo", "1.0.0-1"))
    (store / "broken-1.0.0.tgz").write_bytes(b"nonsense")
    (store / "liar-1.0.0.tgz").write_bytes(make("beta"))
    (store / "link-1.0.0.tgz").symlink_to("/etc/passwd")
    (store / "index-cache.yaml").write_text("old")
    server = serve(storage=store)
    assert sorted(server.index()["entries"]) == ["alpha", "foo"]
    assert server.get("/charts/foo-1.0.0-1.tgz").body == make("foo", "1.0.0-1")
    assert server.get("/charts/alpha-1.0.0.tgz.prov").body == PROV
    assert server.get("/charts/link-1.0.0.tgz").status == 404
    assert server.post("/api/charts", make("foo", "1.0.0-1")).status == 409
    assert server.post("/api/charts", make("foo-1.0.0", "1")).status == 201
    assert server.get(f"/{names.download('foo', '1.0.0-1')}").body == make("foo", "1.0.0-1")
    assert server.ask("DELETE", "/api/charts/foo/1.0.0-1").status == 200
    assert not (store / "foo-1.0.0-1.tgz").exists()
    assert server.get("/charts/foo-1.0.0-1.tgz").body == make("foo-1.0.0", "1")


@pytest.mark.parametrize("option", [["--listen-host", "0.0.0.0"], ["--auth", "basic"], ["--provenance", "enforce"]])
def test_what_is_not_started(option: list[str], tmp_path: Path) -> None:
    from click.testing import CliRunner

    from planeshift.cli.chart_serve import serve as command
    from planeshift.errors import PlaneshiftError

    result = CliRunner().invoke(command, ["--storage", str(tmp_path / "s"), *option])
    assert isinstance(result.exception, PlaneshiftError) and result.exception.problems[0].code in ("PS435", "PS108")


def test_every_option_of_the_server_is_documented() -> None:
    from planeshift.cli.chart_serve import serve as command

    page = (Path(__file__).parents[2] / "docs" / "chart-repository.md").read_text()
    named = {name for option in command.params for name in option.opts}
    assert not [n for n in named if n not in page]


# Of ChartMuseum 0.16.5, by its `--help`.
FLAGS = """
allow-overwrite always-regenerate-chart-index artifact-hub-repo-id auth-actions-search-path auth-anonymous-get
auth-cert-path auth-realm auth-service basic-auth-pass basic-auth-user bearer-auth cache cache-interval
cache-redis-addr cache-redis-db cache-redis-password chart-post-form-field-name chart-url config context-path
cors-alloworigin debug depth depth-dynamic disable-api disable-delete disable-force-overwrite disable-metrics
disable-statefiles enable-metrics enforce-semver2 gen-index index-limit json-index listen-host log-health
log-json log-latency-integer max-storage-objects max-upload-size per-chart-limit port
prov-post-form-field-name read-timeout storage storage-alibaba-bucket storage-alibaba-endpoint
storage-alibaba-prefix storage-alibaba-sse storage-amazon-bucket storage-amazon-endpoint
storage-amazon-force-path-style storage-amazon-prefix storage-amazon-region storage-amazon-sse
storage-baidu-bucket storage-baidu-endpoint storage-baidu-prefix storage-etcd-cafile storage-etcd-certfile
storage-etcd-endpoint storage-etcd-keyfile storage-etcd-prefix storage-google-bucket storage-google-prefix
storage-local-rootdir storage-microsoft-container storage-microsoft-prefix storage-openstack-auth
storage-openstack-cacert storage-openstack-container storage-openstack-prefix storage-openstack-region
storage-oracle-bucket storage-oracle-compartmentid storage-oracle-prefix storage-oracle-region
storage-tencent-bucket storage-tencent-endpoint storage-tencent-prefix storage-timestamp-tolerance tls-ca-cert
tls-cert tls-key web-template-path write-timeout
"""
ROUTES = """
GET /index.yaml; HEAD /index.yaml; GET /charts/FILE.tgz; GET /artifacthub-repo.yml; GET /api/charts;
HEAD /api/charts/NAME; GET /api/charts/NAME; HEAD /api/charts/NAME/VERSION; GET /api/charts/NAME/VERSION;
GET /api/charts/NAME/VERSION/templates; GET /api/charts/NAME/VERSION/values; POST /api/charts; POST /api/prov;
DELETE /api/charts/NAME/VERSION; GET /; GET /static/…; GET /health; GET /info; GET /metrics
"""


def test_every_route_and_flag_of_chartmuseum_is_in_the_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "chart-repository.md").read_text().partition("## As ChartMuseum")[2]
    named = set(re.findall(r"`(--[a-z0-9-]+…?)", page))
    families = tuple(n.rstrip("…") for n in named if n.endswith("…"))
    flags = [f"--{name}" for name in FLAGS.split()]
    assert not [f for f in flags if f not in named and not f.startswith(families)]
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("|")]
    for method, path in (route.split() for route in ROUTES.split(";")):
        assert [r for r in rows if method in r and f"{path}`" in r.replace(f"{method} ", "`")], (method, path)
