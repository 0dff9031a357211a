"""Clustered errors against the sandwich of matrices, Student's t against scipy, and what intervals promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from aftertrain.core.clusters import (
    are_several,
    correlation,
    design_effect,
    mean_size,
    planned_effect,
    questions_needed,
    standard_error,
    t95,
)
from aftertrain.core.statistics import (
    Weights,
    bootstrap_corpus,
    mcnemar,
    mean_interval,
    paired_difference,
    paired_p,
    wilson,
)

SIZES = (1, 2, 3, 5, 8, 1, 4, 4, 2, 6)


def drawn(seed: int, rho: float, sizes: Sequence[int] = SIZES, threshold: float | None = 0.2) -> list[float]:
    """Values with a common part of variance ρ in each cluster; 0 or 1 by a threshold."""
    rng = np.random.default_rng(seed)
    latent: list[float] = []
    for size in sizes:
        latent += list(math.sqrt(rho) * rng.normal() + math.sqrt(1 - rho) * rng.normal(size=size))
    return [float(value) if threshold is None else float(value > threshold) for value in latent]


def labels(sizes: Sequence[int] = SIZES) -> list[str]:
    return [f"p{number}" if size > 1 else "" for number, size in enumerate(sizes) for _ in range(size)]


def sandwich(values: Sequence[float], clusters: Sequence[str], weights: Sequence[float] | None = None) -> float:
    """(X'WX)⁻¹ (Σ_g X_g'W_g u_g u_g'W_g X_g) (X'WX)⁻¹ · G/(G-1), X a constant (Cameron & Miller 2015)."""
    x, y = np.ones((len(values), 1)), np.asarray(values)[:, None]
    w = np.diag(np.ones(len(values)) if weights is None else np.asarray(weights) * len(values))
    bread = np.linalg.inv(x.T @ w @ x)
    u = y - x @ (bread @ x.T @ w @ y)
    names = np.asarray([c or f"alone {place}" for place, c in enumerate(clusters)])
    meat = np.zeros((1, 1))
    for name in set(names):
        g = names == name
        score = x[g].T @ w[np.ix_(g, g)] @ u[g]
        meat += score @ score.T
    count = len(set(names))
    return math.sqrt((bread @ meat @ bread).item() * count / (count - 1))


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_is_the_sandwich_of_a_regression_on_a_constant(rho: float, weighted: bool) -> None:
    values, clusters = drawn(1, rho, threshold=None), labels()
    weights = Weights.of_sizes([1 + place % 3 for place in range(len(values))]).weight if weighted else None
    error, free = standard_error(values, clusters, weights)
    assert error == pytest.approx(sandwich(values, clusters, weights))
    assert free == len(SIZES) - 1


def test_the_error_of_a_mean_of_groups_is_that_of_its_groups() -> None:
    """Groups are examinations, each with its own passages: SE² = Σ_h SE_h² / H²."""
    groups = {"a": ((2, 3, 4), 1), "b": ((1, 5, 2, 2), 2)}
    values, clusters, strata, parts = [], [], [], []
    for name, (sizes, seed) in groups.items():
        mine, mine_by = drawn(seed, 0.4, sizes, None), [f"{name}{c}" if c else "" for c in labels(sizes)]
        parts.append(sandwich(mine, mine_by) ** 2)
        values, clusters, strata = values + mine, clusters + mine_by, strata + [name] * len(mine)
    weights = Weights.of_groups(strata)
    error, free = standard_error(values, clusters, weights.weight, weights.group)
    assert error == pytest.approx(math.sqrt(sum(parts)) / 2)
    assert free == 3 + 4 - 2


def test_without_clusters_it_is_the_error_of_a_mean() -> None:
    values = drawn(3, 0.0, threshold=None)
    error, _ = standard_error(values, [""] * len(values))
    assert error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)))
    assert design_effect(values, [""] * len(values)) == pytest.approx(1.0)


@pytest.mark.parametrize("free", [1, 2, 3, 4, 7, 20, 500])
def test_t_is_students(free: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert t95(free) == pytest.approx(stats.t.ppf(0.975, free), rel=2e-3)


@pytest.mark.parametrize("threshold", [0.2, None])
def test_clusters_widen_intervals_of_a_mean_and_of_a_difference(threshold: float | None) -> None:
    """40 passages of 10 questions with all but equal answers say what 40 questions say: √10 as wide, or nearly."""
    sizes = (10,) * 40
    values, clusters = drawn(4, 0.99, sizes, threshold), labels(sizes)
    zeros = [0.0] * len(values)
    for wide, narrow in (
        (mean_interval(values, clusters=clusters), mean_interval(values)),
        (paired_difference(zeros, values, None, clusters), paired_difference(zeros, values)),
    ):
        assert (wide.mean, wide.n) == (pytest.approx(narrow.mean), narrow.n)
        assert 2.5 < (wide.high - wide.low) / (narrow.high - narrow.low) < 3.7
        assert wide.low < narrow.low < wide.mean < narrow.high < wide.high


def test_of_single_questions_nothing_changes() -> None:
    values, alone = drawn(5, 0.0), [str(place) for place in range(sum(SIZES))]
    assert not are_several(alone)
    assert mean_interval(values, clusters=alone) == mean_interval(values)
    assert paired_p([0.0] * len(values), values, None, alone) == mcnemar([0.0] * len(values), values)
    assert bootstrap_corpus(values, sum, clusters=alone) == bootstrap_corpus(values, sum)


def test_of_equal_answers_each_cluster_counts_once() -> None:
    found = mean_interval([1.0] * 40, clusters=labels((4,) * 10))
    t, z2 = t95(9), t95(9) ** 2
    assert found.high == 1.0
    assert found.low == pytest.approx(1 / (1 + z2 / 10) * (1 + z2 / 20) - t / (1 + z2 / 10) * math.sqrt(z2 / 400))
    assert found.low < wilson(40, 40).low
    alone = mean_interval([1.0, 0.0, 1.0], clusters=["p"] * 3)
    assert (alone.low, alone.high) == (0.0, 1.0), "of one passage nothing is known"
    difference = paired_difference([0.0] * 3, [1.0, 0.0, 1.0], None, ["p"] * 3)
    assert (difference.low, difference.high) == (-1.0, 1.0)


def test_one_whole_cluster_is_one_flip() -> None:
    """All five questions of a passage got better: one cluster of three that changed has p = 2/2, no 2/2⁵."""
    before, after = [0.0] * 15, [1.0] * 5 + [0.0] * 10
    assert mcnemar(before, after) == pytest.approx(2 / 2**5)
    assert paired_p(before, after, None, labels((5, 5, 5))) == 1.0
    # Four passages that gained 1 to 4 questions each: of 16 signings two are as far from 0.
    gained = [1.0] * 10
    assert paired_p([0.0] * 10, gained, None, labels((1, 2, 3, 4))) == pytest.approx(2 / 16)


def _covered(interval_of: Callable[[list[float]], tuple[float, float]], truth: float, sizes: Sequence[int]) -> float:
    hits = 0
    for seed in range(300):
        low, high = interval_of(drawn(seed, 0.5, sizes))
        hits += low <= truth <= high
    return hits / 300


def test_intervals_hold_what_they_promise_of_clusters_alone() -> None:
    """30 passages of 8, half of whose variance is common; 95 % of 300 draws lie within 92.5 to 97.5 %."""
    sizes = (8,) * 30
    clusters, truth = labels(sizes), 1 - (1 + math.erf(0.2 / math.sqrt(2))) / 2

    def ends(values: list[float], by: list[str] | None) -> tuple[float, float]:
        found = mean_interval(values, clusters=by)
        return found.low, found.high

    assert 0.925 <= _covered(lambda values: ends(values, clusters), truth, sizes) <= 0.985
    assert _covered(lambda values: ends(values, None), truth, sizes) < 0.8


def test_a_test_of_clusters_rejects_as_seldom_as_promised() -> None:
    """No difference, but passages that favour one model or the other: McNemar's test finds one far too often."""
    sizes = (8,) * 20
    clusters, found, naive = labels(sizes), 0, 0
    for seed in range(200):
        latent = drawn(seed, 0.6, sizes, None)
        before, after = [float(v < -0.6) for v in latent], [float(v > 0.6) for v in latent]
        found += paired_p(before, after, None, clusters) < 0.05
        naive += mcnemar(before, after) < 0.05
    assert found / 200 <= 0.09
    assert naive / 200 > 0.2


