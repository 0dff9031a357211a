"""DPO that is unbiased under flipped labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from aftertrain.plugins.losses.pairs import ReferencePairLoss
from aftertrain.plugins.losses.settings import RobustSettings


class Robust(ReferencePairLoss[RobustSettings]):
    """(−(1 − ε) log σ(βh) + ε log σ(−βh)) / (1 − 2ε), h = r(y_w) − r(y_l) with r = log π − log π_ref.

    Where a share ε of the labels is flipped at random, its mean is DPO's loss under the true ones (Chowdhury et al.
    2024, "Provably robust DPO", arXiv 2403.00409). It can be negative.
    """

    Config = RobustSettings

    def objective(self, h: Tensor, beta: float) -> Tensor:
        """(−(1 − ε) log σ(βh) + ε log σ(−βh)) / (1 − 2ε)."""
        flipped = self.settings.label_smoothing
        corrected = -(1 - flipped) * logsigmoid(beta * h) + flipped * logsigmoid(-beta * h)
        return corrected / (1 - 2 * flipped)
