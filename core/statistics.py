"""Intervals, paired tests and pass@k for scores that users see. Pure functions; NumPy is imported inside."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aftertrain.core.clusters import are_several, design_effect, names, number_of, standard_error, t95

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Z95 = 1.959963984540054
Z80 = 0.8416212335729143
"""Standard normal quantiles: of a two-sided interval of 95 %, and of a power of 80 %."""
ALPHA = 0.05
"""P-value, adjusted for all comparisons of one evaluation, below which a difference is called one."""
EXACT_FLIPS = 14
"""Differences other than 0 up to which all their signs are tried."""
RANDOM_FLIPS = 20_000


def entropy(counts: Mapping[Any, int]) -> float:
    """H = −Σ pᵢ log pᵢ in nats of the shares pᵢ that counts are (F8, F13).

    >>> round(entropy({"a": 3, "b": 3}), 6) == round(math.log(2), 6), entropy({"a": 4})
    (True, 0.0)
    """
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values() if n) + 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval and the number of instances behind it."""

    mean: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int) -> Interval:
    """Wilson score interval of a proportion (Wilson 1927): honest near 0 and 1, where the normal one is not.

    >>> interval = wilson(5, 10)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2366, 0.7634)
    """
    if n <= 0:
        raise ValueError("an interval needs at least one instance")
    p = successes / n
    return Interval(p, *_wilson(p, n, Z95), n)


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Both ends, of n independent draws or of what counts for as many."""
    z2 = z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that one of k samples is correct, from n samples (Chen et al. 2021, equation 1).

    1 - C(n - c, k) / C(n, k), as a product of k factors at most, so that nothing overflows. The mean over problems is
    the benchmark's pass@k.

    With 2 correct of 5 samples, of the 10 pairs 3 hold none that is correct:

    >>> round(pass_at_k(5, 2, 2), 12)
    0.7

    Raises:
        ValueError: there are fewer than k samples, or more correct ones than samples.
    """
    if not 1 <= k <= n:
        raise ValueError(
            f"pass@{k} needs at least {max(k, 1)} samples of each problem and k of 1 or more; there are {n}"
        )
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} samples cannot be correct")
    if n - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - correct + 1, n + 1))


@dataclass(frozen=True, slots=True)
class Weights:
    """What each value weighs in a mean.

    Attributes:
        weight: of each value; they sum to 1.
        group: of each value, where groups are drawn from separately; None where values of any size are drawn at random.
    """

    weight: tuple[float, ...]
    group: tuple[str, ...] | None = None

    @classmethod
    def of_groups(cls, groups: Sequence[str]) -> Weights:
        """Every group weighs the same, and in it every value.

        >>> Weights.of_groups(["a", "a", "b"]).weight
        (0.25, 0.25, 0.5)
        """
        sizes = Counter(groups)
        return cls(tuple(1 / (len(sizes) * sizes[group]) for group in groups), tuple(groups))

    @classmethod
    def of_sizes(cls, sizes: Sequence[float]) -> Weights:
        """Each value weighs as its size (its tokens, its bytes), so that the mean is a ratio of sums."""
        total = sum(sizes)
        if min(sizes) < 0 or total <= 0:
            raise ValueError("sizes must be positive")
        return cls(tuple(size / total for size in sizes))


def weighted_mean(values: Sequence[float], weights: Weights | None) -> float:
    """The mean, or the mean of the groups' means."""
    if weights is None:
        return sum(values) / len(values)
    return sum(value * weight for value, weight in zip(values, weights.weight, strict=True))


def weighing(weight: Sequence[float]) -> list[int]:
    """Places of what a mean is made of: where some values weigh nothing and the others all the same, these others.

    >>> weighing([0.0, 0.5, 0.5]), weighing([0.0, 0.4, 0.6])
    ([1, 2], [0, 1, 2])
    """
    there = [place for place, each in enumerate(weight) if each > 0]
    return there if len({weight[place] for place in there}) == 1 else list(range(len(weight)))


