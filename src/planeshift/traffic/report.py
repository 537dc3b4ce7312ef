"""A shift as a page: the report, one file that needs nothing else, and the body that the live page shares with it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planeshift.errors import control_free
from planeshift.traffic import plots
from planeshift.traffic.course import Course, duration, percent, thinned
from planeshift.traffic.events import Event, Sample

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent / "templates"
_COLOURS = 4
_MOST_TEXT = 20_000  # characters of one piece of evidence, and of all of them thrice as many
_LOOKS = {"in progress": "progress"}


def report(events: Iterable[Event]) -> str:
    """The report of a shift that is over, HTML; a log without an end is one of a shift whose process was ended."""
    page = _page(Course.of(events), live=False)
    return templates(_HERE).get_template("report.html").render(page=page, style=safe(style()), style_hash=style_hash())


def body(course: Course, *, live: bool) -> str:
    """What the page of a shift shows; `live`: it goes on."""
    return templates(_HERE).get_template("shift.html").render(page=_page(course, live=live))


@cache
def style() -> str:
    """The style of both, as CSS."""
    return (_HERE / "shift.css").read_text("utf-8")


@cache
def style_hash() -> str:
    """What a Content-Security-Policy calls the report's style by."""
    return f"sha256-{b64encode(sha256(style().encode()).digest()).decode()}"


@cache
def templates(directory: Path) -> Environment:
    """The templates of a directory. What they are given is escaped, control characters as well; `safe` text is not."""
    from jinja2 import Environment, FileSystemLoader

    return Environment(
        loader=FileSystemLoader(directory), autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )


def safe(html: str) -> Any:
    """Markup of ours, in which foreign text is escaped already."""
    from markupsafe import Markup

    return Markup(html)  # noqa: S704 - see above


def _shown(value: Any) -> Any:
    is_foreign = isinstance(value, str) and not hasattr(value, "__html__")
    return "\n".join(map(control_free, value.split("\n"))) if is_foreign else value


def _page(course: Course, *, live: bool) -> dict[str, Any]:
    state = course.state(live)
    failing = [v for v in course.verdicts.values() if v.state == "failed"]
    reasons = [r for v in failing for r in v.reasons] or list(course.returned[1].reasons if course.returned else ())
    return {
        "service": course.service,
        "title": course.title,
        "state": state,
        "look": _LOOKS.get(state, state),
        "sentence": course.sentence(live),
        "reasons": reasons,
        "facts": _facts(course),
        "backends": [{"name": n, "colour": _colour(course, n)} for n in course.backends],
        "present": list(_present(course)) if live else [],
        "ladder": course.ladder,
        "gates_title": _gates_title(course, live),
        "gates": course.gates,
        "steps": list(_steps(course, live)),
        "evidence": list(_evidence(course)),
        **_plots(course),
    }


def _facts(course: Course) -> str:
    shift = course.shift
    if shift is None:
        return ""
    seconds = course.end.seconds if course.end else course.elapsed
    words = [
        f"began {shift.at[:19].replace('T', ' ')} UTC",
        f"{'took' if course.end else 'for'} {duration(seconds)}",
        f"by {shift.who.partition(' (')[0]}" if shift.who else "",
        f"at {', '.join(shift.edges)}" if shift.edges else "",
    ]
    return " · ".join(w for w in words if w)


def _colour(course: Course, backend: str) -> int:
    return course.backends.index(backend) % _COLOURS


def _present(course: Course) -> Iterator[dict[str, Any]]:
    sample, totals = course.sample, course.totals(course.step.step if course.step else None)
    for name in course.backends:
        share = course.shares.get(name, 0)
        seen = sample.backends.get(name) if sample else None
        words = []
        if sample and seen:
            words = [f"{sample.rate(seen.requests):.0f}/s", f"{totals[name].failed:,} failed", f"p99 {_ms(seen.p99)}"]
        yield {
            "name": name,
            "colour": _colour(course, name),
            "share": f"{share:g}",
            "share_text": percent(share),
            "rate": " · ".join(words),
        }


def _gates_title(course: Course, live: bool) -> str:
    sample, step = course.sample, course.step
    if not sample or not step:
        return "Gates"
    if live and course.due:
        return f"Gates of step {step.step}: {course.due}"
    return f"Gates, as last seen at step {step.step}"


def _steps(course: Course, live: bool) -> Iterator[dict[str, Any]]:
    for at, step in course.steps:
        verdict, totals = course.verdicts.get(step.step), course.totals(step.step)
        reasons = "; ".join(verdict.reasons) if verdict else ""
        unjudged = "watching" if live and step is course.step else "not judged"
        yield {
            "number": step.step,
            "took": f"{step.took_ms:.1f} ms",
            "watched": duration(course.judged[step.step] - at) if step.step in course.judged else "-",
            "state": verdict.state if verdict else "",
            "verdict": f"{verdict.state}{': ' if reasons else ''}{reasons}" if verdict else unjudged,
            "backends": [
                {
                    "name": name,
                    "wanted": percent(step.shares.get(name, 0)),
                    "achieved": percent(step.achieved.get(name, 0)),
                    "requests": f"{totals[name].requests:,}",
                    "failed": f"{totals[name].failed:,}",
                    "p99": _ms(totals[name].p99),
                }
                for name in course.backends
            ],
        }


def _evidence(course: Course) -> Iterator[dict[str, str]]:
    room = 3 * _MOST_TEXT
    for found in course.evidence:
        text = found.text[-min(_MOST_TEXT, room) :] if room else ""
        room -= len(text)
        yield {"name": found.name, "text": text or "(left out: events.jsonl has it)"}


def _plots(course: Course) -> dict[str, Any]:
    samples = thinned(course.samples)
    shares = course.shift.steps if course.shift else ()
    marks = [plots.Mark(at, f"{shares[s.step - 1]:g} %") for at, s in course.steps if 0 < s.step <= len(shares)]
    if course.returned:
        marks.append(plots.Mark(course.returned[0], "returned", "return"))
    ends = [at for at, _ in course.samples[-1:]] + [at for at, _ in course.steps[-1:]]
    seconds = max(*ends, course.returned[0] if course.returned else 0.0, 1.0)

    def points(name: str, value: str) -> list[plots.Point]:
        """From where the first sample began."""
        made = [(at, _value(s, name, value)) for at, s in samples]
        return (
            [(max(samples[0][0] - samples[0][1].seconds, 0.0), made[0][1]), *made]
            if made and value != "failed"
            else made
        )

    def series(value: str, kind: str = "") -> list[plots.Series]:
        return [plots.Series(n, _colour(course, n), points(n, value), kind) for n in course.backends]

    nothing = "nothing was measured" if not samples else ""
    return {
        "traffic": safe(plots.areas("Requests a second by backend", series("requests"), marks, seconds, nothing)),
        "failures": safe(plots.bars("Failed requests a second", series("failed"), marks, seconds))
        if any(seen.failed for _, s in samples for seen in s.backends.values())
        else "",
        "latency": safe(
            plots.lines(
                "Latency by backend, p99 and p50",
                series("p99") + series("p50", "thin"),
                marks,
                seconds,
                nothing or "latency is not known",
            )
        ),
    }


def _value(sample: Sample, backend: str, value: str) -> float | None:
    seen = sample.backends.get(backend)
    if seen is None:
        return None
    if value in ("requests", "failed"):
        return sample.rate(seen.requests if value == "requests" else seen.failed)
    return seen.p99 if value == "p99" else seen.p50


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
