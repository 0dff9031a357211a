"""Batch composition (F13): greedy choices by hand, the optimum where it can be enumerated, no row lost."""

from __future__ import annotations

import doctest
import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.statistics import entropy
from aftertrain.plugins.training import composition
from aftertrain.plugins.training.composition import compose


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(composition).failed == 0


def test_a_choice_by_hand() -> None:
    """λ = 1. First the likeliest, 0 (-1.0, a). Then a: (-1-1.1)/2 = -1.05; b: (-1-2)/2 + ln 2 = -0.807: b, which is 2.

    Third: a: (-1-2-1.1)/3 + H(2,1) = -1.367 + 0.637 = -0.730; b: (-1-2-2.1)/3 + H(1,2) = -1.7 + 0.637 = -1.063: a, 1.
    """
    assert compose([-1.0, -1.1, -2.0, -2.1], ["a", "a", "b", "b"], [3, 1], 1.0) == [[0, 2, 1], [3]]


@given(
    rows=st.lists(
        st.tuples(st.sampled_from([-0.5, -1.0, -2.0, -4.0]), st.sampled_from("abc")), min_size=1, max_size=12
    ),
    size=st.integers(1, 5),
    weight=st.sampled_from([0.0, 0.3, 1.0, 10.0]),
)
def test_every_row_is_used_once_and_each_choice_is_the_best(
    rows: list[tuple[float, str]], size: int, weight: float
) -> None:
    """Each addition is compared with all candidates that were left, not with one of each source."""
    values, sources = [row[0] for row in rows], [row[1] for row in rows]
    sizes = [min(size, len(rows) - start) for start in range(0, len(rows), size)]
    batches = compose(values, sources, sizes, weight)
    assert [len(batch) for batch in batches] == sizes
    assert sorted(itertools.chain(*batches)) == list(range(len(rows)))
    left = set(range(len(rows)))

    def objective(batch: list[int]) -> float:
        shares = [n / len(batch) for n in Counter(sources[i] for i in batch).values()]
        return sum(values[i] for i in batch) / len(batch) - weight * sum(p * math.log(p) for p in shares)

    for batch in batches:
        for end in range(1, len(batch) + 1):
            best = max(objective([*batch[: end - 1], i]) for i in left)
            assert objective(batch[:end]) == pytest.approx(best, abs=1e-12)
            left.remove(batch[end - 1])


def test_without_weight_the_first_batch_is_the_optimum() -> None:
    values = [-3.0, -0.1, -2.0, -0.2, -0.3]
    best = max(itertools.combinations(range(5), 3), key=lambda batch: sum(values[i] for i in batch))
    assert tuple(sorted(compose(values, list("abcde"), [3, 2], 0.0)[0])) == best


def test_a_weight_above_all_likelihoods_gives_the_greatest_entropy() -> None:
    values = [-float(i) for i in range(9)]
    sources = ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    for batch in compose(values, sources, [3, 3, 3], 1000.0):
        assert entropy(Counter(sources[i] for i in batch)) == pytest.approx(math.log(3))


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match="batches of 3 rows in all, and 2 candidates"):
        compose([-1.0, -2.0], ["a", "a"], [3], 0.0)
    with pytest.raises(ValueError, match="candidate 1 has log-probability nan"):
        compose([-1.0, float("nan")], ["a", "a"], [2], 0.0)