def mean_interval(
    values: Sequence[float], weights: Weights | None = None, clusters: Sequence[str] | None = None
) -> Interval:
    """Interval of a mean: Wilson's where every value is 0 or 1, else the percentile bootstrap, see `open_share`.

    Values in [0, 1] may have unseen others anywhere in it; of other values, as far away as the largest is from 0. Where
    some values weigh nothing and the others all the same, the mean is a plain one of these, and `n` their number.

    Where values are of one cluster, as questions about one passage are, the interval is by the clustered standard error
    and Student's t. Of 0 and 1 it is Wilson's of n divided by the design effect (Korn & Graubard 1998; of equal values,
    which show none, of the clusters' number).
    """
    if weights is not None and weights.group is None and len(counted := weighing(weights.weight)) < len(values):
        there = None if clusters is None else [clusters[place] for place in counted]
        return mean_interval([values[place] for place in counted], clusters=there)
    if clusters is not None and are_several(clusters):
        return _clustered(values, weights, clusters)
    if weights is None and all(value in (0, 1) for value in values):
        return wilson(sum(values), len(values))
    interval = bootstrap_mean(values, weights)
    if all(0 <= value <= 1 for value in values):
        return _widened(interval, 0.0, 1.0)
    reach = max(map(abs, values))
    return _widened(interval, interval.mean - reach, interval.mean + reach)


def _clustered(values: Sequence[float], weights: Weights | None, clusters: Sequence[str]) -> Interval:
    error, free = _error(values, weights, clusters)
    n, g, mean = len(values), number_of(clusters) or len(values), weighted_mean(values, weights)
    if g > 1 and weights is None and all(value in (0, 1) for value in values):
        effect = design_effect(values, clusters)  # None of equal values
        return Interval(mean, *_wilson(mean, g if effect is None else n / effect, t95(free)), n)
    interval = Interval(mean, mean - t95(free) * error, mean + t95(free) * error, n)
    if all(0 <= value <= 1 for value in values):
        return _within(_widened(interval, 0.0, 1.0, g), 0.0, 1.0)
    reach = max(map(abs, values))
    return _within(_widened(interval, mean - reach, mean + reach, g), mean - 2 * reach, mean + 2 * reach)


def _error(values: Sequence[float], weights: Weights | None, clusters: Sequence[str]) -> tuple[float, int]:
    if weights is None:
        return standard_error(values, clusters)
    return standard_error(values, clusters, weights.weight, weights.group)


def open_share(n: int) -> float:
    """Share of a population of which n draws may show nothing: the bound of Clopper & Pearson (1934) for 0 of n, 95 %.

    A bootstrap draws from what was seen alone: of one value, or of equal ones, it makes an interval of width 0. So an
    interval here reaches at least to where the mean would lie if this share had the lowest, or the highest, score.

    1 - 0.025^(1/n): of one draw 97.5 %, of ten 30.8 % (Clopper & Pearson's table: 0.308):

    >>> round(open_share(1), 4), round(open_share(10), 4), round(open_share(100), 4)
    (0.975, 0.3085, 0.0362)
    """
    return -math.expm1(math.log(0.025) / n)


def _within(interval: Interval, lowest: float, highest: float) -> Interval:
    """What can be; of a single cluster that is all that is known."""
    return Interval(interval.mean, max(interval.low, lowest), min(interval.high, highest), interval.n)


def _widened(interval: Interval, lowest: float, highest: float, n: int | None = None) -> Interval:
    """See `open_share`, of so many draws as there are values, or clusters."""
    share = open_share(n or interval.n)
    low = interval.mean - share * (interval.mean - lowest)
    high = interval.mean + share * (highest - interval.mean)
    return Interval(interval.mean, min(interval.low, low), max(interval.high, high), interval.n)


