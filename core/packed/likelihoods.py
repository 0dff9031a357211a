"""Log-likelihoods of continuations by any engine: by its own quicker way where it has one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from aftertrain.core.engine import Continuation, Engine, Likelihood, ScoresContinuations
from aftertrain.core.errors import NumericsError
from aftertrain.core.packed.packing import Segment, pack


def likelihoods(engine: Engine[Any], items: Sequence[Continuation], budget: int) -> list[Likelihood]:
    """One an item, in order, from batches of at most `budget` tokens; a longer item is a batch of its own.

    Raises:
        NumericsError: a sum is not finite.
    """
    if isinstance(engine, ScoresContinuations):
        results = engine.likelihoods(items, budget)
    else:
        results = _by_segments(engine, items, budget)
    broken = sum(not math.isfinite(result.logprob) for result in results)
    if broken:
        raise NumericsError(
            f"{broken} of {len(results)} log-likelihoods are not finite: the model's weights are broken"
        )
    return results


def _by_segments(engine: Engine[Any], items: Sequence[Continuation], budget: int) -> list[Likelihood]:
    atoms = [
        [Segment(str(index), item.token_ids, [place >= item.n_context for place in range(len(item.token_ids))])]
        for index, item in enumerate(items)
    ]
    results = [Likelihood(math.nan, False)] * len(items)
    for batch in pack(atoms, max([budget, *(len(item.token_ids) for item in items)])):
        scores = engine.score(batch, ("logprobs", "hits"), grad=False)
        if scores.logprobs is None or scores.hits is None:
            raise NumericsError(f"engine {type(engine).__name__} returned no log-probabilities, or no hits")
        mask = batch.loss_mask.to(scores.logprobs.device)
        lengths = list(batch.lengths)
        logprobs = torch.split(scores.logprobs.double() * mask, lengths)
        hits = torch.split(scores.hits.bool() | ~mask, lengths)
        for sample, of_sample, likeliest in zip(batch.sample_ids, logprobs, hits, strict=True):
            results[int(sample)] = Likelihood(float(of_sample.sum()), bool(likeliest.all()))
    return results
