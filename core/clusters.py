"""Values that are not independent, as questions about one passage are not: errors of means, and how many are needed.

A cluster is a name; values of one name belong together, and a blank name stands alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from aftertrain.core.ground.wording import counted

ASSUMED_CORRELATION = 0.1
"""Of the differences of two models within a cluster, where no earlier pair of runs says one."""
LEAST_PAIRS = 100
"""Pairs of values of one cluster, of which a correlation is told: of k pairs of independent values it has a standard
error of about 1/√k (Donner 1986), here 0.1; of fewer it says less than what is assumed."""


LEAST_GROUPS = 10
"""Clusters of two values or more, of which a correlation is told: two large ones have many pairs and say nothing."""
LEAST_CLUSTERS = 6
"""Of which a difference can be shown: G clusters that all change one way have a p-value of 2/2^G by flipped signs."""


def names(clusters: Sequence[str]) -> list[tuple[str, int]]:
    """A name for each value's cluster, those that stand alone included."""
    return [(cluster, 0) if cluster else ("", place) for place, cluster in enumerate(clusters)]


def are_several(clusters: Sequence[str]) -> bool:
    """Whether two values are of one cluster.

    >>> are_several(["p", "p", ""]), are_several(["p", "q", "", ""])
    (True, False)
    """
    return len(set(names(clusters))) < len(clusters)


def number_of(clusters: Sequence[str]) -> int | None:
    """Clusters, where there are fewer than values; None where all are independent."""
    return len(set(names(clusters))) if are_several(clusters) else None


def told(by: str, clusters: int) -> str:
    """As people read it.

    >>> told("passage", 40)
    'clustered by passage, 40 clusters'
    """
    return f"clustered by {by or 'cluster'}, {counted(clusters, 'cluster')}"


def standard_error(
    values: Sequence[float],
    clusters: Sequence[str],
    weights: Sequence[float] | None = None,
    strata: Sequence[str] | None = None,
) -> tuple[float, int]:
    """Of a (weighted) mean, with its degrees of freedom (Liang & Zeger 1986, the sandwich; G - 1 for G clusters).

    SE² = G/(G-1) Σ_c (Σ_{i in c} w_i (y_i - m))² with weights that sum to 1; of means of strata y_i is held against its
    stratum's mean, G counts the stratum's clusters, and each stratum takes a degree of freedom. Strata of one cluster
    say nothing of their own spread: they are held against the mean of all (Cochran 1977, section 5A.12), and take one
    degree together.

    Two clusters of two, m = 0.75, sums of residuals 0.5 and -0.5: SE² = 2/1 · (0.5² + 0.5²) / 4² = 1/16:

    >>> error, free = standard_error([1, 1, 1, 0], ["a", "a", "b", "b"])
    >>> round(error, 12), free
    (0.25, 1)

    With one cluster nothing is known:

    >>> standard_error([1, 0], ["a", "a"])
    (inf, 0)
    """
    n, named = len(values), names(clusters)
    share = [1 / n] * n if weights is None else list(weights)
    layer = [""] * n if strata is None else list(strata)
    if len(set(named)) < 2:
        return math.inf, 0
    sums = dict.fromkeys(named, 0.0)
    centres = {}
    for h in dict.fromkeys(layer):
        inside = [place for place, other in enumerate(layer) if other == h]
        g, weight = len({named[place] for place in inside}), sum(share[place] for place in inside)
        if g == 1:
            g, inside, weight = len(sums), list(range(n)), sum(share)
        m = sum(share[place] * values[place] for place in inside) / weight
        centres[h] = m, math.sqrt(g / (g - 1))
    for y, w, c, h in zip(values, share, named, layer, strict=True):
        m, corrected = centres[h]
        sums[c] += corrected * w * (y - m)
    sizes = [len({c for c, other in zip(named, layer, strict=True) if other == h}) for h in centres]
    free = len(sums) - sum(size > 1 for size in sizes) - (1 in sizes)
    return math.sqrt(sum(total * total for total in sums.values())), max(1, free)


def t95(free: int) -> float:
    """The 97.5 % quantile of Student's t, by Abramowitz & Stegun 26.7.5 from three degrees of freedom on.

    >>> [round(t95(free), 2) for free in (1, 2, 5, 10, 100)]
    [12.71, 4.3, 2.57, 2.23, 1.98]
    """
    if free < 1:
        return math.inf
    if free == 1:
        return math.tan(0.475 * math.pi)
    if free == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = 1.959963984540054
    series = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / float(free) ** power for power, term in enumerate(series))


