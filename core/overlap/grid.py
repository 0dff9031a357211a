"""Which n and which threshold count as contamination: by what the model gains on the items that they name (F4).

At each point the items whose C(s) by n-grams is above the threshold are taken away. What the score loses is what they
may have given it: the estimated gain, mean(all) − mean(clean) = p · (mean(contaminated) − mean(clean)) with p the share
of contaminated items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aftertrain.core.overlap.findings import of_tokens_at_least, shares_of_items
from aftertrain.core.overlap.scan import Scan
from aftertrain.core.statistics import Z95

THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(10))
SIZES = (5, 8, 13)
"""Lengths of n-grams that are tried unless others are named."""


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One way to tell contaminated items.

    Attributes:
        score: mean over all items that have n tokens.
        clean: over those at or below the threshold; None where there are none.
        n_clean: how many there are; `n_contaminated` those above.
        gain: score minus clean; None where either part has fewer than two items.
        low: lower end of its 95 % interval, from the variance within both parts; `high` the upper one.
        chosen: the point whose gain is surest to be one: of positive gains the one with the highest lower end.
    """

    n: int
    threshold: float
    score: float
    clean: float | None
    n_clean: int
    n_contaminated: int
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    chosen: bool = False


def grid(scan: Scan, evaluation: str, scores: Mapping[str, float]) -> list[GridPoint]:
    """The points of one evaluation.

    Args:
        scores: of its items, by id; items without a score are left out.
    """
    index = scan.index
    (number,) = (place for place, each in enumerate(index.evaluations) if each.name == evaluation)
    mine = [item for item in np.flatnonzero(index.numbers == number).tolist() if index.items[item].id in scores]
    values = np.array([scores[index.items[item].id] for item in mine], dtype=np.float64)
    points = []
    for n in index.sizes:
        long = of_tokens_at_least(index, n)[mine]
        shares = shares_of_items(scan, n)[mine][long]
        points += [
            _point(n, threshold, values[long].tolist(), (shares > threshold).tolist()) for threshold in THRESHOLDS
        ]
    sure = [point for point in points if point.gain is not None and point.gain > 0]
    best = max(sure, key=lambda point: point.low or 0.0, default=None)
    return [replace(point, chosen=point is best) for point in points]


def _point(n: int, threshold: float, values: Sequence[float], contaminated: Sequence[bool]) -> GridPoint:
    clean = [value for value, yes in zip(values, contaminated, strict=True) if not yes]
    other = [value for value, yes in zip(values, contaminated, strict=True) if yes]
    point = GridPoint(
        n,
        threshold,
        math.fsum(values) / len(values) if values else math.nan,
        math.fsum(clean) / len(clean) if clean else None,
        len(clean),
        len(other),
    )
    if len(clean) < 2 or len(other) < 2:
        return point
    share = len(other) / len(values)
    gain = share * (math.fsum(other) / len(other) - math.fsum(clean) / len(clean))
    half = Z95 * share * math.sqrt(_squared_error(other) + _squared_error(clean))
    return replace(point, gain=gain, low=gain - half, high=gain + half)


def _squared_error(values: Sequence[float]) -> float:
    """Of the mean: the sample's variance over its size."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
