"""Penalty on leaving the reference model, a regularizer."""

from __future__ import annotations

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.learning.rl import kl_estimate
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.reduction import reduce_tokens, token_needs
from aftertrain.plugins.losses.settings import ReferenceKLSettings


class ReferenceKL(Loss[ReferenceKLSettings]):
    """½(log π − log π_ref)² over the target tokens: the estimator k2 of F28 on the data's tokens.

    To second order it is the KL between the two models, where the data are likely under either; it is never negative.
    As a regularizer R(B) of supervised finetuning (F11) it holds the model near the one it started from.
    """

    Config = ReferenceKLSettings

    @property
    def needs(self) -> Needs:
        """The reference's log-probs."""
        return token_needs(self.settings.reduction, columns=frozenset({"reference_logprobs"}))

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """½(log π − log π_ref)² of each target token, reduced like the likelihood."""
        assert scores.logprobs is not None
        kl = kl_estimate(scores.logprobs, batch.columns["reference_logprobs"], "k2")
        distance = Ratio(kl.detach()[batch.targets].sum(), batch.targets.sum())
        return LossOutput({"policy": reduce_tokens(batch, kl, self.settings.reduction)}, {"reference_kl": distance})