def design_effect(values: Sequence[float], clusters: Sequence[str]) -> float | None:
    """How many times the variance of a mean is what it were if values were independent and not in clusters; at least 1.

    None where values cannot show it: they are of one cluster, or equal. The variance by sums of clusters
    (`standard_error`) over that of a simple sample. Kish (1965): clusters of m equal values have an effect of about m.
    Four clusters of two, G/(G-1) = 4/3, n - 1 = 7:

    >>> effect = design_effect([0, 0, 1, 1, 0, 0, 1, 1], list("aabbccdd"))
    >>> round(effect, 4), design_effect([0, 1], ["a", "a"])
    (2.3333, None)

    Raises:
        ValueError: there are not as many clusters' names as values.
    """
    if len(values) != len(clusters):
        raise ValueError(f"each of {len(values)} values needs a cluster, there are {len(clusters)}")
    n = len(values)
    if len(set(names(clusters))) < 2:
        return None
    mean = sum(values) / n
    simple = sum((value - mean) ** 2 for value in values) / (n - 1) / n
    error, _ = standard_error(values, clusters)
    return None if _equal(values) else max(1.0, error * error / simple)


def mean_size(clusters: Sequence[str]) -> float:
    """Of the cluster that a value drawn at random is in: Σ m² / Σ m (Kish 1987).

    >>> mean_size(["a", "a", "a", ""]), mean_size([])
    (2.5, 1.0)
    """
    sizes = Counter(names(clusters)).values()
    return sum(m * m for m in sizes) / sum(sizes) if sizes else 1.0


def correlation(values: Sequence[float], clusters: Sequence[str]) -> float | None:
    """The intra-cluster correlation by the analysis of variance, at least 0 (Donner 1986).

    ρ = (B - W) / (B + (m₀ - 1) W) of the mean squares between G clusters, B = Σ_c m_c (y_c - y)² / (G - 1), and within
    them, W = Σ_c Σ_i (y_i - y_c)² / (n - G), with m₀ = (n - Σ m_c² / n) / (G - 1). None where there are fewer than
    `LEAST_PAIRS` pairs of values of one cluster or `LEAST_GROUPS` clusters with one, and where all values are equal.

    Clusters of two equal values have one of 1, two of two say nothing:

    >>> pairs = [str(place // 2) for place in range(200)]
    >>> correlation([0, 0, 1, 1] * 50, pairs), correlation([0, 0, 1, 1], list("aabb"))
    (1.0, None)
    """
    groups: dict[tuple[str, int], list[float]] = {}
    for name, value in zip(names(clusters), values, strict=True):
        groups.setdefault(name, []).append(value)
    n, g, sizes = len(values), len(groups), [len(group) for group in groups.values()]
    several = sum(m > 1 for m in sizes)
    if several < LEAST_GROUPS or sum(math.comb(m, 2) for m in sizes) < LEAST_PAIRS or _equal(values):
        return None
    mean, means = sum(values) / n, [sum(group) / len(group) for group in groups.values()]
    between = sum(m * (y - mean) ** 2 for m, y in zip(sizes, means, strict=True)) / (g - 1)
    of_each = zip(groups.values(), means, strict=True)
    within = sum((value - y) ** 2 for group, y in of_each for value in group) / (n - g)
    size = (n - sum(m * m for m in sizes) / n) / (g - 1)
    total = between + (size - 1) * within
    return max(0.0, (between - within) / total) if total > 0 else None


def _equal(values: Sequence[float]) -> bool:
    """Whether all are the same but for rounding."""
    return math.isclose(min(values), max(values), rel_tol=1e-9, abs_tol=1e-12)


def planned_effect(size: float, rho: float) -> float:
    """The design effect of clusters of that mean size, 1 + (m̃ - 1) ρ (Kish 1965).

    >>> planned_effect(5, 0.1)
    1.4
    """
    return 1 + (size - 1) * rho


def questions_needed(independent: int, total: int, size: float, rho: float) -> int:
    """Questions that say as much as so many independent ones, of which `total` have clusters of that mean size.

    A random subset of n has clusters of 1 + (m̃ - 1)(n - 1)/(N - 1) on average, so that
    n = n₀ (1 + ρ (m̃ - 1)(n - 1)/(N - 1)) is solved for n; beyond N clusters stay as they are.

    >>> [questions_needed(n, 1000, size, 0.1) for n, size in ((100, 5.0), (1000, 5.0), (100, 1.0))]
    [105, 1400, 100]
    """
    whole = independent * planned_effect(size, rho)
    if whole >= total or total < 2:
        return math.ceil(whole - 1e-9)
    slope = independent * rho * (size - 1) / (total - 1)
    return math.ceil((independent - slope) / (1 - slope) - 1e-9)


def counts(clusters: Iterable[str]) -> str:
    """How many questions are in how many clusters.

    >>> counts(["a", "a", "b", ""])
    '4 questions in 3 clusters, 1.3 on average, 2 at most'
    """
    sizes = Counter(names(list(clusters))).values()
    n = sum(sizes)
    return f"{n:,} questions in {len(sizes):,} clusters, {n / len(sizes):.1f} on average, {max(sizes):,} at most"
