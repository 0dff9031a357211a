"""Who was clipped: tokens that a loss gives no gradient though they have an advantage, whatever the loss is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.settings import Settings
from aftertrain.plugins.online.penalty import KLPenalised


class Watched(Loss[Settings]):
    """A loss as it is, that takes down which tokens it holds.

    Attributes:
        held: by sample id, bool `[tokens]`: true where some pass gave an advantage without a gradient.
    """

    def __init__(self, inner: Loss[Any]) -> None:
        super().__init__(inner.settings, inner.builder)
        self.inner = inner
        self.held: dict[str, Tensor] = {}

    @property
    def needs(self) -> Needs:
        """The loss's own."""
        return self.inner.needs

    def token_sum(self, batch: PackedBatch, values: Tensor) -> Tensor:
        """The loss's own."""
        return self.inner.token_sum(batch, values)

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """The loss's own."""
        return self.inner.statistics(batch, scores)

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """The loss's own terms, bit for bit."""
        output = self.inner(batch, scores)
        if "advantages" in batch.columns and scores.logprobs is not None and scores.logprobs.requires_grad:
            (gradient,) = torch.autograd.grad(output.terms["policy"], scores.logprobs, retain_graph=True)
            held = batch.targets & (batch.columns["advantages"] != 0) & (gradient == 0)
            for name, part in zip(batch.sample_ids, torch.split(held.cpu(), list(batch.lengths)), strict=True):
                self.held[name] = self.held.get(name, torch.zeros_like(part)) | part
        return output


def watched(loss: Loss[Any]) -> tuple[Loss[Any], Watched]:
    """The loss to learn by, and what watches it: a KL penalty, which pushes clipped tokens too, stays outside."""
    if isinstance(loss, KLPenalised):
        inside = Watched(loss.inner)
        return KLPenalised(loss.settings, inside), inside
    outside = Watched(loss)
    return outside, outside
