"""How much longer something took than something else, and how surely that is known. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from random import Random

_AGAIN = 5_000


def added(during: Sequence[float], without: Sequence[float]) -> tuple[float, float, float]:
    """The mean of what pairs differ by, and its 95 % confidence interval.

    Each of `during` was measured beside the one of `without` at the same place. The interval is that of the bootstrap
    (Efron 1979), by percentiles: nothing is supposed of how the differences are distributed. Raises ValueError where
    there are none.
    """
    differences = [one - other for one, other in zip(during, without, strict=True)]
    if not differences:
        raise ValueError("nothing was measured")
    drawn = Random(1)  # noqa: S311 - not for a secret: the same figures give the same interval
    means = sorted(statistics.fmean(drawn.choices(differences, k=len(differences))) for _ in range(_AGAIN))
    return statistics.fmean(differences), means[int(0.025 * _AGAIN)], means[int(0.975 * _AGAIN)]
