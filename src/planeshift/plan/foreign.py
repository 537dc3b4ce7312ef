"""What a backend on hosts of somebody else is configured with, beside another one, as far as we may look. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planeshift import catalog
from planeshift.catalog.options import Registry, hidden_entries
from planeshift.errors import control_free
from planeshift.plan import sides
from planeshift.plan.draft import Draft
from planeshift.plan.observed import Foreign
from planeshift.render.desired import File
from planeshift.render.files import operator_paths, operators

Files = Mapping[str, File]
SHOWN = 60  # characters of a value


def differences(draft: Draft, service: str, moved: str, stayed: str) -> Iterator[str]:
    """Lines for people: what tells two backends apart, the one that gets more first.

    Of two that we run it is the effective configuration; beside one that somebody else runs, the operator's own files, since
    what we generate has another's in its place there.
    """
    service = service.partition("@")[0]  # a mover's
    yield from sides.releases(draft.desired, service, moved, stayed)
    gets, gives = (sides.place(draft.desired, service, backend) for backend in (moved, stayed))
    if gets and gives:
        yield from sides.differences(gets, gives)
    else:
        yield from _beside(draft, service, moved, stayed)


def _beside(draft: Draft, service: str, moved: str, stayed: str) -> Iterator[str]:
    one, other = (_side(draft, service, backend) for backend in (moved, stayed))
    for backend, side in ((moved, one), (stayed, other)):
        if isinstance(side, str):
            yield f"! what {backend} is configured with is unknown: {side}"
    if not isinstance(one, str) and not isinstance(other, str):
        yield from _lines(draft, service, moved, one, other)
    for backend in (moved, stayed):
        yield from _among(draft, service, backend)


def _side(draft: Draft, service: str, backend: str) -> Files | str:
    """The operator's files of a backend, as they lie below a unit's directory; or why nobody knows them."""
    spec = draft.desired.specs[service]
    if ours := sides.place(draft.desired, service, backend):
        return operators(spec, ours.files)
    looks = _looks(draft, service, backend)
    seen = next((found for found in looks.values() if found.files), None)
    if seen is None:
        return next((f"{host}: {found.why}" for host, found in looks.items()), "somebody else runs it")
    return {path: File(content) for path, content in operator_paths(spec, seen.files).items()}


def _looks(draft: Draft, service: str, backend: str) -> dict[str, Foreign]:
    """What was seen on the hosts of a backend, in the order in which the edges have them."""
    servers = (
        server
        for _, frontends in draft.desired.fronts.values()
        for frontend in frontends
        if frontend.service == service
        for server in frontend.servers
        if server.backend == backend
    )
    hosts = dict.fromkeys(server.host for server in servers)
    return {host: draft.observed.foreign[service, host] for host in hosts if (service, host) in draft.observed.foreign}


def _lines(draft: Draft, service: str, moved: str, one: Files, other: Files) -> Iterator[str]:
    release = draft.desired.releases[service][moved]
    registry = Registry.load(catalog.data(service, release, "options.json"))
    yield from sides.shown(_masked(one, registry), _masked(other, registry))
    for path in sorted(p for p in one.keys() | other.keys() if not p.endswith(".conf")):
        here, there = (side[path].content if path in side else None for side in (one, other))
        if here != there:
            how = f"is missing at {moved}" if here is None else f"is at {moved} alone" if there is None else "differs"
            yield f"! {path.split('/', 2)[-1]} {how}"


def _masked(files: Files, registry: Registry) -> sides.Options:
    """The options of files in which others keep secrets as well."""
    texts = {path: file.content.decode("utf-8", "replace") for path, file in files.items()}
    hidden = {(entry.section, entry.key) for entry in hidden_entries(registry, texts)}
    return {key: (control_free(value)[:SHOWN], key in hidden) for key, (value, _) in sides.options(files).items()}


def _among(draft: Draft, service: str, backend: str) -> Iterator[str]:
    """Hosts of one backend that are not alike."""
    looks = {host: found.files for host, found in _looks(draft, service, backend).items() if found.files}
    first = next(iter(looks), "")
    for host, files in looks.items():
        unlike = sorted(p for p in files.keys() | looks[first].keys() if files.get(p) != looks[first].get(p))
        if unlike:
            yield f"! {host} has not the same files as {first}: {', '.join(unlike)}"
