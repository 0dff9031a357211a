"""REINFORCE: the policy gradient as it stands (Williams 1992)."""

from __future__ import annotations

from torch import Tensor

from aftertrain.plugins.losses.policy import PolicyLoss
from aftertrain.plugins.losses.policy_settings import PolicyReduction, ReinforceSettings


class Reinforce(PolicyLoss[ReinforceSettings]):
    """−A·log π at each response token.

    Nothing corrects for a policy that has left the one which wrote the replies: it is for one update a step.
    """

    Config = ReinforceSettings

    @property
    def reduction(self) -> PolicyReduction:
        """As set."""
        return self.settings.reduction

    def objective(self, logprobs: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor | None]:
        """The policy gradient."""
        return -advantages * logprobs, None
