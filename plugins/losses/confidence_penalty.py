"""Penalty on confident predictions, a regularizer."""

from __future__ import annotations

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Loss, LossOutput, Needs, Ratio
from aftertrain.plugins.losses.reduction import reduce_tokens, token_needs
from aftertrain.plugins.losses.settings import ConfidencePenaltySettings


class ConfidencePenalty(Loss[ConfidencePenaltySettings]):
    """−H(p_i) over the target tokens i, p_i the distribution that token i is predicted with (Pereyra et al. 2017).

    As a regularizer R(B) of supervised finetuning (F11) it keeps the model from becoming certain of every token.
    """

    Config = ConfidencePenaltySettings

    @property
    def needs(self) -> Needs:
        """Entropies."""
        return token_needs(self.settings.reduction, scores=frozenset({"entropy"}))

    def __call__(self, batch: PackedBatch, scores: TokenScores) -> LossOutput:
        """−H(p_i) of each target token, reduced like the likelihood."""
        assert scores.entropy is not None
        total = reduce_tokens(batch, -scores.entropy, self.settings.reduction)
        entropy = scores.entropy.detach()[batch.targets].sum()
        return LossOutput({"policy": total}, {"entropy": Ratio(entropy, batch.targets.sum())})
