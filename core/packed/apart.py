"""Families that cannot be packed: which these are, and log-likelihoods by a model's own forward.

Recurrent layers carry a state from text to text of a pack, and an attention of a family's own mixes them. Such a model
is refused for training; a continuation of it is scored as transformers would, each sequence by itself.
"""

from __future__ import annotations

import inspect
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aftertrain.core.engine import Continuation, Head, Likelihood
from aftertrain.core.packed.model import check_continuations, skeleton

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

PACKED_LAYERS = frozenset({"full_attention", "sliding_attention"})
"""Of transformers' names for a layer's kind, those whose samples are told apart."""
PLACES = 256
"""Places whose probabilities are computed together: 256,000 tokens' are 262 MB in float32."""
Tokens = tuple[int, ...]


def family_misfit(config: PretrainedConfig, head: Head) -> str:
    """Why models of this family cannot be packed, as transformers declares it; empty where it declares nothing."""
    family = type(skeleton(config, head))
    if getattr(family, "_is_stateful", False):
        return (
            f"{family.__name__} cannot be trained packed: it has recurrent layers, whose state goes on from one "
            "sample to the next"
        )
    if not getattr(family, "_supports_attention_backend", True):
        return (
            f"{family.__name__} cannot be trained packed: its layers do not attend through transformers' "
            "AttentionInterface, so that packed samples would see one another"
        )
    others = set(getattr(config.get_text_config(), "layer_types", None) or ()) - PACKED_LAYERS
    if others:
        return f"{family.__name__} cannot be trained packed: it has layers of the type {', '.join(sorted(others))}"
    return ""


def own_likelihoods(model: PreTrainedModel, items: Sequence[Continuation], budget: int) -> list[Likelihood]:
    """`ScoresContinuations.likelihoods` by the model's own forward, sequences of one length beside each other.

    What several items read alike, as the letters of a multiple choice do, is computed once.

    Raises:
        ModelError: an item is longer than the model takes.
    """
    check_continuations(model, items)
    readers: defaultdict[Tokens, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        readers[item.token_ids[:-1]].append(index)
    results = [Likelihood(math.nan, False)] * len(items)
    for batch in _batches(readers, budget):
        first = min(items[index].n_context for tokens in batch for index in readers[tokens]) - 1
        logits = _logits(model, batch, first)
        for row, tokens in zip(logits, batch, strict=True):
            for index in readers[tokens]:
                results[index] = _likelihood(row, items[index], first)
    return results


def _batches(sequences: Mapping[Tokens, object], budget: int) -> Iterator[list[Tokens]]:
    """Sequences of equal lengths, of at most `budget` tokens together, or one that is longer."""
    by_length: defaultdict[int, list[Tokens]] = defaultdict(list)
    for tokens in sequences:
        by_length[len(tokens)].append(tokens)
    for length, alike in by_length.items():
        count = max(1, budget // length)
        yield from (alike[start : start + count] for start in range(0, len(alike), count))


def _logits(model: PreTrainedModel, batch: Sequence[Tokens], first: int) -> Tensor:
    """`[rows, places, vocabulary]` of what follows each place from `first` on."""
    ids = torch.tensor(batch, device=model.device)
    places = ids.shape[1] - first
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    with torch.no_grad():
        output = model(input_ids=ids, use_cache=False, **({"logits_to_keep": places} if keeps else {}))
    logits: Tensor = output.logits
    return logits[:, -places:]


def _likelihood(logits: Tensor, item: Continuation, first: int) -> Likelihood:
    """Of one item, by the logits `[places, vocabulary]` from place `first` on, some places at a time in float32."""
    scored = logits[item.n_context - 1 - first :]
    following = torch.tensor(item.token_ids[item.n_context :], device=scored.device)
    total, greedy = 0.0, True
    for part, targets in zip(torch.split(scored, PLACES), torch.split(following, PLACES), strict=True):
        logprobs = part.float().log_softmax(-1).gather(1, targets.unsqueeze(1))
        total += float(logprobs.double().sum())
        greedy = greedy and bool((part.argmax(-1) == targets).all())
    return Likelihood(total, greedy)
