"""CISPO: the importance weight is clipped, not the token (MiniMax-M1, arXiv 2506.13585, eq. 4 and 5)."""

from __future__ import annotations

from torch import Tensor

from aftertrain.plugins.losses.policy import PolicyLoss
from aftertrain.plugins.losses.policy_settings import CISPOSettings


class CISPO(PolicyLoss[CISPOSettings]):
    """−sg[clip(ρ, 1 − clip, 1 + clip_high)]·A·log π at each response token, averaged over those of the step.

    No token ever stops pushing: a clipped one pushes with the bound's weight.
    """

    Config = CISPOSettings
    weighs_by_constants = True

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The weighted policy gradient."""
        lowest = None if self.settings.clip is None else 1 - self.settings.clip
        weight = ratio.detach().clamp(min=lowest, max=1 + self.settings.clip_high)
        return -weight * advantages * logprobs, weight != ratio.detach()
