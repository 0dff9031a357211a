"""Rewards combined, overlong replies, and the batch by memory (F40): by hand, and as TRL has them."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftertrain.core.learning import shaping


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(shaping).failed == 0


@given(limit=st.integers(1, 60), data=st.data())
def test_overlong_replies_are_punished_as_trl_does(limit: int, data: st.DataObject) -> None:
    """DAPO's equation 13, for every length up to twice the limit."""
    from trl.rewards import get_soft_overlong_punishment

    cache = data.draw(st.integers(1, limit))
    theirs = get_soft_overlong_punishment(max_completion_len=limit, soft_punish_cache=cache)
    lengths = range(2 * limit + 1)
    expected = theirs(completion_ids=[[0] * length for length in lengths])
    assert [shaping.overlong_penalty(length, limit, cache) for length in lengths] == expected


@pytest.mark.parametrize("cache", [0, 101])
def test_a_cache_is_within_the_limit(cache: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and L_max, 100, not {cache}"):
        shaping.overlong_penalty(1, 100, cache)


def test_a_product_pays_what_the_product_of_the_values_pays_f27() -> None:
    """−1 + ½·½·(10 + 1) = 1.75; with a reward of its own scale, −2, that is doubled and turned round."""
    assert shaping.product_reward([0.5, 0.5], [], 10.0, -1.0) == 1.75
    assert shaping.product_reward([0.5, 0.5], [-2.0], 10.0, -1.0) == -3.5
    assert shaping.product_reward([0.8, 0.9], [], 10.0, -1.0, threshold=0.7) == 10.0
    assert shaping.product_reward([0.8, 0.8], [], 10.0, -1.0, threshold=0.7) == -1.0


@given(st.integers(1, 10_000), st.floats(0, 1e12), st.floats(1e-3, 1e12))
def test_memory_never_raises_the_batch_f40(planned: int, memory: float, need: float) -> None:
    """B_t is at most B₀ and at least 1; where M is all that is needed it is B₀."""
    batch = shaping.batch_by_memory(planned, memory, need)
    assert 1 <= batch <= planned
    assert batch == planned or batch <= planned * math.sqrt(memory / need) or batch == 1
    assert shaping.batch_by_memory(planned, need, need) == planned


@pytest.mark.parametrize(("planned", "memory", "need"), [(0, 1, 1), (1, -1, 1), (1, 1, 0), (1, float("nan"), 1)])
def test_a_batch_needs_numbers_that_mean_something_f40(planned: int, memory: float, need: float) -> None:
    with pytest.raises(ValueError, match="B₀ is at least 1"):
        shaping.batch_by_memory(planned, memory, need)