def test_a_number_of_a_corpus_is_drawn_by_clusters() -> None:
    """Every item four times, in one cluster: the draws are those of single items."""
    items = drawn(6, 0.0, (1,) * 60, None)
    four = [item for item in items for _ in range(4)]

    def mean(some: Sequence[float]) -> float:
        return sum(some) / len(some)

    wide = bootstrap_corpus(four, mean, clusters=[str(place) for place in range(60) for _ in range(4)])
    once = bootstrap_corpus(items, mean)
    assert (wide.low, wide.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert bootstrap_corpus(four, mean).high - bootstrap_corpus(four, mean).low < 0.7 * (once.high - once.low)


def test_the_correlation_is_that_of_the_analysis_of_variance() -> None:
    """Against one-way ANOVA by scipy: ρ = (F - 1) / (F - 1 + m₀); by hand for pairs (0, 0), (0, 1), (1, 1)."""
    stats = pytest.importorskip("scipy.stats")
    sizes = SIZES * 3
    values, clusters = drawn(7, 0.5, sizes, None), labels(sizes)
    edges = np.cumsum([0, *sizes])
    f = stats.f_oneway(*(values[a:b] for a, b in pairwise(edges))).statistic
    n, g = len(values), len(sizes)
    m0 = (n - sum(m * m for m in sizes) / n) / (g - 1)
    rho = correlation(values, clusters)
    assert rho == pytest.approx((f - 1) / (f - 1 + m0))
    # 150 pairs a third each: B = 2 · 100 · 0.25 / 149, W = 50 · 0.5 / 150, m₀ = 2.
    b, w = 50 / 149, 25 / 150
    assert correlation([0, 0, 0, 1, 1, 1] * 50, [str(k // 2) for k in range(300)]) == pytest.approx((b - w) / (b + w))
    assert correlation([0, 1] * 150, [str(k // 2) for k in range(300)]) == 0.0, "less alike than others: floored"
    assert correlation(values, [""] * len(values)) is None


def test_a_correlation_needs_evidence() -> None:
    """Four pairs among 200 independent values say nothing, 99 neither, 100 do. Equal values and one name do not."""
    few = [str(place if place >= 8 else place // 2 + 1000) for place in range(200)]
    assert mean_size(few) == pytest.approx(1.04)
    assert all(correlation(drawn(seed, 0.0, (1,) * 200), few) is None for seed in range(20))
    for pairs in (99, 100):
        values = drawn(1, 0.0, (1,) * (2 * pairs))
        assert (correlation(values, [str(k // 2) for k in range(2 * pairs)]) is None) == (pairs == 99)
    assert correlation([1.0] * 400, labels((10,) * 40)) is None
    assert correlation([1.0, 0.0] * 50, ["p"] * 100) is None
    assert design_effect([1.0, 0.0] * 50, ["p"] * 100) is None


def test_strata_of_one_cluster_each_take_a_degree_together() -> None:
    values = [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    clusters, strata = list("aabbcc"), list("xxyyzz")
    _, free = standard_error(values, clusters, Weights.of_groups(strata).weight, strata)
    assert free == 2, "three clusters, one mean"
    _, free = standard_error([*values, 1.0, 0.0], list("aabbccdd"), [1 / 8] * 8, list("xxyyzzzz"))
    assert free == 4 - 2, "z has two clusters and a mean of its own, x and y share one"


def test_a_share_of_a_corpus_of_one_cluster_may_be_any_share() -> None:
    found = bootstrap_corpus([0.2, 0.4], max, share=True, clusters=["p", "p"])
    assert (found.mean, found.low, found.high) == (0.4, 0.0, 1.0)
    assert bootstrap_corpus([0.2, 0.4], max, clusters=["p", "p"]).high == math.inf


def test_questions_needed_are_those_of_a_random_subset() -> None:
    """Of 1,000 questions in 100 passages so many are drawn that n over their effect is what independent ones say."""
    clusters = labels((10,) * 100)
    n = questions_needed(150, len(clusters), mean_size(clusters), 0.2)
    rng = np.random.default_rng(0)
    sizes = [mean_size([clusters[i] for i in rng.choice(1000, n, replace=False)]) for _ in range(50)]
    assert n / planned_effect(float(np.mean(sizes)), 0.2) == pytest.approx(150, rel=0.02)
    assert questions_needed(900, 1000, 10.0, 0.2) == 900 * 2.8, "more than there are: of passages as long"
