"""DAPO's loss (Yu et al. 2025, arXiv 2503.14476, eq. 8): clip-higher, and each token of a step weighs the same.

Its other parts are the stage's: groups of equal rewards are drawn anew, and replies that grow too long lose reward.
"""

from __future__ import annotations

from torch import Tensor

from aftertrain.plugins.losses.policy import PolicyLoss, clipped
from aftertrain.plugins.losses.policy_settings import DAPOSettings


class DAPO(PolicyLoss[DAPOSettings]):
    """max(−A·ρ, −A·clip(ρ, 1 − clip, 1 + clip_high)), averaged over all response tokens of the step."""

    Config = DAPOSettings

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clipped surrogate."""
        return clipped(ratio, advantages, self.settings.clip, self.settings.clip_high)
