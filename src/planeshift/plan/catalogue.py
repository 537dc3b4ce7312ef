"""What Keystone must know of the services: users, catalogue entries. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift.plan.draft import EDGE_CHANGES, UNIT_CHANGES, Draft
from planeshift.plan.operations import Kind, Mark, Operation
from planeshift.render.desired import IdentityEntries


def identity(draft: Draft) -> Iterator[Operation]:
    """Make what Keystone does not know yet of a service."""
    if not draft.desired.identity_url:
        return
    starts = draft.planned(*UNIT_CHANGES, *EDGE_CHANGES)
    keystone = {i for i in starts if "/keystone/" in i or i.startswith(EDGE_CHANGES)}
    for name, entries in draft.desired.identity.items():
        missing = list(_missing(draft, entries))
        if not missing:
            continue
        unknown = draft.observed.identity is None
        first = "create or check once Keystone answers" if unknown else "create"
        earlier = {i for i in draft.ids if i.startswith(f"{Kind.ENSURE_IDENTITY}:")}  # they share a project and roles
        yield Operation(
            Kind.ENSURE_IDENTITY,
            name,
            name,
            Mark.ADD,
            f"catalogue  {entries.type}: {first}",
            frozenset({f"{Kind.MAKE_SECRETS}:{name}", f"{Kind.BOOTSTRAP}:keystone", *keystone, *earlier}),
            tuple(missing),
        )


def _missing(draft: Draft, entries: IdentityEntries) -> Iterator[str]:
    state = draft.observed.identity
    if state is None or entries.type not in state.services:
        yield f"service {entries.type}"
    for interface, url in entries.endpoints.items():
        there = state.endpoints.get((entries.type, interface)) if state else None
        if there is None:
            yield f"endpoint {interface} {url}"
        elif there != url:
            draft.notes.append(
                f"The {interface} endpoint of {entries.service} in the catalogue is {there}, not {url}: "
                "it is not ours to change, so it stays."
            )
    if entries.user:
        roles = state.users.get(entries.user) if state else None
        if roles is None or not frozenset(entries.roles) <= roles:
            yield f"user {entries.user} with {', '.join(entries.roles)} on the service project"
