"""A paired difference with all that is told of it, from the values of both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aftertrain.core.clusters import are_several, correlation, design_effect, number_of, standard_error
from aftertrain.core.events.scores import Difference
from aftertrain.core.statistics import Weights, paired_difference, paired_p, weighing, weighted_mean


def shared_clusters(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Of each pair the cluster that a side names; evaluations of earlier versions name none.

    >>> shared_clusters(["", "p", ""], ["p", "", ""])
    ['p', 'p', '']
    """
    return [there or here for there, here in zip(before, after, strict=True)]


def paired_row(
    place: tuple[str, str, float | None],
    against: str,
    values: tuple[Sequence[float], Sequence[float]],
    clusters: Sequence[str],
    *,
    by: str = "",
    weights: Weights | None = None,
    unjudged: int = 0,
    bounds: tuple[float | None, float | None] = (None, None),
) -> Difference:
    """Of (after - before), two values of each question; pairs that weigh nothing are left out as in a mean.

    Args:
        place: task, metric and temperature.
        values: before and after.
        clusters: of each question what it shares with others.
        by: what questions of a cluster share.
        unjudged: pairs that are left out.
        bounds: the mean over all pairs if what could not be judged spoke against it, and for it.
    """
    old, new = values
    if weights is not None and weights.group is None and len(counted := weighing(weights.weight)) < len(old):
        old, new = ([side[place] for place in counted] for side in values)
        clusters, weights = [clusters[place] for place in counted], None
    gaps, several = [b - a for a, b in zip(old, new, strict=True)], are_several(clusters)
    interval = paired_difference(old, new, weights, clusters)
    share, strata = (None, None) if weights is None else (weights.weight, weights.group)
    error, _ = standard_error(gaps, clusters, share, strata)
    return Difference(
        *place,
        against=against,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        better=sum(b > a for a, b in zip(old, new, strict=True)),
        worse=sum(b < a for a, b in zip(old, new, strict=True)),
        unjudged=unjudged,
        lowest=bounds[0],
        highest=bounds[1],
        p=paired_p(old, new, weights, clusters),
        effect=design_effect(gaps, clusters) if several else None,
        clusters=number_of(clusters),
        clustered_by=by if several else "",
        correlation=correlation(gaps, clusters) if several else None,
        error=error if math.isfinite(error) else None,
        square=weighted_mean([gap * gap for gap in gaps], weights),
    )
