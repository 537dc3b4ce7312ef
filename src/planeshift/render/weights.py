"""Shares of traffic to HAProxy's whole-number weights. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MAX_WEIGHT = 256  # https://docs.haproxy.org/2.6/configuration.html#5.2-weight


def server_weights(shares: Mapping[str, int], servers: Mapping[str, int]) -> dict[str, int]:
    """The weight of each server of each backend.

    `shares` are percentages by backend, `servers` the number of servers of each; backends without servers get 0. A
    share above 0 never becomes 0. The backend whose servers carry most gets the largest weight, others in proportion.
    """
    each = {name: shares[name] / servers[name] if servers.get(name) else 0.0 for name in shares}
    top = max(each.values(), default=0.0)
    if not top:
        return dict.fromkeys(shares, 0)
    return {name: max(1, round(value / top * MAX_WEIGHT)) if value else 0 for name, value in each.items()}


def achieved(weights: Mapping[str, int], servers: Mapping[str, int]) -> dict[str, float]:
    """The share of traffic, in percent, that such weights really give each backend."""
    total = sum(weights[name] * servers.get(name, 0) for name in weights)
    return {name: 100.0 * weights[name] * servers.get(name, 0) / total if total else 0.0 for name in weights}
