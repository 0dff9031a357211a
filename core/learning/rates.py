"""A schedule in words: the learning rates that a stage begins with, rises to and ends with."""

from __future__ import annotations

from aftertrain.core.learning.schedule import Optimizer, Pace

LOOKED_AT = 10_000
"""Optimizer steps that are looked at for the highest rate; of a longer stage so many, evenly taken."""


def rates_told(optimizer: Optimizer, steps: int, updates: int = 1) -> str:
    """First, highest and last rate of a stage of so many steps of so many optimizer steps each.

    >>> rates_told(Optimizer(lr=3e-7), 446, updates=4)
    '3e-07 at step 1, 1.68e-10 at step 1,784'
    >>> rates_told(Optimizer(lr=1e-7, horizon=161), 75, updates=4)
    '1e-07 at step 1, 5.36e-08 at step 300 (schedule over 644)'
    """
    total = steps * updates

    def rate(step: int) -> float:
        return Pace(step, total, updates=updates).rates({"": optimizer})[""]

    warm = optimizer.warmup * optimizer.planned(steps, updates)
    looked_at = {
        *range(0, total, -(-total // LOOKED_AT)),
        total - 1,
        *(s for s in (int(warm), int(warm) + 1) if s < total),
    }
    peak = max(sorted(looked_at), key=rate)
    rates = ", ".join(f"{rate(step):.3g} at step {step + 1:,}" for step in sorted({0, peak, total - 1}))
    return rates if optimizer.horizon is None else f"{rates} (schedule over {optimizer.planned(steps, updates):,})"
