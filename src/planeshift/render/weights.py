"""Shares of traffic to HAProxy's whole-number weights. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MAX_WEIGHT = 256  # https://docs.haproxy.org/2.6/configuration.html#5.2-weight


def server_weights(shares: Mapping[str, int], parts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """The weight of each server of each backend.

    `shares` are percentages by backend; `parts` says, by backend and server, how much of it a server carries: 1 for a
    host, its ready pods for a node. A server that carries something of a share above 0 never gets 0. The one that
    carries most gets the largest weight, others in proportion.
    """
    each = {
        backend: {s: shares[backend] * part / sum(carried.values()) if part else 0.0 for s, part in carried.items()}
        for backend, carried in parts.items()
    }
    top = max((value for carried in each.values() for value in carried.values()), default=0.0)
    return {
        backend: {s: max(1, round(value / top * MAX_WEIGHT)) if value else 0 for s, value in carried.items()}
        for backend, carried in each.items()
    }
