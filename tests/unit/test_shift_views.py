"""What a shift tells, and what is made of it: events, their course, the report, the terminal, metrics."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planeshift.app.watching import Seen
from planeshift.cli.shiftview import block, settled
from planeshift.drivers.shiftlogs import ShiftLog
from planeshift.traffic import events, plots
from planeshift.traffic.course import Course, duration, percent, thinned
from planeshift.traffic.report import body, report, style_hash
from planeshift.web.metrics import Metrics

HERE = Path(__file__).parent / "shifts"
MOVED, RETURNED = (tuple(events.read((HERE / f"{n}.jsonl").read_bytes().splitlines())) for n in ("moved", "returned"))
GOING_ON = RETURNED[:-5]  # before the verdict

NAMES = st.sampled_from(("vms", "pods", "new"))
TEXTS = st.text(max_size=40)
NUMBERS = st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 3))
COUNTS = st.integers(0, 10**6)
SHARES = st.dictionaries(NAMES, NUMBERS, max_size=3)
TRAFFIC = st.builds(events.Traffic, COUNTS, COUNTS, st.none() | NUMBERS, st.none() | NUMBERS)
GATES = st.builds(events.Gate, TEXTS, st.sampled_from(("watching", "passed", "failed", "waived")), TEXTS)
MOMENTS = st.datetimes().map(lambda d: d.isoformat(timespec="milliseconds") + "+00:00") | TEXTS
OF = {"at": MOMENTS, "service": st.sampled_from(("glance", "keystone"))}
WHY = st.lists(TEXTS, max_size=2).map(tuple)
STEPS = st.integers(0, 6)
EVENTS: st.SearchStrategy[events.Event] = st.one_of(
    st.builds(
        events.Shift,
        **OF,
        before=SHARES,
        after=SHARES,
        steps=st.lists(NUMBERS, max_size=6).map(tuple),
        seconds=NUMBERS,
        who=TEXTS,
        edges=WHY,
    ),
    st.builds(events.Step, **OF, step=STEPS, steps=STEPS, shares=SHARES, achieved=SHARES, took_ms=NUMBERS),
    st.builds(
        events.Sample,
        **OF,
        step=STEPS,
        seconds=NUMBERS,
        left=NUMBERS,
        shares=SHARES,
        backends=st.dictionaries(NAMES, TRAFFIC, max_size=3),
        gates=st.lists(GATES, max_size=3).map(tuple),
    ),
    st.builds(events.Verdict, **OF, step=STEPS, state=st.sampled_from(("passed", "failed")), reasons=WHY),
    st.builds(events.Return, **OF, shares=SHARES, took_ms=NUMBERS, reasons=WHY),
    st.builds(events.Evidence, **OF, name=TEXTS, text=TEXTS),
    st.builds(
        events.End,
        **OF,
        result=st.sampled_from(("done", "returned", "interrupted")),
        requests=COUNTS,
        failed=COUNTS,
        seconds=NUMBERS,
    ),
)


def plain(text: str, colour: str) -> str:
    return text


# --- events


@given(EVENTS)
def test_an_event_comes_back_as_it_was(event: events.Event) -> None:
    line = events.to_json(event)
    assert line.count("\n") == 1 and len(line.splitlines()) >= 1
    assert json.loads(line)["event"] == type(event).__name__.lower()
    assert events.from_json(line) == event == events.from_json(line.encode())


@given(st.lists(EVENTS, max_size=5), st.integers(0, 10_000))
def test_a_kill_costs_half_of_a_line(told: list[events.Event], cut: int) -> None:
    whole = "".join(map(events.to_json, told)).encode()
    left = whole[: min(cut, len(whole))]
    found = list(events.read(left.split(b"\n")))
    assert found == told[: len(found)]
    assert len(found) >= left.count(b"\n")  # every line that was written whole is there


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        '{"event": "end"}',
        '{"event": "later", "at": "", "service": ""}',
        '{"event":"return","at":"","service":"g","shares":{"a":NaN},"took_ms":1}',
        '{"event":"return","at":"","service":"g","shares":{},"took_ms":Infinity}',
        b'{"event":"evidence","at":"","service":"g","name":"\xff","text":""}',
        '{"event":"verdict","at":"","service":"g","step":1,"state":"perhaps"}',
        '{"event":"verdict","at":"","service":"g","step":-1,"state":"passed"}',
    ],
)
def test_what_is_no_event(line: str | bytes) -> None:
    with pytest.raises(ValueError, match="not an event of a shift"):
        events.from_json(line)
    assert list(events.read([line, events.to_json(MOVED[0])])) == [MOVED[0]]


def test_keys_of_a_later_version_are_left_out() -> None:
    plainly = json.loads(events.to_json(MOVED[-1])) | {"mood": "good"}
    assert events.from_json(json.dumps(plainly)) == MOVED[-1]


def test_what_json_has_no_form_for_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        events.to_json(replace(MOVED[-1], seconds=float("nan")))


# --- their course


def test_the_course_of_a_shift_that_was_done() -> None:
    course = Course.of(MOVED)
    assert course.title == "vms → pods" and course.backends == ["vms", "pods"]
    assert course.state() == course.state(live=True) == "done"
    assert [(r.share, r.state) for r in course.ladder] == [(s, "passed") for s in (1, 5, 25, 50, 100)]
    assert course.shares == {"vms": 0, "pods": 100}
    assert sum(t.requests for t in course.totals().values()) == course.counted[0] == 13_434
    assert course.sentence() == "All 5 steps were taken and passed. 13,434 requests, none failed."


def test_the_course_of_a_shift_that_was_returned() -> None:
    course = Course.of(RETURNED)
    assert course.state() == "returned" and course.shares == {"vms": 100, "pods": 0}
    assert [r.state for r in course.ladder] == ["passed", "passed", "failed", "", ""]
    assert course.totals(3)["pods"].failed == 4 and course.counted == (5713, 6)
    assert "Stopped at step 3 of 5. All traffic was back in 41 ms." in course.sentence()


def test_the_course_of_a_shift_whose_process_was_ended() -> None:
    course = Course.of(MOVED[:30])
    assert course.state(live=True) == "in progress" and course.state() == "interrupted"
    assert [r.state for r in course.ladder] == ["passed", "watching", "", "", ""]
    assert course.sentence().startswith("Ended at step 2 of 5, before it was judged; traffic stayed where it was.")


def test_a_clock_that_jumps_tears_no_plot() -> None:
    jumped = [replace(e, at=e.at.replace("2026", "2031" if n % 2 else "2019")) for n, e in enumerate(MOVED)]
    course, straight = Course.of(jumped), Course.of(MOVED)
    moments = [at for at, _ in course.samples]
    assert moments == sorted(moments)
    assert course.elapsed == pytest.approx(straight.elapsed, abs=1)


@given(st.lists(EVENTS, max_size=12))
def test_any_events_have_a_course_and_views(told: list[events.Event]) -> None:
    """Whatever order a log is in: a reader never fails, and counts what samples count."""
    course = Course.of(told)
    counted = sum(s.requests for e in told if isinstance(e, events.Sample) for s in e.backends.values())
    assert sum(t.requests for t in course.totals().values()) == counted
    for width in (0, 20, 100):
        assert all(len(line) <= width for line in block(course, width, plain))
    for event in told:
        settled(event, course, plain)
    Page(report(told))
    Page(body(course, live=True))
    Metrics().page([Seen(ShiftLog(Path("20260101T000000Z-glance")), course, True)], {})


@given(st.integers(1, 2000), st.integers(1, 300))
def test_a_plot_shows_every_failure_however_many_samples(count: int, most: int) -> None:
    sample = next(e for e in MOVED if isinstance(e, events.Sample))
    seen = [
        (float(n), replace(sample, step=1 + n // 500, backends={"pods": events.Traffic(3, n % 2)}))
        for n in range(count)
    ]
    thin = thinned(seen, most)
    assert len(thin) <= most + 4 and thin[-1][0] == seen[-1][0]
    for value in ("requests", "failed"):
        assert sum(getattr(s.backends["pods"], value) for _, s in thin) == sum(
            getattr(s.backends["pods"], value) for _, s in seen
        )
    assert sum(s.seconds for _, s in thin) == pytest.approx(count)


def test_shares_and_times_as_a_person_reads_them() -> None:
    assert [percent(s) for s in (0, 1.17, 98.83, 100)] == ["0 %", "1.2 %", "98.8 %", "100 %"]
    assert [duration(s) for s in (0.4, 59.6, 75, 3600)] == ["0 s", "1 min 0 s", "1 min 15 s", "60 min 0 s"]


# --- the report


class Page(HTMLParser):
    """A page that must be well-formed, harmless and whole."""

    VOID = ("meta", "link", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open
        assert not any(tag in ("script", "img", "iframe", "object", "embed", "form", "base") for tag, _ in self.seen)
        for _, attributes in self.seen:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            assert not {"href", "src"} & attributes.keys()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("p", "li", "path"):
            assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_report_says_what_happened() -> None:
    good, bad = Page(report(MOVED)).text, Page(report(RETURNED)).text
    for words in ("glance: vms → pods done", "All 5 steps were taken and passed.", "13,434", "No request failed."):
        assert words in good
    for words in (
        "Stopped at step 3 of 5. All traffic was back in 41 ms.",
        "errors: 4 of 78 requests to pods failed, 0 of 261 to vms",
        "planeshift shift glance --resume",
        "log of k1/glance/pods",
        "by ann@ops1 · at lb1, lb2",
    ):
        assert words in bad
    assert "planted fault" in bad and "\x1b" not in bad and "Evidence" not in good


def test_the_report_needs_nothing_else() -> None:
    html = report(RETURNED)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", html)
    assert f"style-src '{style_hash()}'" in html and "default-src 'none'" in html


HARM = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x1b[2J\u202e{{ 7*7 }}"


def test_what_others_say_does_no_harm_in_a_report() -> None:
    def harmed(value: Any) -> Any:
        if isinstance(value, str):
            return HARM
        if isinstance(value, dict):
            return {HARM if k in ("vms", "pods") else k: harmed(v) for k, v in value.items()}
        return [harmed(v) for v in value] if isinstance(value, list) else value

    kept = ("event", "at", "state", "result")
    told = []
    for event in RETURNED:
        plainly = json.loads(events.to_json(event))
        told.append(
            events.from_json(json.dumps({k: v if k in kept else harmed(v) for k, v in plainly.items() if k != "gates"}))
        )
    page = Page(report(told))
    assert HARM.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e") in page.text
    assert "\x1b" not in page.text and "\u202e" not in page.text


def test_a_report_is_small_however_long_the_shift() -> None:
    sample = next(e for e in MOVED if isinstance(e, events.Sample))
    loud = events.Evidence(at=MOVED[0].at, service="glance", name="log", text="<&\n" * 1_000_000)
    told = [*MOVED[:-1], *[sample] * 20_000, *[loud] * 9, MOVED[-1]]
    assert len(report(told).encode()) < 600_000
    assert len(report([*MOVED[:-1], *[sample] * 20_000, MOVED[-1]]).encode()) < 100_000


def test_plots_are_xml_within_their_frame() -> None:
    points: Sequence[plots.Point] = [(0.0, 1.0), (1.0, None), (2.0, 5000.0), (3.0, 2.0), (4.0, 3.0)]
    series = [plots.Series("a<b", 0, points), plots.Series("c", 1, points, "thin")]
    marks = [plots.Mark(0, "1 %"), plots.Mark(0.01, "5 %"), plots.Mark(9, "returned", "return")]
    for picture in (
        plots.lines("<title>", series, marks, 4.0),
        plots.areas("t", series, marks, 4.0),
        plots.bars("t", series, marks, 4.0),
        plots.lines("t", [], [], 0.0, "nothing"),
        plots.areas("t", [], [], 0.0, "nothing"),
    ):
        root = ElementTree.fromstring(picture)
        for path in root.iter("path"):
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]
            assert all(0 <= n <= plots.WIDTH for n in numbers)
    labels = [t.text for t in ElementTree.fromstring(plots.lines("t", series, marks, 4.0)).iter("text")]
    assert "1 %" in labels and "5 %" not in labels and "returned" in labels  # no label over another


# --- the terminal


def test_the_block_of_a_shift() -> None:
    course = Course.of(GOING_ON)
    assert block(course, 100, plain) == [
        "glance: vms → pods   step 3 of 5",
        "  vms      75 %  [#########################........]    127/s    0 failed  p50    2.9  p99    9.1 ms",
        "  pods     25 %  [########.........................]     43/s    4 failed  p50    3.3  p99    9.2 ms",
        "  steps  ✓ 1 %  ✓ 5 %  ▸ 25 %  · 50 %  · 100 %",
        "  gates  errors     failed    pods 4 of 78, vms 0 of 261",
        "         latency    watching  p99 of pods +7 % of vms'",
        "         servers    watching  all 5 up",
        "         readiness  watching  3 of 3 pods ready",
        "         verify     watching  first round trip",
        "  [###.................] verdict in 13 s",
    ]


def test_a_line_for_each_thing_that_is_settled() -> None:
    course, lines = Course(), []
    for event in RETURNED:
        course.add(event)
        lines += [line for line in (settled(event, course, plain),) if line]
    assert lines == [
        "glance: vms → pods, 5 steps, each watched for 15 s",
        "glance: step 1 of 5: vms 98.8 %, pods 1.2 % (in 4.1 ms)",
        "glance: step 1 of 5 passed: 25 requests to pods, 0 failed",
        "glance: step 2 of 5: vms 94.9 %, pods 5.1 % (in 4.5 ms)",
        "glance: step 2 of 5 passed: 137 requests to pods, 2 failed",
        "glance: step 3 of 5: vms 75.1 %, pods 24.9 % (in 4.2 ms)",
        "glance: step 3 of 5 FAILED: errors: 4 of 78 requests to pods failed, 0 of 261 to vms "
        "(Fisher's exact test, p = 0.00021)",
        "glance: all traffic is back: vms 100 %, pods 0 % (in 41 ms)",
        "glance: returned after 32 s: 5,713 requests, 6 failed",
    ]


def test_foreign_text_cannot_drive_a_terminal() -> None:
    course = Course.of(RETURNED[:2])
    verdict = events.Verdict(at="", service="glance", step=1, state="failed", reasons=("a\x1b[2Jb\nc",))
    assert "\x1b" not in settled(verdict, course, plain) and "\n" not in settled(verdict, course, plain)
    sample = next(e for e in RETURNED if isinstance(e, events.Sample))
    course.add(replace(sample, gates=(events.Gate("errors", "watching", "\x1b]0;x\x07"),)))
    assert not any("\x1b" in line for line in block(course, 200, plain))


# --- metrics


def test_metrics_of_shifts() -> None:
    metrics, shifts = Metrics(), []
    for name, told, live in (
        ("20261125T090207Z-glance", MOVED, False),
        ("20261125T091407Z-glance", GOING_ON, True),
    ):
        metrics.add(told)
        shifts.append(Seen(ShiftLog(Path(name)), Course.of(told), live))
    text = metrics.page(shifts, {"keystone"}).buffers[0].decode()
    for line in (
        'planeshift_traffic_share_ratio{backend="pods",service="glance"} 0.25',
        'planeshift_shift_requests_total{backend="pods",service="glance"} 5102.0',
        'planeshift_shift_failures_total{backend="pods",service="glance"} 6.0',
        'planeshift_shift_in_progress{service="glance"} 1.0',
        'planeshift_shift_step{service="glance"} 3.0',
        'planeshift_shift_steps{service="glance"} 5.0',
        'planeshift_shift_gate_state{gate="errors",service="glance",state="failed"} 1.0',
        'planeshift_shift_gate_state{gate="errors",service="glance",state="passed"} 0.0',
        'planeshift_shift_latency_seconds{backend="pods",quantile="0.99",service="glance"} 0.00922',
        'planeshift_shifts{result="done",service="glance"} 1.0',
        'planeshift_shifts{result="in progress",service="glance"} 1.0',
        'planeshift_hold{service="keystone"} 1.0',
        'planeshift_hold{service="glance"} 0.0',
    ):
        assert f"{line}\n" in text, text
