"""Shares of traffic to HAProxy's whole-number weights, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MAX_WEIGHT = 256  # https://docs.haproxy.org/2.6/configuration.html#5.2-weight
EXACT = 0.02  # how far off, of itself, a share may be before another scale than the largest is looked for
TOLERATED = 0.1  # how far off, of itself, a share may be at all

Shares = Mapping[str, float]  # backend → percent
Parts = Mapping[str, Mapping[str, int]]  # backend → server → how much of it the server carries


def server_weights(shares: Shares, parts: Parts) -> dict[str, dict[str, int]]:
    """The weight of each server of each backend.

    `shares` are percentages by backend; `parts` says, by backend and server, how much of it a server carries: 1 for a
    host, its ready pods for a node. The one that carries most gets the largest weight, others in proportion; or a
    smaller one, where that is nearer to the shares. A share too small for all servers of its backend (1 % of 20 nodes
    beside a single host) goes to some of them, the others get 0; a share above 0 is never lost.
    """
    found = _nearest(shares, parts)
    if error(shares, found) <= TOLERATED:
        return found
    fewer = {backend: dict(carried) for backend, carried in parts.items()}
    while small := _too_small(shares, fewer):
        del fewer[small][min(fewer[small], key=lambda s: (fewer[small][s], s))]
    some = _nearest(shares, fewer)
    if error(shares, some) >= error(shares, found):
        return found
    return {b: {s: some[b].get(s, 0) for s in carried} for b, carried in parts.items()}


def _too_small(shares: Shares, parts: Parts) -> str:
    """A backend of several servers, the smallest of which would need a weight below 1; empty where there is none."""
    each = _each(shares, parts)
    top = max((value for carried in each.values() for value in carried.values()), default=0.0)
    for backend, carried in each.items():
        used = [value for value in carried.values() if value]
        if len(used) > 1 and min(used) / top * MAX_WEIGHT < 1 - TOLERATED:
            return backend
    return ""


def _each(shares: Shares, parts: Parts) -> dict[str, dict[str, float]]:
    return {
        backend: {s: shares[backend] * part / sum(carried.values()) if part else 0.0 for s, part in carried.items()}
        for backend, carried in parts.items()
    }


def _nearest(shares: Shares, parts: Parts) -> dict[str, dict[str, int]]:
    each = _each(shares, parts)
    top = max((value for carried in each.values() for value in carried.values()), default=0.0)
    best = _scaled(each, top, MAX_WEIGHT)
    least = error(shares, best)
    for scale in range(MAX_WEIGHT - 1, 0, -1):
        if least <= EXACT:
            break
        found = _scaled(each, top, scale)
        if (off := error(shares, found)) < least:
            best, least = found, off
    return best


def _scaled(each: Mapping[str, Mapping[str, float]], top: float, scale: int) -> dict[str, dict[str, int]]:
    return {
        backend: {s: max(1, round(value / top * scale)) if value else 0 for s, value in carried.items()}
        for backend, carried in each.items()
    }


def achieved(weights: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """The share in percent that each backend really gets of servers with these weights; none where all are 0."""
    total = sum(sum(servers.values()) for servers in weights.values())
    return {backend: 100 * sum(servers.values()) / total for backend, servers in weights.items()} if total else {}


def error(shares: Shares, weights: Mapping[str, Mapping[str, int]]) -> float:
    """How far the achieved shares are off the wanted ones at worst, as a fraction of the wanted share.

    Backends that have no server to carry anything are left out: nobody can give them traffic.
    """
    carried = {backend: shares[backend] for backend, servers in weights.items() if any(servers.values())}
    whole, got = sum(carried.values()), achieved(weights)
    wanted = {backend: 100 * share / whole for backend, share in carried.items() if share} if whole else {}
    return max((abs(got[backend] - share) / share for backend, share in wanted.items()), default=0.0)
