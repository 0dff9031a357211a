"""Dr. GRPO: GRPO without its two biases ("Understanding R1-Zero-like training", Liu et al. 2025, arXiv 2503.20783).

GRPO divides a reply by its own length, so that a long wrong reply is punished less for each token than a short one, and
learns to be long. Here every reply is divided by one constant. The other bias, of dividing by the group's σ, is the
advantage's.
"""

from __future__ import annotations

from torch import Tensor

from aftertrain.core.batch import PackedBatch
from aftertrain.plugins.losses.policy import PolicyLoss, clipped
from aftertrain.plugins.losses.policy_settings import DrGRPOSettings, PolicyReduction


class DrGRPO(PolicyLoss[DrGRPOSettings]):
    """(1/L) Σ max(−A·ρ, −A·clip(ρ, 1 − clip, 1 + clip_high)) over a reply's tokens, L the constant `length`."""

    Config = DrGRPOSettings

    @property
    def reduction(self) -> PolicyReduction:
        """Sums of replies, averaged over replies."""
        return "sum"

    def token_sum(self, batch: PackedBatch, values: Tensor) -> Tensor:
        """The sum, by the constant: what is added to the loss, as a KL penalty, is divided by it too."""
        return super().token_sum(batch, values) / self.settings.length

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The clipped surrogate."""
        settings = self.settings
        return clipped(ratio, advantages, settings.clip, settings.clip_high or settings.clip)
