"""Greedy replies of two evaluators that differ: by how little the likeliest token is likelier than the next.

Two correct programs part where two tokens are as good as equally likely; after that the replies have nothing to do with
each other. So the place that counts is the first token that differs, and there the gap of the two likeliest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from aftertrain.api.sides import Place, Side


@dataclass(frozen=True)
class ReplyGap:
    """One pair of replies at the first token that differs.

    Attributes:
        position: of that token in the reply, from 0.
        tokens: ours and theirs; "" where the reply ends there.
        likeliest: the two likeliest tokens there with their log-probabilities (nats), by the model in float32.
    """

    task: str
    id: str
    position: int
    tokens: tuple[str, str]
    likeliest: tuple[tuple[str, float], tuple[str, float]]

    @property
    def gap(self) -> float:
        """By how many nats the likeliest is likelier than the next."""
        return self.likeliest[0][1] - self.likeliest[1][1]

    def __str__(self) -> str:
        """One line."""
        ours, theirs = (repr(token) if token else "the end" for token in self.tokens)
        best = " and ".join(f"{token!r} {logprob:.5f}" for token, logprob in self.likeliest)
        return (
            f"{self.task} {self.id}: token {self.position}: {ours} and {theirs}; likeliest {best}, "
            f"{self.gap:.2g} nats apart"
        )


def reply_gaps(model: str, places: Sequence[Place], ours: Side, theirs: Side) -> Iterator[ReplyGap]:
    """Of each pair of replies that differ.

    Args:
        model: the folder that made ours.
        places: of the replies.

    Raises:
        ModelError: the model cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from aftertrain.core.run.base_model import find_model
    from aftertrain.core.text.chat import load_tokenizer, text_ids
    from aftertrain.plugins.evaluation.prompts import encode

    if not places:
        return
    folder = str(find_model(model, Path.cwd()))
    tokenizer = load_tokenizer(folder, None, needs_template=False)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    loaded.eval()
    for place in places:
        prompt = encode(tokenizer, ours.prompts[place], chat=ours.chats.get(place, False))
        first, second = (text_ids(tokenizer, side.replies[place]) for side in (ours, theirs))
        position = next(
            (n for n, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]),
            min(len(first), len(second)),
        )
        logprobs = _next_logprobs(loaded, [*prompt, *first[:position]])
        best = logprobs.topk(2)
        likeliest = [
            (str(tokenizer.decode([int(token)])), float(value))
            for token, value in zip(best.indices, best.values, strict=True)
        ]
        tokens = [str(tokenizer.decode(reply[position : position + 1])) for reply in (first, second)]
        yield ReplyGap(place[0], place[2], position, (tokens[0], tokens[1]), (likeliest[0], likeliest[1]))


def _next_logprobs(model: Any, ids: Sequence[int]) -> Tensor:
    """Log-probabilities of the token after these, float64 `[vocabulary]`."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([list(ids)])).logits
    logprobs: Tensor = logits[0, -1].double().log_softmax(-1)
    return logprobs
