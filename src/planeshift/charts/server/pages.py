"""Pages to look at: what charts there are, their versions, README, values and provenance. No JavaScript, nothing foreign."""

from __future__ import annotations

import json
import mimetypes
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from planeshift.charts import archive, names
from planeshift.charts.index import Entry
from planeshift.charts.repository import Repository
from planeshift.charts.server.museum import Museum
from planeshift.charts.server.routes import Route
from planeshift.charts.server.settings import Settings
from planeshift.serving.http import Reply, Request, error

if TYPE_CHECKING:
    from jinja2 import Environment, Template

_HERE = Path(__file__).parent / "templates"
_PER_PAGE = 50
_MAX_SHOWN = 512 * 1024  # bytes of a README or of values; the rest is in the archive
_MAX_VERSIONS = 200
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_HTML = "text/html; charset=utf-8"


class Pages:
    """Answers what a browser asks for."""

    def __init__(self, museum: Museum, settings: Settings) -> None:
        self._museum = museum
        self._settings = settings

    def answer(self, request: Request, route: Route) -> Reply:
        """A page, its style, or a file of the operator's own pages."""
        if route.what == "style":
            return Reply(body=_style(), type="text/css; charset=utf-8", headers={"cache-control": "max-age=3600"})
        if route.what == "static":
            return self._own("static/" + route.parameters["path"])
        if route.what == "page_chart":
            return self._chart(request, self._museum.open(route.tenant), route.parameters)
        if self._settings.web is not None and not route.tenant and (self._settings.web / "index.html").is_file():
            return self._own("index.html")
        if self._settings.depth and not route.tenant:
            return self._show("welcome.html", request, "", depth=self._settings.depth)
        return self._list(request, self._museum.open(route.tenant))

    def _list(self, request: Request, repository: Repository) -> Reply:
        wanted = request.query.get("q", "").strip()[:200]
        number = request.query.get("page", "1")
        page = max(int(number[:9]), 1) if number.isdecimal() else 1
        found = _search(repository, wanted)
        shown = found[(page - 1) * _PER_PAGE : page * _PER_PAGE]
        return self._show(
            "list.html",
            request,
            repository.tenant,
            q=wanted,
            page=page,
            pages=max(-(-len(found) // _PER_PAGE), 1),
            total=len(found),
            charts=repository.index.charts,
            versions=repository.index.versions,
            found=[_summary(repository, name) for name in shown],
        )

    def _chart(self, request: Request, repository: Repository, wanted: dict[str, str]) -> Reply:
        entries = repository.index.chart(wanted["name"])
        if "version" in wanted:
            entry = next((e for e in entries if e.version == wanted["version"]), None)
        else:
            entry = repository.index.find(wanted["name"], "") or (entries[0] if entries else None)
        if entry is None:
            return self._show("missing.html", request, repository.tenant, status=404)
        data, entry = repository.read(entry)
        files = archive.load(data).files
        readme = next((c for p, c in files.items() if p.lower() in ("readme.md", "readme.txt", "readme")), b"")
        state, reason = repository.verdict(entry)
        return self._show(
            "chart.html",
            request,
            repository.tenant,
            e=entry,
            about=json.loads(entry.json),
            entries=entries[:_MAX_VERSIONS],
            more=max(len(entries) - _MAX_VERSIONS, 0),
            readme=_markdown().render(_text(readme)) if readme else "",
            values=_text(files.get("values.yaml", b"")),
            files=sorted((p, len(c)) for p, c in files.items()),
            download=names.download(entry.name, entry.version),
            state=state,
            reason=reason,
        )

    def _show(self, template: str, request: Request, tenant: str, status: int = 200, **values: Any) -> Reply:
        root = self._settings.context_path
        base = f"{root}/{tenant}".rstrip("/")
        url = self._settings.rules.base.rstrip("/") or request.origin + root
        body = self._template(template).render(
            root=root,
            base=base,
            tenant=tenant,
            url=f"{url}/{tenant}".rstrip("/"),
            host=request.headers.get("host", ""),
            oci=self._settings.oci,
            secure=request.scope["scheme"] == "https",
            quote=lambda t: quote(t, safe=""),
            version_of_server=self._settings.version,
            **values,
        )
        return Reply(status, body.encode(), _HTML, dict(_HEADERS))

    def _own(self, path: str) -> Reply:
        """A file of the operator's own pages, if it is in their directory."""
        if self._settings.web is None:
            return error(404, "not found")
        root = self._settings.web.resolve()
        found = (root / path).resolve()
        if not found.is_relative_to(root) or not found.is_file():
            return error(404, "not found")
        kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        return Reply(body=found.read_bytes(), type=f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader

        environment = Environment(
            loader=FileSystemLoader(_HERE),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["bytes"] = _bytes
        environment.filters["day"] = lambda text: str(text)[:10]
        return environment

    def _template(self, name: str) -> Template:
        return self._environment.get_template(name)


def _summary(repository: Repository, name: str) -> tuple[dict[str, Any], int]:
    """A chart in the list: its newest release, or whatever there is, and how many versions."""
    entries = repository.index.chart(name)
    newest = repository.index.find(name, "") or (entries[0] if entries else None)
    about = json.loads(newest.json) if newest else {"name": name, "version": "", "created": ""}
    return about, len(entries)


def _search(repository: Repository, wanted: str) -> list[str]:
    """Charts by name; those that have every word in their name, description or keywords."""
    found = repository.index.names()
    words = wanted.lower().split()
    if not words:
        return found

    def text(entry: Entry) -> str:
        about = json.loads(entry.json)
        return " ".join([entry.name, about.get("description", ""), *about.get("keywords", [])]).lower()

    in_name = [n for n in found if all(w in n.lower() for w in words)]
    known = set(in_name)
    rest = [n for n in found if n not in known and len(found) <= 20_000]
    elsewhere = [n for n in rest if (es := repository.index.chart(n)) and all(w in text(es[0]) for w in words)]
    return in_name + elsewhere


@cache
def _style() -> bytes:
    return (_HERE / "style.css").read_bytes()


@cache
def _markdown() -> Any:
    """A README as HTML: raw HTML in it is shown, not used; images, which would tell others who reads, become links."""
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

    def image(self: Any, tokens: Any, position: int, options: Any, environment: Any) -> str:
        from markupsafe import escape

        token = tokens[position]
        alt = self.renderInlineAsText(token.children or [], options, environment) or "image"
        return f'<a href="{escape(token.attrGet("src") or "")}">{escape(alt)}</a>'

    made.add_render_rule("image", image)
    return made


def _text(content: bytes) -> str:
    return content[:_MAX_SHOWN].decode("utf-8", "replace")


def _bytes(size: int) -> str:
    return f"{size / 1024:.1f} KiB" if size >= 1024 else f"{size} B"
