"""Dynamic batch composition (F13): which candidates form a batch, by likelihood under the model and mix of sources."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from aftertrain.core.statistics import entropy


def compose(logprobs: Sequence[float], sources: Sequence[str], sizes: Sequence[int], weight: float) -> list[list[int]]:
    """Divide candidates into batches, each the greedy B* = argmax_B E[log p(y|x, θ)] + λ·H(B) of those left (F13).

    A batch grows by the candidate with which the objective of the batch so far is largest; of equals, the first.

    Args:
        logprobs: log p(y|x, θ) of each candidate, in nats.
        sources: where each is from; H is the entropy of a batch's sources, in nats.
        sizes: rows of each batch; they add up to the number of candidates.
        weight: λ.

    Returns:
        Candidates' numbers, batch by batch, each in the order chosen.

    Raises:
        ValueError: the sizes do not add up, or a log-prob is not finite.

    Without weight the likeliest come first; with weight a batch is mixed:

    >>> compose([-1.0, -2.0, -3.0, -4.0], ["a", "a", "b", "b"], [2, 2], weight=0.0)
    [[0, 1], [2, 3]]
    >>> compose([-1.0, -2.0, -3.0, -4.0], ["a", "a", "b", "b"], [2, 2], weight=5.0)
    [[0, 2], [1, 3]]
    """
    if sum(sizes) != len(logprobs):
        raise ValueError(f"batches of {sum(sizes)} rows in all, and {len(logprobs)} candidates")
    if bad := [i for i, value in enumerate(logprobs) if not math.isfinite(value)]:
        raise ValueError(f"candidate {bad[0]} has log-probability {logprobs[bad[0]]}")
    # The best of a source is always its likeliest: only one candidate of each source is ever compared.
    queues: dict[str, list[int]] = {}
    for i in sorted(range(len(logprobs)), key=lambda i: (logprobs[i], -i)):
        queues.setdefault(sources[i], []).append(i)
    return [_batch(queues, logprobs, size, weight) for size in sizes]


def _batch(queues: dict[str, list[int]], logprobs: Sequence[float], size: int, weight: float) -> list[int]:
    chosen: list[int] = []
    counts: Counter[str] = Counter()
    total = 0.0
    for count in range(1, size + 1):
        objectives = {
            source: (
                (total + logprobs[queue[-1]]) / count + weight * entropy({**counts, source: counts[source] + 1}),
                -queue[-1],
            )
            for source, queue in queues.items()
            if queue
        }
        source = max(objectives, key=objectives.__getitem__)
        chosen.append(queues[source].pop())
        counts[source] += 1
        total += logprobs[chosen[-1]]
    return chosen