def bootstrap_mean(
    values: Sequence[float], weights: Weights | None = None, *, seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Percentile bootstrap interval of a mean (Efron 1979); of groups' means each group is resampled alone.

    A group of n values spreads by (n - 1)/n too little, which few values a group add up: their draws are stretched to
    what they should be (Davison & Hinkley 1997, section 3.8). One value says nothing of its group's spread: it gets
    that of all values (strata collapsed, Cochran 1977, section 5A.12).
    """
    import numpy as np

    if not values:
        raise ValueError("an interval needs at least one instance")
    data = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    if weights is None:
        means, mean = _resampled(data, rng, resamples), float(data.mean())
    elif weights.group is None:
        sizes, mean = np.asarray(weights.weight), weighted_mean(values, weights)
        pairs = np.stack([data * sizes, sizes], axis=1)
        sums = _resampled(pairs, rng, resamples)
        means = sums[:, 0] / np.maximum(sums[:, 1], np.finfo(float).tiny)
    else:
        names = np.asarray(weights.group)
        groups = [data[names == name] for name in dict.fromkeys(weights.group)]
        means = np.mean([_resampled_group(group, data, rng, resamples) for group in groups], axis=0)
        mean = weighted_mean(values, weights)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high), len(values))


def bootstrap_corpus(
    items: Sequence[T],
    number: Callable[[Sequence[T]], float],
    *,
    share: bool = False,
    seed: int = 0,
    resamples: int = 1000,
    clusters: Sequence[str] | None = None,
) -> Interval:
    """Percentile bootstrap interval (Efron 1979) of a number that is made of all items at once and is no mean of them.

    A draw of which no number can be made (one class alone) is left out. A number in [0, 1] (`share`) reaches at least
    as far as the share of items that may be unseen could move a mean, see `open_share`: of equal items it is no point.

    Of one item, or one cluster, nothing can be said, so that the interval is all that can be; of no share without
    bounds:

    >>> bootstrap_corpus([2.0], lambda items: max(items))
    Interval(mean=2.0, low=-inf, high=inf, n=1)
    """
    import numpy as np

    if not items:
        raise ValueError("an interval needs at least one instance")
    whole = number(items)
    together: dict[tuple[str, int], list[T]] = {}
    for name, item in zip(names([""] * len(items) if clusters is None else clusters), items, strict=True):
        together.setdefault(name, []).append(item)
    drawn = list(together.values())
    bounded = share and 0 <= whole <= 1
    if len(drawn) == 1:
        return Interval(whole, *((0.0, 1.0) if bounded else (-math.inf, math.inf)), len(items))
    draws = np.random.default_rng(seed).integers(0, len(drawn), (resamples, len(drawn)))
    numbers = []
    for draw in draws:
        try:
            numbers.append(number([item for place in draw for item in drawn[place]]))
        except (ValueError, ArithmeticError):
            continue
    finite = [value for value in numbers if math.isfinite(value)]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite else (-math.inf, math.inf)
    interval = Interval(whole, min(whole, float(low)), max(whole, float(high)), len(items))
    return _within(_widened(interval, 0.0, 1.0, len(drawn)), 0.0, 1.0) if bounded else interval


def _resampled_group(group: np.ndarray, every: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means of draws of a group of some of all values, see `bootstrap_mean`."""
    n, mean = len(group), group.mean()
    away: np.ndarray = (
        (_resampled(group, rng, resamples) - mean) * math.sqrt(n / (n - 1))
        if n > 1
        else rng.choice(every - every.mean(), resamples)
    )
    moved: np.ndarray = away + mean
    return moved


def _resampled(data: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means of so many draws of as many values (or rows of values) as there are."""
    import numpy as np

    means = np.empty((resamples, *data.shape[1:]))
    block = max(1, 2_000_000 // data.size)
    for start in range(0, resamples, block):
        stop = min(resamples, start + block)
        means[start:stop] = data[rng.integers(0, len(data), (stop - start, len(data)))].mean(1)
    return means


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    weights: Weights | None = None,
    clusters: Sequence[str] | None = None,
) -> Interval:
    """Bootstrap interval of mean(after - before) over the same instances, resampled in pairs; see `open_share`.

    Scores in [0, 1] may have unseen differences of -1 to 1; others, as far from the mean as the largest score from 0.
    Where instances are of one cluster it is by the clustered standard error and Student's t.
    """
    if len(before) != len(after):
        raise ValueError(f"paired scores differ in number: {len(before)} and {len(after)}")
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    shares = all(0 <= value <= 1 for value in (*before, *after))
    reach = max(map(abs, (*before, *after)), default=0.0)
    if clusters is not None and are_several(clusters):
        error, free = _error(gaps, weights, clusters)
        mean, half = weighted_mean(gaps, weights), t95(free) * error
        ends = (-1.0, 1.0) if shares else (mean - reach, mean + reach)
        interval = _widened(Interval(mean, mean - half, mean + half, len(gaps)), *ends, number_of(clusters))
        return _within(interval, *(ends if shares else (mean - 2 * reach, mean + 2 * reach)))
    interval = bootstrap_mean(gaps, weights)
    if shares:
        return _widened(interval, -1.0, 1.0)
    return _widened(interval, interval.mean - reach, interval.mean + reach)


def paired_p(
    before: Sequence[float],
    after: Sequence[float],
    weights: Weights | None = None,
    clusters: Sequence[str] | None = None,
) -> float:
    """Two-sided p-value that paired scores differ by chance alone: McNemar's for 0 and 1, else by flipped signs.

    Where instances are of one cluster, all differences of a cluster get one sign.
    """
    if weights is not None:
        before, after = (
            [value * weight for value, weight in zip(side, weights.weight, strict=True)] for side in (before, after)
        )
    if clusters is not None and are_several(clusters):
        sums: dict[tuple[str, int], float] = {}
        for name, a, b in zip(names(clusters), before, after, strict=True):
            sums[name] = sums.get(name, 0.0) + b - a
        return sign_flips([0.0] * len(sums), list(sums.values()))
    if weights is None and all(value in (0, 1) for value in (*before, *after)):
        return mcnemar(before, after)
    return sign_flips(before, after)


def sign_flips(before: Sequence[float], after: Sequence[float]) -> float:
    """P-value of the sign-flip test (Fisher 1935): how often the sum of differences of random signs is as far from 0.

    All signs are tried where few instances changed, else 20,000 random ones, with the observed ones counted among them
    (Phipson & Smyth 2010), so that no p-value is 0.

    Differences 1, 2, 3: of eight signings two are as far from 0 as all alike:

    >>> sign_flips([0, 0, 0], [1, 2, 3])
    0.25
    """
    import numpy as np

    if len(before) != len(after):
        raise ValueError(f"paired scores differ in number: {len(before)} and {len(after)}")
    gaps = np.asarray([b - a for a, b in zip(before, after, strict=True)], dtype=np.float64)
    gaps = gaps[gaps != 0]
    if gaps.size == 0:
        return 1.0
    least = abs(gaps.sum()) - 1e-9 * np.abs(gaps).sum()  # sums of the same numbers differ by their order
    if gaps.size <= EXACT_FLIPS:
        signs = 1 - 2 * (np.arange(1 << gaps.size)[:, None] >> np.arange(gaps.size) & 1)
        return float(np.mean(np.abs(signs @ gaps) >= least))
    rng = np.random.default_rng(0)
    far, block = 0, max(1, 2_000_000 // gaps.size)
    for start in range(0, RANDOM_FLIPS, block):
        signs = rng.integers(0, 2, (min(block, RANDOM_FLIPS - start), gaps.size)) * 2 - 1
        far += int((np.abs(signs @ gaps) >= least).sum())
    return (far + 1) / (RANDOM_FLIPS + 1)


def direction(
    mean: float, p: float | None, lowest: float | None = None, highest: float | None = None
) -> Literal["rise", "fall", "none"]:
    """What a difference may be called: a rise or a fall where its adjusted p-value is below `ALPHA`, else none.

    Args:
        p: adjusted for all that were tested together; None where nothing was.
        lowest: the mean if whatever could not be judged spoke against it; a rise must stay one.
        highest: the mean if it spoke for it; a fall must stay one.

    >>> direction(0.1, 0.01), direction(-0.1, 0.01), direction(0.1, 0.06), direction(0.1, 0.01, -0.02, 0.2)
    ('rise', 'fall', 'none', 'none')
    """
    if p is None or p >= ALPHA:
        return "none"
    if min(mean, mean if lowest is None else lowest) > 0:
        return "rise"
    return "fall" if max(mean, mean if highest is None else highest) < 0 else "none"


def mcnemar(before: Sequence[float], after: Sequence[float]) -> float:
    """Exact two-sided p-value that two 0/1 scores of the same instances have one mean (McNemar 1947).

    Only instances that changed say anything: of b that got better and c that got worse, b is binomial(b + c, 1/2).

    >>> round(mcnemar([0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 0]), 5)
    0.21875
    """
    if len(before) != len(after):
        raise ValueError(f"paired scores differ in number: {len(before)} and {len(after)}")
    if any(value not in (0, 1) for value in (*before, *after)):
        raise ValueError("McNemar's test is for scores of 0 and 1")
    better = sum(b < a for b, a in zip(before, after, strict=True))
    worse = sum(b > a for b, a in zip(before, after, strict=True))
    changed = better + worse
    ways = tail = 1
    for k in range(min(better, worse)):
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << changed))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for testing several hypotheses at once (Holm 1979), in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def pairs_needed(difference: float, discordant: float, effect: float = 1.0) -> int:
    """Questions over which a paired difference of two shares is found with power 80 % by McNemar's test at 5 %.

    n = (1.96 √d + 0.84 √(d - δ²))² / δ² of Connor (1987), times the design effect.

    Args:
        difference: δ, of the two shares; at most `discordant`.
        discordant: d, the share of questions that one model answers rightly and the other does not.
        effect: how many times as many questions clusters of them need, see `design_effect`.

    By hand, for δ = 0.02 and d = 0.3: (1.95996 · 0.54772 + 0.84162 · 0.54736)² / 0.0004 = 1.53419² / 0.0004 = 5884.3:

    >>> pairs_needed(0.02, 0.3)
    5885

    Raises:
        ValueError: no such difference can be.
    """
    if not 0 < difference <= discordant <= 1:
        raise ValueError(f"a difference of {difference} needs discordant pairs from that share to 1, not {discordant}")
    root = Z95 * math.sqrt(discordant) + Z80 * math.sqrt(discordant - difference**2)
    return math.ceil(effect * (root / difference) ** 2)


def detectable(n: int, discordant: float, effect: float = 1.0) -> float | None:
    """The least difference that n questions find with power 80 %, see `pairs_needed`; None where they find none.

    The equation of `pairs_needed`, solved for δ: with m = n / effect and a = 1.96 √d it is the larger root of
    (m + 0.84²) δ² - 2 a √m δ + a² - 0.84² d = 0.

    >>> round(detectable(5885, 0.3), 5), detectable(5, 0.3)
    (0.02, None)
    """
    if n <= 0 or not 0 < discordant <= 1:
        return None
    m, a = n / effect, Z95 * math.sqrt(discordant)
    root = a * a * m - (m + Z80**2) * (a * a - Z80**2 * discordant)
    if root < 0:
        return None
    found = (a * math.sqrt(m) + math.sqrt(root)) / (m + Z80**2)
    return found if found <= discordant else None
