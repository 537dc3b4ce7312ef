"""Which request is for what: ChartMuseum's paths, with tenants of a fixed or any depth. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from planeshift.charts import names

PULL, PUSH = "pull", "push"
# (method, shape of the path behind /api and the tenant) → what it is for, and the action that one must be allowed
_API = {
    ("GET", ("charts",)): ("list", PULL),
    ("HEAD", ("charts", ":name")): ("chart", PULL),
    ("GET", ("charts", ":name")): ("chart", PULL),
    ("HEAD", ("charts", ":name", ":version")): ("version", PULL),
    ("GET", ("charts", ":name", ":version")): ("version", PULL),
    ("GET", ("charts", ":name", ":version", "templates")): ("templates", PULL),
    ("GET", ("charts", ":name", ":version", "values")): ("values", PULL),
    ("POST", ("charts",)): ("upload", PUSH),
    ("POST", ("prov",)): ("upload_provenance", PUSH),
    ("DELETE", ("charts", ":name", ":version")): ("delete", PUSH),
}
_SHAPES = list(dict.fromkeys(shape for _, shape in _API))
_PAGES = "-"  # what follows it below a tenant is a page; no tenant is called so


@dataclass(frozen=True)
class Route:
    """What a request is for; `action` is what its sender must be allowed, empty where anybody may."""

    what: str
    action: str = ""
    tenant: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def match(method: str, path: str, depth: int | None, context: str = "") -> Route | None:
    """The route of a request; None where there is no such thing. `depth` None: tenants of any depth."""
    if context:
        if path != context and not path.startswith(context + "/"):
            return None
        path = path[len(context) :] or "/"
    asks = "GET" if method == "HEAD" else method
    if asks == "GET" and path in ("/health", "/info", "/metrics"):
        return Route(path[1:])
    if asks == "GET" and path.startswith("/static/"):
        return Route("static", PULL, "", {"path": path[len("/static/") :]})
    parts = path.split("/")[1:]
    if parts[0] == "api" and len(parts) > 1 and not path.endswith((".yaml", ".tgz", ".prov")):
        return _api(method, parts[1:], depth)
    if asks != "GET":
        return None
    return _files(parts, depth) or _pages(parts, depth)


def _api(method: str, parts: list[str], depth: int | None) -> Route | None:
    for shape in _SHAPES:
        at = len(parts) - len(shape)
        if at < 0 or (depth is not None and at != depth) or not _fits(shape, parts[at:]):
            continue
        found = _API.get((method, shape))
        tenant = "/".join(parts[:at])
        if found is None or not names.is_tenant(tenant) or "" in parts[:at]:
            if depth is None:
                return None  # as ChartMuseum: the first shape decides the depth
            continue
        parameters = {s[1:]: p for s, p in zip(shape, parts[at:], strict=True) if s[0] == ":"}
        return Route(found[0], found[1], tenant, parameters)
    return None


def _fits(shape: tuple[str, ...], parts: list[str]) -> bool:
    return all(s == p or (s[0] == ":" and p) for s, p in zip(shape, parts, strict=True))


def _files(parts: list[str], depth: int | None) -> Route | None:
    """The index and what it refers to."""
    if parts[-1] in ("index.yaml", "artifacthub-repo.yml"):
        return _below("index" if parts[-1] == "index.yaml" else "artifacthub", parts[:-1], depth, {})
    if len(parts) >= 3 and parts[-3] == "charts" and "@" in parts[-2]:
        return _below("download", parts[:-3], depth, {"id": parts[-2], "file": parts[-1]})
    if len(parts) >= 2 and parts[-2] == "charts" and parts[-1]:
        return _below("download", parts[:-2], depth, {"file": parts[-1]})
    return None


def _pages(parts: list[str], depth: int | None) -> Route | None:
    if _PAGES in parts:
        at = parts.index(_PAGES)
        rest = parts[at + 1 :]
        if rest[0:1] == ["style.css"] and len(rest) == 1:
            return Route("style")
        if rest[0:1] == ["charts"] and len(rest) in (2, 3) and all(rest):
            return _below("page_chart", parts[:at], depth, dict(zip(("name", "version"), rest[1:], strict=False)))
        return None
    if parts == [""]:
        return Route("page", PULL)
    if parts[-1] == "":
        return _below("page", parts[:-1], depth, {})
    return None


def _below(what: str, tenant: list[str], depth: int | None, parameters: dict[str, str]) -> Route | None:
    path = "/".join(tenant)
    if (depth is not None and len(tenant) != depth) or not names.is_tenant(path) or "" in tenant:
        return None
    return Route(what, PULL, path, parameters)
