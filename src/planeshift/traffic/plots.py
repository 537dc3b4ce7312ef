"""Plots as SVG: no script, no style of their own, colours by class (`c0`, `c1`, …), so that a page decides on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 190
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 22, 24  # room around the plot itself
_CLOSE = 34  # a label needs as much room

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Series:
    """A line: points of seconds and values (None: a gap); `kind` adds a class, such as `thin`."""

    name: str
    colour: int
    points: Sequence[Point]
    kind: str = ""


@dataclass(frozen=True)
class Mark:
    """A moment, in seconds: a `step`, or the `return`."""

    at: float
    label: str
    kind: str = "step"


def lines(title: str, series: Sequence[Series], marks: Sequence[Mark], seconds: float, empty: str = "") -> str:
    """Values over time. `empty` is said where there is none above nothing."""
    values = [y for s in series for _, y in s.points if y is not None]
    scale = _Scale(seconds, max(values, default=0.0), _wants_log(values))
    body = [_line(s, scale) for s in series] if any(values) else [_say(empty)]
    return _frame(title, body, marks, scale)


def bars(title: str, series: Sequence[Series], marks: Sequence[Mark], seconds: float) -> str:
    """Values of the times before each point (since the point before), one bar on top of the other."""
    moments, stacked = _stack(series)
    scale = _Scale(seconds, max((top for _, _, tops in stacked for top in tops), default=0.0))
    starts = [0.0, *moments[:-1]]
    body = []
    for one, lows, tops in stacked:
        shapes = []
        for began, ended, low, top in zip(starts, moments, lows, tops, strict=True):
            if top > low:
                left, right = scale.x(began), max(scale.x(ended), scale.x(began) + 1)
                shapes.append(f"M{left:.1f} {scale.y(low):.1f}V{scale.y(top):.1f}H{right:.1f}V{scale.y(low):.1f}Z")
        body.append(f'<path class="bars c{one.colour}" d="{"".join(shapes)}"/>')
    return _frame(title, body, [Mark(m.at, "", m.kind) if m.kind == "return" else m for m in marks], scale)


def areas(title: str, series: Sequence[Series], marks: Sequence[Mark], seconds: float, empty: str = "") -> str:
    """Values over time, one on top of the other. All series have their points at the same moments."""
    moments, stacked = _stack(series)
    most = max((top for _, _, tops in stacked for top in tops), default=0.0)
    scale = _Scale(seconds, most)
    body = [_area(s.colour, moments, low, top, scale) for s, low, top in stacked] if most else [_say(empty)]
    return _frame(title, body, marks, scale)


def _stack(series: Sequence[Series]) -> tuple[list[float], list[tuple[Series, list[float], list[float]]]]:
    """The moments, and of each series where its values begin and end when they stand on those of the ones before."""
    moments = [x for x, _ in series[0].points] if series else []
    floor = [0.0] * len(moments)
    stacked = []
    for one in series:
        top = [low + (y or 0.0) for low, (_, y) in zip(floor, one.points, strict=True)]
        stacked.append((one, floor, top))
        floor = top
    return moments, stacked


@dataclass(frozen=True)
class _Scale:
    """From seconds and values to the picture's units."""

    seconds: float
    most: float
    log: bool = False

    @property
    def ceiling(self) -> float:
        return _ceiling(self.most) if not self.log else 10 ** math.ceil(math.log10(self.most))

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / (self.seconds or 1), 0), 1)

    def y(self, value: float) -> float:
        part = max(math.log10(max(value, 1)) / math.log10(self.ceiling), 0) if self.log else value / self.ceiling
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(part, 1)

    def ticks(self) -> list[float]:
        if self.log:
            return [10.0**n for n in range(round(math.log10(self.ceiling)) + 1)]
        return [self.ceiling * n / 4 for n in range(5)]


