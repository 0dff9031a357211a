"""Where a step's only update passes over its replies once, that pass itself gives the old log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.settings import Settings


class FirstPass(Loss[Settings]):
    """A loss to which the log-probabilities that it is given are the old ones too: ratios are 1, gradients not 0.

    Attributes:
        seen: the old log-probabilities float32 `[N]` of each micro-batch, on the CPU, by the ids of its samples.
    """

    def __init__(self, inner: Loss[Any]) -> None:
        super().__init__(inner.settings, inner.builder)
        self.inner = inner
        self.seen: dict[tuple[str, ...], Tensor] = {}

    @property
    def needs(self) -> Needs:
        """What the other loss needs, but for what this gives."""
        needs = self.inner.needs
        return replace(needs, columns=needs.columns - {"old_logprobs"})

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """The other loss's terms and metrics."""
        assert scores.logprobs is not None
        old = scores.logprobs.detach()
        self.seen[batch.sample_ids] = old.cpu()
        return self.inner(batch.with_columns(old_logprobs=old), scores)

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """The other loss's."""
        return self.inner.statistics(batch, scores)

    def completed(self, batches: Sequence[PackedBatch]) -> list[PackedBatch]:
        """The micro-batches with the old log-probabilities."""
        return [batch.with_columns(old_logprobs=self.seen[batch.sample_ids]) for batch in batches]
