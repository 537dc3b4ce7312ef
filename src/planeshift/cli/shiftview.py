"""A shift on a terminal: a block that changes in place, and a line for each thing that is settled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from planeshift.cli import view
from planeshift.errors import control_free
from planeshift.traffic.course import Course, duration, percent
from planeshift.traffic.events import End, Event, Return, Shift, Step, Verdict

Paint = Callable[[str, str], str]
_COLOURS = {"passed": "green", "failed": "red", "watching": "cyan", "waived": "yellow"}


class ShiftView:
    """Is told the events of shifts, and shows them: live on a terminal, otherwise one line for each change."""

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}

    def __call__(self, event: Event) -> None:
        course = self._courses.get(event.service)
        if course is None or isinstance(event, Shift):
            course = self._courses[event.service] = Course()
        course.add(event)
        line = settled(event, course, _paint)
        if line:
            view.tell(line)
        if view.LIVE.is_on:
            over = isinstance(event, End)
            view.LIVE.show(f"shift {event.service}", () if over else block(course, view.LIVE.size[0], _paint))

    def end(self) -> None:
        """Take away what is shown of shifts that go on without us, or whose process was ended."""
        for service in self._courses:
            view.LIVE.show(f"shift {service}", ())


def _paint(text: str, colour: str) -> str:
    return view.paint(text, colour, sys.stderr)


def settled(event: Event, course: Course, paint: Paint) -> str:
    """The line of an event that settles something; empty for one that does not."""
    name = event.service
    steps = course.step.steps if course.step else 0
    match event:
        case Shift():
            return f"{name}: {course.title}, {len(event.steps)} steps, each watched for {event.seconds:g} s"
        case Step():
            return (
                f"{name}: step {event.step} of {steps}: {_shares(course, event.achieved)} (in {event.took_ms:.1f} ms)"
            )
        case Verdict():
            word = paint(event.state if event.state == "passed" else "FAILED", _COLOURS[event.state])
            why = control_free("; ".join(event.reasons)) or _seen(course, event.step)
            return f"{name}: step {event.step} of {steps} {word}: {why}"
        case Return():
            return f"{name}: all traffic is back: {_shares(course, event.shares)} (in {event.took_ms:.0f} ms)"
        case End():
            return f"{name}: {event.result} after {duration(event.seconds)}: {course.losses}"
    return ""


def _seen(course: Course, step: int) -> str:
    """What a step served, by backend."""
    found = course.totals(step)
    return "; ".join(f"{name} {found[name].requests:,} requests, {found[name].failed:,} failed" for name in found)


def _shares(course: Course, of: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(of.get(name, 0.0))}" for name in course.backends)


def block(course: Course, width: int, paint: Paint) -> list[str]:
    """A shift as it stands, in lines of at most `width` columns."""
    step, sample = course.step, course.sample
    where = f"step {step.step} of {step.steps}" if step else "about to begin"
    lines = [_cut(f"{course.service}: {course.title}   {where}", width)]
    lines += [_cut(line, width) for line in _backends(course, width)]
    lines.append(_cut("  steps  " + "  ".join(f"{r.sign} {r.share:g} %" for r in course.ladder), width))
    names = max((len(g.name) for g in course.gates), default=0)
    for number, gate in enumerate(course.gates if sample else ()):
        head = f"  {'' if number else 'gates':<5}  {gate.name:<{names}}  "
        state = f"{gate.state:<8}"[: max(width - len(head), 0)]
        rest = _cut(f"  {control_free(gate.detail)}", width - len(head) - len(state))
        lines.append(_cut(head, width) + paint(state, _COLOURS[gate.state]) + rest)
    if course.due and sample and course.shift:
        done = 1 - sample.left / course.shift.seconds if course.shift.seconds else 1.0
        lines.append(_cut(f"  {view.bar(done, 20)} {course.due}", width))
    return lines


def _backends(course: Course, width: int) -> list[str]:
    """A bar for each: its share, and what it served in the last second and failed in this step."""
    names = max((len(n) for n in course.backends), default=0)
    served = {name: _served(course, name) for name in course.backends}
    room = min(max(width - names - 15 - max(map(len, served.values()), default=0), 10), 40)
    lines = []
    for name in course.backends:
        share = course.shares.get(name, 0)
        lines.append(f"  {name:<{names}}  {percent(share):>7}  {view.bar(share / 100, room)}{served[name]}")
    return lines


def _served(course: Course, backend: str) -> str:
    sample = course.sample
    seen = sample.backends.get(backend) if sample else None
    if not sample or not seen:
        return ""
    failed = course.totals(sample.step)[backend].failed
    return f" {sample.rate(seen.requests):>6.0f}/s  {failed:>3} failed  p50 {_ms(seen.p50)}  p99 {_ms(seen.p99)} ms"


def _ms(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.1f}':>6}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"[: max(width, 0)]
