"""The page, as a real Chromium shows it, and as its HTML says it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from chartrig import Server, make

README = (
    b"# Alpha\n\nDoes **things**.\n\n<script>document.title='harm'</script>\n\n[bad](javascript:alert(1)) ![seen](http://x/y.png)\n"
    b"\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)


@pytest.fixture
def browser(tmp_path: Path) -> Callable[..., str]:
    """Shows a page in a headless Chromium and gives the document that it made of it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")

    def show(url: str, *options: str) -> str:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
        done = subprocess.run([*command, *options, "--dump-dom", url], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return show


@pytest.fixture
def filled(server: Server) -> Server:
    for version in ("1.0.0", "1.1.0", "2.0.0-rc.1"):
        server.post("/api/charts", make("alpha", version, {"README.md": README}, keywords="[colour]"))
    server.post("/api/charts", make("beta", description="'<b>bold</b> & \"quoted\"'", home="'javascript:alert(1)'"))
    return server


def test_in_a_browser(filled: Server, browser: Callable[..., str], tmp_path: Path) -> None:
    seen = browser(f"{filled.url}/")
    assert "2 charts, 4 versions" in seen and "&lt;b&gt;bold&lt;/b&gt;" in seen
    picture = tmp_path / "page.png"
    size = ("--window-size=1200,900", f"--screenshot={picture}")
    seen = browser(f"{filled.url}/-/charts/alpha", *size)
    assert "<title>alpha 1.1.0</title>" in seen and "<strong>things</strong>" in seen  # no script of a README ran
    assert picture.stat().st_size > 20_000


def test_a_browser_reads_the_index_in_each_encoding(
    serve: Callable[..., Server], browser: Callable[..., str], tmp_path: Path
) -> None:
    """Each is put together of parts; a page of the operator's own fetches it."""
    web = tmp_path / "web"
    (web / "static").mkdir(parents=True)
    (web / "index.html").write_text("<title>x</title><script src='static/x.js'></script>")
    (web / "static" / "x.js").write_text(
        "fetch('/index.yaml').then(r => r.text()).then(t => document.title = t.length + ' ' + t.slice(-15).trim())"
    )
    server = serve("--web-template-path", str(web))
    for number in range(3):
        server.post("/api/charts", make(f"chart{number}"))
    whole = server.get("/index.yaml").body
    seen = browser(f"{server.url}/", "--virtual-time-budget=5000")
    assert f"<title>{len(whole)} serverInfo: {{}}</title>" in seen
    assert server.get("/static/%2e%2e/index.html").status == 200  # inside the operator's pages
    assert server.get("/static/%2e%2e/%2e%2e/store.log").status == 404


def test_search_and_pages(filled: Server) -> None:
    def charts(query: str) -> list[str]:
        return re.findall(r"<strong>([^<]+)</strong>", filled.get(f"/?{query}").body.decode())

    assert charts("q=alp") == ["alpha"] and charts("q=colour") == ["alpha"] and charts("q=BOLD+quoted") == ["beta"]
    assert charts("q=%3Cscript%3E") == []
    assert b"<script>" not in filled.get("/?q=%3Cscript%3E").body
    for number in range(60):
        filled.post("/api/charts", make(f"many{number:02d}"))
    assert len(charts("")) == 50 and len(charts("page=2")) == 12 and charts("page=99") == []
    assert len(charts("q=many&page=2")) == 10


def test_what_a_chart_says_does_no_harm(filled: Server) -> None:
    answer = filled.get("/-/charts/alpha/1.0.0")
    page = answer.body.decode()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in page and 'href="javascript:' not in page and "<img" not in page
    assert "<td>1</td>" in page and "not signed" in page and "colour: blue" in page
    assert 'href="/charts/alpha-1.0.0.tgz"' in page and 'href="/-/charts/alpha/2.0.0-rc.1"' in page
    assert "javascript:alert" in filled.get("/-/charts/beta").body.decode()  # as text
    assert 'href="javascript:' not in filled.get("/-/charts/beta").body.decode()
    for path in ("/-/charts/nothing", "/-/charts/alpha/9.9.9"):
        assert filled.get(path).status == 404
    for path in ("/-/", "/-/charts", "/-/charts/", "/-/charts/a/b/c", "/-/nothing"):
        assert filled.get(path).status == 404


def test_pages_of_tenants(serve: Callable[..., Server]) -> None:
    server = serve("--depth", "1", "--context-path", "/cm")
    server.post("/cm/api/team/charts", make())
    assert b"A chart repository" in server.get("/cm/").body and b"alpha" not in server.get("/cm/").body
    page = server.get("/cm/team/").body.decode()
    assert f"helm repo add team {server.url}/cm/team" in page and 'href="/cm/team/-/charts/alpha"' in page
    assert 'href="/cm/team/charts/alpha-1.0.0.tgz"' in server.get("/cm/team/-/charts/alpha").body.decode()
    assert server.get("/cm/-/style.css").status == 200
