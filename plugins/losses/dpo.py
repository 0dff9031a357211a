"""Direct preference optimisation."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from aftertrain.plugins.losses.pairs import ReferencePairLoss
from aftertrain.plugins.losses.settings import DPOSettings


class DPO(ReferencePairLoss[DPOSettings]):
    """−log σ(βh), h = r(y_w) − r(y_l) with r = log π − log π_ref of a reply (Rafailov et al. 2023, equation 7).

    A reply's log-probability is its sum over tokens (F15), or with `normalize: length` its mean (F16). With label
    smoothing ε (conservative DPO, Mitchell 2023): −(1 − ε) log σ(βh) − ε log σ(−βh).
    """

    Config = DPOSettings

    def objective(self, h: Tensor, beta: float) -> Tensor:
        """−(1 − ε) log σ(βh) − ε log σ(−βh)."""
        smoothing = self.settings.label_smoothing
        return -(1 - smoothing) * logsigmoid(beta * h) - smoothing * logsigmoid(-beta * h)