def _ceiling(most: float) -> float:
    """A round number that is not below `most`, and whose quarters are round, too."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    return next(unit * f for f in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if unit * f >= most * 0.999)


def _wants_log(values: Sequence[float]) -> bool:
    """Whether a few values are so far above the others that the others would lie on the floor."""
    above = sorted(v for v in values if v > 0)
    return bool(above) and above[-1] > max(20 * above[len(above) // 2], 10)


def _frame(title: str, body: Sequence[str], marks: Sequence[Mark], scale: _Scale) -> str:
    return "\n".join(
        [
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
            *_grid(scale),
            *body,
            *_marks(marks, scale),
            "</svg>",
        ]
    )


def _grid(scale: _Scale) -> Iterator[str]:
    for value in scale.ticks():
        y = scale.y(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick end" x="{LEFT - 7}" y="{y + 4:.1f}">{_number(value)}</text>'
    for seconds in _times(scale.seconds):
        anchor = "end" if scale.x(seconds) > WIDTH - RIGHT - 20 else "middle"
        yield f'<text class="tick {anchor}" x="{scale.x(seconds):.1f}" y="{HEIGHT - 7}">{_time(seconds)}</text>'


def _marks(marks: Sequence[Mark], scale: _Scale) -> Iterator[str]:
    free = 0.0
    for mark in marks:
        x = scale.x(mark.at)
        yield f'<path class="mark {mark.kind}" d="M{x:.1f} {TOP - 6}V{HEIGHT - BOTTOM}"/>'
        side, place = (" end", x - 5) if x > WIDTH - RIGHT - 60 else ("", x + 4)
        if mark.kind == "return":  # within the plot, so that it hides no step
            yield f'<text class="mark return{side}" x="{place:.1f}" y="{TOP + 10}">{escape(mark.label)}</text>'
        elif x >= free:
            yield f'<text class="mark step{side}" x="{place:.1f}" y="{TOP - 8}">{escape(mark.label)}</text>'
            free = x + _CLOSE


def _line(series: Series, scale: _Scale) -> str:
    """A path; what stands alone between two gaps is a dot."""
    made, dots = [], []
    for run in _runs(series.points):
        if len(run) == 1:
            dots.append(f"M{scale.x(run[0][0]):.1f} {scale.y(run[0][1]):.1f}h0")
        made += [f"{'ML'[n > 0]}{scale.x(x):.1f} {scale.y(y):.1f}" for n, (x, y) in enumerate(run) if len(run) > 1]
    dot = f'<path class="dot c{series.colour}" d="{"".join(dots)}"/>' if dots else ""
    return f'<path class="line c{series.colour} {series.kind}" d="{"".join(made)}"/>{dot}'


def _runs(points: Sequence[Point]) -> Iterator[list[tuple[float, float]]]:
    run: list[tuple[float, float]] = []
    for x, y in points:
        if y is None:
            if run:
                yield run
            run = []
        else:
            run.append((x, y))
    if run:
        yield run


def _area(colour: int, moments: Sequence[float], low: Sequence[float], top: Sequence[float], scale: _Scale) -> str:
    up = [f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in zip(moments, top, strict=True)]
    down = [f"{scale.x(x):.1f} {scale.y(y):.1f}" for x, y in zip(reversed(moments), reversed(low), strict=True)]
    edge = (
        f'<path class="line c{colour}" d="M{"L".join(up)}"/>'
        if any(a > b for a, b in zip(top, low, strict=True))
        else ""
    )
    return f'<path class="area c{colour}" d="M{"L".join([*up, *down])}Z"/>{edge}'


def _say(text: str) -> str:
    return f'<text class="empty middle" x="{WIDTH // 2}" y="{HEIGHT // 2}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _times(seconds: float) -> list[float]:
    """Where the axis of time is labelled."""
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800) if seconds / s <= 9), 3600.0)
    return [n * step for n in range(int(seconds / step) + 1)]


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{rest} s" if not minutes else f"{minutes}:{rest:02d}"
