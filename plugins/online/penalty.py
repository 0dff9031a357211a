"""KL in the loss: any loss with the penalty added to its policy term (F28)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.learning.rl import kl_estimate
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.plugins.online.policy_settings import KLSettings

if TYPE_CHECKING:
    from torch import Tensor


def penalised(loss: Loss[Any], settings: KLSettings) -> Loss[Any]:
    """The loss with the penalty that `settings` ask for; itself where they ask for none in the loss."""
    if settings.place != "loss" or settings.beta == 0:
        return loss
    return KLPenalised(settings, loss)


class KLPenalised(Loss[KLSettings]):
    """β·Σ KL estimate over response tokens, added to the term `policy` of another loss.

    Tokens are weighed as that loss weighs them (`Loss.token_sum`).

    An estimate's own gradient lacks the score-function term (that of k1 is 0 on average). Weighing it by
    π/π_old, which is 1 in value when π = π_old, adds that term.
    """

    Config = KLSettings

    def __init__(self, settings: KLSettings, inner: Loss[Any]) -> None:
        super().__init__(settings, inner.builder)
        self.inner = inner

    @property
    def needs(self) -> Needs:
        """What the other loss needs, and the columns of the penalty."""
        needs = self.inner.needs
        return replace(needs, columns=needs.columns | {"reference_logprobs", "old_logprobs"})

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """The other loss's terms and metrics; `policy` with the penalty."""
        assert scores.logprobs is not None
        output = self.inner(batch, scores)
        targets = batch.targets
        columns = (batch.columns["reference_logprobs"], batch.columns["old_logprobs"])
        logprobs, reference, before = (column.masked_fill(~targets, 0.0) for column in (scores.logprobs, *columns))
        estimate = kl_estimate(logprobs, reference, self.settings.estimator)
        if self.settings.score_function:
            estimate = (logprobs - before).exp() * estimate
        penalty = self.settings.beta * self.inner.token_sum(batch, estimate)
        return replace(output, terms={**output.terms, "policy": output.terms["policy"] + penalty})

    def statistics(self, batch: PackedBatch, scores: TokenScores) -> Mapping[str, Tensor]:
        """The other loss's."""
        return self.inner.statistics(batch, scores)
