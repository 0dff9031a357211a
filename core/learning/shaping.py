"""Several rewards of one reply made into one, and what is added for its length. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aftertrain.core.learning.rewards import verification_reward


def overlong_penalty(length: int, limit: int, cache: int) -> float:
    """DAPO's soft punishment of overlong replies (Yu et al. 2025, arXiv 2503.14476, equation 13), in [−1, 0].

    0 up to L_max − L_cache tokens, then (L_max − L_cache − |y|)/L_cache, and −1 beyond L_max.

    Args:
        length: |y|, tokens of the reply with its end token.
        limit: L_max.
        cache: L_cache, the tokens before the limit over which the penalty grows.

    L_max = 100 and L_cache = 20: (80 − 90)/20 = −½:

    >>> [overlong_penalty(length, 100, 20) for length in (80, 90, 100, 101)]
    [0.0, -0.5, -1.0, -1.0]

    Raises:
        ValueError: the cache is not between 1 and the limit.
    """
    if not 1 <= cache <= limit:
        raise ValueError(f"L_cache must be between 1 and L_max, {limit}, not {cache}")
    if length > limit:
        return -1.0
    return min(0.0, (limit - cache - length) / cache)


def product_reward(
    values: Sequence[float],
    rewards: Sequence[float],
    positive: float,
    negative: float,
    threshold: float | None = None,
) -> float:
    """(r_neg + ΠV·(r_pos − r_neg))·ΠR: the product of several checks (F27 of the product of their values).

    Args:
        values: V of each check whose worth the settings say, in [0, 1].
        rewards: R of each that has a scale of its own; these multiply as they are.
        threshold: r_pos from this product of the values on, else r_neg; None pays in between.

    Two halves earn a quarter of 10, and a format reward of 0.5 halves it:

    >>> product_reward([0.5, 0.5], [], 10.0, 0.0), product_reward([0.5, 0.5], [0.5], 10.0, 0.0)
    (2.5, 1.25)
    >>> product_reward([0.5, 1.0], [], 10.0, -1.0, threshold=0.5), product_reward([], [2.0, 3.0], 10.0, 0.0)
    (10.0, 6.0)
    """
    own = math.prod(rewards)
    return own * verification_reward(math.prod(values), positive, negative, threshold) if values else own


def weighted_reward(rewards: Sequence[float], weights: Sequence[float]) -> float:
    """Σ w·R, as TRL sums its reward functions; the weights are not divided by their sum.

    >>> weighted_reward([10.0, 0.5], [1.0, 2.0])
    11.0
    """
    return math.fsum(weight * reward for weight, reward in zip(weights, rewards, strict=True))


def batch_by_memory(planned: int, memory: float, need: float) -> int:
    """B_t = B₀·min(1, √(M/V_t)) (F40), rounded down and at least 1.

    Args:
        planned: B₀.
        memory: M, what is free, in the unit of `need`.
        need: V_t, what verification needs.

    A quarter of what is needed halves the batch:

    >>> [batch_by_memory(64, memory, 8.0) for memory in (2.0, 8.0, 100.0, 0.0)]
    [32, 64, 64, 1]

    Raises:
        ValueError: B₀ is below 1, M is negative, or V_t is not above 0.
    """
    if planned < 1 or not memory >= 0 or not need > 0:
        raise ValueError(f"B₀ is at least 1, M at least 0 and V_t above 0, not {planned}, {memory} and {need}")
    return max(1, math.floor(planned * min(1.0, math.sqrt(memory / need))))
