"""What following some of several instructions is worth (F46)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


def score(weights: Sequence[float], followed: Sequence[bool], level: Literal["prompt", "instruction"]) -> float:
    """V(I, R) = Σ wᵢ·vᵢ(I, R) with the weights scaled to sum 1; at level `prompt`, 1 when all that count are followed.

    Weights 3 and 1, the first followed: V = 3/4·1 + 1/4·0.

    >>> score([3.0, 1.0], [True, False], "instruction")
    0.75
    >>> score([3.0, 1.0], [True, False], "prompt")
    0.0
    >>> score([3.0, 0.0], [True, False], "prompt")
    1.0

    Raises:
        ValueError: all weights are 0.
    """
    largest = max(weights, default=0.0)
    if not largest:
        raise ValueError("nothing counts: all weights are 0")
    if level == "prompt":
        return float(all(follows for weight, follows in zip(weights, followed, strict=True) if weight))
    # Scaled by the largest first, so that weights near the largest float do not sum to infinity.
    scaled = [weight / largest for weight in weights]
    counted = sum(weight for weight, follows in zip(scaled, followed, strict=True) if follows)
    return min(1.0, counted / sum(scaled))
