"""Message buses: vhosts, users and permissions on ours; others are only tried. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from planeshift.errors import Problem
from planeshift.plan.draft import Draft
from planeshift.plan.observed import BusState
from planeshift.plan.operations import Kind, Mark, Operation


def buses(draft: Draft) -> Iterator[Operation]:
    """Let every service have its vhost where the bus is ours; refuse one of somebody else's that it cannot use."""
    for name, bus in draft.desired.buses.items():
        state = draft.observed.buses.get(name, BusState())
        if state.works:
            continue
        if not bus.server:
            if state.problem:
                hint = "Mend that, or what `messaging` and the secret file say of it; nothing was changed."
                draft.problems.append(Problem("PS508", f"the message bus of {name}: {state.problem}", hint=hint))
            continue
        needs = {f"{kind}:{bus.server}" for kind in (Kind.START, Kind.RESTART)} | {f"{Kind.MAKE_SECRETS}:{bus.service}"}
        summary = f"messaging  {bus.vhost} on {bus.server}, with a user who has rights to it alone"
        yield draft.operation(Kind.PREPARE_BUS, name, Mark.ADD, summary, frozenset(needs), bus.service)
