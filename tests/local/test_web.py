"""The page of a cloud's shifts, as a real Chromium shows it while a shift goes on, and as HTTP says it."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from browser import Browser
from rig import until

from planeshift.drivers.control import LocalControl
from planeshift.drivers.shiftlogs import Writer
from planeshift.plan.observed import Hold, Standing
from planeshift.traffic import events
from planeshift.traffic.report import report

LOGS = Path(__file__).parent.parent / "unit" / "shifts"
MOVED, RETURNED = (tuple(events.read((LOGS / f"{n}.jsonl").read_bytes().splitlines())) for n in ("moved", "returned"))
VERDICT = next(n for n, e in enumerate(RETURNED) if isinstance(e, events.Verdict) and e.state == "failed")
CLOUD = """\
apiVersion: planeshift/v1
kind: Cloud
metadata: {name: seen}
spec:
  hosts: [{name: here, via: local}]
  services:
    keystone: {backends: {vms: {hosts: [here]}}}
"""


class Site:
    """A cloud whose shifts are told by the tests, and `planeshift web` beside it."""

    def __init__(self, root: Path, *options: str) -> None:
        self.control = LocalControl(root / ".planeshift")
        self.shifts = root / ".planeshift" / "shifts"
        (root / "cloud.yaml").write_text(CLOUD)
        command = [sys.executable, "-m", "planeshift", "web", "-f", str(root / "cloud.yaml")]
        self.process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", *options], stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        said = self.process.stderr.readline()
        assert said.startswith("the shifts of seen: http://127.0.0.1:"), said
        self.port = int(said.split("/", 3)[2].rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}"

    def begin(self, at: str = "2026-11-25T09:14:07.341+00:00") -> Writer:
        return Writer(self.shifts, "glance", at)

    def past(self, told: tuple[events.Event, ...]) -> Writer:
        """A shift that is over."""
        writer = self.begin(told[0].at)
        tell(writer, told)
        writer.finish(report(told))
        return writer

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def end(self) -> int:
        """Stop it as a person does."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def tell(writer: Writer, told: tuple[events.Event, ...]) -> None:
    for event in told:
        writer.write(events.to_json(event))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    assert made.end() == 0


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    made = Browser(tmp_path / "browser")
    yield made
    made.close()


# --- in a browser


def test_a_shift_is_seen_while_it_goes_on(site: Site, browser: Browser, tmp_path: Path) -> None:
    browser.open(site.url)
    assert "No traffic is being moved." in browser.text and "None is remembered." in browser.text

    writer = site.begin()
    tell(writer, RETURNED[:4])
    browser.wait("document.body.innerText.includes('glance: vms → pods')")
    assert "in progress" in browser.text and "At step 1 of 5." in browser.text
    assert browser.run("document.querySelectorAll('svg.plot').length") == 2  # nothing failed yet
    before = browser.run("document.querySelector('svg.plot path.area').getAttribute('d')")
    browser.run("getSelection().selectAllChildren(document.querySelector('h1'))")

    tell(writer, RETURNED[4:VERDICT])
    browser.wait("document.body.innerText.includes('Gates of step 3: verdict in')")
    assert browser.run("document.querySelector('svg.plot path.area').getAttribute('d')") != before
    assert browser.run("[...document.querySelectorAll('.ladder li')].map(li => li.className).join()") == (
        "passed,passed,watching,,"
    )
    assert "4 failed" in browser.text
    assert "glance: vms → pods" in browser.run("String(getSelection())")  # what a person has marked stays so
    for dark in (False, True):
        picture = tmp_path / f"dark-{dark}.png"
        browser.picture(picture, dark=dark)
        assert picture.stat().st_size > 30_000

    tell(writer, RETURNED[VERDICT:])
    writer.finish(report(RETURNED))
    hold = Hold("2026-11-25T09:14:39+00:00", "step 3: errors <b>", "d", writer.place)
    site.control.stand("glance", Standing({}, {}, {}, hold))
    browser.wait("document.body.innerText.includes('The traffic of glance is held')")
    assert "errors <b>" in browser.text
    browser.wait("document.querySelector('table .returned')")

    browser.run("document.querySelector('section.returned a').click()")
    browser.wait("document.body.innerText.includes('All traffic was back in 41 ms.')")
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert "planted fault" in browser.text and "<script>alert(1)</script>" in browser.text
    browser.run("document.querySelector('a[href$=\"report.html\"]').click()")
    browser.wait("location.pathname.endsWith('report.html') && document.readyState === 'complete'")
    assert "Stopped at step 3 of 5." in browser.text
    assert browser.run("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth") == "4px"  # it is styled
    assert not browser.said


def test_the_page_says_when_it_is_old(site: Site, browser: Browser) -> None:
    writer = site.begin()
    tell(writer, RETURNED[:VERDICT])
    browser.open(site.url)
    browser.wait("document.body.innerText.includes('At step 3 of 5.')")
    os.kill(site.process.pid, signal.SIGKILL)
    site.process.wait()
    browser.wait("!document.querySelector('.lost').hidden")
    assert "At step 3 of 5." in browser.text  # what was seen last stays
    again = subprocess.Popen(
        [*site.process.args[:-1], f"127.0.0.1:{site.port}"],  # type: ignore[index,misc]
        stderr=subprocess.PIPE,
        text=True,
    )
    site.process = again
    tell(writer, RETURNED[VERDICT:])
    writer.finish(report(RETURNED))
    browser.wait("document.querySelector('.lost').hidden && document.body.innerText.includes('returned')", 60)


