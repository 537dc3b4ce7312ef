"""Which versions of a repository are old enough to go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from planeshift.charts import versions
from planeshift.charts.remote import Offer


@dataclass(frozen=True)
class Retention:
    """What is kept of each chart: the newest releases, the newest pre-releases, whatever is young, whatever is pinned."""

    releases: int = 10
    prereleases: int = 3
    days: int = 30
    pinned: frozenset[tuple[str, str]] = frozenset()


def superfluous(found: Iterable[Offer], rule: Retention, now: datetime) -> Sequence[Offer]:
    """The versions that no part of the rule keeps, in the order of the input. What has no date is young."""
    offers = list(found)
    ranked: dict[tuple[str, bool], list[Offer]] = {}
    for offer in offers:
        ranked.setdefault((offer.name, _is_prerelease(offer)), []).append(offer)
    kept: set[tuple[str, str]] = set(rule.pinned)
    for (_, prerelease), group in ranked.items():
        group.sort(key=lambda o: versions.newest_first(o.version))
        kept |= {(o.name, o.version) for o in group[: rule.prereleases if prerelease else rule.releases]}
    edge = now - timedelta(days=rule.days)
    return [o for o in offers if (o.name, o.version) not in kept and _older(o, edge)]


def _is_prerelease(offer: Offer) -> bool:
    version = versions.parse(offer.version)
    return version is None or bool(version.pre)


def _older(offer: Offer, edge: datetime) -> bool:
    try:
        made = datetime.fromisoformat(offer.created[:19].rstrip("Z") + "+00:00")
    except ValueError:
        return False
    return made < edge
