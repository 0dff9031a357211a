"""GRPO: the clipped policy loss with the advantages of a group (DeepSeekMath, arXiv 2402.03300, eq. 3; Tülu 3.1).

The stage makes the advantages from the rewards of a prompt's replies and adds the KL penalty (F28).
"""

from __future__ import annotations

from torch import Tensor

from aftertrain.plugins.losses.policy import PolicyLoss, clipped
from aftertrain.plugins.losses.policy_settings import GRPOSettings, PolicyReduction


class GRPO(PolicyLoss[GRPOSettings]):
    """max(−A·ρ, −A·clip(ρ, 1 − clip, 1 + clip_high)) at each response token.

    For `sequence_mean` each is divided by the tokens of its reply.
    """

    Config = GRPOSettings

    @property
    def reduction(self) -> PolicyReduction:
        """Over tokens, or over replies of each one's mean."""
        return self.settings.reduction

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clipped surrogate."""
        settings = self.settings
        return clipped(ratio, advantages, settings.clip, settings.clip_high or settings.clip)
