"""Hinge loss of preference pairs."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from aftertrain.plugins.losses.pairs import ReferencePairLoss
from aftertrain.plugins.losses.settings import HingeSettings


class Hinge(ReferencePairLoss[HingeSettings]):
    """max(0, 1 − βh), h = r(y_w) − r(y_l) with r = log π − log π_ref.

    The calibration loss of SLiC (Zhao et al. 2023) on DPO's rewards, as in RSO (Liu et al. 2023, arXiv 2309.06657):
    pairs that are told apart by 1/β push no longer.
    """

    Config = HingeSettings

    def objective(self, h: Tensor, beta: float) -> Tensor:
        """max(0, 1 − βh)."""
        return relu(1 - beta * h)
