"""Log-likelihoods of choices, from packed forwards of an engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aftertrain.core.engine import Engine
from aftertrain.core.errors import DataError, NumericsError
from aftertrain.core.eval_task import ChoiceScores, Instance
from aftertrain.core.packed.packing import Segment, pack
from aftertrain.core.text.chat import prompt_text
from aftertrain.plugins.evaluation.prompts import Encoded, encode_choices

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_instance(tokenizer: PreTrainedTokenizerBase, instance: Instance, window: int | None) -> list[Encoded]:
    """The instance's choices after its prompt, then, where it has a baseline, after that; cut at the start to fit."""
    text = prompt_text(tokenizer, instance.messages, chat=instance.chat)
    encoded = encode_choices(tokenizer, text, instance.choices, chat=instance.chat)
    if instance.baseline is not None:
        encoded += encode_choices(tokenizer, instance.baseline, instance.choices, chat=False)
    return [_fit(item, window) for item in encoded]


def _fit(item: Encoded, window: int | None) -> Encoded:
    surplus = 0 if window is None else max(0, len(item.token_ids) - window)
    if surplus >= item.n_context:
        raise DataError(f"a choice of {len(item.token_ids) - item.n_context} tokens does not fit a context of {window}")
    return Encoded(item.token_ids[surplus:], item.n_context - surplus, surplus)


def log_likelihoods(engine: Engine[Any], items: Sequence[Encoded], budget: int) -> list[float]:
    """Summed log-probability (nats) of each item's scored tokens, in order, from batches of at most `budget` tokens.

    An item longer than the budget is a batch of its own.

    Raises:
        NumericsError: a sum is not finite.
    """
    atoms = [
        [
            Segment(
                sample_id=str(index),
                token_ids=item.token_ids,
                loss_mask=[place >= item.n_context for place in range(len(item.token_ids))],
            )
        ]
        for index, item in enumerate(items)
    ]
    sums = [math.nan] * len(items)
    for batch in pack(atoms, max([budget, *(len(item.token_ids) for item in items)])):
        logprobs = engine.score(batch, ("logprobs",), grad=False).logprobs
        if logprobs is None:
            raise NumericsError(f"engine {type(engine).__name__} returned no log-probabilities")
        device = logprobs.device
        mask, segments = batch.loss_mask.to(device), batch.segment_ids.to(device)
        totals = logprobs.double().new_zeros(batch.n_segments).index_add(0, segments, logprobs.double() * mask)
        for sample, total in zip(batch.sample_ids, totals.tolist(), strict=True):
            sums[int(sample)] = total
    broken = [index for index, value in enumerate(sums) if not math.isfinite(value)]
    if broken:
        raise NumericsError(
            f"{len(broken)} of {len(sums)} log-likelihoods are not finite: the model's weights are broken"
        )
    return sums


def score_choices(
    engine: Engine[Any], instances: Sequence[Instance], encoded: Sequence[Sequence[Encoded]], budget: int
) -> list[ChoiceScores]:
    """Score the choices of each instance; `encoded` holds what `encode_instance` gave for it."""
    sums = iter(log_likelihoods(engine, [item for items in encoded for item in items], budget))
    scored = []
    for instance, items in zip(instances, encoded, strict=True):
        n = len(instance.choices)
        values = [next(sums) for _ in items]
        scored.append(
            ChoiceScores(
                logprobs=tuple(values[:n]),
                n_tokens=tuple(len(item.token_ids) - item.n_context for item in items[:n]),
                n_chars=tuple(len(choice) for choice in instance.choices),
                baseline=tuple(values[n:]),
            )
        )
    return scored