def test_a_page_without_scripts(site: Site, browser: Browser) -> None:
    """It is whole, and comes again by itself."""
    writer = site.begin()
    tell(writer, RETURNED[:4])
    until(lambda: "At step 1 of 5." in site.get("/")[1], "the shift is seen")
    browser.without_scripts()
    browser.open(site.url)
    assert "At step 1 of 5." in browser.text and browser.run("document.querySelectorAll('svg.plot').length") == 2
    tell(writer, RETURNED[4:VERDICT])
    browser.wait("document.body.innerText.includes('At step 3 of 5.')")


def test_narrow_and_wide(site: Site, browser: Browser, tmp_path: Path) -> None:
    """Nothing is cut off: what is wider than the screen has a scroll bar of its own."""
    site.past(RETURNED)
    name = "20261125T091407Z-glance"
    until(lambda: site.get(f"/shifts/{name}")[0] == 200, "the shift is seen")
    browser.open(f"{site.url}/shifts/{name}")
    for width in (360, 1000, 1800):
        browser.picture(tmp_path / "page.png", width=width)
        assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width


# --- over HTTP


def test_what_is_served(site: Site) -> None:
    site.past(MOVED)
    running = site.begin()
    tell(running, RETURNED[:VERDICT])
    done, live = "/shifts/20261125T090207Z-glance", "/shifts/20261125T091407Z-glance"
    until(lambda: site.get(live)[0] == 200, "the shifts are seen")
    for path in ("/", done, live, "/style.css", "/live.js", f"{done}/report.html", f"{done}/events.jsonl", "/health"):
        status, text, headers = site.get(path)
        assert status == 200 and text, path
        assert headers["x-content-type-options"] == "nosniff", path
        status, empty, head = site.get(path, "HEAD")
        assert (status, empty) == (200, "") and head["content-length"] == headers["content-length"], path
    assert "script-src 'self'" in site.get("/")[2]["content-security-policy"]
    assert "script-src" not in site.get(f"{done}/report.html")[2]["content-security-policy"]
    assert list(events.read(site.get(f"{done}/events.jsonl")[1].splitlines())) == list(MOVED)
    for path in (
        f"{live}/report.html",
        "/shifts",
        "/shifts/",
        "/shifts/..%2f..",
        f"{done}/x",
        "/shifts/%00",
        "/nothing",
    ):
        assert site.get(path)[0] == 404, path
    assert site.get("/", "POST")[0] == site.get(done, "DELETE")[0] == 405
    running.finish("")


def test_no_page_of_others_reads_it_under_another_name(site: Site) -> None:
    for path in ("/", "/live", "/metrics"):
        for host in ("evil.example", "evil.example:80", "localhost.evil.example", ""):
            assert site.get(path, Host=host)[0] == 421, (path, host)
    for host in ("localhost", f"127.0.0.1:{site.port}", "[::1]:1"):
        assert site.get("/", Host=host)[0] == 200


def test_metrics(site: Site) -> None:
    site.past(MOVED)
    text = until(lambda: _with("planeshift_shifts{", site.get("/metrics")[1]), "the shift is counted")
    assert 'planeshift_shift_requests_total{backend="pods",service="glance"}' in text
    assert 'planeshift_shifts{result="done",service="glance"} 1.0' in text
    assert 'planeshift_hold{service="glance"} 0.0' in text
    assert site.get("/metrics")[2]["content-type"].startswith("text/plain; version=")


def _with(words: str, text: str) -> str:
    return text if words in text else ""


def test_a_stream_tells_a_change_and_the_end(site: Site) -> None:
    writer = site.begin()
    tell(writer, RETURNED[:4])
    name = Path(writer.place).name
    until(lambda: site.get(f"/shifts/{name}")[0] == 200, "the shift is seen")
    with urlopen(f"{site.url}/live?page=/shifts/{name}", timeout=60) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        _until_line(stream.readline, "data: ", "At step 1 of 5.")
        tell(writer, RETURNED[4:])
        writer.finish(report(RETURNED))
        _until_line(stream.readline, "data: ", "Stopped at step 3 of 5.")
        _until_line(stream.readline, "event: over", "over")
        stream.read()  # it ends by itself
    assert site.get("/live?page=/shifts/unknown")[0] == 204


def _until_line(read: Callable[[], bytes], start: str, words: str) -> None:
    while line := read().decode():
        if line.startswith(start) and words in (json.loads(line[6:]) if start == "data: " else line):
            return
    raise AssertionError(f"the stream ended without {words}")


def test_a_stop_ends_streams(site: Site) -> None:
    writer = site.begin()
    tell(writer, RETURNED[:4])
    with urlopen(f"{site.url}/live?page=/", timeout=60) as stream:
        stream.readline()
        site.process.send_signal(signal.SIGTERM)
        stream.read()
        assert site.process.wait(60) == 0


def test_a_wrong_file_takes_nothing_down(site: Site) -> None:
    """A log that cannot be read, or whose directory is gone, is said once; the others are shown."""
    site.past(MOVED)
    until(lambda: site.get("/shifts/20261125T090207Z-glance")[0] == 200, "the shift is seen")
    standing = site.control.root / "standing"
    standing.write_text("half of a li")
    assert site.process.stderr is not None
    until(lambda: select.select([site.process.stderr], [], [], 0)[0], "something is said")
    assert site.get("/")[0] == 200 and site.get("/shifts/20261125T090207Z-glance")[0] == 200
    standing.unlink()
    tell(site.begin(), RETURNED[:4])
    until(lambda: "in progress" in site.get("/")[1] or "interrupted" in site.get("/")[1], "it looks on")
