"""The pages: what a browser shows at first, and what it is sent when something has changed. Complete without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from planeshift.app.watching import Seen
from planeshift.plan.observed import Hold
from planeshift.traffic.report import body, safe, style, templates

_HERE = Path(__file__).parent / "templates"


def front(cloud: str, shifts: Sequence[Seen], holds: Mapping[str, Hold]) -> str:
    """The main part of the first page: what moves now, what is held, and what was. `shifts`: newest first."""
    moving = [s for s in shifts if s.live]
    return _render(
        "front.html",
        cloud=cloud,
        bodies=[(s.log.name, safe(body(s.course, live=True))) for s in moving],
        holds=[(service, hold, _page_of(hold, shifts)) for service, hold in holds.items()],
        past=[_row(s) for s in shifts if not s.live],
    )


def shift(seen: Seen) -> str:
    """The main part of a shift's page."""
    return _render("shift_page.html", body=safe(body(seen.course, live=seen.live)), name=seen.log.name, live=seen.live)


def whole(title: str, main: str, *, live: bool) -> bytes:
    """A page around its main part. `live`: it changes by itself, by script or, without, every five seconds."""
    return _render("page.html", title=title, main=safe(main), live=live).encode()


@cache
def style_sheet() -> bytes:
    """The style of all pages: the report's, and what the pages have besides."""
    return (style() + (_HERE / "web.css").read_text("utf-8")).encode()


@cache
def script() -> bytes:
    """The one script: it puts what the server sends in the place of the main part."""
    return (_HERE / "live.js").read_bytes()


def _page_of(hold: Hold, shifts: Sequence[Seen]) -> str:
    """The page of the shift that set a hold; empty where it is remembered no longer."""
    name = Path(hold.report).name
    return _address(name) if any(s.log.name == name for s in shifts) else ""


def _address(name: str) -> str:
    return f"/shifts/{quote(name)}"


def _row(seen: Seen) -> dict[str, Any]:
    course = seen.course
    requests, failed = course.counted
    return {
        "href": _address(seen.log.name),
        "began": course.shift.at[:19].replace("T", " ") if course.shift else "",
        "service": seen.log.service,
        "title": course.title,
        "state": course.state(),
        "requests": f"{requests:,}",
        "failed": f"{failed:,}",
    }


def _render(template: str, **values: Any) -> str:
    return templates(_HERE).get_template(template).render(**values)
