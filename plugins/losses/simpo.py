"""SimPO: preference optimisation by mean log-probs, without a reference model."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from aftertrain.core.batch import PackedBatch
from aftertrain.plugins.losses.pairs import PairLoss
from aftertrain.plugins.losses.settings import SimPOSettings


class SimPO(PairLoss[SimPOSettings]):
    """−log σ(βh − γ), h = r(y_w) − r(y_l) with r(y) = (1/|y|) log π(y|x) (F17; Meng et al. 2024, equation 6).

    γ is `gamma`, or `gamma_beta_ratio` times β. With label smoothing ε: −(1 − ε) log σ(βh − γ) − ε log σ(γ − βh).
    """

    Config = SimPOSettings

    def rewards(self, batch: PackedBatch, logprobs: Tensor) -> Tensor:
        """Mean log-prob of each reply."""
        return batch.segment_mean(logprobs)

    def objective(self, h: Tensor, beta: float) -> Tensor:
        """−(1 − ε) log σ(βh − γ) − ε log σ(γ − βh)."""
        z, smoothing = beta * h - self.settings.margin(beta), self.settings.label_smoothing
        return -(1 - smoothing) * logsigmoid(z) - smoothing * logsigmoid(-z)
