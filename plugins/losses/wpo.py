"""DPO weighted by how on-policy a pair is."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import logsigmoid

from aftertrain.core.batch import PackedBatch, TokenScores
from aftertrain.core.loss import Needs
from aftertrain.plugins.losses.pairs import ReferencePairLoss, counted_pairs
from aftertrain.plugins.losses.settings import WPOSettings


class WPO(ReferencePairLoss[WPOSettings]):
    """−w(y_w)·w(y_l)·log σ(βh), h as in DPO, w(y) = exp(mean over y's tokens of log π(y_i) − log Σ_v π_i(v)²).

    Zhou et al. 2024 (arXiv 2406.11827), equation 2 with sampled alignment: for a token drawn from the policy itself
    π(y_i)/Σ_v π(v)² is 1 on average. Weights have no gradient.
    """

    Config = WPOSettings

    @property
    def needs(self) -> Needs:
        """Log-probs, the reference's, and log Σ p²."""
        return replace(super().needs, scores=frozenset({"logprobs", "log_sum_p2"}))

    def objective(self, h: Tensor, beta: float) -> Tensor:
        """DPO's."""
        smoothing = self.settings.label_smoothing
        return -(1 - smoothing) * logsigmoid(beta * h) - smoothing * logsigmoid(-beta * h)

    def weights(self, batch: PackedBatch, scores: TokenScores) -> Tensor:
        """w(y_w)·w(y_l), added as logarithms."""
        assert scores.logprobs is not None
        assert scores.log_sum_p2 is not None
        aligned = scores.logprobs.detach() - scores.log_sum_p2.detach()
        chosen, rejected = counted_pairs(batch, batch.segment_mean(aligned))
        weights = (chosen + rejected).exp()
        return weights if self.settings.max_weight is None else weights.clamp(max=self.settings.max_weight)
